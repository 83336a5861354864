#!/usr/bin/python3
"""Completion at the prompt, typed at through a pseudo terminal. MER_PREFIX names the installation.
Prints TAP when run as a program."""
import re
import signal
import socket
import sqlite3
import sys
import unittest

import pexpect

import prompt_case
from prompt_case import LIBEDIT, PROMPT, PromptCase


def plain(text):
    """Without bells either."""
    return prompt_case.plain(text).replace("\a", "")


@unittest.skipIf(LIBEDIT, "it is compared with what readline draws")
class Completion(PromptCase):
    MODELS = {"echo": ["--", "cat"], "echoes": ["--", "cat"], "zebra": ["--", "cat"]}

    def setUp(self):
        super().setUp()
        (self.folder / "data.txt").touch()
        (self.folder / "data two").mkdir()
        (self.folder / "data two" / "it's").touch()
        (self.folder / "w#\"'x").touch()
        (self.folder / "\033[2Jesc").touch()
        (self.folder / ".hidden").touch()
        (self.folder / "öäü").touch()
        (self.folder / "öäß").touch()
        (self.folder / "w1").touch()
        self.batch("weights add echo w1 --version blue", "weights add echo w1 --version black",
                   "deployment add echo --name second -- cat")

    def spawn(self, *args):
        return super().spawn("--quiet", *args, size=(60, 200), timeout=15)

    # --- by the table ---

    def lines(self, rows, *args):
        """Each row: what is typed, what it becomes."""
        child = self.spawn(*args)
        for typed, want in rows:
            with self.subTest(typed=typed):
                self.assertEqual(self.become(child, typed), want)
        child.sendeof()
        child.expect(pexpect.EOF)

    def become(self, child, typed):
        """The line that typed, with its TABs, becomes: read off the editor that Ctrl-X Ctrl-E starts."""
        saw = self.folder / "saw"
        saw.unlink(missing_ok=True)
        child.send(typed + "\030\005")
        child.expect_exact("EDITED")
        child.expect_exact(PROMPT)
        return saw.read_text().removesuffix("\n")

    def editor(self):
        path = self.folder / "edit"
        path.write_text('#!/bin/sh\ncat "$1" >saw\n: >"$1"\necho EDITED\n')
        path.chmod(0o755)
        self.env["VISUAL"] = str(path)

    def test_lines(self):
        self.editor()
        self.lines([
            ("", ""),
            ("vers\t", "version "),
            ("mod\t", "model "),
            ("model l\t", "model list "),
            ("model  sh\t", "model  show "),
            ("'mod\t", "'model' "),
            ("model-in\t", "model-info "),
            ("help we\t", "help weights "),
            ("help weights l\t", "help weights list "),
            ("help zz\t", "help zz"),
            ("bogus l\t", "bogus l"),
            ("run z\t", "run zebra "),
            ("run e\t", "run echo"),
            ("run 'z\t", "run 'zebra' "),
            ('run "z\t', 'run "zebra" '),
            ("run Z\t", "run Z"),
            ("run zebra z\t", "run zebra z"),
            ("run --timeout 5s z\t", "run --timeout 5s zebra "),
            ("run --timeout=5s z\t", "run --timeout=5s zebra "),
            ("run --timeout z\t", "run --timeout z"),
            ("run -- z\t", "run -- zebra "),
            ("# run z\t", "# run z"),
            ("run echo --ti\t", "run echo --timeout "),
            ("run echo --timeout 1s --ti\t", "run echo --timeout 1s --ti"),
            ("run echo --tensor a=1 --tensor-\t", "run echo --tensor a=1 --tensor-out "),
            ("run echo -- --ti\t", "run echo -- --ti"),
            ("run echo --weights bl\t", "run echo --weights bl"),
            ("run echo --weights blu\t", "run echo --weights blue "),
            ("run echo --weights=blu\t", "run echo --weights=blue "),
            ("run --weights blu\t", "run --weights blu"),
            ("run echo --deployment s\t", "run echo --deployment second "),
            ("run echo --server l\t", "run echo --server local "),
            ("weights list z\t", "weights list zebra "),
            ("stats z\t", "stats zebra "),
            ("set f\t", "set format "),
            ("set tim\t", "set tim"),
            ("set time\t", "set timeout "),
            ("set database\t", "set database"),
            ("set format v\t", "set format vertical "),
            ("set format js\t", "set format json"),
            ("set format 'ta\t", "set format 'table' "),
            ("set timing of\t", "set timing off "),
            ("set quiet of\t", "set quiet off "),
            ("set timeout o\t", "set timeout o"),
            ("set nosuch o\t", "set nosuch o"),
            ("log --status can\t", "log --status cancelled "),
            ("log --status=can\t", "log --status=cancelled "),
            ("log --js\t", "log --json"),
            ("run echo @dat\t", "run echo @data"),
            ("run echo @data.\t", "run echo @data.txt "),
            ("run echo @data\\ \t", "run echo @data\\ two/"),
            ("run echo @data\\ two/\t", "run echo @data\\ two/it\\'s "),
            ("run echo '@data two/\t", "run echo '@data two/it'\\''s' "),
            ('run echo "@data two/\t', 'run echo "@data two/it\'s" '),
            ("run echo @w#\t", "run echo @w#\\\"\\'x "),
            ("run echo @.h\t", "run echo @.hidden "),
            ("run echo @ö\t", "run echo @öä"),
            ("run echo @@dat\t", "run echo @@dat"),
            ("run echo dat\t", "run echo dat"),
            ("run echo --tensor x=@data.\t", "run echo --tensor x=@data.txt "),
            ("run echo @/nonexistent/\t", "run echo @/nonexistent/"),
            # The middle of a line.
            ("run z x\002\002\t", "run zebra x"),
            # Without changes those that change are not offered.
            ("model ad\t", "model ad"),
            ("weights u\t", "weights u"),
            ("server set l\t", "server set l"),
            ("train z\t", "train z"),
        ])

    def test_lines_with_changes(self):
        self.editor()
        self.lines([
            ("model ad\t", "model add "),
            ("server set lo\t", "server set local "),
            ("server set local ur\t", "server set local url="),
            ("model set echo time\t", "model set echo timeout="),
            ("model set echo protocol=fr\t", "model set echo protocol=frame "),
            ("model set echo shell=o\t", "model set echo shell=o"),
            ("model set echo shell=of\t", "model set echo shell=off "),
            ("deployment set echo server=l\t", "deployment set echo server=local "),
            ("deployment set echo sec\t", "deployment set echo second "),
            ("deployment set echo second prio\t", "deployment set echo second priority="),
            ("model add x --protocol tok\t", "model add x --protocol token "),
            ("model add x --workdir data\\ \t", "model add x --workdir data\\ two/"),
            ("model add x -- ./dat\t", "model add x -- ./data"),
            ("weights add echo data.\t", "weights add echo data.txt "),
            ("weights use echo bla\t", "weights use echo black "),
            ("train echo --dataset data.\t", "train echo --dataset data.txt "),
            ("feedback set z\t", "feedback set zebra "),
            ("feedback set zebra of\t", "feedback set zebra off "),
            ("feedback z\t", "feedback zebra "),
        ], "--allow-changes")

    def test_over_two_lines(self):
        child = self.spawn()
        child.sendline("run \\")
        child.expect_exact("...> ")
        child.send("z\thello\r")
        child.expect_exact("hello\r\n")
        child.expect_exact("hello\r\n")
        child.expect_exact(PROMPT)
        child.sendline("run zebra 'one")
        child.expect_exact("...> ")
        child.send("z\tend'\r")  # the word began above
        child.expect_exact("one\r\nzend\r\n")
        child.expect_exact(PROMPT)

    # --- lists ---

    def listed(self, child, typed):
        child.send(typed + "\t\t")
        child.expect_exact(typed)
        child.expect_exact(PROMPT + typed)
        shown = plain(child.before)
        child.sendintr()
        child.expect_exact("^C")
        child.expect_exact(PROMPT)
        return re.split(r"\s{2,}|\n", shown.strip())

    def test_lists(self):
        child = self.spawn()
        self.assertEqual(self.listed(child, "run echo"), ["echo", "echoes"])
        self.assertEqual(sorted(self.listed(child, "model ")), ["list", "ping", "show"])
        self.assertEqual(self.listed(child, "run echo --weights bl"), ["black", "blue"])
        self.assertEqual(sorted(self.listed(child, "run zebra @")),
                         sorted(["data two/", "data.txt", "^[[2Jesc", "state/", "w#\"'x", "w1", "öäß", "öäü"]))
        self.assertIn("--timeout", self.listed(child, "run zebra "))

    def test_runs(self):
        self.batch("run echo before")
        child = self.spawn()
        child.sendline("run zebra one")
        child.expect_exact("one\r\n")
        child.expect_exact(PROMPT)
        child.send("log show \t")
        child.expect(r"log show \a?([0-9a-f]{8}-[0-9a-f-]{27}) ")
        child.sendline("")
        child.expect_exact("zebra")
        child.expect_exact(PROMPT)

    def test_inputrc_stays_in_force(self):
        (self.folder / ".inputrc").write_text("set show-all-if-ambiguous on\nset completion-query-items 1\n"
                                              '"\\C-t": complete\nTAB: self-insert\n')
        child = self.spawn()
        child.send("run echo\x14")
        child.expect_exact("echoes")
        child.expect_exact(PROMPT + "run echo")
        child.sendintr()
        child.expect_exact(PROMPT)
        child.send("run zebra 'a\tb'\r")
        child.expect_exact("a\tb\r\n")

    # --- databases that do not answer ---

    def alive(self, child, typed):
        """A TAB there gives nothing, says nothing and keeps nobody."""
        child.send(typed)
        child.expect_exact(typed)
        for _ in range(2):
            child.send("\t")
            child.expect_exact("\a")
            self.assertEqual(child.before, "")
        child.sendintr()
        child.expect_exact("^C")
        self.assertEqual(child.before, "")
        child.expect_exact(PROMPT)
        child.sendline("version")
        child.expect_exact("mer 0.1.0")
        child.expect_exact(PROMPT)

    def test_locked(self):
        path = self.state / "mer.db"
        database = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(database.close)
        database.execute("PRAGMA journal_mode = DELETE").fetchall()
        child = self.spawn()
        database.execute("BEGIN EXCLUSIVE")
        self.alive(child, "run z")
        self.alive(child, "run --server l")
        database.execute("COMMIT")
        for _ in range(1000):  # what waits for the lock naps for up to 20 ms
            child.send("run z\t")
            if child.expect_exact(["run z\a", "run zebra"]) == 1:
                break
            child.sendintr()
            child.expect_exact(PROMPT)
        else:
            self.fail("never completed again")

    def test_no_database(self):
        (self.state / "mer.db").unlink()
        child = self.spawn()
        self.alive(child, "run z")
        child.sendeof()
        child.expect(pexpect.EOF)

    def test_a_server_that_does_not_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            child = self.spawn("--database", f"postgres://127.0.0.1:{port}/x")
            self.alive(child, "run z")
            child.sendeof()
            child.expect(pexpect.EOF)
            child.close()
            self.assertEqual((child.exitstatus, child.signalstatus), (0, None))

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        child = self.spawn("--database", f"postgres://127.0.0.1:{port}/x")
        self.alive(child, "run z")

    # --- pastes that stop ---

    def test_half_a_paste(self):
        child = self.spawn()
        child.send("run zebra 1\033[200~ half\rof")
        child.expect_exact("run zebra 1")
        child.sendintr()  # a paste that never ends
        child.expect_exact(PROMPT)
        child.send("run zebra '\033[200~all\r")
        child.expect_exact("run zebra '")
        child.send("of\tit\033[20")
        child.send("1~'\r")
        child.expect_exact("all\r\nof\tit\r\n")
        child.send("\033[200~run zebra")
        child.kill(signal.SIGTERM)
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual((child.exitstatus, child.signalstatus), (143, None))


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
