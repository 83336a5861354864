#!/usr/bin/python3
"""sql/postgres-runner.sql: a member of mer_runner can run models and keep their record, and change
nothing else, as docs/postgres.md says. MER_PREFIX names the installation, whose copy is tried, MER_SOURCE
the sources. Prints TAP when run as a program."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import postgres

PREFIX = Path(os.environ["MER_PREFIX"])
SQL = PREFIX / "share" / "mer" / "sql"
GRANTS = SQL / "postgres-runner.sql"
SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent))
FRAMES = Path(__file__).with_name("frames.py").read_text(encoding="utf-8")
DEADLINE_S = 120
ADMIN = """CREATE ROLE mer_runner NOLOGIN;
CREATE ROLE alice LOGIN IN ROLE mer_runner;
CREATE ROLE bob LOGIN IN ROLE mer_runner;
CREATE ROLE stranger LOGIN;
"""
LEDGER = """CREATE TABLE IF NOT EXISTS migrations (num BIGINT PRIMARY KEY, name TEXT);
INSERT INTO migrations (num, name) VALUES (1, 'Servers');
"""
OPEN, OTHER, ENDED, LOST = (f"01980000-0000-7000-8000-0000000009{n}" for n in (41, 42, 43, 44))
RUNS = "".join(f"""INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at, stopped_at,
owner) VALUES ('{uid}', 'iris', 'repl', 'w', 'h', 1, '{status}', '2026-01-01T00:00:00.000Z', {stopped}, 'o');
INSERT INTO model_access_io VALUES ('{uid}', 'in', 'out');
""" for uid, status, stopped in ((OPEN, "running", "NULL"), (OTHER, "queued", "NULL"),
                                 (ENDED, "ok", "'2026-01-01T00:00:00.001Z'"),
                                 (LOST, "lost", "'2026-01-01T00:00:00.001Z'")))
CLOSE = "UPDATE model_access SET status = 'ok', stopped_at = 'now', started_at = 'then', exit_code = 0, " \
    "signal = '', error = '', stderr_tail = '', attempts = 1, queue_ms = 0, start_ms = 0, infer_ms = 0, " \
    "bytes_out = 1, sha256_out = '', provenance = 'p', cpu_us = 1, max_rss_kib = 1 WHERE request_uid = "
NEW = "01980000-0000-7000-8000-0000000009%02d"
RUN = f"""INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at)
VALUES ('{NEW % 50}', 'iris', 'repl', 'w', 'h', 1, 'running', 'now')"""

# What a runner does, and how many rows it is to change.
MAY = {
    "SELECT 1 FROM models AS m JOIN deployments AS d ON d.model_uid = m.uid JOIN servers AS s "
    "ON s.uid = d.server_uid LEFT JOIN model_weights AS w ON w.model_uid = m.uid WHERE m.name = 'iris'": 1,
    "SELECT 1 FROM migrations WHERE num < 1000": 1,
    "SELECT 1 FROM model_access": 4,
    "SELECT 1 FROM model_access_io": 4,
    "SELECT 1 FROM run_totals": 0,
    RUN: 1,
    RUN + " RETURNING ctid": 1,
    CLOSE + f"'{OPEN}'": 1,
    CLOSE + f"'{OTHER}'": 1,  # of an owner that has died
    CLOSE + f"'{LOST}'": 1,  # of one that was taken for dead and lives
    f"UPDATE model_access SET deployment_uid = 'd', server = 's' WHERE request_uid = '{OPEN}'": 1,
    f"UPDATE model_access SET deployment_uid = 'd', server = 's' WHERE request_uid = '{ENDED}'": 0,
    "UPDATE model_access SET status = 'lost', stopped_at = 'now' WHERE owner = 'o' AND stopped_at IS NULL": 2,
    f"INSERT INTO model_access_io VALUES ('{ENDED}', 'in', 'out') ON CONFLICT DO NOTHING": 0,
    "INSERT INTO provenance (digest, host, program) VALUES (repeat('0', 32), 'h', 'p') "
    "ON CONFLICT DO NOTHING": 1,
    f"WITH run AS ({RUN} RETURNING 1) SELECT FROM run": 1,
    f"INSERT INTO feedback (uid, request_uid, rating) VALUES ('{NEW % 60}', '{ENDED}', 5)": 1,
    f"INSERT INTO owners (uid, host, pid, program) VALUES ('{NEW % 61}', 'h', 1, 'mer')": 1,
    "DELETE FROM owners": 1,
    "SELECT pg_try_advisory_lock(7)": 1,
    # History as a whole is out of its reach: what has ended is not there to be changed.
    CLOSE + f"'{ENDED}'": 0,
    "UPDATE model_access SET status = 'failed', stopped_at = 'now'": 3,
    f"UPDATE model_access SET stopped_at = NULL, status = 'running' WHERE request_uid = '{ENDED}'": 0,
}
# What it must not even try.
MUST_NOT = [
    *(f"INSERT INTO {table} SELECT * FROM {table}" for table in
      ("migrations", "servers", "models", "deployments", "model_weights", "run_totals")),
    *(f"UPDATE {table} SET {column} = {column}" for table, column in
      (("migrations", "name"), ("servers", "host"), ("models", "feedback"), ("models", "input_contract"), ("deployments", "argv"),
       ("model_weights", "state"), ("model_access_io", "output"), ("provenance", "program_sha256"), ("feedback", "rating"),
       ("owners", "pid"), ("run_totals", "value"),
       *(("model_access", column) for column in
         ("request_uid", "model", "weights", "door", "who", "host", "pid",
          "queued_at", "bytes_in", "sha256_in", "owner", "kind", "replays", "traceparent")))),
    *(f"DELETE FROM {table}" for table in ("migrations", "servers", "models", "deployments", "model_weights",
                                           "provenance", "model_access", "model_access_io", "feedback",
                                           "run_totals")),
    *(f"TRUNCATE {table}" for table in ("migrations", "models", "model_access", "feedback", "owners")),
    "ALTER TABLE model_access DISABLE ROW LEVEL SECURITY",
    "DROP POLICY mer_close ON model_access",
    "DROP TABLE owners",
    "CREATE TABLE public.mine (a int)",
    "CREATE TRIGGER t BEFORE UPDATE ON model_access EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE INDEX i ON model_access (who)",
    "SET ROLE mer",
    "SET SESSION AUTHORIZATION mer",
    "SET session_replication_role = replica",
    f"SELECT * FROM model_access WHERE request_uid = '{ENDED}' FOR UPDATE; "
    f"DELETE FROM model_access_io WHERE request_uid = '{ENDED}'",
]
TRY = """CREATE FUNCTION pg_temp.try(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE sql;
	GET DIAGNOSTICS n = ROW_COUNT;
	RAISE EXCEPTION USING ERRCODE = 'MER00', MESSAGE = n;
EXCEPTION WHEN SQLSTATE 'MER00' THEN
	RETURN SQLERRM;
WHEN insufficient_privilege THEN
	RETURN 'denied';
WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
"""


class Roles(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = postgres.Postgres()
        cls.addClassCleanup(cls.server.close)
        cls.server.psql(ADMIN)
        cls.url = cls.make(cls.server.new_database())
        cls.server.psql(RUNS + "INSERT INTO owners (uid, host, pid, program) "
                        f"VALUES ('{NEW % 62}', 'h', 1, 'mer')", cls.url)

    @classmethod
    def make(cls, url):
        for script in sorted((SQL / "postgres").glob("*.sql")):
            cls.server.psql(script.read_text(), url)
        cls.server.psql(LEDGER, url)
        cls.grant(url)
        return url

    @classmethod
    def grant(cls, url):
        cls.server.psql(GRANTS.read_text(), url)

    def by(self, user, url=None):
        return re.sub("//[a-z]+@", f"//{user}@", url or self.url)

    def tries(self, user, statements, url=None):
        asked = "".join("SELECT pg_temp.try({});\n".format("$try$" + sql + "$try$") for sql in statements)
        answers = self.server.psql(TRY + asked, self.by(user, url)).splitlines()
        return dict(zip(statements, answers, strict=True))

    def test_what_a_runner_does(self):
        for user in ("alice", "bob"):
            self.assertEqual({sql: str(n) for sql, n in MAY.items()}, self.tries(user, list(MAY)))

    def test_what_a_runner_does_not(self):
        self.assertEqual(dict.fromkeys(MUST_NOT, "denied"), self.tries("alice", MUST_NOT))

    def test_the_lists_are_complete(self):
        """A column or table that is new has to be thought of here."""
        columns, may = (set(self.server.psql("SELECT attname FROM pg_attribute WHERE attrelid = "
                                             "'model_access'::regclass AND attnum > 0" + more, self.url).splitlines())
                        for more in ("", " AND has_column_privilege('alice', attrelid, attnum, 'UPDATE')"))
        tried = {sql.split()[3] for sql in MUST_NOT if sql.startswith("UPDATE model_access SET")}
        self.assertEqual(columns, may | tried)
        self.assertEqual(set(), may & tried)
        tables, read = (set(self.server.psql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = "
                                             "'public'::regnamespace" + more, self.url).splitlines())
                        for more in ("", " AND has_table_privilege('alice', oid, 'SELECT')"))
        self.assertEqual(tables, read)

    def test_others(self):
        """No member sees nothing; a reader sees all rows; who may update still changes no ended run."""
        self.assertEqual({"SELECT 1 FROM models": "denied"}, self.tries("stranger", ["SELECT 1 FROM models"]))
        self.server.psql("GRANT SELECT, UPDATE, DELETE ON model_access TO stranger", self.url)
        asked = {"SELECT 1 FROM model_access": "4", "UPDATE model_access SET who = 'me'": "3",
                 "DELETE FROM model_access": "4"}
        self.assertEqual(asked, self.tries("stranger", list(asked)))
        self.server.psql("REVOKE ALL ON model_access FROM stranger", self.url)

    def test_the_owner(self):
        """Is bound by none of it: it migrates, prunes and repairs."""
        asked = {f"UPDATE model_access SET error = 'x' WHERE request_uid = '{ENDED}'": "1",
                 "DELETE FROM model_access": "4", "DELETE FROM model_weights": "1",
                 "UPDATE migrations SET name = name": "1"}
        self.assertEqual(asked, self.tries("mer", list(asked)))

    def test_again(self):
        """The same rights, whatever was granted meanwhile; those who made them earlier than a later script."""
        rights = """SELECT relname, relacl, relrowsecurity, (SELECT json_agg(attacl ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = c.oid), (SELECT json_agg(p ORDER BY polname) FROM (SELECT polname, polcmd,
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy
            WHERE polrelid = c.oid) AS p)
            FROM pg_class AS c WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"""
        url = self.make(self.server.new_database())
        before = self.server.psql(rights, url)
        self.server.psql("GRANT ALL ON ALL TABLES IN SCHEMA public TO mer_runner;"
                         "DROP POLICY mer_read ON model_access", url)
        self.assertNotEqual(before, self.server.psql(rights, url))
        self.grant(url)
        self.assertEqual(before, self.server.psql(rights, url))

    def test_all_or_nothing(self):
        """On tables that are not there it says so and leaves no half of the rights."""
        url = self.server.new_database()
        with self.assertRaisesRegex(RuntimeError, "does not exist"):
            self.grant(url)
        self.assertEqual("f\n", self.server.psql("SELECT nspacl::text LIKE '%mer_runner%' FROM pg_namespace "
                                                 "WHERE nspname = 'public'", url))


class Documented(unittest.TestCase):
    """docs/postgres.md, step by step, on a server that asks for passwords over TLS."""

    @classmethod
    def setUpClass(cls):
        if not (PREFIX / "lib" / "mer" / "postgres.so").exists():
            raise unittest.SkipTest("this build has no Postgres module")
        cls.top = Path(tempfile.mkdtemp(prefix="mer-roles-"))
        cls.addClassCleanup(shutil.rmtree, cls.top, ignore_errors=True)
        cls.server = postgres.Postgres(tls=True)
        cls.addClassCleanup(cls.server.close)
        text = (SOURCE / "docs" / "postgres.md").read_text()
        sql = re.search(r"```sql\n(.*?)```", text, re.S)[1]
        cls.secrets = {}
        for user in re.findall(r"CREATE ROLE (\w+) LOGIN PASSWORD '\.\.\.'", sql):
            secret = cls.top / user
            secret.write_text(f"{user}/s: secret@\n")
            cls.secrets[user] = secret
            sql = sql.replace(f"{user} LOGIN PASSWORD '...'", f"{user} LOGIN PASSWORD '{secret.read_text().strip()}'")
        cls.server.psql(sql)
        cls.succeed("mer_owner", "mer-migrate", "up")
        cls.server.psql(GRANTS.read_text(), cls.url("mer_owner", socket=True))

    @classmethod
    def url(cls, user, socket=False):
        if socket:
            return cls.server.url("mer", user=user)
        return cls.server.url("mer", user=user, tcp=True, sslmode="verify-full", sslrootcert=cls.server.ca_file)

    @classmethod
    def call(cls, user, program, *words):
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MER_", "XDG_", "PG"))}
        env |= {"MER_DATABASE_URL": cls.url(user), "MER_DATABASE_PASSWORD": f"file:{cls.secrets[user]}"}
        return subprocess.run([PREFIX / "bin" / program, *map(str, words)], env=env, text=True, timeout=DEADLINE_S,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL)

    @classmethod
    def succeed(cls, user, *words):
        done = cls.call(user, *words)
        if done.returncode != 0:
            raise AssertionError((words, done))
        return done.stdout

    def denied(self, user, *words):
        done = self.call(user, *words)
        self.assertEqual(5, done.returncode, done)
        self.assertIn("permission denied", done.stderr)

    def test_alice(self):
        """Runs and sees; migrates and changes nothing."""
        self.succeed("alice", "mer", "run", "digest", "hello")
        row, = json.loads(self.succeed("alice", "mer", "log", "--json"))
        self.assertEqual(("digest", "ok"), (row["model"], row["status"]))
        self.assertEqual("0\n", self.server.psql("SELECT count(*) FROM owners", self.url("mer_owner", socket=True)))
        self.succeed("alice", "mer-migrate", "status", "--check")
        self.succeed("alice", "mer-migrate", "verify")
        shown = json.loads(self.succeed("alice", "mer", "log", "show", "--json", row["request_uid"]))
        self.assertTrue(shown["program"].endswith("/digest.py"), shown)
        self.denied("alice", "mer", "--allow-changes", "log", "prune", "--before", "2999-01-01")
        self.denied("alice", "mer", "--allow-changes", "model", "remove", "digest")
        self.denied("alice", "mer", "--allow-changes", "model", "add", "mine", "--", "cat")
        self.denied("alice", "mer", "--allow-changes", "server", "add", "mine", "--kind", "local")
        self.succeed("mer_owner", "mer", "--allow-changes", "model", "add", "ours", "--", "cat")
        self.assertEqual("x", self.succeed("alice", "mer", "run", "ours", "x"))
        self.succeed("mer_owner", "mer", "--allow-changes", "model", "set", "ours", "keep-io=on")
        self.assertEqual("y", self.succeed("alice", "mer", "run", "ours", "y"))
        uid = json.loads(self.succeed("alice", "mer", "log", "--json"))[0]["request_uid"]
        self.assertEqual("", self.succeed("alice", "mer", "replay", uid, "--diff"))
        hidden = "REVOKE SELECT ON model_access_io FROM mer_runner"
        self.server.psql(hidden, self.url("mer_owner", socket=True))
        self.assertEqual("z", self.succeed("alice", "mer", "run", "ours", "z"))
        self.denied("alice", "mer", "replay", uid)
        self.server.psql(hidden.replace("REVOKE", "GRANT").replace("FROM", "TO"), self.url("mer_owner", socket=True))
        self.succeed("mer_owner", "mer", "--allow-changes", "log", "prune", "--before", "2999-01-01")

    def test_contracts(self):
        """What a worker announces is kept by who may write it, and by nobody else tried."""
        model = self.top / "model"
        model.write_text("#!/usr/bin/python3\n" + FRAMES + "\nwire = Wire()\n"
                         "wire.ready(inputs=[{'name': 'x', 'datatype': 'FP32', 'shape': [-1]}])\nwire.request()\n")
        model.chmod(0o755)
        self.succeed("mer_owner", "mer", "--allow-changes", "model", "add", "tensors", "--protocol", "frame",
                     "--", model)

        def shown():
            return json.loads(self.succeed("alice", "mer", "--json", "model", "show", "tensors"))["inputs"]
        done = self.call("alice", "mer", "--log", "debug", "model", "ping", "tensors")
        self.assertEqual(0, done.returncode, done)
        self.assertNotIn("is not kept", done.stderr)
        self.assertIsNone(shown())
        self.succeed("mer_owner", "mer", "model", "ping", "tensors")
        self.assertEqual([{"name": "x", "datatype": "FP32", "shape": [-1]}], shown())

    def test_copies(self):
        """A member may copy out, and not in; the owner may do both."""
        lite = []
        for name in ("a.db", "b.db"):
            lite.append(f"sqlite:{self.top / name}")
            self.succeed("mer_owner", "mer-migrate", "up", "--database", lite[-1])
        self.succeed("alice", "mer", "db", "copy", "--from", self.url("alice"), "--to", lite[0])
        self.server.psql("CREATE DATABASE other OWNER mer_owner")
        other = {user: self.url(user).replace("/mer?", "/other?") for user in self.secrets}
        self.succeed("mer_owner", "mer-migrate", "up", "--database", other["mer_owner"])
        self.server.psql(GRANTS.read_text(), self.server.url("other", user="mer_owner"))
        self.denied("alice", "mer", "db", "copy", "--from", lite[1], "--to", other["alice"])
        self.succeed("mer_owner", "mer", "db", "copy", "--from", lite[0], "--to", other["mer_owner"])

    def test_strangers(self):
        """Without a membership nobody even connects; without the password nobody is alice."""
        self.server.psql("CREATE ROLE stranger LOGIN PASSWORD 'x'")
        self.secrets["stranger"] = self.top / "stranger"
        self.secrets["stranger"].write_text("x")
        done = self.call("stranger", "mer", "model", "list")
        self.assertEqual(5, done.returncode)
        self.assertIn("permission denied for database", done.stderr)
        self.secrets["alice"], right = self.secrets["stranger"], self.secrets["alice"]
        done = self.call("alice", "mer", "model", "list")
        self.secrets["alice"] = right
        self.assertEqual(5, done.returncode)
        self.assertIn("password authentication failed", done.stderr)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
