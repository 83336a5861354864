#!/usr/bin/python3
"""Ctrl-C and its like while mer waits for its database: a file that somebody has locked, a server that is
stopped, gone, or has a table locked. In each case whoever holds mer up still does so when mer has ended, so
that nothing but the signal can have ended it; mer would give up by itself as well, but with another exit code.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import contextlib
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import unittest
from pathlib import Path

import pexpect
import postgres
import test_faults
import test_mer_postgres
import test_prompt
from test_faults import each

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
SIGNALS = {"INT": (INT, 130), "TERM": (TERM, 143), "HUP": (HUP, 129)}
# Sleeping and polling, as /proc tells it; the loop waits in neither.
WAITS = {"x86_64": (7, 35, 230, 271), "aarch64": (73, 101, 115)}.get(platform.machine(), ())
CANCELLED = "the run of model 'gate' was cancelled"
INTERRUPTED = "interrupted while waiting for the database '.*'"
NOT_RECORDED = "run [0-9a-f-]{36} is not recorded: " + INTERRUPTED


def waits(pid):
    """Whether a thread of it sleeps or polls."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            number = Path(f"/proc/{pid}/task/{task}/syscall").read_text(encoding="ascii").split()[0]
            if number.isdigit() and int(number) in WAITS:
                return True
    return False


