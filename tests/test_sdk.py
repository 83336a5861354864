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
WHERE = HELLO.replace('f"Hello {name}"', 'f"{mer.__file__}\\n{os.environ.get(\'PYTHONPATH\')}"').replace(
    "import mer\n", "import os\nimport mer\n")
# A process a run. Its child does what the input says.
PREFORK = """import os, signal, subprocess, sys, time
import mer
runs = 0

@mer.model(prefork=True)
def answer(text: str) -> str:
    global runs
    runs += 1
    exec(text)
    return f"{runs} {os.getppid()}\\n"

mer.serve()
"""
HANG = "open(os.environ['HOME'] + '/here', 'w'); time.sleep(1000)"
PYTHON = "/usr/bin/python3"
FRAME = ("--protocol", "frame")


class Sdk(test_faults.Case):
    def python(self, text, *options):
        self.script(text, "hello.py")
        self.add("hello", PYTHON, "hello.py", options=(*FRAME, *options))

    def where(self):
        file, path = self.mer("run", "hello", "", out=None).decode().split("\n")
        return file, path

    @each({"plain": ((),), "clean_env": (("--clean-env",),)})
    def five_lines(self, options):
        self.python(HELLO, *options)
        self.mer("run", "hello", "Ann", out=b"Hello Ann")
        self.mer("run", "--lines", "--jobs", "3", "hello", self.lines_file("Ann", "Bo"),
                 out=b"Hello Ann\nHello Bo\n")

    def test_is_the_installed_one(self):
        self.python(WHERE)
        self.assertEqual(self.where(), (f"{SDK}/mer/__init__.py", str(SDK)))

    def test_moved_installation(self):
        """It is found from where the program is."""
        self.python(WHERE)
        shutil.copytree(PREFIX, self.top / "moved", symlinks=True)
        got = self.mer("run", "hello", "", program=str(self.top / "moved/bin/mer"), out=None).decode()
        self.assertEqual(got.split("\n")[1], str(self.top / "moved/lib/mer/python"))

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

    # --- a process a run ---

    def test_prefork(self):
        """No run sees another, and none takes another along."""
        self.python(PREFORK)
        lines = self.lines_file("pass", "pass", "os._exit(3)", "os.kill(os.getpid(), 11)", "pass")
        process = self.start("run", "--lines", "--keep-going", "hello", lines)
        got, err = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 1)
        first, second, *failed, last = got.decode().split("\n")[:-1]
        self.assertEqual((first, second, failed), (last, last, ["", ""]))
        self.assertEqual(first.split(" ")[0], "1")
        self.assertRegex(err, b"exit code 3")
        self.assertRegex(err, b"SIGSEGV")
        self.assertEqual(self.statuses(), ["ok", "ok", "failed", "failed", "ok"])

    @each({"prefork": ("prefork=True, concurrency=3",), "threads": ("concurrency=3",)})
    def side_by_side(self, options):
        """Each waits until all are there."""
        self.python(PREFORK.replace("prefork=True", options))
        home = "os.environ['HOME'] + '/'"
        lines = self.lines_file(*(f"open({home} + '{i}', 'w'); "
                                  f"[time.sleep(0.002) for _ in iter(lambda: {{'0', '1', '2'}} <= "
                                  f"set(os.listdir({home})), True)]" for i in range(3)))
        got = self.mer("run", "--lines", "--jobs", "3", "hello", lines, out=None).decode()
        counts = [line.split(" ")[0] for line in got.splitlines()]
        self.assertEqual(len(counts), 3)
        if "prefork" in options:
            self.assertEqual(counts, ["1"] * 3)

    def test_prefork_says(self):
        self.python(PREFORK)
        said = json.loads(self.mer("--json", "run", "hello", "print('out'); mer.log('log'); 1 / 0", code=1,
                                   out=None, says="ZeroDivisionError"))
        for text in ("out\n", "log\n", "Traceback"):
            self.assertIn(text, said["stderr_tail"])

    @each({
        "sleeps": (HANG,),
        "stubborn": ("signal.signal(15, signal.SIG_IGN); " + HANG,),
        "has_started_another": ("subprocess.Popen(['sleep', '1000']); " + HANG,),
        "has_left_its_group": ("subprocess.Popen(['sleep', '1000'], start_new_session=True); " + HANG,),
    })
    def prefork_late(self, does):
        """Its deadline ends it, and nothing is left."""
        self.python(PREFORK)
        self.mer("run", "--timeout", "2s", "hello", does, code=7, says="no answer within 2s")
        self.one_row("timeout")

    def test_prefork_when_mer_is_killed(self):
        self.python(PREFORK)
        process = self.start("run", "hello", "signal.signal(15, signal.SIG_IGN); os.fork(); " + HANG)
        self.wait_here()
        process.kill()
        process.wait()
        self.check_gone()

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
