#!/usr/bin/python3
"""mer as cron has it: --once-key, --timeout, --quiet and --summary. MER_PREFIX names the installation. Prints TAP when
run as a program."""
import json
import os
import signal
import stat
import subprocess
import unittest

from record_case import DEADLINE_S, OnSqlite, main

HELD = r"mer: another mer holds the once-key '{}': pid {} since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ\n"


class Case(OnSqlite):
    def setUp(self):
        super().setUp()
        os.mkfifo(self.folder / "gate")
        for name, *argv in (("gate", "sh", "-c", "echo begun; exec cat gate"), ("echo", "cat"), ("fail", "false"),
                            ("slow", "sleep", "60"), ("open", "ls", "-l", "/proc/self/fd")):
            self.change("model", "add", name, "--", *argv)

    def hold(self, key, *options):
        """A mer that holds a key until its gate, which is the second of the two, is closed."""
        child = self.start("--once-key", key, *options, "run", "gate", "x")
        gate = open(self.folder / "gate", "w", encoding="utf-8")
        self.addCleanup(gate.close)
        return child, gate


class Once(Case, unittest.TestCase):
    def test_second_leaves(self):
        first, gate = self.hold("nightly")
        for _ in range(2):
            out, err = self.call(75, "--once-key", "nightly", "run", "echo", "x")
            self.assertEqual(b"", out)
            self.assertRegex(err, "^" + HELD.format("nightly", first.pid) + "$")
        self.assertEqual(b"x", self.out("--once-key", "other", "run", "echo", "x"))
        self.assertEqual(b"x", self.out("run", "echo", "x"))
        gate.close()
        self.assertEqual(0, first.wait(DEADLINE_S))
        self.assertEqual(b"x", self.out("--once-key", "nightly", "run", "echo", "x"))

    def test_dies_with_its_holder(self):
        for how in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(how):
                first, _ = self.hold("k")
                self.call(75, "--once-key", "k", "version")
                first.send_signal(how)
                first.wait(DEADLINE_S)
                self.out("--once-key", "k", "version")

    def test_ways_to_ask(self):
        """For each way in: by a file, by stdin, by a line."""
        self.hold("k")
        self.file("batch", "run echo x\n")
        self.call(75, "--once-key", "k", "-f", "batch")
        self.call(75, "--once-key=k", "-c", "run echo x")
        with open(self.folder / "batch", "rb") as batch:
            self.call(75, "--once-key", "k", stdin=batch)
        self.assertEqual(1, len(self.log()))
        self.assertIn(b"commands:", self.out("--once-key", "k", "--help"))

    def test_what_is_said(self):
        first, _ = self.hold("k")
        self.assertEqual((b"", ""), self.call(75, "--quiet", "--once-key", "k", "run", "echo", "x"))
        said = json.loads(self.call(75, "--json", "--once-key", "k", "run", "echo", "x")[0])
        self.assertEqual((75, None), (said["code"], said["hint"]))
        self.assertIn(f"pid {first.pid} since ", said["error"])

    def test_odd_keys(self):
        """No key is a path, nor is it cut."""
        for key in ("../../etc/passwd", "/", ".", "a b", "\x1b[31m", "é" * 300, "x" * 60000, "x" * 59999 + "y"):
            with self.subTest(key[:20]):
                self.out("--once-key", key, "version")
        folder = self.folder / "state" / "mer" / "once"
        self.assertEqual(8, len(list(folder.iterdir())))
        for path in folder.iterdir():
            self.assertRegex(path.name, "^[0-9a-f]{32}$")
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        self.assertEqual("mer: --once-key: it is empty\n", self.call(2, "--once-key", "", "version")[1])
        first, _ = self.hold("\x1b]0;x\x07")
        self.assertNotIn("\x1b", self.call(75, "--once-key", "\x1b]0;x\x07", "version")[1])
        first.kill()

    def test_models_do_not_inherit_it(self):
        self.assertNotIn(b"once", self.out("--once-key", "k", "run", "open"))

    def test_no_place_for_it(self):
        """Without a lock nothing runs."""
        path = self.folder / "file"
        path.write_text("")
        out, err = self.call(70, "--once-key", "k", "run", "echo", "x", env={"XDG_STATE_HOME": str(path)})
        self.assertEqual(b"", out)
        self.assertIn(str(path), err)

    def test_many_at_once(self):
        """Of many, those that run do so one after another."""
        self.change("model", "add", "alone", "--shell", "--", "mkdir lock && rmdir lock")
        children = [self.start("--once-key", "k", "--quiet", "run", "alone", "x") for _ in range(12)]
        ends = []
        for child in children:
            out, err = child.communicate(timeout=DEADLINE_S)
            self.assertEqual((b"", b""), (out, err))
            ends.append(child.returncode)
        self.assertLessEqual(set(ends), {0, 75})
        self.assertIn(0, ends)


