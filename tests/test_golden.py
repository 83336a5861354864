#!/usr/bin/python3
"""The example by which a model is tested: `model ping --test`, and workers that count as ready once they have passed.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import hashlib
import json
import unittest

from record_case import PYTHON, OnPostgres, OnSqlite, main

# Answers what ANSWER holds, {} being its input; dies, hangs or leaves out the answer where that says so.
WORKER = """import os, sys, time
print("READY", flush=True)
for line in sys.stdin:
    if line != "GO\\n":
        break
    text = sys.stdin.readline().strip()
    sys.stdin.readline()
    with open("asked", "a") as asked:
        asked.write(text + "\\n")
    answer = open("ANSWER").read()
    if answer == "die":
        sys.exit("it died")
    while answer == "hang":
        time.sleep(60)
    print(answer.replace("{}", text), flush=True)
"""
TOKEN = ("--protocol", "token", "--answer", "line", "--ready-token", "READY", "--start-token", "GO", "--stop-token",
         "OVER")


class Golden:
    def setUp(self):
        super().setUp()
        self.file("worker.py", WORKER)
        self.file("ANSWER", "<{}> 0.5")

    def add(self, *options):
        self.change("model", "add", "m", *TOKEN, "--test-input", "x", "--test-output", "<x> 0.5", *options, "--", PYTHON,
                    "worker.py")

    def asked(self):
        path = self.folder / "asked"
        return path.read_text().split() if path.exists() else []

    def test_ping(self):
        self.add()
        self.assertRegex(self.out("ping", "--test", "m").decode(),
                         r"\Am on local: ready in \d+ ms\nm: passed its test in \d+ ms\n\Z")
        self.assertEqual(["x"], self.asked())
        self.assertEqual([], self.log(), "a test is no run")
        told = json.loads(self.out("ping", "--test", "--json", "m"))
        self.assertEqual(("m", "local", "ok", None), tuple(told[name] for name in
                                                           ("model", "server", "test", "difference")))
        self.assertEqual(["model", "server", "ready_ms"], list(json.loads(self.out("ping", "--json", "m"))))
        self.file("ANSWER", "<{}> 0.6")
        out, err = self.call(1, "ping", "--test", "m")
        self.assertIn("\n--- before\n+++ now\n@@ -1 +1 @@\n-<x> 0.5\n", out.decode())
        self.assertIn("\n+<x> 0.6\n", out.decode())
        self.assertEqual("mer: model 'm' answers its example with another output\n", err)
        told = json.loads(self.call(1, "ping", "--test", "--json", "m")[0])
        self.assertEqual("failed", told["test"])
        self.assertIn("+<x> 0.6\n", told["difference"])
        self.change("model", "set", "m", "test-tolerance=0.2")
        self.out("ping", "--test", "m")
        self.file("ANSWER", "die")
        self.assertIn("it died", self.call(1, "ping", "--test", "m")[1])

    def test_once(self):
        self.change("model", "add", "tr", "--test-input", "abc", "--test-output", "ABC", "--", "tr", "a-z", "A-Z")
        self.out("ping", "--test", "tr")
        self.change("model", "set", "tr", "test-output=ABD")
        self.call(1, "ping", "--test", "tr")
        self.assertIn("--test-on-start is for workers that stay", self.change("model", "set", "tr", "test-on-start=on",
                                                                             code=2))

    def test_bytes(self):
        content = bytes(range(256))
        self.file("in", content)
        self.change("model", "add", "cat", "--test-input", "@in", "--test-output", "@in", "--", "cat")
        self.out("ping", "--test", "cat")
        self.file("out", content + b"x")
        self.change("model", "set", "cat", "test-output=@out")
        self.assertIn(b"bytes differ from offset 256 on; 257 before, 256 now\n",
                      self.call(1, "ping", "--test", "cat")[0])
        self.change("model", "set", "cat", "test-input=@/dev/null", "test-output=@/dev/null")
        self.out("ping", "--test", "cat")
        self.change("model", "set", "cat", "test-input=@@x", "test-output=@@x")
        shown = json.loads(self.out("model", "show", "--json", "cat"))
        self.assertEqual(("@x", "@x", None, False), tuple(shown[name] for name in (
            "test_input", "test_output", "test_tolerance", "test_on_start")))
        self.out("ping", "--test", "cat")

    def test_halves(self):
        self.change("model", "add", "cat", "--", "cat")
        self.assertIn("model 'cat' has no example", self.call(3, "ping", "--test", "cat")[1])
        for words in (("test-input=x",), ("test-output=x",), ("test-tolerance=1",), ("test-on-start=on",),
                      ("test-input=@missing", "test-output=x"), ("test-input=x", "test-output=x", "test-tolerance=x")):
            self.change("model", "set", "cat", *words, code=2)
        self.call(3, "ping", "--test", "cat")
        self.change("model", "set", "cat", "test-input=x", "test-output=x", "test-tolerance=1")
        self.change("model", "set", "cat", "test-input=", code=2)
        self.out("ping", "--test", "cat")
        self.change("model", "set", "cat", "test-input=", "test-output=", "test-tolerance=")
        self.call(3, "ping", "--test", "cat")

    def test_on_start(self):
        """Once a worker, before its first run; the model's row tells nothing of it."""
        self.add("--test-on-start")
        self.out("run", "--lines", "m", "@" + str(self.file("lines", "a\nb\n")))
        self.assertEqual(["x", "a", "b"], self.asked())
        self.assertEqual({hashlib.sha256(letter).hexdigest() for letter in (b"a", b"b")},
                         {run["sha256_in"] for run in self.log()})
        self.assertIn("ready in", self.out("ping", "m").decode())
        self.assertEqual("x", self.asked()[-1])

    def test_on_start_fails(self):
        """No run is sent to it; who waits for it is told, with the run's row closed."""
        self.add("--test-on-start", "--start-timeout", "20s")
        for answer, reason in (("<{}> 0.6", "it answers '<x> 0.6', not '<x> 0.5'"), ("die", "it died")):
            with self.subTest(answer):
                self.file("ANSWER", answer)
                _, err = self.call(6, "run", "m", "mine")
                self.assertIn("model 'm' did not pass its test: ", err)
                self.assertEqual("failed", self.log()[0]["status"])
                if answer != "die":
                    self.assertIn(reason, err)
                self.assertIn("did not pass its test", self.call(6, "ping", "m")[1])
        self.assertEqual({"x"}, set(self.asked()))
        self.file("ANSWER", "<{}> 0.5")
        self.assertEqual(b"<mine> 0.5\n", self.out("run", "m", "mine"))

    def test_on_start_elsewhere(self):
        """A run goes to a deployment whose worker passes."""
        self.add("--test-on-start")
        self.file("other.py", WORKER.replace('"ANSWER"', '"OTHER"'))
        self.change("deployment", "add", "m", "--name", "other", "--priority", "1", *TOKEN, "--", PYTHON, "other.py")
        self.file("ANSWER", "<{}> 0.6")
        self.file("OTHER", "<{}> 0.5")
        out, err = self.call(0, "run", "m", "mine")
        self.assertEqual(b"<mine> 0.5\n", out)
        self.assertIn("others come before deployment 'local' for a while: it did not pass its test", err)
        self.assertEqual(["x", "x", "mine"], self.asked())
        self.file("OTHER", "die")
        self.call(6, "run", "m", "mine")
        self.assertEqual("failed", self.log()[0]["status"])

    def test_on_start_hangs(self):
        """Alive and without an answer is not ready."""
        self.add("--test-on-start", "--start-timeout", "300ms")
        self.file("ANSWER", "hang")
        self.assertIn("was not ready within its start timeout", self.call(7, "run", "m", "mine")[1])
        self.assertEqual("timeout", self.log()[0]["status"])
        self.assertIn("was not ready within its start timeout", self.call(7, "ping", "m")[1])
        self.assertEqual({"x"}, set(self.asked()))

    def test_changed_example(self):
        """Is what the next worker is tested by; a warm one of before leaves."""
        self.add("--test-on-start")
        child = self.start("--allow-changes", stdin=-1)
        child.stdin.write(b"run m one\n")
        child.stdin.flush()
        self.assertEqual(b"<one> 0.5\n", child.stdout.readline())
        out, err = child.communicate(b"model set m test-input=y test-output='<y> 0.5'\nrun m two\n", timeout=120)
        self.assertEqual((0, b"<two> 0.5\n", b""), (child.returncode, out, err))
        self.assertEqual(["x", "one", "y", "two"], self.asked())


class GoldenOnSqlite(Golden, OnSqlite, unittest.TestCase):
    pass


class GoldenOnPostgres(Golden, OnPostgres, unittest.TestCase):
    pass


if __name__ == "__main__":
    main("__main__")
