#!/usr/bin/python3
"""mer db copy: all of a metadata database in another one, of either kind, or nothing. MER_PREFIX names the
installation. Prints TAP when run as a program."""
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import postgres

PREFIX = Path(os.environ["MER_PREFIX"])
MER, MIGRATE = str(PREFIX / "bin" / "mer"), str(PREFIX / "bin" / "mer-migrate")
SANITIZED = b"__asan_init" in Path(MER).read_bytes()
DEADLINE_S = 300
ENVIRONMENT = {key: value for key, value in os.environ.items()
               if not key.startswith(("MER_", "XDG_", "PG"))} | {"LC_ALL": "C.UTF-8"}
TABLES = ("servers", "models", "deployments", "model_weights", "provenance", "model_access",
          "model_access_io", "feedback", "run_totals", "owners")
KEYS = {"provenance": "digest", "model_access": "request_uid", "model_access_io": "request_uid",
        "run_totals": "series"}
KINDS = ("sqlite", "postgres")
PAIRS = [(a, b) for a in KINDS for b in KINDS]
EXAMPLES = 5  # models that they make
TIME = "2026-01-02T03:04:05.678Z"
ODD = "ünï ☃ 𝄞 'quoted' \"double\" \\back\\ \t tab\r\n line\x01 NULL {models} $1 %s"
BYTES = bytes(range(256))
MAX, MIN = 2**63 - 1, -2**63


def uid(number):
    return f"01980000-1111-7000-8000-{number:012x}"


def runs(count, first=1000, **changes):
    for number in range(first, first + count):
        yield "model_access", {"request_uid": uid(number), "model": "iris", "door": "batch", "who": "ann",
                               "host": "here", "pid": number, "status": "ok", "queued_at": TIME,
                               "started_at": TIME, "stopped_at": TIME, "stderr_tail": f"{ODD} {number}", **changes}


