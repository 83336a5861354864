#!/usr/bin/python3
"""The rules of the frame protocol: those who keep them, and one who breaks each. Prints TAP when run as
a program."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
# pylint: disable=wrong-import-position
from mer.conformance import RULES, Check, Options
from peer import DEADLINE_S, ENV, SOURCE, Worker, main

WORKERS = SOURCE / "tests" / "workers"
BROKEN = [sys.executable, "-S", str(WORKERS / "broken.py")]
PATIENCE_S = 5.0  # what a worker that stays silent is given
MODELS = {
    "direct": "@mer.model\ndef predict(x: bytes) -> bytes: return x",
    "tensors": "from typing import Annotated\n@mer.model\n"
               "def predict(x: Annotated[mer.Tensor, mer.Spec('FP32', [-1, 2])], n: str) -> Annotated[\n"
               "        mer.Tensor, mer.Spec('FP32', [-1, 2], name='y')]:\n    print('hello')\n    return x",
    "pool": "@mer.model(concurrency=8)\ndef predict(x: bytes) -> bytes: return x",
    "async": "@mer.model\nasync def predict(x: bytes) -> bytes: return x",
    "batch": "from typing import List\n@mer.model(max_batch=4, max_wait=0.001)\n"
             "def predict(x: List[bytes]) -> List[bytes]: return x",
    "stream": "@mer.model\ndef predict(x: mer.Tensor):\n    for _ in range(3):\n        mer.log('a')\n"
              "        mer.progress(1, 2)\n        yield x",
    "async stream": "@mer.model\nasync def predict(x: str):\n    yield x\n    yield x",
    "fails": "@mer.model\ndef predict(x: str): raise ValueError('always')",
    "prefork": "@mer.model(prefork=True)\ndef predict(x: bytes) -> bytes: return x",
    "prefork side by side": "@mer.model(prefork=True, concurrency=8)\ndef predict(x: bytes) -> bytes: return x",
    "trains": "@mer.train\ndef train(job): ...\n@mer.model\ndef predict(x: str): return x",
}


def run(*argv):
    return subprocess.run([sys.executable, "-m", "mer", *argv], env=ENV, capture_output=True, text=True,
                          timeout=DEADLINE_S * 5)


class Conformance(unittest.TestCase):
    def passes(self, argv):
        check = Check(Options(argv))
        check.run()
        self.assertEqual((check.violated, check.note), ({}, ""))

    def test_models_of_the_sdk(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in MODELS.items():
                path = Path(folder, "model.py")
                path.write_text(f"import sys\nsys.path.insert(0, {ENV['PYTHONPATH']!r})\nimport mer\n"
                                f"{text}\nmer.serve()\n", encoding="utf-8")
                with self.subTest(model=name):
                    self.passes([sys.executable, str(path)])

    def test_the_worker_that_breaks_nothing(self):
        self.passes(BROKEN)

    @unittest.skipUnless(shutil.which("go"), "go is not installed")
    def test_go(self):
        with tempfile.TemporaryDirectory() as folder:
            program = str(Path(folder, "echo"))
            env = {**os.environ, "GO111MODULE": "off", "GOCACHE": folder + "/cache", "GOFLAGS": "",
                   "GOPROXY": "off", "GOTOOLCHAIN": "local", "HOME": folder, "CGO_ENABLED": "0"}
            subprocess.run(["go", "build", "-o", program, WORKERS / "echo.go"], env=env, check=True,
                           timeout=DEADLINE_S * 5)
            self.passes([program])

    @unittest.skipUnless(shutil.which("node"), "node is not installed")
    def test_node(self):
        self.passes(["node", str(WORKERS / "echo.mjs")])

    def test_each_rule_is_caught_and_no_other(self):
        def broken(rule):
            check = Check(Options([*BROKEN, rule], timeout=PATIENCE_S))
            check.run()
            return rule, check.violated
        with ThreadPoolExecutor(4) as threads:
            for rule, violated in threads.map(broken, RULES):
                with self.subTest(rule=rule):
                    self.assertEqual(list(violated), [rule], violated)

    def test_rules_are_in_the_words_of_the_page(self):
        page = " ".join((SOURCE / "docs" / "wire.md").read_text(encoding="utf-8").split())
        for rule, words in RULES.items():
            with self.subTest(rule=rule):
                self.assertIn(words, page)


class Command(unittest.TestCase):
    def test_passes(self):
        done = run("check", "--", *BROKEN)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, f"{len(RULES)} rules, none violated\n", ""))

    def test_says_what_is_violated(self):
        done = run("check", "--", *BROKEN, "drain-exits-0")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (
            1, f"drain-exits-0: {RULES['drain-exits-0']}\n    it exits with 3\n"
               f"{len(RULES)} rules, 1 violated\n", ""))

    def test_list(self):
        done = run("check", "--list")
        self.assertEqual(done.stdout, "".join(f"{rule}\t{words}\n" for rule, words in RULES.items()))

    def test_input(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "input")
            path.write_bytes(b"41")
            model = Path(folder, "model.py")
            model.write_text("import mer\n@mer.model\ndef predict(x: int): return x\nmer.serve()\n",
                             encoding="ascii")
            done = run("check", "--input", str(path), "--", sys.executable, str(model))
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_workers_that_do_not_start(self):
        done = run("check", "--", "/no/such/program")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("No such file", done.stderr)
        done = run("check", "--", "sh", "-c", "echo broken >&2; exit 1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ready-or-error", done.stdout)
        self.assertIn("broken", done.stderr)
        done = run("check", "--", sys.executable, "-c", "import mer\n@mer.load\ndef load(): 1 / 0\n"
                   "@mer.model\ndef predict(): ...\nmer.serve()")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot serve: load: ZeroDivisionError", done.stderr)

    def test_serve(self):
        """A file with and without a call of its own."""
        with tempfile.TemporaryDirectory() as folder:
            for end in ("", "if __name__ == '__main__':\n    mer.serve()\n    print('done')\n"):
                Path(folder, "beside.py").write_text("WORD = 'Hello'\n", encoding="ascii")
                path = Path(folder, "model.py")
                path.write_text("import sys\nimport beside\nimport mer\n@mer.model\ndef predict(x: str) -> str:\n"
                                "    return f'{beside.WORD} {x} {sys.argv[1:]} {__file__}'\n" + end,
                                encoding="ascii")
                with self.subTest(end=end), Worker("", argv=[sys.executable, "-m", "mer", "serve", str(path), "a"],
                                                   stdio=True) as worker:
                    self.assertEqual(worker.result(b"Ann").body.decode(), f"Hello Ann ['a'] {path}")
                    self.assertEqual(worker.drain(), 0)
                    self.assertEqual(worker.log(), "done\n" if end else "")
            path.write_text("import mer\n", encoding="ascii")
            for name, says in ((path, "no function with @mer.model"), ("/no/such.py", "No such file")):
                done = run("serve", str(name))
                self.assertEqual(done.returncode, 2)
                self.assertRegex(done.stderr, rf"\Amer: {name}: .*{says}.*\n\Z")

    def test_usage(self):
        for argv in ([], ["check"], ["serve"], ["guess"]):
            self.assertEqual(run(*argv).returncode, 2, argv)
        self.assertEqual(run("--help").returncode, 0)


if __name__ == "__main__":
    main("__main__")
