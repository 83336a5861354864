#!/usr/bin/python3
"""The prompt in a terminal emulator: what people see, over kinds of terminal, widths and locales.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import itertools
import os
import shlex
import signal
import sys
import unittest
from pathlib import Path

from prompt_case import LIBEDIT, MER, PromptCase
from terminal import TMUX, Terminal

# Wide characters, emoji with joiners and skin tones, a combining accent, and what would drive a terminal.
SPEAKS = "日本語 😀👍🏽 é x"
DRIVES = "a\\033[2J\\033]0;title\\007b\\r\\bc\\302\\233d"
DRIVEN = "a^[[2J^[]0;title^Gb^M^Hc^[[d"


@unittest.skipUnless(TMUX, "tmux is not installed")
class InTerminal(PromptCase):
    MODELS = {"echo": ["--", "cat"], "speak": ["--", "printf", SPEAKS], "drive": ["--", "printf", DRIVES],
              "slow": ["--", "sh", "-c", "echo begin; exec sleep 60"]}

    def open(self, *args, argv=None, first="mer>", **how):
        terminal = Terminal(argv or [MER, "--quiet", *args], self.env, str(self.folder), **how)
        self.addCleanup(terminal.close)
        if first:
            terminal.wait(first)
        return terminal

    def pid(self):
        """Of the mer that runs here."""
        mine = str(self.folder / "state").encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (os.readlink(folder / "exe") == os.path.realpath(MER) and
                        b"XDG_STATE_HOME=" + mine in (folder / "environ").read_bytes().split(b"\0")):
                    return int(folder.name)
            except OSError:
                continue
        self.fail("no mer runs")

    # --- the matrix ---

    def check(self, term, width, locale):
        self.env["LC_ALL"] = locale
        terminal = self.open(term=term, width=width)
        terminal.text("vers")
        terminal.keys("Tab")
        terminal.wait("mer> version")
        terminal.keys("Enter")
        terminal.has("mer 0.1.0")
        terminal.line("run speak x")
        terminal.has(SPEAKS)
        terminal.line("run drive x")
        terminal.has(DRIVEN)
        # A line longer than the window, edited at its beginning.
        words = " ".join(f"w{i}" for i in range(width // 3 + 5))
        terminal.text("un echo " + words)
        terminal.keys("C-a")
        terminal.text("r")
        terminal.keys("C-e", "BSpace", "Enter")
        terminal.has(words[:-1])
        terminal.text("run slow x")
        terminal.keys("Enter")
        terminal.has("begin")
        terminal.keys("C-c")
        terminal.wait(lambda lines: any("was cancelled" in line for line in lines) and lines[-1] == "mer>")
        terminal.text("bogus")
        terminal.wait("mer> bogus")
        terminal.keys("C-c")
        terminal.wait("mer>")
        terminal.keys("Up", "Up")
        terminal.wait(lambda lines: lines[-1].endswith(words[:-1][-5:]))
        terminal.keys("C-c")
        terminal.wait("mer>")
        terminal.keys("C-d")
        terminal.ended()
        terminal.close()

    def test_matrix(self):
        for term, width, locale in itertools.product(
                ("xterm-256color", "dumb", "screen"), (20, 80, 300), ("C.UTF-8", "C")):
            with self.subTest(term=term, width=width, locale=locale):
                self.check(term, width, locale)

    # --- completion ---

    def test_lists(self):
        self.batch(*(f"model add m-{i:03} -- cat" for i in range(300)))
        for width in (22, 80):
            terminal = self.open(width=width, height=100)
            terminal.text("run m-")
            terminal.keys("Tab", "Tab")
            terminal.wait(lambda lines: "... and more" in lines and lines[-1] == "mer> run m-")
            terminal.text("12")
            terminal.keys("Tab", "Tab")
            lines = terminal.wait(lambda lines: any("m-129" in line for line in lines))
            self.assertTrue(all(len(line) <= width for line in lines))
            terminal.text("7")
            terminal.keys("Tab")
            terminal.text("hello")
            terminal.keys("Enter")
            terminal.has("hello")
            terminal.close()

    def test_paste_is_one_edit(self):
        terminal = self.open()
        terminal.paste("run echo one\n\trun echo 'two\tthree\n")
        terminal.wait(lambda lines: any("two" in line for line in lines))
        terminal.text("end'")
        terminal.wait(lambda lines: lines[-1].endswith("end'"))
        self.assertNotIn("one", terminal.screen())
        terminal.keys("Enter")
        terminal.wait(lambda lines: "one" in lines and "end" in lines and lines[-1] == "mer>")
        self.assertEqual(self.saved(), ["run echo one", "\trun echo 'two\tthree\nend'"])

    def test_paste_into_a_dumb_terminal(self):
        terminal = self.open(term="dumb")
        terminal.paste("\trun echo 'a\tb'\nrun echo two\n")
        lines = terminal.wait(lambda lines: "two" in lines and lines[-1] == "mer>")
        self.assertIn("a       b", lines)

    # --- the terminal itself ---

    def test_resize(self):
        terminal = self.open(width=80)
        terminal.text("run echo " + "x" * 100)
        terminal.wait(lambda lines: lines[-1].endswith("x" * 100))
        terminal.resize(40, 20)
        terminal.wait(lambda lines: lines[-1] == "mer> run echo " + "x" * 100)
        terminal.keys("Enter")
        terminal.has("x" * 100)
        # While a run has the terminal.
        terminal.line("run slow x")
        terminal.has("begin")
        terminal.resize(100, 20)
        terminal.keys("C-c")
        terminal.wait("mer>")
        terminal.text("run echo " + "y" * 75 + "end")
        terminal.keys("C-a", "C-e")
        lines = terminal.wait(lambda lines: lines[-1].endswith("end"))
        self.assertEqual(lines[-1], "mer> run echo " + "y" * 75 + "end")

    def job_control(self):
        self.env["PS1"] = "shell> "
        terminal = self.open(argv=["/bin/bash", "--norc", "--noprofile", "-i"], first="shell>")
        terminal.line(f"{shlex.quote(str(MER))} --quiet")
        terminal.wait("mer>")
        terminal.text("vers")
        terminal.wait("mer> vers")
        return terminal

    def go_on(self, terminal):
        terminal.wait(lambda lines: any("Stopped" in line for line in lines) and lines[-1] == "shell>")
        terminal.line("stty -a | tr ' ;' '\\n\\n' | grep -xE -- '-?(icanon|echo)' | paste -sd,")
        terminal.has("icanon,echo")
        terminal.line("fg")
        terminal.wait("mer> vers")
        terminal.text("ion")
        terminal.keys("Enter")
        terminal.has("mer 0.1.0")

    def test_suspended_by_a_key(self):
        terminal = self.job_control()
        terminal.keys("C-z")
        self.go_on(terminal)
        terminal.line("run slow x")
        terminal.has("begin")
        terminal.keys("C-z")
        terminal.wait("shell>")
        terminal.line("fg")
        terminal.wait(lambda lines: lines[-1].endswith("--quiet"))
        terminal.keys("C-c")
        terminal.wait(lambda lines: any("was cancelled" in line for line in lines) and lines[-1] == "mer>")
        terminal.keys("C-d")
        terminal.wait("shell>")

    def test_suspended_by_a_signal(self):
        terminal = self.job_control()
        os.kill(self.pid(), signal.SIGTSTP)
        self.go_on(terminal)

    @unittest.skipIf(LIBEDIT, "its search would wait for keys: docs/prompt.md")
    def test_searches_the_history(self):
        self.history.write_text("run echo first\nrun echo 'several\n lines'\nversion\n")
        terminal = self.open()
        terminal.keys("C-r")
        terminal.text("fir")
        terminal.wait(lambda lines: "run echo first" in lines[-1])
        terminal.keys("Enter")
        terminal.has("first")
        terminal.wait("mer>")
        terminal.keys("C-r")
        terminal.text("sev")
        terminal.wait(lambda lines: lines[-1].endswith("lines'"))
        terminal.keys("Enter")
        terminal.wait(lambda lines: "several" in lines and lines[-2:] == ["lines", "mer>"])
        terminal.keys("C-r")
        terminal.text("echo")
        terminal.wait(lambda lines: "echo" in lines[-2])
        terminal.keys("C-c")
        terminal.wait("mer>")
        terminal.line("version")
        terminal.has("mer 0.1.0")

    # --- the editor ---

    def editor(self, script):
        path = self.folder / "my editor"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        self.env["VISUAL"] = f"'{path}' -w"

    def test_edits_elsewhere(self):
        self.editor('cat -- "$2" >saw; stat -c %a -- "$2" >mode; echo "$2" >path\n'
                    'stty -a | tr " ;" "\\n\\n" | grep -x -- icanon >tty\n'
                    'printf "run echo changed\\nrun echo two\\n" >new; mv new "$2"')
        self.env["EDITOR"] = "false"
        terminal = self.open()
        terminal.text("run echo some 'text")
        terminal.keys("C-x", "C-e")
        terminal.wait(lambda lines: "changed" in lines and "two" in lines and lines[-1] == "mer>")
        self.assertEqual((self.folder / "saw").read_text(), "run echo some 'text\n")
        self.assertEqual((self.folder / "mode").read_text(), "600\n")
        self.assertEqual((self.folder / "tty").read_text(), "icanon\n")
        self.assertFalse(os.path.exists((self.folder / "path").read_text().strip()))
        self.assertEqual(self.saved(), ["run echo changed", "run echo two"])

    def test_an_editor_that_fails(self):
        self.editor("exit 1")
        terminal = self.open()
        terminal.text("version")
        terminal.keys("C-x", "C-e")
        lines = terminal.wait(lambda lines: lines[-1] == "mer> version" and len(lines) > 2)
        self.assertTrue(any("failed: the line is as it was" in line for line in lines))
        terminal.keys("Enter")
        terminal.has("mer 0.1.0")
        self.env["VISUAL"] = "/nonexistent/editor"
        terminal = self.open()
        terminal.keys("C-x", "C-e")
        terminal.wait(lambda lines: any("'/nonexistent/editor' failed" in line for line in lines))
        terminal.wait("mer>")


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