def rich():
    """Rows that hold what is hard to carry: each column is somewhere not its default, and somewhere NULL if it
    may be."""
    yield "servers", {"uid": uid(1), "name": "gpu", "kind": "ssh", "host": ODD, "port": 65535, "username": ODD,
                      "params": json.dumps({"a": ODD, "b": [1, None, 1e300]}), "created_at": TIME,
                      "updated_at": "2027-01-01T00:00:00.000Z"}
    yield "models", {"uid": uid(2), "name": "Z.-_9", "summary": ODD, "input_contract": '{"x":  1}',
                     "output_contract": ' {"y":"\\u0000"} ', "feedback": 1, "feedback_threshold": 5, "train_after": MAX,
                     "created_at": TIME, "updated_at": TIME, "test_input": BYTES, "test_output": b"",
                     "test_tolerance": ODD, "test_on_start": 1}
    yield "deployments", {"uid": uid(3), "name": "d", "model_uid": uid(2), "server_uid": uid(1), "protocol": "frame",
                          "workdir": ODD, "argv": json.dumps([ODD, ""]), "train_argv": "[]",
                          "env": json.dumps({ODD: ODD}), "params": '{"p":1}', "limits": '{"l":-1}',
                          "max_workers": MAX, "idle_ms": 0, "timeout_ms": 1, "start_timeout_ms": 2, "priority": MIN,
                          "enabled": 0, "created_at": TIME, "updated_at": TIME}
    yield "deployments", {"uid": uid(4), "name": "e", "model_uid": uid(2), "server_uid": uid(1), "protocol": "once",
                          "workdir": "", "argv": "[]", "max_workers": 0, "idle_ms": 0, "timeout_ms": 0,
                          "start_timeout_ms": 0}
    # The parent comes after its child in the order of uids; and one is its own grandparent.
    for number, parent, state in ((5, 6, "active"), (6, 7, "retired"), (7, 5, "candidate"), (8, None, "candidate")):
        yield "model_weights", {"uid": uid(number), "model_uid": uid(2), "version": f"v {number} ☃", "name": ODD,
                                "path": ODD, "sha256": "0123456789abcdef" * 4, "bytes": MAX,
                                "parent_uid": parent and uid(parent), "state": state, "metrics": '{"loss":0.5}',
                                "made_by": uid(20), "created_at": TIME}
    yield "provenance", {"digest": "☃" * 32, "host": ODD, "program": ODD, "program_sha256": ODD,
                         "files": json.dumps([ODD]), "weights_sha256": ODD, "runtime": ODD, "sdk": ODD,
                         "created_at": TIME}
    yield "model_access", {"request_uid": uid(20), "model": ODD, "deployment_uid": ODD, "server": ODD, "weights": ODD,
                           "door": "job", "who": ODD, "host": ODD, "pid": MAX, "status": "failed", "queued_at": TIME,
                           "started_at": ODD, "stopped_at": TIME, "exit_code": MIN, "signal": ODD, "error": ODD,
                           "stderr_tail": ODD * 1000, "attempts": MAX, "queue_ms": -1, "start_ms": 0, "infer_ms": MAX,
                           "bytes_in": 0, "bytes_out": -1, "sha256_in": ODD, "sha256_out": ODD, "owner": ODD, "kind": "train",
                           "replays": ODD, "provenance": ODD, "cpu_us": MAX, "max_rss_kib": MIN,
                           "traceparent": ODD}
    yield from runs(600)  # more than two pages
    for number, status, owner in ((21, "running", uid(30)), (22, "queued", uid(30)), (23, "queued", "")):
        yield from runs(1, number, status=status, stopped_at=None, started_at=None, owner=owner)
    for number, put, got in ((20, BYTES, BYTES * 4096), (21, None, b""), (22, b"", None), (1000, b"\0", b"'\\x00")):
        yield "model_access_io", {"request_uid": uid(number), "input": put, "output": got,
                                  "input_meta": ODD if put else None, "output_meta": ODD if got else None}
    for number in range(1001, 1020):  # several pages of these too
        yield "model_access_io", {"request_uid": uid(number), "input": BYTES, "output": ODD.encode()}
    for number, expected in ((40, BYTES), (41, b""), (42, None)):
        yield "feedback", {"uid": uid(number), "request_uid": uid(20), "rating": 1 + number % 5, "expected": expected,
                           "note": ODD, "created_at": TIME}
    yield "run_totals", {"series": f"{'m' * 128}/queue_le_3600000", "value": MAX}
    yield "owners", {"uid": uid(30), "host": ODD, "pid": 7, "program": ODD,
                     "started_at": "2999-01-01T00:00:00.000Z"}  # dead; Postgres gives older ones a grace


class Db:
    """One database; what a test does to it past mer."""

    def fill(self, rows):
        raise NotImplementedError

    def content(self):
        """All rows of all tables, in an order, in the form of the kind."""
        raise NotImplementedError


class Lite(Db):
    def __init__(self, folder):
        self.path = Path(folder) / "x.db"
        self.url = f"sqlite:{self.path}"

    def connect(self):
        db = sqlite3.connect(self.path, isolation_level=None, timeout=60)
        db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return contextlib.closing(db)

    def run(self, sql):
        with self.connect() as db:
            db.executescript("PRAGMA foreign_keys = ON;" + sql)

    def fill(self, rows):
        with self.connect() as db:
            db.execute("BEGIN")
            for table, row in rows:
                db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                           list(row.values()))
            db.execute("COMMIT")

    def content(self):
        with self.connect() as db:
            return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}

    def count(self, table="model_access"):
        with self.connect() as db:
            return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


