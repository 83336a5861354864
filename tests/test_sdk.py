#!/usr/bin/python3
"""The Python SDK as a user meets it: mer puts it on the path of a model's worker, nothing is installed.

MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import shutil
import stat
import subprocess
import sys
import unittest

import test_faults
from test_faults import DEADLINE_S, MER, PREFIX, each

SDK = PREFIX / "lib/mer/python"
HELLO = """import mer

@mer.model
def hello(name: str) -> str:
    return f"Hello {name}"

mer.serve()
"""
# Says where it was found, and what its path is.
WHERE = HELLO.replace('f"Hello {name}"', 'f"{mer.__file__} {os.environ.get(\'PYTHONPATH\')}"').replace(
    "import mer\n", "import os\nimport mer\n")
PYTHON = "/usr/bin/python3"
FRAME = ("--protocol", "frame")


class Sdk(test_faults.Case):
    def python(self, text, *options):
        self.script(text, "hello.py")
        self.add("hello", PYTHON, "hello.py", options=(*FRAME, *options))

    def where(self):
        file, path = self.mer("run", "hello", "", out=None).decode().split(" ")
        return file, path

    @each({"plain": ((),), "clean_env": (("--clean-env",),)})
    def five_lines(self, options):
        self.python(HELLO, *options)
        self.mer("run", "hello", "Ann", out=b"Hello Ann")
        self.mer("run", "--lines", "hello", self.lines_file("Ann", "Bo"),
                 out=b"Hello Ann\nHello Bo\n")

    def test_is_the_installed_one(self):
        self.python(WHERE)
        self.assertEqual(self.where(), (f"{SDK}/mer/__init__.py", str(SDK)))

    def test_moved_installation(self):
        """It is found from where the program is."""
        self.python(WHERE)
        shutil.copytree(PREFIX, self.top / "moved", symlinks=True)
        got = self.mer("run", "hello", "", program=str(self.top / "moved/bin/mer"), out=None).decode()
        self.assertEqual(got.split(" ")[1], str(self.top / "moved/lib/mer/python"))

    @each({
        "inherited": ({"PYTHONPATH": "/a:/b"}, (), "/a:/b:"),
        "empty": ({"PYTHONPATH": ""}, (), ""),
        "not_with_clean": ({"PYTHONPATH": "/a"}, ("--clean-env",), ""),
        "of_the_deployment": ({"PYTHONPATH": "/a"}, ("--env", "PYTHONPATH=/c"), "/c:"),
        "of_both": ({}, ("--clean-env", "--env", "PYTHONPATH=/c"), "/c:"),
    })
    def path(self, env, options, before):
        """Behind the user's own."""
        self.env.update(env)
        self.python(WHERE, *options)
        self.assertEqual(self.where()[1], f"{before}{SDK}")

    def test_users_own_wins(self):
        own = self.top / "own"
        shutil.copytree(SDK / "mer", own / "mer")
        self.python(WHERE, "--env", f"PYTHONPATH={own}")
        self.assertEqual(self.where()[0], f"{own}/mer/__init__.py")

    @each({"once": ("once",), "token": ("token",)})
    def not_for(self, protocol):
        """What speaks no frames has the environment that it had."""
        self.env["PYTHONPATH"] = "/a"
        self.model(protocol, 'echo "$PYTHONPATH"')
        self.mer("run", "m", "x", out=b"/a\n")

    def test_compiled(self):
        """A start reads bytecode, also where nothing may be written, and writes none."""
        made = {path: path.stat() for path in SDK.rglob("*")}
        cached = [path for path in made if path.suffix == ".pyc"]
        self.assertEqual(len(cached), len(list((SDK / "mer").glob("*.py"))))
        for path in cached:
            flags = int.from_bytes(path.read_bytes()[4:8], "little")
            self.assertEqual(flags, 1, path)  # by hash, unchecked: no time is in it
            self.assertFalse(made[path].st_mode & stat.S_IWOTH)
        self.python(HELLO)
        self.mer("run", "hello", "Ann", out=b"Hello Ann")
        self.assertEqual({path: path.stat().st_mtime_ns for path in SDK.rglob("*")},
                         {path: info.st_mtime_ns for path, info in made.items()})

    def test_tells_what_the_model_raised(self):
        self.python(HELLO.replace("return", "raise ValueError('no'); return"))
        said = json.loads(self.mer("--json", "run", "hello", "Ann", code=1, out=None,
                                   says="ValueError: no"))
        self.assertIn("Traceback", said["stderr_tail"])
        self.assertIn("hello.py", said["stderr_tail"])

    def test_worker_check(self):
        self.script(HELLO, "hello.py")
        self.mer("worker-check", "--", PYTHON, "hello.py", out=b"")

    def test_without_mer(self):
        """Started by hand it says what it is."""
        self.script(HELLO, "hello.py")
        done = subprocess.run(["script", "-qec", f"{PYTHON} hello.py", "/dev/null"], cwd=self.top,
                              env={**self.env, "PYTHONPATH": str(SDK)}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, timeout=DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"mer model add", done.stdout)


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Sdk)
    sys.exit(not runner.run(suite).wasSuccessful())
