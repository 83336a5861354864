#!/usr/bin/python3
"""mer on Postgres, as users meet it: a server that restarts, runs that go on meanwhile, other mer processes
that sweep, passwords. MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import pexpect
import postgres

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MER, MIGRATE = PREFIX / "bin" / "mer", PREFIX / "bin" / "mer-migrate"
DEADLINE_S = 120
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"


class Case(unittest.TestCase):
    """A server for all tests of a class, a migrated database and a folder for each. The model `gate` says
    "begun", and then what is written into the FIFO of that name."""

    @classmethod
    def setUpClass(cls):
        if not (PREFIX / "lib" / "mer" / "postgres.so").exists():
            raise unittest.SkipTest("this build has no Postgres module")
        cls.server = postgres.Postgres(tcp=True)
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-postgres-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.url = self.server.new_database()
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("MER_", "XDG_", "PG"))}
        self.env |= {"XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder), "TERM": "xterm",
                     "LC_ALL": "C.UTF-8", "MER_DATABASE_URL": self.url}
        self.call(0, program=MIGRATE, words=["--quiet", "up"])
        os.mkfifo(self.folder / "gate")
        self.call(0, "--allow-changes", "model", "add", "gate", "--", "sh", "-c", "echo begun; exec cat gate")

    def start(self, *words, program=MER, **options):
        child = subprocess.Popen([program, *map(str, words)], env=self.env | options.pop("env", {}), text=True,
                                 stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, cwd=self.folder, **options)
        self.addCleanup(self.finish, child)
        return child

    @staticmethod
    def finish(child):
        child.kill()
        child.wait()
        for stream in filter(None, (child.stdin, child.stdout, child.stderr)):
            stream.close()

    def ends(self, child, code):
        out, err = child.communicate(timeout=DEADLINE_S)
        self.assertEqual(code, child.returncode, (out, err))
        return out, err

    def call(self, code, *words, program=MER, env=None, **options):
        return self.ends(self.start(*options.pop("words", words), program=program, env=env or {}, **options), code)

    def begin_run(self):
        """A run whose model has begun, and the other end of its gate."""
        child = self.start("run", "gate", "x")
        return child, open(self.folder / "gate", "w", encoding="utf-8")  # waits for the reader

    def statuses(self):
        return [row["status"] for row in json.loads(self.call(0, "log", "--json")[0])]

    def psql(self, sql):
        database = self.url.partition("?")[0].rpartition("/")[2]
        return self.server.psql(sql, self.server.url(database, user=postgres.SUPERUSER)).strip()

    def wait_for(self, sql, want):
        while self.psql(sql) != want:
            pass


class Restarts(Case):
    def test_idle_prompt(self):
        """It does not notice, not even that several restarts went by."""
        child = pexpect.spawn("/usr/bin/env", [str(MER)], env=self.env, encoding="utf-8", timeout=DEADLINE_S,
                              cwd=str(self.folder), dimensions=(24, 200))
        self.addCleanup(child.close, force=True)
        child.expect_exact("mer> ")
        for _ in range(2):
            child.sendline("run digest hello")
            child.expect_exact('"words": 1')
            child.expect_exact("mer> ")
            child.sendline("model show iris")
            child.expect_exact("mer> ")
            self.server.restart()
        child.sendline("log --jsonl")
        child.expect_exact("mer> ")
        self.assertNotIn("lost", child.before)
        self.assertEqual(2, child.before.count('"status":"ok"'), child.before)
        child.sendeof()
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual(0, child.exitstatus)
        self.assertEqual("0", self.psql("SELECT count(*) FROM owners"))

    def test_run_in_progress(self):
        """Its result is recorded, though the server went away and came back meanwhile."""
        child, gate = self.begin_run()
        self.server.restart()
        with gate:
            gate.write("done\n")
        self.assertEqual(("begun\ndone\n", ""), self.ends(child, 0))
        self.assertEqual(["ok"], self.statuses())

    def test_run_that_ends_before_the_server_is_back(self):
        child, gate = self.begin_run()
        self.server.stop()
        try:
            with gate:
                gate.write("done\n")
            self.assertEqual("begun\n", child.stdout.readline())
            self.assertEqual("done\n", child.stdout.readline())
        finally:
            self.server.start()
        self.assertEqual(("", ""), self.ends(child, 0))
        self.assertEqual(["ok"], self.statuses())

    def test_crash(self):
        child, gate = self.begin_run()
        self.server.kill9()
        self.server.start()
        with gate:
            gate.write("done\n")
        self.assertEqual(("begun\ndone\n", ""), self.ends(child, 0))

    def test_server_that_does_not_want_us_back(self):
        """The model's answer is given, and that it is not recorded is said."""
        child, gate = self.begin_run()
        self.server.psql(f"ALTER ROLE {postgres.USER} NOLOGIN")
        try:
            self.server.restart()
            with gate:
                gate.write("done\n")
            out, err = self.ends(child, 5)
        finally:
            self.server.psql(f"ALTER ROLE {postgres.USER} LOGIN")
        self.assertEqual("begun\ndone\n", out)
        self.assertIn("not permitted to log in", err)
        self.assertNotIn(postgres.PASSWORD, err)

    def test_lines(self):
        """Each line's row is there, once, whichever group the restart met."""
        child = self.start("run", "--lines", "moments", "-", stdin=subprocess.PIPE)
        answers = 0
        for _ in range(4):
            child.stdin.write("".join(f"{number}\n" for number in range(500)))
            child.stdin.flush()
            answers += child.stdout.readline().count("\n")
            self.server.restart()
        child.stdin.close()
        answers += child.stdout.read().count("\n")
        self.assertEqual((2000, "", 0), (answers, child.stderr.read(), child.wait(DEADLINE_S)))
        self.assertEqual("ok|2000", self.psql("SELECT status, count(*) FROM model_access GROUP BY 1"))
        self.assertEqual("0", self.psql("SELECT count(*) FROM owners"))