@unittest.skipUnless(WAITS, "what a thread waits in is not known of this machine")
class Locked(test_faults.Case):
    """A SQLite file that another program writes, for as long as the test likes."""

    def setUp(self):
        super().setUp()
        os.mkfifo(self.home / "go")
        self.model("once", 'echo >"$HOME/here"; read x <"$HOME/go"; echo done', name="gate")

    @contextlib.contextmanager
    def locked(self):
        with self.connect(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    def interrupt(self, process, number):
        """Once it waits."""
        self.wait("it waits for the database", lambda: waits(process.pid))
        process.send_signal(number)

    def run_until_it_waits(self, *words):
        """A run whose model has ended, and whose row is to be closed by now."""
        process = self.start(*words, "run", "gate", "x")
        self.wait_here()
        return process

    def let_go(self, process):
        (self.home / "go").write_text("x\n")
        self.assertEqual(process.stdout.read(5), b"done\n")

    @each(SIGNALS)
    def before_a_run(self, number, code):
        """No model has seen anything, and nothing is left of it."""
        with self.locked():
            process = self.start("run", "gate", "x")
            self.interrupt(process, number)
            self.finish(process, code, says=CANCELLED)
            self.check_gone()
            self.assertFalse((self.home / "ran").exists(), "the model ran")
        self.mer("log")
        self.assertEqual([], self.rows())

    def test_before_many(self):
        with self.locked():
            process = self.start("run", "--lines", "gate", self.lines_file("a", "b", "c"))
            self.interrupt(process, INT)
            self.finish(process, 130, says=CANCELLED)
        self.assertEqual([], self.rows())

    def test_before_a_run_as_object(self):
        with self.locked():
            process = self.start("run", "--json", "gate", "x")
            self.interrupt(process, TERM)
            out = self.finish(process, 143, out=None, says=CANCELLED)
        self.assertIn(b'"code":143', out)

    @each(SIGNALS)
    def a_change(self, number, code):
        with self.locked():
            process = self.start(*test_faults.ADD_ANOTHER)
            self.interrupt(process, number)
            self.finish(process, code, says=INTERRUPTED)
        self.assertNotIn(b"another", self.mer("model", "list", out=None))

    def test_opening(self):
        """Somebody has it for himself alone, so that it cannot even be read."""
        with self.connect(write=True) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN IMMEDIATE")
            for words in (["model", "list"], ["log"], ["run", "gate", "x"], ["model", "ping", "gate"]):
                process = self.start(*words)
                self.interrupt(process, INT)
                self.finish(process, 130, says=f"{INTERRUPTED}|{CANCELLED}|interrupted")
            db.execute("ROLLBACK")

    @each(SIGNALS)
    def the_end(self, number, code):
        """The answer is there, and only its row keeps mer. It stays open for the next start."""
        process = self.run_until_it_waits()
        with self.locked():
            self.let_go(process)
            self.interrupt(process, number)
            self.finish(process, code, says=NOT_RECORDED)
            self.check_gone()
            self.assertEqual(["running"], self.statuses())
        self.mer("log", out=None)
        self.one_row("lost")

    def test_politely(self):
        """The first signal ends the model and waits for its row, as long as it takes; the second does not."""
        process = self.run_until_it_waits()
        with self.locked():
            process.send_signal(INT)
            self.wait("the model is gone", lambda: len(self.marked()) == 1)
            self.interrupt(process, INT)
            self.finish(process, 130, says=f"{CANCELLED}\nmer: {NOT_RECORDED}")
        self.mer("log", out=None)
        self.one_row("lost")

    def test_politely_and_written(self):
        process = self.run_until_it_waits()
        with self.locked():
            process.send_signal(INT)
            self.wait("the model is gone", lambda: len(self.marked()) == 1)
            self.wait("it waits for the database", lambda: waits(process.pid))
        self.finish(process, 130, says=CANCELLED)
        self.one_row("cancelled")

    def test_change_behind_a_run(self):
        """Signals come by a loop by then, which does not turn while a command waits."""
        process = self.start("--allow-changes", "-c", "run gate x", "-c", "model add another -- true")
        self.wait_here()
        with self.locked():
            self.let_go(process)
            self.interrupt(process, TERM)
            self.assertRegex(process.stderr.readline().decode(), f"^mer: -c:2: {INTERRUPTED}\n$")
            self.interrupt(process, TERM)
            self.finish(process, 143, says=NOT_RECORDED)
        self.assertNotIn(b"another", self.mer("model", "list", out=None))
        self.one_row("lost")

    def check_said(self, text, says):
        """Twice a line where two things went wrong."""
        if says is not None and "\n" in says:
            self.assertRegex(text.decode(), f"\\Amer: {says}\n\\Z")
        else:
            super().check_said(text, says)


@unittest.skipUnless(WAITS, "what a thread waits in is not known of this machine")
class LockedPrompt(test_prompt.Prompt):
    def test_waits(self):
        child = self.spawn("--allow-changes")
        with contextlib.closing(sqlite3.connect(self.state / "mer.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            for line, says in (("run echo x", "the run of model 'echo' was cancelled"),
                               ("model add another -- true", INTERRUPTED)):
                for _ in range(2):
                    child.sendline(line)
                    while not waits(child.pid):
                        pass
                    child.sendintr()
                    child.expect(says)
                    child.expect_exact(test_prompt.PROMPT)
            db.execute("ROLLBACK")
        self.assertEqual("x\n", self.say(child, "run echo x"))
        self.assertNotIn("another", self.say(child, "model list"))
        self.leave(child)
        self.assertEqual(["ok"], [row["status"] for row in self.log()])


for name in [name for name in dir(test_prompt.Prompt) if name.startswith("test_")]:
    setattr(LockedPrompt, name, None)  # they have been there already


class Server(test_mer_postgres.Case):
    @staticmethod
    def wait(condition):
        while not condition():
            pass

    def interrupt(self, process, number):
        self.wait(lambda: waits(process.pid) or process.poll() is not None)
        process.send_signal(number)

    def send_to_server(self, number):
        """To its postmaster first, which then has no further children."""
        top = int((self.server.top / "data/postmaster.pid").read_text(encoding="ascii").split()[0])
        os.kill(top, number)
        for pid, (parent, _, _) in test_faults.process_table().items():
            if parent == top:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    @contextlib.contextmanager
    def stopped(self):
        """It takes connections, and says nothing."""
        try:
            self.send_to_server(signal.SIGSTOP)
            yield
        finally:
            self.send_to_server(signal.SIGCONT)

    @contextlib.contextmanager
    def gone(self):
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()

    @contextlib.contextmanager
    def locked(self, table):
        database = self.url.partition("?")[0].rpartition("/")[2]
        holder = subprocess.Popen([postgres.programs() / "psql", "-X", "-q", "-A", "-t",
                                   self.server.url(database, user=postgres.SUPERUSER)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.finish, holder)
        holder.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
        holder.stdin.flush()
        self.assertEqual("locked\n", holder.stdout.readline())
        yield
        self.assertIsNone(holder.poll())
        self.finish(holder)

    def wait_locked(self):
        self.wait_for("SELECT count(*) FROM pg_locks WHERE NOT granted", "1")

    def rests(self):
        """Nobody is at work for a mer that has ended."""
        self.wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mer'", "0")

    def ends_saying(self, process, code, says, out=""):
        said = self.ends(process, code)
        self.assertEqual(out, said[0])
        self.assertRegex(said[1], f"\\Amer: ({says})\n\\Z")
        self.assertNotIn(postgres.PASSWORD, said[1])

    def test_stopped(self):
        for words, says in ((["run", "gate", "x"], CANCELLED), (["model", "list"], INTERRUPTED), (["log"], INTERRUPTED),
                            (["--allow-changes", "model", "add", "another", "--", "true"], INTERRUPTED),
                            (["model", "ping", "gate"], "interrupted"),
                            (["-c", "help", "-c", "run gate x"], "-c:2: " + CANCELLED)):
            with self.stopped():
                process = self.start(*words)
                self.interrupt(process, INT)
                out, err = self.ends(process, 130)
                self.assertRegex(err, f"\\Amer: {says}\n\\Z")
        self.rests()
        self.assertEqual([], self.statuses())
        self.assertNotIn("another", self.call(0, "model", "list")[0])

    def test_signals(self):
        for number, code in SIGNALS.values():
            with self.stopped():
                process = self.start("run", "gate", "x")
                self.interrupt(process, number)
                self.ends_saying(process, code, CANCELLED)

    def test_stopped_with_lines(self):
        with self.stopped():
            process = self.start("run", "--lines", "gate", "-", stdin=subprocess.PIPE)
            process.stdin.write("a\n" * 1000)
            process.stdin.flush()
            self.interrupt(process, TERM)
            self.ends_saying(process, 143, CANCELLED)
        self.rests()
        self.assertEqual([], self.statuses())

    def test_locked_before_a_run(self):
        """What the server is doing for it is cancelled, so that nothing comes of it later."""
        with self.locked("model_access"):
            process = self.start("run", "gate", "x")
            self.wait_locked()
            process.send_signal(INT)
            self.ends_saying(process, 130, CANCELLED)
            self.rests()
        self.assertEqual([], self.statuses())
        self.assertEqual("0", self.psql("SELECT count(*) FROM owners"))

    def test_locked_before_a_change(self):
        with self.locked("models"):
            process = self.start("--allow-changes", "model", "add", "another", "--", "true")
            self.wait_locked()
            process.send_signal(INT)
            self.ends_saying(process, 130, INTERRUPTED)
            self.rests()
        self.assertNotIn("another", self.call(0, "model", "list")[0])

    def the_end(self, held_up, number, code):
        process, gate = self.begin_run()
        with held_up:
            with gate:
                gate.write("done\n")
            self.assertEqual("begun\ndone\n", process.stdout.readline() + process.stdout.readline())
            self.wait(lambda: all(parent != process.pid for parent, _, _ in test_faults.process_table().values()))
            self.interrupt(process, number)
            self.ends_saying(process, code, NOT_RECORDED)
        self.rests()

    def test_end_while_it_is_gone(self):
        """For a while after its start nobody is taken for dead there."""
        self.the_end(self.gone(), INT, 130)
        self.assertIn(self.statuses(), (["running"], ["lost"]))

    def test_end_while_it_is_stopped(self):
        """Whether its row was closed nobody can know by then."""
        self.the_end(self.stopped(), TERM, 143)
        self.assertIn(self.statuses(), (["lost"], ["ok"]))

    def test_end_while_it_is_locked(self):
        self.the_end(self.locked("model_access"), HUP, 129)
        self.assertEqual(["lost"], self.statuses())

    def test_prompt(self):
        child = pexpect.spawn("/usr/bin/env", [str(test_mer_postgres.MER)], env=self.env, encoding="utf-8",
                              timeout=test_mer_postgres.DEADLINE_S, cwd=str(self.folder), dimensions=(24, 200))
        self.addCleanup(child.close, force=True)
        child.expect_exact("mer> ")
        lines = (("run digest hello", '"words": 1', "the run of model 'digest' was cancelled"),
                 ("model show iris", "species", INTERRUPTED))
        for line, answer, _ in lines:
            child.sendline(line)
            child.expect_exact(answer)
            child.expect_exact("mer> ")
        for held_up in (self.gone, self.stopped):
            with held_up():
                for line, _, says in lines:
                    child.sendline(line)
                    self.wait(lambda: waits(child.pid))
                    child.sendintr()
                    child.expect(says)
                    child.expect_exact("mer> ")
            for line, answer, _ in lines:
                child.sendline(line)
                child.expect_exact(answer)
                child.expect_exact("mer> ")
        child.sendeof()
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual(0, child.exitstatus)
        self.assertEqual(["ok"] * 3, self.statuses())


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
