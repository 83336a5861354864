#!/usr/bin/python3
"""The prompt of mer, typed at through a pseudo terminal. MER_PREFIX names the installation. Prints TAP
when run as a program."""
import json
import os
import signal
import stat
import sys
import time
import unittest

import pexpect

from prompt_case import MER, PROMPT, PromptCase, plain

UP, HOME, END, LEFT, BACKSPACE = "\033[A", "\001", "\005", "\033[D", "\177"

MODELS = {
    "echo": ["--", "cat"],
    "slow": ["--", "sh", "-c", "echo begin; exec sleep 60"],
    "stubborn": ["--", "sh", "-c", "trap '' TERM; echo begin; while :; do sleep 0.05; done"],
    "env": ["--", "env"],
    "red": ["--", "printf", "\\033[31mred\\r\\302\\233\\tend"],
}


class Prompt(PromptCase):
    MODELS = MODELS

    # --- coming and going ---

    def test_banner_and_end(self):
        child = self.spawn()
        self.assertEqual(plain(child.before),
                         f"mer 0.1.0, sqlite:{self.state}/mer.db; 'help' lists the commands\n")
        self.leave(child)
        for word in ("exit", "quit"):
            child = self.spawn("--quiet")
            self.assertEqual(plain(child.before), "")
            child.sendline(word)
            self.end(child, 0)

    def test_failures_do_not_count(self):
        child = self.spawn()
        self.assertEqual(self.say(child, "bogus"),
                         "mer: no such command: 'bogus'\nhint: 'help' lists the commands\n")
        self.assertEqual(self.say(child, "run nosuch x").splitlines()[0], "mer: there is no model 'nosuch'")
        self.assertEqual(self.say(child, "run echo").splitlines()[0],
                         "mer: no INPUT: stdin is where the commands come from")
        self.assertEqual(self.say(child, "version"), "mer 0.1.0\n")
        self.leave(child)

    def test_without_database(self):
        (self.state / "mer.db").unlink()
        child = self.spawn()
        self.assertIn("mer: there is no database", self.say(child, "model list"))
        self.assertIn("model list", self.say(child, "help"))
        self.leave(child)

    def test_signals(self):
        for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            child = self.spawn()
            child.kill(number)
            self.end(child, code)
        child = self.spawn()
        child.sendline("run slow x")
        child.expect_exact("begin")
        child.kill(signal.SIGTERM)
        self.end(child, 143)
        self.assertEqual([run["status"] for run in self.log()], ["cancelled"])

    def test_terminal_is_as_it_was(self):
        script = ("import fcntl, os, termios\n"
                  "print('flags', fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK,"
                  " bool(termios.tcgetattr(0)[3] & termios.ICANON),"
                  " bool(termios.tcgetattr(0)[3] & termios.ECHO))")
        for last in ("exit\r", "\004", "run slow x\r"):
            child = self.spawn("-c", f'trap : INT; "$0"; {sys.executable} -c "{script}"', MER,
                               program="/bin/sh")
            child.send(last)
            if last.startswith("run"):
                child.expect_exact("begin")
                child.sendintr()
                child.expect_exact(PROMPT)
                child.sendeof()
            child.expect_exact("flags 0 True True")

    def test_stdout_elsewhere(self):
        child = self.spawn("-c", '"$0" >out', MER, program="/bin/sh")
        child.sendline("run echo hello")
        child.expect_exact(PROMPT)
        child.sendline("model list")
        child.expect_exact(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
        out = (self.folder / "out").read_text()
        self.assertTrue(out.startswith("hello"), out)
        self.assertIn("\techo\t", out)
        self.assertNotIn("mer>", out)

    def test_stopped_and_continued(self):
        child = self.spawn()
        child.send("vers")
        child.expect_exact("vers")
        child.kill(signal.SIGSTOP)
        time.sleep(0.1)
        child.kill(signal.SIGCONT)
        child.expect_exact(PROMPT + "vers")
        child.sendline("ion")
        child.expect_exact("mer 0.1.0")
        child.expect_exact(PROMPT)
        self.leave(child)

    # --- commands ---

    def test_run(self):
        child = self.spawn()
        self.assertEqual(self.say(child, "run echo no newline"), "no newline\n")
        self.assertEqual(self.say(child, "run red x"), "^[[31mred^M^[[\tend\n")
        child.sendline("run --raw red x")
        child.expect_exact("\033[31mred\r")
        child.expect_exact(PROMPT)
        self.assertEqual(self.say(child, "run moments 1 2 3"), "n=3 mean=2 sd=1 min=1 max=3\n")
        self.leave(child)
        self.assertEqual({run["door"] for run in self.log()}, {"repl"})

    def test_tables(self):
        child = self.spawn("--no-color")
        lines = self.say(child, "model list").splitlines()
        self.assertEqual(lines[0].split(), ["name", "summary", "feedback", "deployments"])
        self.assertTrue(all(len(line) <= 100 for line in lines))
        self.assertNotIn("\033[1m", child.before)
        shown = self.say(child, "model show echo")
        self.assertRegex(shown, r"(?m)^name +echo$")
        self.assertEqual(json.loads(self.say(child, "server show local --json"))["name"], "local")
        self.leave(child)
        child = self.spawn()
        child.sendline("model list")
        child.expect_exact("\033[1mname")
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_changes(self):
        child = self.spawn()
        self.assertEqual(self.say(child, "model remove echo"),
                         "mer: not allowed; start with --allow-changes\n")
        self.leave(child)
        child = self.spawn("--allow-changes")
        self.assertEqual(self.say(child, "model add x -- rev"), "model 'x' is there\n")
        self.assertEqual(self.say(child, "run x abc"), "cba\n")
        self.assertEqual(self.say(child, "model set x env=A=1"), "model 'x' is changed\n")
        self.assertEqual(self.say(child, "model remove x"),
                         "model 'x' is removed; its runs stay in the log\n")
        self.leave(child)

    def test_environment_of_models(self):
        child = self.spawn()
        child.setwinsize(30, 90)
        child.expect_exact(PROMPT)
        got = self.say(child, "run env x")
        self.assertIn("HOME=", got)
        self.assertNotRegex(got, r"(?m)^(LINES|COLUMNS)=")
        self.leave(child)

    # --- editing ---

    def test_editing(self):
        child = self.spawn()
        child.send("un echo äö" + HOME + "r" + END + BACKSPACE + BACKSPACE + "éx" + LEFT + BACKSPACE + "ü")
        self.assertIn("üx\n", self.say(child, ""))
        child.send(UP)
        child.expect_exact("run echo üx")
        self.assertIn("üx!\n", self.say(child, END + "!"))
        self.leave(child)

    def test_continuation(self):
        child = self.spawn()
        child.sendline("run echo 'one")
        child.expect_exact("...> ")
        child.sendline("two' \\")
        child.expect_exact("...> ")
        self.assertEqual(self.say(child, "three"), "one\ntwo three\n")
        child.sendline("run echo \"open")
        child.expect_exact("...> ")
        child.sendintr()
        child.expect_exact(PROMPT)
        self.assertEqual(self.say(child, "version"), "mer 0.1.0\n")
        child.sendline("run echo 'open")
        child.expect_exact("...> ")
        self.leave(child)

    def test_paste(self):
        child = self.spawn()
        child.send("\033[200~version\nrun echo pasted\n\033[201~\r")
        child.expect_exact("mer 0.1.0")
        child.expect_exact("pasted")
        child.expect_exact(PROMPT)
        self.assertEqual(self.say(child, "run echo next"), "next\n")
        self.leave(child)

    def test_typed_ahead(self):
        child = self.spawn()
        child.send("run echo one\rrun echo two\rexit\r")
        child.expect_exact("two\r\n")
        self.end(child, 0)

    # --- Ctrl-C ---

    def test_interrupt_clears_the_line(self):
        child = self.spawn()
        child.send("bogus words")
        child.expect_exact("bogus words")
        child.sendintr()
        child.expect_exact(PROMPT)
        self.assertEqual(self.say(child, "version"), "mer 0.1.0\n")
        for _ in range(5):
            child.sendintr()
            child.expect_exact(PROMPT)
        self.leave(child)

    def test_typed_behind_an_interrupt(self):
        """All of it is there at once, since mer was kept from running meanwhile."""
        child = self.spawn()
        child.send("bogus words")
        child.expect_exact("bogus words")
        child.kill(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        child.sendintr()
        child.send("run echo behind\r")
        child.kill(signal.SIGCONT)
        child.expect(r"[\r\n]behind\r\n")
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_interrupt_cancels_the_run(self):
        child = self.spawn()
        child.sendline("run slow x")
        child.expect_exact("begin")
        child.sendintr()
        child.expect_exact("mer: the run of model 'slow' was cancelled")
        child.expect_exact(PROMPT)
        self.assertEqual(self.say(child, "run echo next"), "next\n")
        self.leave(child)
        self.assertEqual([run["status"] for run in self.log()], ["ok", "cancelled"])

    def test_second_interrupt_kills(self):
        child = self.spawn()
        child.sendline("run stubborn x")
        child.expect_exact("begin")
        begin = time.monotonic()
        child.sendintr()
        time.sleep(0.2)
        child.sendintr()
        child.expect_exact("cancelled")
        self.assertLess(time.monotonic() - begin, 1.8)
        child.expect_exact(PROMPT)
        self.leave(child)

    def test_interrupt_stops_printing(self):
        (self.folder / "in").write_text("1\n" * 20_000)
        child = self.spawn()
        self.say(child, "run --lines moments @in --jsonl")
        child.sendline("log --limit 1000000 --jsonl")
        child.expect_exact("request_uid")
        child.sendintr()
        child.expect_exact("mer: interrupted")
        child.expect_exact(PROMPT)
        self.assertEqual(self.say(child, "version"), "mer 0.1.0\n")
        self.leave(child)

    def test_interrupt_ends_lines_and_ping(self):
        (self.folder / "in").write_text("a\nb\nc\n")
        child = self.spawn("--allow-changes")
        child.sendline("run --lines slow @in")
        child.expect_exact("begin")
        child.sendintr()
        child.expect_exact("mer: line 1: ")
        child.expect_exact(PROMPT)
        self.say(child, "model add mute --protocol token -- sleep 60")
        child.sendline("model ping mute")
        time.sleep(0.3)
        child.sendintr()
        child.expect_exact("mer: interrupted")
        child.expect_exact(PROMPT)
        self.leave(child)

    # --- history ---

    def test_history(self):
        child = self.spawn()
        for line in ("version", " run echo secret", "run echo one", "bogus", "", "run echo one"):
            self.say(child, line)
        self.leave(child)
        self.assertEqual(self.saved(), ["version", "bogus", "run echo one"])
        self.assertEqual(stat.S_IMODE(self.history.stat().st_mode), 0o600)
        child = self.spawn()
        child.send(UP + UP)
        child.expect_exact("bogus")
        child.send(UP)
        child.expect_exact("version")
        child.sendintr()
        child.expect_exact(PROMPT)
        self.leave(child)
        self.assertNotIn("secret", self.history.read_text())

    def test_history_is_capped(self):
        self.history.write_text("".join(f"version {i}\n" for i in range(1500)))
        self.history.chmod(0o644)
        child = self.spawn()
        self.say(child, "version")
        self.leave(child)
        self.assertEqual(self.saved(), [*(f"version {i}" for i in range(501, 1500)), "version"])
        self.assertEqual(stat.S_IMODE(self.history.stat().st_mode), 0o600)

    def test_history_never_fails(self):
        def fifo():
            os.mkfifo(self.history)

        def odd():
            self.history.write_bytes(b"\xff\xfe\0\nversion\nno newline at the end")

        for make in (self.history.mkdir, fifo, odd):
            make()
            child = self.spawn()
            self.assertEqual(self.say(child, "version"), "mer 0.1.0\n")
            self.leave(child)
            if self.history.is_dir():
                self.history.rmdir()
            else:
                self.history.unlink()

    def test_two_prompts_share_it(self):
        one, two = self.spawn(), self.spawn()
        self.say(one, "run echo 1")
        self.say(two, "run echo 2")
        self.say(one, "run echo 3")
        self.leave(two)
        self.leave(one)
        self.assertEqual(self.saved(), [f"run echo {i}" for i in (1, 2, 3)])


class OneCommand(Prompt):
    """A single command on a terminal."""

    def once(self, *args):
        child = self.spawn(*args, prompt=None)
        child.expect(pexpect.EOF)
        child.close()
        return child.exitstatus, child.before.replace("\r\n", "\n")

    def test_run(self):
        self.assertEqual(self.once("run", "echo", "x"), (0, "x\n"))
        self.assertEqual(self.once("run", "--raw", "echo", "x"), (0, "x"))
        self.assertEqual(self.once("run", "echo"),
                         (2, "mer: no INPUT\nhint: give words, @FILE, or - to type it\n"))

    def test_table(self):
        code, out = self.once("model", "list")
        self.assertEqual((code, out.split()[:2]), (0, ["name", "summary"]))
        self.assertNotIn("\033", out)

    def test_typed_input(self):
        child = self.spawn("run", "echo", "-", prompt=None)
        child.sendline("typed")
        child.expect_exact("typed")
        child.sendeof()
        child.expect(pexpect.EOF)
        self.assertEqual(plain(child.before).strip(), "typed")


# Only its own: the base class has run the others.
for _name in [name for name in dir(Prompt) if name.startswith("test_") and name not in vars(OneCommand)]:
    setattr(OneCommand, _name, None)

if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