class Sweeping(Case):
    def test_after_a_restart(self):
        """The first to come does not take the others for dead."""
        child, gate = self.begin_run()
        self.server.restart()
        self.assertEqual(["running"], self.statuses())
        with gate:
            gate.write("done\n")
        self.ends(child, 0)
        self.assertEqual(["ok"], self.statuses())

    def test_while_a_model_works(self):
        """Whoever loses its connection alone has its lock again before long."""
        child, gate = self.begin_run()
        self.psql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        self.wait_for(LOCKS + " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", "1")
        self.assertEqual(["running"], self.statuses())
        with gate:
            gate.write("done\n")
        self.ends(child, 0)
        self.assertEqual(["ok"], self.statuses())

    def test_the_dead(self):
        child, gate = self.begin_run()
        other, other_gate = self.begin_run()
        child.send_signal(signal.SIGKILL)
        child.communicate()
        gate.close()
        self.wait_for(LOCKS + " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", "1")
        self.assertEqual(["running", "lost"], self.statuses())
        with other_gate:
            other_gate.write("done\n")
        self.ends(other, 0)
        self.assertEqual(["ok", "lost"], self.statuses())


class Gone(Case):
    """Rows that somebody has taken away before their runs end."""

    GONE = "is not recorded: its row is no longer in the database"

    def test_one(self):
        child, gate = self.begin_run()
        uid = self.psql("DELETE FROM model_access RETURNING request_uid")
        with gate:
            gate.write("done\n")
        self.assertEqual(("begun\ndone\n", f"mer: run {uid} {self.GONE}\n"), self.ends(child, 5))

    def test_one_of_many(self):
        """Of a group, whose rows are closed by one statement."""
        self.psql("CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF OLD.bytes_in = 3 THEN "
                  "DELETE FROM model_access WHERE request_uid = OLD.request_uid; RETURN NULL; END IF; RETURN NEW; END';"
                  "CREATE TRIGGER forget BEFORE UPDATE ON model_access FOR EACH ROW EXECUTE FUNCTION forget()")
        child = self.start("run", "--lines", "--jsonl", "moments", "-", stdin=subprocess.PIPE)
        out, err = child.communicate("1\n" * 99 + "222\n" + "1\n" * 99, timeout=DEADLINE_S)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(199, len(lines))
        self.assertEqual((5, f"mer: run {lines[99]['request_uid']} {self.GONE}\n"), (child.returncode, err))
        self.assertEqual("ok|198", self.psql("SELECT status, count(*) FROM model_access GROUP BY 1"))