class Pg(Db):
    def __init__(self, server):
        self.server = server
        self.url = server.new_database()

    def run(self, sql):
        self.server.psql(sql, self.url)

    @staticmethod
    def literal(value):
        if value is None:
            return "NULL"
        if isinstance(value, bytes):
            return f"'\\x{value.hex()}'"
        return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"

    def fill(self, rows):
        self.run("BEGIN;\nSET CONSTRAINTS ALL DEFERRED;\n" + "".join(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(self.literal, row.values()))});\n"
            for table, row in rows) + "COMMIT;\n")

    def content(self):
        found = {}
        for table in TABLES:
            rows = self.server.psql(f'SELECT row_to_json(t) FROM {table} AS t ORDER BY 1::text COLLATE "C"'
                                    .replace("1::text", KEYS.get(table, "uid")),
                                    self.url).splitlines()
            found[table] = [tuple(self.cell(value) for value in json.loads(row).values()) for row in rows]
        return found

    @staticmethod
    def cell(value):
        """As SQLite has it: bytea comes as text."""
        if isinstance(value, str) and value.startswith("\\x"):
            return bytes.fromhex(value[2:])
        return value

    def count(self, table="model_access"):
        return int(self.server.psql(f"SELECT count(*) FROM {table}", self.url))


class Case(unittest.TestCase):
    maxDiff = 4000
    server = None  # of Postgres, and
    template = {}  # a migrated database of each kind

    @classmethod
    def setUpClass(cls):
        cls.top = Path(tempfile.mkdtemp(prefix="mer-copy-"))
        cls.addClassCleanup(shutil.rmtree, cls.top, ignore_errors=True)
        cls.kinds = ["sqlite"]
        cls.why_not = "this build has no Postgres module"
        if (PREFIX / "lib" / "mer" / "postgres.so").exists():
            try:
                cls.server = postgres.Postgres()
                cls.addClassCleanup(cls.server.close)
                cls.kinds.append("postgres")
            except unittest.SkipTest as lacking:
                cls.why_not = str(lacking)
        cls.made = 0
        cls.template = {kind: cls.migrated(cls.empty(kind)) for kind in cls.kinds}

    @classmethod
    def empty(cls, kind):
        if kind == "postgres":
            return Pg(cls.server)
        cls.made += 1
        folder = cls.top / str(cls.made)
        folder.mkdir()
        return Lite(folder)

    @classmethod
    def migrated(cls, db):
        subprocess.run([MIGRATE, "--quiet", "up", "--database", db.url], env=ENVIRONMENT, check=True,
                       timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
        return db

    def fresh(self, kind, rows=()):
        """A database as mer-migrate makes it, and rows in it."""
        self.need(kind)
        if kind == "postgres":
            return self.filled(self.migrated(Pg(self.server)), rows)
        db = self.empty(kind)
        with self.template[kind].connect() as template:
            template.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.template[kind].path, db.path)
        return self.filled(db, rows)

    @staticmethod
    def filled(db, rows):
        db.fill(rows)
        return db

    def need(self, *kinds):
        if not set(kinds) <= set(self.kinds):
            self.skipTest(self.why_not)

    def call(self, code, *words, **options):
        done = subprocess.run([MER, *map(str, words)], env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S,
                              check=False, stdin=subprocess.DEVNULL, text=True, cwd=self.top, **options)
        self.assertEqual(code, done.returncode, (done.stdout, done.stderr))
        if code == 0:
            self.assertEqual("", done.stderr)
        return done

    def copy(self, source, target, code=0):
        """The rows that it prints; where it must fail, what it says, and the target is as it was."""
        before = None if code == 0 else target.content()
        done = self.call(code, "db", "copy", "--from", source.url, "--to", target.url, "--json")
        if code == 0:
            return {row.pop("table"): row for row in json.loads(done.stdout)}
        self.assertEqual(before, target.content())
        self.assertEqual(code, json.loads(done.stdout)["code"])
        return done.stderr

    def start(self, source, target):
        """A copy that has begun to write runs and cannot end, since nobody reads on what it tells."""
        mer = subprocess.Popen([MER, "--log", "dal=debug", "db", "copy", "--from", source.url, "--to", target.url],
                               env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
        self.addCleanup(mer.stderr.close)
        self.addCleanup(mer.wait)
        self.addCleanup(mer.kill)
        for line in mer.stderr:
            if b"model_access-insert" in line:
                return mer
        self.fail(f"it ended with {mer.wait()}")


# More than fits into a pipe as lines of a log.
MANY = 4000


class Copy(Case):
    def test_there_and_back(self):
        """From SQLite to Postgres to Postgres to SQLite: nothing is lost, added or changed."""
        self.need("postgres")
        chain = [self.fresh("sqlite", rich()), self.fresh("postgres"), self.fresh("postgres"), self.fresh("sqlite")]
        told = [self.copy(a, b) for a, b in zip(chain, chain[1:])]
        contents = [db.content() for db in chain]
        for content in contents[1:]:
            self.assertEqual(contents[0], content)
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0], told[2])
        for table in TABLES:
            self.assertEqual((len(contents[0][table]), 0), (told[0][table]["rows"], told[0][table]["mended"]), table)

    def test_rich_is_rich(self):
        """Each table, each column: no other value for all of its rows than its default, and NULL where it may be."""
        db = self.fresh("sqlite", rich())
        content = db.content()
        with db.connect() as connection:
            tables = {name for name, in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            self.assertEqual(set(TABLES), tables - {"migrations"}, "a table that is not copied")
            for table in TABLES:
                for at, name, _, notnull, default, _ in connection.execute(f"PRAGMA table_info({table})"):
                    values = [row[at] for row in content[table]]
                    self.assertTrue(notnull or None in values, f"{table}.{name}: no NULL")
                    plain = (default or "NULL").strip("'()")
                    self.assertTrue([v for v in values if v is not None and str(v) != plain], f"{table}.{name}")

    def test_digests(self):
        """Follow the content and nothing else."""
        source = self.fresh("sqlite", rich())
        told = self.copy(source, self.fresh("sqlite"))
        self.assertEqual(told, self.copy(source, self.fresh("sqlite")))
        source.run(f"UPDATE model_access_io SET input = x'' WHERE request_uid = '{uid(21)}'")  # was NULL
        changed = self.copy(source, self.fresh("sqlite"))
        self.assertEqual(["model_access_io"], [table for table in TABLES if told[table] != changed[table]])
        self.assertEqual(hashlib.sha256().hexdigest(), self.copy(self.fresh("sqlite"), self.fresh("sqlite"))
                         ["model_access"]["sha256"])

    def test_then_it_works(self):
        """mer goes on with what came: it runs the models, and ends what a dead one had left open."""
        for kind in self.kinds:
            with self.subTest(kind):
                source, target = self.fresh("sqlite", rich()), self.fresh(kind)
                self.copy(source, target)
                self.call(0, "--database", target.url, "run", "digest", "x")
                rows = json.loads(self.call(0, "--database", target.url, "log", "--limit", "10000", "--json").stdout)
                status = {row["request_uid"]: row["status"] for row in rows}
                self.assertEqual(("lost", "lost", "queued"), tuple(status[uid(n)] for n in (21, 22, 23)))
                self.assertEqual(605, len(rows))
                self.assertEqual(0, target.count("owners"))

    def test_seeds_are_replaced(self):
        """What was removed or changed in the source is so in the target, whatever the scripts made there."""
        for a, b in PAIRS:
            if {a, b} <= set(self.kinds):
                source, target = self.fresh(a), self.fresh(b)
                source.run("DELETE FROM models WHERE name = 'iris';"
                           "UPDATE models SET summary = 'mine', updated_at = 'now' WHERE name = 'digest'")
                self.copy(source, target)
                self.assertEqual(source.content(), target.content())
                self.assertEqual(EXAMPLES - 1, len(target.content()["models"]))

    def test_bytes_that_are_no_text(self):
        """What a model wrote to stderr may be anything. SQLite keeps it; Postgres takes only UTF-8."""
        bad = b"a\xff\xc3(\xed\xa0\x80\xe2\x82 b"
        source = self.fresh("sqlite", runs(3))
        with source.connect() as db:
            db.execute("UPDATE model_access SET stderr_tail = CAST(? AS TEXT) WHERE request_uid = ?", (bad, uid(1000)))
            db.execute("UPDATE model_access SET error = CAST(? AS TEXT) WHERE request_uid = ?", (b"a\0b\0", uid(1001)))
        lite = self.fresh("sqlite")
        self.assertEqual(0, self.copy(source, lite)["model_access"]["mended"])
        self.assertEqual(source.content(), lite.content())
        self.need("postgres")
        target = self.fresh("postgres")
        self.assertEqual(2, self.copy(source, target)["model_access"]["mended"])
        rows = {row[0]: row for row in target.content()["model_access"]}
        self.assertEqual("a\ufffd\ufffd(\ufffd\ufffd\ufffd\ufffd\ufffd b", rows[uid(1000)][16])
        self.assertEqual("a\ufffdb\ufffd", rows[uid(1001)][15])
        self.assertEqual(source.content()["model_access"][2], target.content()["model_access"][2])

    def test_what_stays_behind_is_named(self):
        """An operator's own tables and columns, wherever they are."""
        for kind in self.kinds:
            with self.subTest(kind):
                source = self.fresh(kind)
                source.run("CREATE TABLE own (a int); INSERT INTO own VALUES (7); CREATE TABLE empty (a int);"
                           "CREATE TABLE \"it's \"\"mine\"\"\" (a int); INSERT INTO \"it's \"\"mine\"\"\" VALUES (8);"
                           "CREATE TABLE \"it's empty\" (a int); ALTER TABLE servers ADD COLUMN rack text")
                want = "it's \"mine\", own, servers.rack"
                if kind == "postgres":
                    source.run("CREATE SCHEMA s; CREATE TABLE s.models AS SELECT 1 AS a; CREATE TABLE s.own (a int)")
                    want = "it's \"mine\", own, s.models, servers.rack"
                done = subprocess.run([MER, "db", "copy", "--from", source.url, "--to", self.fresh("sqlite").url],
                                      env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S, check=True, text=True)
                self.assertEqual(f"warn db: not copied, since it is not mer's: {want}\n", done.stderr)

    def test_formats(self):
        done = self.call(0, "db", "copy", "--from", self.fresh("sqlite").url, "--to", self.fresh("sqlite").path)
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        self.assertEqual(list(TABLES), [row[0] for row in rows])
        self.assertEqual({4}, {len(row) for row in rows})

    def test_memory_is_bounded(self):
        """By what a few rows take, not by how many there are: 100,000 runs, and 128 MiB of bytes."""
        def peak(source, target):
            pid = os.posix_spawn(MER, [MER, "db", "copy", "--from", source.url, "--to", target.url], ENVIRONMENT,
                                 file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
            _, status, usage = os.wait4(pid, 0)
            self.assertEqual(0, os.waitstatus_to_exitcode(status))
            return usage.ru_maxrss // 1024

        source = self.fresh("sqlite")
        source.run(f"""INSERT INTO model_access (request_uid, model, door, who, host, pid, status, queued_at,
            stopped_at, stderr_tail) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
            SELECT printf('01980000-2222-7000-8000-%012x', i), 'iris', 'batch', 'ann', 'here', i, 'ok', '{TIME}',
            '{TIME}', printf('%200d', i) FROM n;
            INSERT INTO model_access_io (request_uid, input, output)
            SELECT request_uid, randomblob(1 << 20), randomblob(1 << 20) FROM model_access LIMIT 64""")
        for kind in self.kinds:
            with self.subTest(kind):
                little = peak(self.fresh("sqlite", runs(10)), self.fresh(kind))
                target = self.fresh(kind)
                much = peak(source, target)
                self.assertEqual((100000, 64), (target.count(), target.count("model_access_io")))
                if not SANITIZED:
                    self.assertLess(much - little, 64, f"MiB; {little} for little")


class Refusal(Case):
    def test_usage(self):
        db = self.fresh("sqlite")
        for words in ((), ("--from", db.url), ("--to", db.url), ("--from", db.url, "--to", db.url),
                      ("--from", "mysql://x", "--to", db.url), ("--from", db.url, "--to", "mysql://x"),
                      ("--from", db.url, "--to", db.url, "more")):
            self.call(2, "db", "copy", *words)
        self.call(2, "db")

    def test_itself(self):
        """However it is spelled; another schema of the same database is another."""
        lite = self.fresh("sqlite", runs(1))
        os.link(lite.path, lite.path.parent / "y.db")
        os.symlink(lite.path, lite.path.parent / "z.db")
        pairs = [(lite, name) for name in (lite.path, f"{lite.path.parent}/./x.db", f"{lite.path.parent}/y.db",
                                           f"{lite.path.parent}/z.db")]
        if "postgres" in self.kinds:
            db = self.fresh("postgres")
            pairs += [(db, "postgresql" + db.url[8:]), (db, db.url + "&application_name=x")]
        for db, other in pairs:
            with self.subTest(other):
                done = self.call(2, "db", "copy", "--from", db.url, "--to", other)
                self.assertIn(" are the same database", done.stderr)

    def test_schema_of_others(self):
        """A column of another type is no defect of mer's."""
        self.need("postgres")
        for change in ("servers ALTER COLUMN port TYPE int",
                       "models ALTER summary DROP DEFAULT, ALTER summary TYPE bytea USING ''"):
            source = self.fresh("postgres")
            source.run("ALTER TABLE " + change)
            said = self.copy(source, self.fresh("sqlite"), 5)
            self.assertIn("hint: its tables are not those of this mer", said)

    def test_schema(self):
        """Neither side is migrated by it, and neither may be newer."""
        for kind in self.kinds:
            for which in ("from", "to"):
                for state, reason in (("missing", ""), ("older", "is not migrated: it has scripts up to "),
                                      ("newer", "is newer than this mer")):
                    with self.subTest(f"{kind} {which} {state}"):
                        good = self.fresh("sqlite")
                        bad = self.empty(kind) if state == "missing" else self.fresh(kind)
                        if state == "older":
                            bad.run("DELETE FROM migrations WHERE num = (SELECT max(num) FROM migrations)")
                        elif state == "newer":
                            bad.run("UPDATE migrations SET num = 900 WHERE num = (SELECT max(num) FROM migrations)")
                        pair = (bad, good) if which == "from" else (good, bad)
                        done = self.call(5, "db", "copy", "--from", pair[0].url, "--to", pair[1].url)
                        self.assertIn(reason, done.stderr)
                        if state != "newer":
                            self.assertRegex(done.stderr, r"\nhint: mer-migrate up --database ")

    def test_target_is_used(self):
        """Each kind of row that somebody may have made there."""
        rows = dict(rich())
        keep = {"model_weights": {"model_uid": "01980000-0000-7000-8000-000000000012", "parent_uid": None},
                "deployments": {"model_uid": "01980000-0000-7000-8000-000000000012",
                                "server_uid": "01980000-0000-7000-8000-000000000001"}}
        for kind in self.kinds:
            for table in ("servers", "models", "deployments", "model_weights", "model_access"):
                with self.subTest(f"{kind} {table}"):
                    target = self.fresh(kind, [(table, rows[table] | keep.get(table, {}))])
                    said = self.copy(self.fresh("sqlite"), target, 4)
                    self.assertIn(f"is not empty: in '{table}' there is ", said)
                    self.assertIn("\nhint: ", said)
            with self.subTest(f"{kind} changed"):
                target = self.fresh(kind)
                target.run("UPDATE models SET summary = 'mine', updated_at = 'now' WHERE name = 'iris'")
                self.assertIn("there is a changed '01980000-0000-7000-8000-000000000011'",
                              self.copy(self.fresh("sqlite"), target, 4))
            with self.subTest(f"{kind} twice"):
                source, target = self.fresh("sqlite", runs(1)), self.fresh(kind)
                self.copy(source, target)
                self.assertIn("is not empty", self.copy(source, target, 4))

    def test_scripts_of_an_operator(self):
        """What the source has seen must have run in the target, which then is replaced: or it would run again."""
        folder = self.top / "scripts"
        folder.mkdir(exist_ok=True)
        (folder / "1007-Ours.sql").write_text("INSERT INTO models (uid, name) VALUES "
                                              f"('{uid(77)}', 'ours');\n")

        def run_it(db):
            sql = PREFIX / "share" / "mer" / "sql" / ("postgres" if isinstance(db, Pg) else "sqlite")
            subprocess.run([MIGRATE, "--quiet", "up", "--database", db.url, "--dir", sql, "--dir", folder],
                           env=ENVIRONMENT, check=True, timeout=DEADLINE_S)

        for kind in self.kinds:
            with self.subTest(kind):
                source, target = self.fresh("sqlite"), self.fresh(kind)
                run_it(source)
                said = self.copy(source, target, 4)
                self.assertIn("script '1007-Ours", said)
                self.assertIn("hint: mer-migrate up", said)
                run_it(target)
                self.copy(source, target)
                self.assertEqual(source.content(), target.content())
                # One that only the target has is no trouble.
                more = self.fresh(kind)
                run_it(more)
                more.run("DELETE FROM models WHERE name = 'ours'")
                self.copy(self.fresh("sqlite"), more)

    def test_half_done_script(self):
        """In the target it counts as not run."""
        row = "INSERT INTO migrations (num, name, sha256, canonical_sha256, duration_ms, applied_by, tool_version, " \
            "state) VALUES (1001, 'Half', '', '', 0, '', '', '{}')"
        for kind in self.kinds:
            with self.subTest(kind):
                source, target = self.fresh(kind), self.fresh(kind)
                source.run(row.format("applied"))
                target.run(row.format("started"))
                self.assertIn("script '1001-Half' has run in", self.copy(source, target, 4))
                target.run("UPDATE migrations SET state = 'applied' WHERE num = 1001")
                self.copy(source, target)

    def test_source_is_at_work(self):
        """A mer that lives with an open run; once it is dead, its run goes over and is lost there."""
        for kind in self.kinds:
            with self.subTest(kind):
                source, target = self.fresh(kind), self.fresh("sqlite")
                self.call(0, "--database", source.url, "--allow-changes", "model", "add", "slow", "--", "sh", "-c",
                          "echo begin; exec sleep 600")
                mer = subprocess.Popen([MER, "--database", source.url, "run", "slow", "x"], env=ENVIRONMENT,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
                self.addCleanup(mer.stdout.close)
                self.addCleanup(mer.wait)
                self.addCleanup(mer.kill)
                self.assertEqual(b"begin\n", mer.stdout.readline())
                said = self.copy(source, target, 4)
                self.assertIn(f"is at work: process {mer.pid} on ", said)
                self.assertIn(" has 1 open run", said)
                mer.kill()
                mer.wait()
                if kind == "postgres":  # until its server has noticed
                    while self.server.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != "0\n":
                        pass
                self.copy(source, target)
                self.call(0, "--database", target.url, "run", "digest", "x")
                rows = json.loads(self.call(0, "--database", target.url, "log", "--json", "--model", "slow").stdout)
                self.assertEqual(["lost"], [row["status"] for row in rows])

    def test_target_is_at_work(self):
        """A mer that has its row there, though no run yet that is recorded."""
        for kind in self.kinds:
            with self.subTest(kind):
                source, target = self.fresh("sqlite", runs(1)), self.fresh(kind)
                mer = subprocess.Popen([MER, "--database", target.url, "run", "--lines", "digest"], env=ENVIRONMENT,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self.addCleanup(mer.kill)
                mer.stdin.write(b"x\n")
                mer.stdin.flush()
                mer.stdout.readline()
                done = self.call(4, "db", "copy", "--from", source.url, "--to", target.url)
                self.assertIn("is not empty", done.stderr)
                mer.communicate(timeout=DEADLINE_S)
                self.assertEqual(1, target.count())


class Interruption(Case):
    def test_kill(self):
        """In the middle: the target is as it was, and takes a copy the next time."""
        for a, b in PAIRS:
            if {a, b} <= set(self.kinds):
                with self.subTest(f"{a} to {b}"):
                    source, target = self.fresh(a, runs(MANY)), self.fresh(b)
                    before = target.content()
                    mer = self.start(source, target)
                    mer.kill()
                    mer.wait()
                    self.assertEqual(before, target.content())
                    self.copy(source, target)
                    self.assertEqual(source.content(), target.content())

    def test_signals(self):
        for kind in self.kinds:
            for number in (signal.SIGINT, signal.SIGTERM):
                with self.subTest(f"{kind} {number.name}"):
                    source, target = self.fresh("sqlite", runs(MANY)), self.fresh(kind)
                    before = target.content()
                    mer = self.start(source, target)
                    mer.send_signal(number)
                    said = mer.stderr.read().decode()
                    self.assertEqual(128 + number, mer.wait(DEADLINE_S))
                    self.assertRegex(said, r"(?m)^mer: (cannot copy 'model_access': )?.*(interrupted|cancel)")
                    self.assertEqual(before, target.content())

    def test_source_is_seen_at_one_moment(self):
        """Rows that come and go meanwhile are not in the copy, or are, in all tables as at the beginning."""
        for kind in self.kinds:
            with self.subTest(kind):
                source, target = self.fresh(kind, [*runs(MANY), ("model_access_io", {"request_uid": uid(1000),
                                                                                    "input": b"x"})]), \
                    self.fresh("sqlite")
                before = source.content()
                mer = self.start(source, target)
                source.run(f"DELETE FROM model_access WHERE request_uid >= '{uid(1000 + MANY - 10)}';"
                           "DELETE FROM model_access_io")
                source.fill(runs(10, 1000 + MANY))
                mer.stderr.read()
                self.assertEqual(0, mer.wait(DEADLINE_S))
                self.assertEqual(before, target.content())
                self.assertNotEqual(before, source.content())

    def test_target_is_written_to_meanwhile(self):
        """Whoever does waits until the copy is done, and so is neither removed nor mixed with it."""
        self.need("postgres")
        source, target = self.fresh("sqlite", runs(MANY)), self.fresh("postgres")
        mer = self.start(source, target)
        writer = threading.Thread(target=target.fill, args=[[*runs(1, 7), ("models", {"uid": uid(9), "name": "new"})]])
        writer.start()
        while self.server.psql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0\n":
            pass
        said = mer.stderr.read().decode()
        writer.join(DEADLINE_S)
        self.assertEqual(0, mer.wait(DEADLINE_S), said[-1000:])
        self.assertEqual((MANY + 1, EXAMPLES + 1), (target.count(), target.count("models")))

    def test_target_does_not_keep_what_it_is_given(self):
        """As many rows, but one value in one of them is another."""
        change = {"sqlite": "CREATE TRIGGER t AFTER INSERT ON model_access WHEN NEW.pid = 1003 BEGIN "
                            "UPDATE model_access SET who = 'Ann' WHERE pid = 1003; END",
                  "postgres": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
                              "$$ BEGIN NEW.who = 'Ann'; RETURN NEW; END $$; CREATE TRIGGER t BEFORE INSERT "
                              "ON model_access FOR EACH ROW WHEN (NEW.pid = 1003) EXECUTE FUNCTION f()"}
        for kind in self.kinds:
            with self.subTest(kind):
                target = self.fresh(kind)
                target.run(change[kind])
                said = self.copy(self.fresh("sqlite", runs(5)), target, 5)
                self.assertRegex(said, r"\Amer: 'model_access' of the database '.*' is not what was written: "
                                       r"5 rows of 5, sha256 [0-9a-f]{12} instead of [0-9a-f]{12}\nhint: ")

    def test_server_goes_away(self):
        """At either end."""
        self.need("postgres")
        for which in ("from", "to"):
            with self.subTest(which), postgres.Postgres() as server:
                other = self.migrated(Pg(server))
                pair = (other, self.fresh("sqlite")) if which == "from" else (self.fresh("sqlite"), other)
                pair[0].fill(runs(MANY))
                before = pair[1].content()
                mer = self.start(*pair)
                server.kill9()
                said = mer.stderr.read().decode()
                self.assertEqual(5, mer.wait(DEADLINE_S), said[-2000:])
                self.assertRegex(said, r"\nmer: cannot copy 'model_access': ")
                server.start()
                self.assertEqual(before, pair[1].content())


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
