#!/usr/bin/python3
"""tests/postgres.py, which other tests rely on: whatever ends its user, nothing stays. Prints TAP when
run as a program."""
import os
import select
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import postgres
import processes

PROGRAM = str(Path(postgres.__file__).resolve())
DEADLINE_S = 120
# Says who it is and where its server lives, then waits to be ended.
TELL = """import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
print(os.getpid(), os.environ["MER_TEST_POSTGRES"], flush=True)
sys.stdin.read()"""


def setUpModule():
    """What outlives a runner that is killed is ours to wait for."""
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)


def processes_in(folder):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            pass
    return found


def segments():
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


class Runner(unittest.TestCase):
    def start(self):
        """The runner, its program's process, the folder of its server, and the keeper's pidfd."""
        runner = subprocess.Popen([sys.executable, PROGRAM, "run", "--", sys.executable, "-c", TELL],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.addCleanup(runner.stdout.close)
        self.addCleanup(runner.stdin.close)
        self.addCleanup(runner.kill)
        pid, url = runner.stdout.readline().decode().split()
        top = Path(url.partition("host=")[2].partition("&")[0])
        keeper = next(pid for pid in processes_in(top)
                      if b"\0keep\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
        keeper = os.pidfd_open(int(keeper))
        self.addCleanup(os.close, keeper)
        return runner, int(pid), top, keeper

    def gone(self, top, keeper):
        self.assertTrue(select.select([keeper], [], [], DEADLINE_S)[0], "the keeper does not leave")
        self.assertFalse(top.exists())
        self.assertEqual([], processes_in(top))

    def test_passes_the_exit_code_on(self):
        for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)):
            with self.subTest(script):
                done = subprocess.run([sys.executable, PROGRAM, "run", "--", "sh", "-c", script],
                                      check=False, timeout=DEADLINE_S)
                self.assertEqual(code, done.returncode)

    def test_gives_an_empty_database_whose_user_may_make_more(self):
        script = """/usr/lib/postgresql/*/bin/psql "$MER_TEST_POSTGRES" -XAtq <<'.'
SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public';
CREATE DATABASE another;
CREATE TABLE t (a int);
SELECT rolsuper FROM pg_roles WHERE rolname = current_user;
."""
        done = subprocess.run([sys.executable, PROGRAM, "run", "--", "sh", "-c", script], text=True,
                              capture_output=True, check=False, timeout=DEADLINE_S)
        self.assertEqual(("0\nf\n", "", 0), (done.stdout, done.stderr, done.returncode))

    def test_leaves_nothing(self):
        """However the runner ends: its program's end, a kill, a terminal's Ctrl-C, a hang-up."""
        for how in ("end", "kill", "interrupt", "terminate"):
            with self.subTest(how):
                runner, program, top, keeper = self.start()
                self.assertTrue(top.exists())
                if how == "end":
                    runner.stdin.close()
                elif how == "kill":
                    runner.kill()
                elif how == "interrupt":
                    os.killpg(runner.pid, signal.SIGINT)
                else:
                    runner.terminate()
                runner.wait(DEADLINE_S)
                self.gone(top, keeper)
                if how == "kill":
                    os.waitpid(program, 0)  # ours now; it ended, or this would not return

    def test_without_server_programs(self):
        with mock.patch("postgres.programs", lambda: None):
            with self.assertRaises(unittest.SkipTest):
                postgres.Postgres()
            with mock.patch("builtins.print") as said:
                self.assertEqual(77, postgres.run(["--", "false"]))
            said.assert_called_once_with(postgres.LACKING)
            child = os.fork()
            if child == 0:
                os.environ["MER_TEST_POSTGRES"] = "of somebody else"
                postgres.run(["--optional", "--", "sh", "-c", 'exit "${MER_TEST_POSTGRES-5}"'])
                os._exit(1)
            self.assertEqual(5, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


class Server(unittest.TestCase):
    def test_stops_starts_and_dies(self):
        with postgres.Postgres() as pg:
            url = pg.new_database()
            pg.psql("CREATE TABLE t (a int)", url)
            for how in (pg.restart, pg.kill9):
                with self.subTest(how.__name__):
                    client = subprocess.Popen([postgres.programs() / "psql", url, "-c", "SELECT pg_sleep(600)"],
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    pg.psql("INSERT INTO t VALUES (1)", url)
                    how()
                    client.wait(DEADLINE_S)  # thrown out
                    if how == pg.kill9:
                        with self.assertRaises(RuntimeError):
                            pg.psql("SELECT 1", url)
                        pg.start()
                    self.assertEqual("t\n", pg.psql("SELECT count(*) > 0 FROM t", url))
            segment = (pg.top / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            pg.kill9()
            with self.assertRaisesRegex(RuntimeError, "."):
                pg.psql("SELECT 1")
            self.assertIn(segment, segments())  # a server that is killed does not clean up
        self.assertFalse(pg.top.exists())
        self.assertNotIn(segment, segments())

    def test_several_at_once(self):
        with postgres.Postgres() as one, postgres.Postgres(tcp=True) as two, postgres.Postgres(tcp=True) as three:
            self.assertEqual(3, len({one.psql("SELECT inet_server_port(), current_setting('port'), "
                                              "pg_postmaster_start_time()", url)
                                     for url in (one.url(), two.url(tcp=True, password=True),
                                                 three.url(tcp=True, password=True))}))

    def test_asks_for_passwords_over_tcp(self):
        with postgres.Postgres(tls=True) as pg:
            strict = {"sslmode": "verify-full", "sslrootcert": pg.ca_file}
            self.assertEqual("t\n", pg.psql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                                            pg.url(tcp=True, password=True, **strict)))
            for password, reason in (("wrong", "password authentication failed"), (None, "no password")):
                with self.assertRaisesRegex(RuntimeError, reason):
                    pg.psql("SELECT 1", pg.url(tcp=True, password=password, **strict))

    def test_a_keeper_that_is_killed_takes_its_server_along(self):
        with postgres.Postgres() as pg:
            server = int((pg.top / "data" / "postmaster.pid").read_text().splitlines()[0])
            server = os.pidfd_open(server)
            self.addCleanup(os.close, server)
            pg.keeper.kill()
            self.assertTrue(select.select([server], [], [], DEADLINE_S)[0], "the server lives on")
            with self.assertRaisesRegex(RuntimeError, "the keeper is gone"):
                pg.start()
            shutil.rmtree(pg.top)

    def test_says_why_it_does_not_start(self):
        with self.assertRaisesRegex(RuntimeError, "unrecognized configuration parameter"):
            postgres.Postgres(conf={"no_such_setting": "on"})


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
