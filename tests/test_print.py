#!/usr/bin/python3
"""What the programs print of themselves: pages in the tree are not stale, manual pages are sound and
installed, shells complete. MER_PREFIX names the installation, MER_SOURCE the sources. Prints TAP when run as a
program."""
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
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


def overwritten(text):
    """Text as it looks after its backspaces."""
    while "\b" in text:
        at = text.index("\b")
        text = text[:at - 1] + text[at + 1:]
    return text


class Pages(unittest.TestCase):
    maxDiff = None

    def test_tree_is_not_stale(self):
        for what, path in (("docs", "docs/commands.md"), ("env", ".env.example")):
            with self.subTest(path=path):
                self.assertEqual(printed(what), (SOURCE / path).read_text(),
                                 f"write it anew: mer --print {what} >{path}")

    def test_tables(self):
        done = call(SOURCE / "scripts" / "tables.py", MIGRATE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, (SOURCE / "docs" / "tables.md").read_text(),
                         "write it anew: scripts/tables.py >docs/tables.md")

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
        return overwritten(call("mandoc", "-Tascii", "-Owidth=200", self.installed(name)).stdout)

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


class Completion(unittest.TestCase):
    """In the shells themselves, with the example models. TAB is pressed behind each line."""
    maxDiff = None
    DIRECTORIES = {"bash": "bash-completion/completions/mer.bash", "zsh": "zsh/site-functions/_mer",
                   "fish": "fish/vendor_completions.d/mer.fish"}
    # What is typed, and all that it may become; the words of a name of two are completed one by one.
    LINES = [
        ("mer mo", ["model"]),
        ("mer log sh", ["show"]),
        ("mer model sh", ["show"]),
        ("mer model ad", []),
        ("mer --allow-changes model ad", ["add"]),
        ("mer --allow-ch", ["--allow-changes"]),
        ("mer run ir", ["iris"]),
        ("mer run --json ir", ["iris"]),
        ("mer run iris --dep", ["--deployment"]),
        ("mer run iris --deployment lo", ["local"]),
        ("mer run iris --server l", ["local"]),
        ("mer weights list --check ir", ["iris"]),
        ("mer log --status f", ["failed"]),
        ("mer --allow-changes model set iris max-w", ["max-workers="]),
        ("mer --allow-changes model set iris stateful=of", ["stateful=off"]),
        ("mer --allow-changes model set iris protocol=t", ["protocol=token"]),
        ("mer --allow-changes weights add iris flo", ["flowers.csv"]),
        ("mer --allow-changes weights add iris dir/in", ["dir/inner.csv"]),
        ("mer run iris @flo", ["@flowers.csv"]),
        ("mer run \"ir", ["iris"]),
        ("mer help server pi", ["ping"]),
        ("mer nosuch co", []),
    ]

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mer-print-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "dir").mkdir()
        for name in ("flowers.csv", "dir/inner.csv"):
            (self.folder / name).touch()
        self.env = ENV | {"PATH": f"{PREFIX}/bin:/usr/bin:/bin", "HOME": str(self.folder), "TERM": "dumb",
                          "XDG_STATE_HOME": str(self.folder / "state"),
                          "XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_DATA_HOME": str(self.folder / "data")}

    def migrate(self):
        subprocess.run([MIGRATE, "--quiet", "up"], env=self.env, check=True, timeout=DEADLINE_S)

    def script(self, shell):
        path = PREFIX / "share" / self.DIRECTORIES[shell]
        self.assertEqual(path.read_text(), printed(f"completion-{shell}"))
        if shutil.which(shell) is None:
            self.skipTest(f"no {shell}")
        return path

    def complete(self, line, **env):
        done = subprocess.run([MER, "--complete", line], env=self.env | env, cwd=self.folder, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [entry.split("\t")[0] for entry in done.stdout.splitlines()]

    def test_lines(self):
        self.migrate()
        for line, want in self.LINES:
            with self.subTest(line=line):
                self.assertEqual(self.complete(line), want)
        self.assertIn("version", self.complete("mer "))
        self.assertEqual(self.complete("mer --database sqlite:nothing.db run ir"), [])
        self.assertEqual(self.complete("mer run ir", MER_DATABASE_URL="sqlite:nothing.db"), [])
        self.assertEqual(self.complete("mer --bogus run ir"), [])
        for line in ("", "mer", "   ", "mer \\", "mer 'a\nb", "mer --database ", "mer --env-file "):
            with self.subTest(line=line):
                self.assertEqual(self.complete(line), [])

    def test_makes_nothing(self):
        before = sorted(self.folder.rglob("*"))
        for line in ("mer run i", "mer --database sqlite:new.db run i", "mer log show "):
            self.assertEqual(self.complete(line), [])
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        (self.folder / "text.db").write_text("no database\n" * 99)
        self.assertEqual(self.complete("mer --database sqlite:text.db run i"), [])

    def type(self, shell, args, ready):
        """A function that gives what a line has become after TAB."""
        import pexpect
        child = pexpect.spawn(shell, args, env=self.env, cwd=str(self.folder), encoding="utf-8", timeout=DEADLINE_S,
                              dimensions=(40, 300))
        self.addCleanup(child.close, force=True)
        child.sendline(ready)
        child.expect_exact("READY> ")

        def typed(line):
            child.send(line + "\t")
            child.send("<\x15\r")  # Ctrl-U takes the line away
            child.expect(r"\n\r?READY> ")
            return overwritten(child.before)
        return typed

    def becomes(self, line, want):
        """With a blank behind a whole word."""
        word = line.rsplit(" ", 1)[1]
        quote = word[:1] if word[:1] in "\"'" else ""
        return line[:len(line) - len(word)] + quote + want[0] + quote + ("" if want[0].endswith("=") else " ") + "<"

    def in_shell(self, typed):
        for line, want in self.LINES:
            if len(want) == 1:
                with self.subTest(line=line):
                    self.assertIn(self.becomes(line, want), typed(line))

    def test_bash(self):
        path = self.script("bash")
        self.migrate()
        typed = self.type("bash", ["--norc", "--noprofile", "-i"],
                          f"bind 'set enable-bracketed-paste off'; source {shlex.quote(str(path))}; PS1='READ''Y> '")
        self.in_shell(typed)
        for quote in "'\"":  # that begins amid a word
            with self.subTest(quote=quote):
                self.assertIn(f"mer run iris @{quote}flowers.csv{quote} <", typed(f"mer run iris @{quote}flo"))

    def test_zsh(self):
        path = self.script("zsh")
        self.migrate()
        self.in_shell(self.type("zsh", ["-f", "-i"],
                                f"fpath=({shlex.quote(str(path.parent))} $fpath); autoload -Uz compinit; compinit -D -u; unsetopt "
                                "zle_bracketed_paste prompt_sp; unset zle_bracketed_paste; PS1='READ''Y> '"))

    def test_fish(self):
        path = self.script("fish")
        self.migrate()
        for line, want in self.LINES:
            if want == []:  # fish offers files then
                continue
            with self.subTest(line=line):
                done = subprocess.run(["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(path), line],
                                      env=self.env, cwd=self.folder, text=True, stdin=subprocess.DEVNULL,
                                      capture_output=True, timeout=DEADLINE_S)
                got = [entry.split("\t")[0] for entry in done.stdout.splitlines()]
                self.assertEqual((got, done.stderr), (want, ""))


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())
