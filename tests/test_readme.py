#!/usr/bin/python3
"""The commands of README.md and of the other pages are run, page by page, in order and in one place.
What stands below a command of a console block must be what it prints; uids, times and durations differ
from run to run and are compared by their shape. A block of sh must succeed, and one of sql, by an administrator.
Hosts of example.org are servers of this test (tests/elsewhere.py).

A comment in front of a block says what there is to know of it:
    <!-- not run: REASON -->
    <!-- before: COMMANDS -->   what has to be there, of one line or of several
    <!-- file: NAME -->         the block, of whatever language, is a file that commands need"""
import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unittest
from pathlib import Path

from elsewhere import Places, Postgres

PREFIX = os.environ["MER_PREFIX"]
SOURCE = os.environ["MER_SOURCE"]
MODELS = os.environ["MER_MODELS"]

SHAPES = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "TIME"),
    (re.compile(r"\b\d\d-\d\d \d\d:\d\d:\d\d\b"), "WHEN"),
    (re.compile(r"\b\d+ ms\b"), "N ms"),
    (re.compile(r"( WHEN .*?) +\d+$", re.M), r"\1 N"),
    (re.compile(r"(queue_ms|start_ms|infer_ms|pid)(\t|\": ?)\d+"), r"\1\2N"),
    (re.compile(r"(who|host)\t\S+"), r"\1\tSOMEBODY"),
]


def shape(text):
    for pattern, name in SHAPES:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip().split("\n")]


BLOCK = re.compile(r"(?:^<!-- (not run|before|file):\s(.*?)\s*-->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
# Where examples are checked one by one: tests/test_help.py.
GENERATED = ("docs/commands.md",)


PAGES = ["README.md", "CONTRIBUTING.md", "python/README.md", "models/README.md",
         *sorted(str(path.relative_to(SOURCE)) for path in Path(SOURCE, "docs").glob("*.md")
                 if str(path.relative_to(SOURCE)) not in GENERATED)]


class Block:
    def __init__(self, mark, said, language, text, line):
        self.mark, self.said, self.language, self.text, self.line = mark, said, language, text, line

    def is_run(self):
        if self.language == "sql":
            return self.mark is None
        return self.language in ("sh", "console") and self.mark != "not run"


def blocks(page):
    text = Path(SOURCE, page).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield Block(*found.groups(), line=text.count("\n", 0, found.start()) + 1)


def steps(text):
    """Of a console block: pairs of a command and what is printed."""
    command, printed = None, []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, "\n".join(printed)
            command, printed = line[2:], []
        elif command is not None and command.endswith("\\") and line.startswith("> "):
            command = command[:-1] + line[2:]
        else:
            printed.append(line)
    if command is not None:
        yield command, "\n".join(printed)


def run_on_terminal(command, env, cwd):
    """What a command prints on a terminal of 100 columns, stdout and stderr as they come."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with subprocess.Popen(["sh", "-c", command], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=theirs, stderr=theirs) as ran:
        os.close(theirs)
        printed = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux: all have closed their end
                piece = b""
            if not piece:
                break
            printed += piece
        ran.wait(timeout=60)
    os.close(ours)
    return printed.decode().replace("\r\n", "\n")


class Pages(unittest.TestCase):
    maxDiff = None

    def new_place(self):
        """A home with a fresh database; its environment."""
        home = tempfile.mkdtemp(prefix="mer-readme-")
        self.addCleanup(shutil.rmtree, home)
        env = {
            "PATH": PREFIX + "/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8", "MER_MODELS": MODELS,
            "USER": "tour", "TERM": "dumb", "XDG_STATE_HOME": home + "/state", "XDG_DATA_HOME": home + "/data",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        subprocess.run([PREFIX + "/bin/mer-migrate", "up", "--quiet"], env=env, check=True, timeout=60)
        return home, env

    def shell(self, home, env, text):
        done = subprocess.run(["sh", "-ec", text], env=env, cwd=home, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, f"{text}{done.stdout}{done.stderr}")
        return done.stdout

    def run_sh(self, home, env, text):
        """UID is that of the newest run; programs are where they are."""
        uid = self.shell(home, env, "mer log --limit 1 --plain").split("\t")[0]
        text = re.sub(r"\b(RUN_)?UID\b", uid, text)
        self.shell(home, env, re.sub(r"(/opt/mer|\bPREFIX)/", shlex.quote(PREFIX) + "/", text))

    def run_block(self, home, env, block, places):
        why = places.missing(block.text)
        if why:
            self.skipTest(why)
        if block.language == "sql":
            places.start(Postgres.NAME).server.psql(block.text)
        else:
            self.run_sh(home, env, places.put(block.text))

    def run_page(self, page, places):
        home, env = self.new_place()
        for block in blocks(page):
            if block.mark == "file":
                Path(home, block.said).write_text(block.text)
            if block.mark == "before" and block.is_run():
                self.shell(home, env, block.said)
            if block.language in ("sh", "sql") and block.is_run():
                with self.subTest(page=page, line=block.line):
                    self.run_block(home, env, block, places)
            for command, want in steps(block.text) if block.language == "console" and block.is_run() else ():
                with self.subTest(page=page, line=block.line, command=command):
                    self.assertEqual(shape(run_on_terminal(command, env, home)), shape(want))

    def test_pages(self):
        for page in PAGES:
            with Places() as places:
                self.run_page(page, places)

    def test_links(self):
        """What a page links to in the tree is there, and docs/README.md leads to all pages of docs/."""
        book = Path(SOURCE, "docs").resolve()
        reached = {book / "README.md"}
        for page in [*PAGES, *GENERATED, "SECURITY.md"]:
            text = re.sub(r"^```.*?^```$", "", Path(SOURCE, page).read_text(encoding="utf-8"), flags=re.M | re.S)
            for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
                if not re.match(r"[a-z]+:", link):
                    to = Path(SOURCE, page).parent.joinpath(link).resolve()
                    with self.subTest(page=page, link=link):
                        self.assertTrue(to.exists())
                    if page == "docs/README.md":
                        reached.add(to)
        self.assertEqual(set(), set(book.glob("*.md")) - reached)

    def test_marks(self):
        """Each mark is in front of a block, and says something."""
        count = 0
        for page in PAGES:
            found = list(blocks(page))
            text = Path(SOURCE, page).read_text(encoding="utf-8")
            with self.subTest(page=page):
                self.assertEqual(sum(block.mark is not None for block in found),
                                 len(re.findall(r"^<!-- (?:not run|before|file):", text, re.M)))
                self.assertTrue(all(len(block.said.split()) > (3 if block.mark == "not run" else 0)
                                    for block in found if block.mark is not None))
                self.assertEqual(2 * len(found), len(re.findall(r"^```", text, re.M)))
            count += sum(block.is_run() for block in found)
        self.assertGreater(count, 10)


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())