class Connections(Case):
    def test_passwords(self):
        secret = self.folder / "secret"
        secret.write_text(postgres.PASSWORD + "\n")
        name = self.url.partition("?")[0].rpartition("/")[2]
        url = self.server.url(name, tcp=True)
        for env in ({"MER_DATABASE_PASSWORD": f"file:{secret}"}, {"PGPASSWORD": postgres.PASSWORD}):
            self.call(0, "model", "list", env=env | {"MER_DATABASE_URL": url})
        settings = self.folder / "settings"
        settings.write_text(f"MER_DATABASE_URL={url}\nMER_DATABASE_PASSWORD=file:{secret}\n")
        del self.env["MER_DATABASE_URL"]
        self.call(0, "--env-file", settings, "run", "digest", "hello")
        wrong = self.server.url(name, tcp=True, password="s3cret/@:")
        for words in (["model", "list"], ["run", "digest", "x"], ["--json", "log"]):
            out, err = self.call(5, *words, env={"MER_DATABASE_URL": wrong, "MER_LOG": "debug"})
            self.assertNotIn("s3cret", out + err)
            self.assertIn("password authentication failed", err)

    def test_password_is_not_in_the_arguments(self):
        """While it runs a model, wherever the URL stands: ps shows what other users can read."""
        self.psql("CREATE ROLE question SUPERUSER LOGIN PASSWORD 'a?quest'")
        self.addCleanup(self.psql, "DROP ROLE question")
        name = self.url.partition("?")[0].rpartition("/")[2]
        place = f"127.0.0.1:{self.server.port}/{name}"
        unused = f"postgres://question:a?quest@{place}_not"
        for words in (["--database", f"postgres://question:a?quest@{place}", "run", "gate", "x"],
                      [f"--database=postgres://question@{place}?pass%77ord=a?quest", "run", "gate", "x"],
                      ["--keep-going", "-c", f"db copy --from {unused} --to {unused}", "-c", "run gate x"]):
            child = self.start(*words)
            with open(self.folder / "gate", "w", encoding="utf-8") as gate:  # once the model has begun
                shown = Path(f"/proc/{child.pid}/cmdline").read_text(encoding="utf-8")
                gate.write("done\n")
            out, _ = child.communicate(timeout=DEADLINE_S)
            self.assertIn("begun\ndone\n", out)
            self.assertIn("question", shown)
            self.assertNotIn("quest", shown.replace("question", ""))

    def test_without_module(self):
        """A mer that has no module says so."""
        (self.folder / "bin").mkdir()
        shutil.copy(MER, self.folder / "bin" / "mer")
        _, err = self.call(5, "log", program=self.folder / "bin" / "mer")
        self.assertRegex(err, "^mer: this mer has no Postgres module\nhint: install it")

    def test_broken_module(self):
        (self.folder / "bin").mkdir()
        (self.folder / "lib" / "mer").mkdir(parents=True)
        shutil.copy(MER, self.folder / "bin" / "mer")
        (self.folder / "lib" / "mer" / "postgres.so").write_text("no library")
        _, err = self.call(5, "log", program=self.folder / "bin" / "mer")
        self.assertRegex(err, "^mer: no Postgres module: cannot load '.*postgres.so'")


def message(kind, body):
    return kind + struct.pack("!I", 4 + len(body)) + body


# What a server says to who is let in, and to who is thrown out.
GREETING = message(b"R", bytes(4)) + message(b"S", b"server_encoding\0UTF8\0") + \
    message(b"S", b"client_encoding\0UTF8\0") + message(b"K", bytes(8)) + message(b"Z", b"I")
THROWN_OUT = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0")
STARTS = message(b"E", b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0")


@unittest.skipUnless((PREFIX / "lib" / "mer" / "postgres.so").exists(), "this build has no Postgres module")
class Greetings(unittest.TestCase):
    """A server that says what it is told to each client's first message, and leaves, unless it says nothing."""

    def serve(self, *says):
        folder = tempfile.TemporaryDirectory(prefix="mer-postgres-")
        self.addCleanup(folder.cleanup)
        self.folder, self.clients = folder.name, []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.folder + "/.s.PGSQL.5432")
        listening.listen()

        def talk():
            for answer in says:
                client, _ = listening.accept()
                self.clients.append(client)
                client.recv(struct.unpack("!I", client.recv(4))[0] - 4)
                if answer:
                    client.sendall(answer)
                    client.close()
            listening.close()
        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        self.addCleanup(thread.join, DEADLINE_S)

    def log(self, **parameters):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MER_", "XDG_", "PG"))}
        url = f"postgres://u@/d?host={self.folder}" + "".join(f"&{name}={text}" for name, text in parameters.items())
        done = subprocess.run([MER, "--database", url, "log"], env=env | {"HOME": self.folder}, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
        self.assertEqual((5, ""), (done.returncode, done.stdout), done)
        return done.stderr

    def test_thrown_out_behind_the_greeting(self):
        """What libpq hears while nobody asks it anything, it would say on stderr itself."""
        self.serve(GREETING + THROWN_OUT)
        said = self.log()
        self.assertTrue(said.startswith("mer: the database 'postgres://u@/d' says: "), said)
        self.assertNotIn("FATAL", said)

    def test_thrown_out_when_asked_once_more(self):
        """So when it asks whether a server that lets nobody in is there."""
        self.serve(STARTS, GREETING + THROWN_OUT)
        said = self.log()
        self.assertTrue(said.startswith("mer: cannot connect to the database"), said)
        self.assertNotIn("administrator", said)

    def test_starts(self):
        """It is waited for."""
        self.serve(STARTS, STARTS, GREETING + THROWN_OUT)
        self.assertIn("says: ", self.log())

    def test_says_nothing(self):
        self.serve(b"")
        said = self.log(connect_timeout=1)
        self.assertIn("mer: cannot connect to the database 'postgres://u@/d': timeout expired\n", said)
        for client in self.clients:
            client.close()


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
