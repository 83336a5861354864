#!/usr/bin/python3
"""docs/cron.md at its word: each line of its crontab runs as cron would run it, and its units are what systemd takes.
MER_PREFIX names the installation, MER_SOURCE the sources. Prints TAP when run as a program."""
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import unittest
from pathlib import Path

from record_case import DEADLINE_S, MER, MIGRATE, PREFIX, OnSqlite, main

TEXT = Path(os.environ["MER_SOURCE"], "docs", "cron.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"((?:\S+ ){5})(.+)")
NAMED = "/opt/mer/bin"


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


class CronDocs(OnSqlite, unittest.TestCase):
    def setUp(self):
        super().setUp()
        # As cron has it: next to nothing, and the default database.
        self.cron = {"HOME": str(self.folder), "LOGNAME": "mer", "SHELL": "/bin/sh"}
        subprocess.run([MIGRATE, "--quiet", "up"], env=self.cron | {"PATH": "/usr/bin:/bin"}, check=True,
                       timeout=DEADLINE_S)
        self.file("numbers.txt", "1 2 3\n4 5 6\n")
        self.file("texts.txt", "one\ntwo words\n")
        self.entries = []
        for line in blocks("crontab")[0].splitlines():
            entry = ENTRY.fullmatch(line)
            if line.startswith("#") or not line:
                continue
            if entry and re.fullmatch(r"([\d*/,-]+ ){5}", entry[1]):
                self.entries.append(entry[2])
            else:
                name, value = line.split("=", 1)
                self.cron[name] = value.replace(NAMED, str(PREFIX / "bin"))

    def run_entry(self, command):
        """cron gives what is before an unescaped % to the shell."""
        self.assertNotRegex(command, r"(?<!\\)%")
        done = subprocess.run(["/bin/sh", "-c", command.replace("\\%", "%")], env=self.cron, cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
        return done.returncode, done.stdout, done.stderr

    def entry(self, word):
        return next(entry for entry in self.entries if word in entry)

    def test_each_is_silent_while_all_is_well(self):
        self.assertEqual(5 - 1, len(self.entries))
        for entry in self.entries:
            with self.subTest(entry):
                self.assertEqual((0, b"", b""), self.run_entry(entry))
        self.assertEqual(2, len((self.folder / "answers.txt").read_text().splitlines()))
        rows = [json.loads(line) for line in (self.folder / "nightly.jsonl").read_text().splitlines()]
        self.assertEqual([(1, "ok"), (2, "ok")], [(row["line"], row["status"]) for row in rows])

    def test_batch_goes_on(self):
        self.run_entry(self.entry("--resume"))
        self.file("texts.txt", "one\ntwo words\nthree\n")
        self.assertEqual((0, b"", b""), self.run_entry(self.entry("--resume")))
        rows = [json.loads(line)["line"] for line in (self.folder / "nightly.jsonl").read_text().splitlines()]
        self.assertEqual([1, 2, 3], rows)

    def test_failures_are_mailed(self):
        (self.folder / "numbers.txt").write_text("none\n")
        code, out, err = self.run_entry(self.entry("hourly"))
        self.assertEqual((1, b""), (code, out))
        self.assertTrue(err.startswith(b"mer: line 1: "), err)

    def test_held_key_is_no_failure(self):
        child = self.hold()
        self.assertEqual((0, b"", b""), self.run_entry(self.entry("hourly")))
        self.assertFalse((self.folder / "answers.txt").read_bytes())
        child.stdin.close()
        self.assertEqual(0, child.wait(DEADLINE_S))

    def hold(self):
        """A mer of the same user that has the key, with what cron gives it."""
        child = subprocess.Popen([MER, "--once-key", "hourly"], env=self.cron, cwd=self.folder, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.finish, child)
        child.stdin.write(b"version\n")
        child.stdin.flush()
        self.assertTrue(child.stdout.readline())
        return child

    def units(self):
        for text in blocks("ini"):
            name = re.match(r"# \S+/(\S+)\n", text)[1]
            unit = configparser.ConfigParser(interpolation=None, strict=True)
            unit.optionxform = str
            unit.read_string(text)
            yield name, text, unit

    def programs(self):
        """Their folder, by a path without a blank."""
        link = self.folder / "bin"
        if not link.exists():
            link.symlink_to(PREFIX / "bin")
        return str(link)

    def test_service_runs(self):
        unit = next(unit for name, _, unit in self.units() if name.endswith(".service"))["Service"]
        words = shlex.split(unit["ExecStart"].replace(NAMED, self.programs()).replace("/var/lib/mer",
                                                                                      str(self.folder)))
        name, _, value = unit["Environment"].partition("=")
        done = subprocess.run(words, env=self.cron | {name: value}, cwd="/", capture_output=True, timeout=DEADLINE_S)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(2, len(done.stdout.splitlines()))
        self.assertRegex(done.stderr, rb"^mer: 1 command, 0 failed; 2 runs, 0 failed; .*; exit 0\n$")

    def test_units(self):
        """As far as systemd is here, by its own word."""
        units = list(self.units())
        self.assertEqual(["mer-nightly.service", "mer-nightly.timer"], [name for name, _, _ in units])
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            self.skipTest("no systemd-analyze")
        for name, text, _ in units:
            self.file(name, text.replace(NAMED, self.programs()).replace("User=mer\n", ""))
        done = subprocess.run([analyze, "verify", *(self.folder / name for name, _, _ in units)], cwd=self.folder,
                              capture_output=True, timeout=DEADLINE_S)
        self.assertNotIn(b"mer-nightly", done.stderr)


if __name__ == "__main__":
    main("__main__")
