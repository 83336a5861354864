#!/usr/bin/python3
"""The tour of README.md: each command of its console blocks is run, in order and in one place, and
must print what stands below it. Uids, times and durations differ from run to run and are compared
by their shape."""
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

PREFIX = os.environ["MER_PREFIX"]
SOURCE = os.environ["MER_SOURCE"]

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


def blocks(path):
    """The console blocks: lists of (command, what is printed)."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        steps, command, printed = [], None, []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command is not None:
                    steps.append((command, "\n".join(printed)))
                command, printed = line[2:], []
            elif command is not None and command.endswith("\\") and line.startswith("> "):
                command = command[:-1] + line[2:]
            else:
                printed.append(line)
        if command is not None:
            steps.append((command, "\n".join(printed)))
        yield steps


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


class Readme(unittest.TestCase):
    def test_tour(self):
        home = tempfile.mkdtemp(prefix="mer-readme-")
        self.addCleanup(shutil.rmtree, home)
        env = {
            "PATH": PREFIX + "/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8",
            "USER": "tour", "TERM": "dumb", "XDG_STATE_HOME": home + "/state", "XDG_DATA_HOME": home + "/data",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        subprocess.run([PREFIX + "/bin/mer-migrate", "up", "--quiet"], env=env, check=True)
        count = 0
        for steps in blocks(os.path.join(SOURCE, "README.md")):
            for command, want in steps:
                if "scripts/" in command:
                    continue  # tests/fresh_machine.sh runs these
                with self.subTest(command=command):
                    self.assertEqual(shape(run_on_terminal(command, env, home)), shape(want))
                    count += 1
        self.assertGreater(count, 5)


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())
