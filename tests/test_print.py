#!/usr/bin/python3
"""What the programs print of themselves: pages in the tree are not stale, manual pages are sound and
installed. MER_PREFIX names the installation, MER_SOURCE the sources. Prints TAP when run as a
program."""
import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
SOURCE = Path(os.environ.get("MER_SOURCE", Path(__file__).parent.parent)).resolve()
MER = str(PREFIX / "bin" / "mer")
MIGRATE = str(PREFIX / "bin" / "mer-migrate")
DEADLINE_S = 60
ENV = {name: value for name, value in os.environ.items()
       if not name.startswith(("MER_", "XDG_", "PG"))} | {"LC_ALL": "C.UTF-8"}


def call(*args, **options):
    return subprocess.run([str(arg) for arg in args], env=ENV, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=DEADLINE_S, **options)


def printed(what, program=MER):
    done = call(program, "--print", what)
    if (done.returncode, done.stderr) != (0, ""):
        raise RuntimeError(f"--print {what}: {done}")
    return done.stdout


class Pages(unittest.TestCase):
    maxDiff = None

    def test_tree_is_not_stale(self):
        for what, path in (("docs", "docs/commands.md"), ("env", ".env.example")):
            with self.subTest(path=path):
                self.assertEqual(printed(what), (SOURCE / path).read_text(),
                                 f"write it anew: mer --print {what} >{path}")

    def test_unknown_page(self):
        done = call(MER, "--print", "mann")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("hint: did you mean 'man'?\n", done.stderr)
        done = call(MIGRATE, "--print", "docs")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, "mer-migrate: option '--print': 'docs' is not man\n")


class Man(unittest.TestCase):
    maxDiff = None
    PAGES = {"mer.1": MER, "mer-migrate.1": MIGRATE}

    def installed(self, name):
        return PREFIX / "share" / "man" / "man1" / name

    def test_installed(self):
        for name, program in self.PAGES.items():
            with self.subTest(page=name):
                self.assertEqual(self.installed(name).read_text(), printed("man", program))

    def test_sound(self):
        checks = {"mandoc": ["-Tlint"], "groff": ["-man", "-ww", "-z"]}
        for tool, options in checks.items():
            for name in self.PAGES:
                with self.subTest(tool=tool, page=name):
                    if shutil.which(tool) is None:
                        self.skipTest(f"no {tool}")
                    done = call(tool, *options, self.installed(name))
                    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def rendered(self, name):
        if shutil.which("mandoc") is None:
            self.skipTest("no mandoc")
        text = call("mandoc", "-Tascii", "-Owidth=200", self.installed(name)).stdout
        while "\b" in text:  # bold is a character over itself
            at = text.index("\b")
            text = text[:at - 1] + text[at + 1:]
        return text

    def test_says_all(self):
        contract = json.loads(printed("contract"))
        page = self.rendered("mer.1")
        for command in contract["commands"]:
            with self.subTest(command=command["name"]):
                self.assertIn(f"\n   {command['name']}\n", page)
                for line in command["examples"]:
                    self.assertIn(line + "\n", page)
                for other in command["names"]:
                    self.assertIn(other, page)
        for row in contract["settings"]:
            if row["setting"] is not None:
                self.assertIn(f"\n       {row['setting']}\n", page)

    def test_says_all_of_migrate(self):
        page = self.rendered("mer-migrate.1")
        help_ = call(MIGRATE, "--help").stdout
        words = [line.split()[0] for line in help_.split("\n") if line.startswith("  ") and line[2] != " "]
        self.assertGreater(len(words), 15)
        for word in words:
            with self.subTest(word=word):
                self.assertIn(word, page)


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())