class Timeout(Case, unittest.TestCase):
    def test_default_of_runs(self):
        self.assertIn("no answer within 300ms", self.call(7, "--timeout", "300ms", "run", "slow", "x")[1])
        self.call(7, "run", "slow", "x", env={"MER_TIMEOUT": "300ms"})
        self.call(7, "--timeout", "300ms", "run", "--lines", "slow", "@" + str(self.file("in", "x\n")))
        self.call(7, "--timeout", "1h", "run", "--timeout", "300ms", "slow", "x")
        self.call(7, "--timeout", "300ms", "-c", "run slow x")
        self.assertEqual(b"x", self.out("--timeout", "1m", "run", "--timeout", "1h", "echo", "x"))
        self.assertEqual(b"x", self.out("run", "echo", "x", env={"MER_TIMEOUT": ""}))

    def test_replay(self):
        self.change("model", "set", "slow", "keep-io=on")
        self.call(7, "--timeout", "300ms", "run", "slow", "x")
        uid = self.log("--limit", 1)[0]["request_uid"]
        self.call(7, "--timeout", "300ms", "replay", uid)

    def test_bad(self):
        self.assertIn("--timeout", self.call(2, "--timeout", "soon", "version")[1])
        self.assertIn("--timeout", self.call(2, "--timeout", "0", "version")[1])
        self.assertIn("MER_TIMEOUT", self.call(2, "version", env={"MER_TIMEOUT": "soon"})[1])


class Summary(Case, unittest.TestCase):
    def summary(self, code, *words, lines=0, **options):
        """The object, which is the last line, behind so many of errors."""
        out, err = self.call(code, "--summary", "--json", *words, **options)
        said = err.splitlines()
        self.assertEqual(lines + 1, len(said), err)
        of = json.loads(said[-1])
        self.assertEqual(code, of["code"])
        self.assertGreaterEqual(of["seconds"], 0)
        return out, (of["commands"], of["commands_failed"], of["runs_ok"], of["runs_failed"])

    def test_words(self):
        out, err = self.call(0, "--summary", "run", "echo", "x")
        self.assertEqual(b"x", out)
        self.assertRegex(err, r"^mer: 1 command, 0 failed; 1 run, 0 failed; \d+\.\d\d\d s; exit 0\n$")

    def test_counts(self):
        self.assertEqual((1, 0, 0, 0), self.summary(0, "version")[1])
        self.assertEqual((1, 1, 0, 1), self.summary(1, "run", "fail", "x", lines=1)[1])
        self.assertEqual((1, 1, 0, 0), self.summary(3, "run", "nothing", "x", lines=2)[1])
        self.assertEqual((3, 1, 2, 1), self.summary(1, "--keep-going", "-c", "run echo x", "-c", "run fail x", "-c",
                                                    "run echo y", lines=1)[1])
        lines = self.file("in", "a\nb\nc\n")
        self.assertEqual((1, 0, 3, 0), self.summary(0, "run", "--lines", "echo", f"@{lines}")[1])
        self.assertEqual((1, 0, 3, 0), self.summary(0, "run", "--no-record", "--lines", "echo", f"@{lines}")[1])
        self.assertEqual((0, 0, 0, 0), self.summary(0, stdin=subprocess.DEVNULL)[1])

    def test_held_and_quiet(self):
        self.hold("k")
        self.assertEqual((0, 0, 0, 0), self.summary(75, "--once-key", "k", "version", lines=1)[1])
        self.assertEqual((0, 0, 0, 0), self.summary(75, "--quiet", "--once-key", "k", "version")[1])

    def test_interrupted(self):
        """While a model runs, and while commands are waited for."""
        child = self.start("--summary", "run", "gate", "x")
        with open(self.folder / "gate", "w", encoding="utf-8"):
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=DEADLINE_S)
        self.assertEqual(143, child.returncode)
        self.assertRegex(err.decode().splitlines()[-1], r"^mer: 1 command, 1 failed; 1 run, 1 failed; .*; exit 143$")
        child = self.start("--summary", stdin=subprocess.PIPE)
        child.stdin.write(b"run echo x\nversion\n")
        child.stdin.flush()
        self.assertRegex(child.stdout.readline(), b"^xmer ")
        child.send_signal(signal.SIGINT)
        child.wait(DEADLINE_S)
        self.assertEqual(130, child.returncode)
        self.assertRegex(child.stderr.read().decode().splitlines()[-1], r"^mer: 2 commands, 0 failed; 1 run, 0 failed; .*; exit 130$")

    def test_not_asked_for(self):
        self.assertEqual("", self.call(0, "run", "echo", "x")[1])
        self.assertEqual("", self.call(0, "--summary", "--help")[1])


class Quiet(Case, unittest.TestCase):
    def test_only_failures(self):
        """stdout is data, and stays; stderr has failures alone."""
        self.assertEqual((b"x", ""), self.call(0, "--quiet", "run", "echo", "x"))
        out, err = self.call(3, "--quiet", "run", "ecoh", "x")
        self.assertEqual((b"", 1), (out, len(err.splitlines())))


if __name__ == "__main__":
    main("__main__")
