#!/usr/bin/python3
"""What runs keep of their input and output with --keep-io, and `replay`: a recorded input run again, compared with
what was answered. MER_PREFIX names the installation. Prints TAP when run as a program."""
import base64
import csv
import hashlib
import io
import json
import os
import re
import unittest

from record_case import PYTHON, SANITIZED, OnPostgres, OnSqlite, main

ALL = bytes(range(256)) * 2
# Says what ANSWER holds, and its input behind it where IN is there; exits as CODE says.
SAYS = "test -e IN && cat >got || true; cat ANSWER; test ! -e CODE || exit $(cat CODE)"
UPPER = "import sys\nprint('READY', flush=True)\nfor line in sys.stdin:\n    if line != 'GO\\n': break\n" \
    "    text = sys.stdin.readline()\n    sys.stdin.readline()\n    print(text.strip().upper(), flush=True)\n"


def patched(before, diff):
    """Lines with a unified diff applied, which must fit them."""
    result, at, lines = [], 0, diff.splitlines(keepends=True)[2:]
    for number, line in enumerate(lines):
        hunk = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n", line)
        whole = number + 1 == len(lines) or not lines[number + 1].startswith("\\")
        if hunk:
            begin, n, to, m = (1 if text is None else int(text) for text in hunk.groups())
            begin, to = begin - (n > 0), to - (m > 0)
            result += before[at:begin]
            at = begin
            assert to == len(result), diff
        elif line[0] in " -":
            assert before[at] == (line[1:] if whole else line[1:-1]), (line, diff)
            at += 1
        if line[0] in " +":
            result.append(line[1:] if whole else line[1:-1])
    return "".join(result + before[at:])


class Keep:
    def setUp(self):
        super().setUp()
        self.change("model", "add", "cat", "--keep-io", "--", "cat")
        self.change("model", "add", "plain", "--", "cat")
        self.input = self.file("input", ALL)

    def test_bytes(self):
        """As they are, NULs and what is no UTF-8 too; empty ones are kept as such."""
        self.assertEqual(ALL, self.out("run", "cat", "@input"))
        run = self.shown()
        self.assertEqual((ALL, ALL), self.kept(run["request_uid"]))
        self.assertEqual((512, 512), (run["kept_in"], run["kept_out"]))
        self.file("empty", b"")
        self.assertEqual(b"", self.out("run", "cat", "@empty"))
        run = self.shown()
        self.assertEqual((b"", b""), self.kept(run["request_uid"]))
        self.assertEqual((0, 0), (run["kept_in"], run["kept_out"]))

    def test_shown(self):
        """Programs get all of it, people its beginning, and nothing that drives their terminal."""
        self.file("IN", "a\tb\n\x1b[2J\0\x9b1mü".encode())
        self.file("OUT", ("é" * 1000).encode())
        self.change("model", "add", "says", "--keep-io", "--", "cat", "OUT")
        self.out("run", "says", "@IN")
        run = self.shown()
        self.assertEqual(("a\tb\n\x1b[2J\0\x9b1mü", "é" * 1000), (run["input"], run["output"]))
        self.assertEqual((None, None), (run["input_meta"], run["output_meta"]))
        uid = run["request_uid"]
        text = self.out("log", "show", uid).decode()
        self.assertIn("\ninput\ta\\tb\\n^[[2J^@^[[1mü\n", text)
        self.assertIn("\noutput\t" + "é" * 512 + "... (2000 bytes)\n", text)
        rows = dict(zip(*csv.reader(io.StringIO(self.out("log", "show", "--csv", uid).decode(), newline=""))))
        self.assertEqual((run["input"], run["output"]), (rows["input"], rows["output"]))
        self.out("run", "cat", "@input")
        run = self.shown()
        self.assertEqual([ALL] * 2, [base64.b64decode(run[name + "_base64"]) for name in ("input", "output")])
        self.assertEqual(set(), {"input", "output"} & set(run))
        self.assertIn("\ninput\t(512 bytes)\n", self.out("log", "show", run["request_uid"]).decode())
        self.out("run", "plain", "x")
        run = self.shown()
        self.assertEqual((None, None), (run["input"], run["output"]))
        self.assertIn("\ninput\t\n", self.out("log", "show", run["request_uid"]).decode())

    def test_fail_over(self):
        """What counts is the deployment that has answered, or was the last to be tried."""
        for first, second in ((), ("--keep-io",)), (("--keep-io",), ()):
            name = "from" if first else "to"
            self.change("model", "add", name, *first, "--", "./missing")
            self.change("deployment", "add", name, "--priority", "1", *second, "--", "cat")
            self.call(0, "run", name, "x")
            self.assertEqual((b"x", b"x") if second else None, self.kept(self.shown()["request_uid"]), name)
            self.change("deployment", "remove", name, "local-2")
            self.call(6, "run", name, "x")
            self.assertEqual((b"x", b"") if first else None, self.kept(self.shown()["request_uid"]), name)

    def test_nobody_asked(self):
        self.out("run", "plain", "x")
        self.out("run", "--no-record", "cat", "x")
        run = self.shown()
        self.assertEqual("plain", run["model"])
        self.assertEqual((None, None, None), (self.kept(run["request_uid"]), run["kept_in"], run["kept_out"]))
        self.assertEqual([(0,)], self.sql("SELECT count(*) AS n FROM model_access_io"))

    def test_on_and_off(self):
        self.change("model", "set", "plain", "keep-io=on")
        self.out("run", "plain", "x")
        self.assertEqual((b"x", b"x"), self.kept(self.shown()["request_uid"]))
        self.change("model", "set", "plain", "keep-io=off")
        self.out("run", "plain", "x")
        self.assertIsNone(self.kept(self.shown()["request_uid"]))

    def test_failures(self):
        """A run that failed keeps its input, and what had come of its output."""
        for name, code, words, output in (
                ("fails", 1, ["--", "sh", "-c", "cat; exit 3"], ALL),
                ("missing", 6, ["--", "/no/such/program"], b""),
                ("late", 7, ["--timeout", "200ms", "--", "sh", "-c", "cat; exec sleep 60"], ALL),
                ("token", 2, ["--protocol", "token", "--", PYTHON, "-c", UPPER], b""),  # cannot carry a NUL
                ("dies", 6, ["--protocol", "frame", "--", "false"], b"")):
            with self.subTest(name):
                self.change("model", "add", name, "--keep-io", *words)
                self.call(code, "run", name, "@input")
                run = self.shown()
                self.assertNotEqual("ok", run["status"])
                self.assertEqual((ALL, output), self.kept(run["request_uid"]))

    def test_limit(self):
        """To the byte; beyond it size and sha256 are known and nothing else."""
        self.change("model", "add", "double", "--keep-io", "--", "sh", "-c", "cat input input")
        self.file("input", b"x" * 10)
        for limit, command, want in (("10", "cat", (b"x" * 10, b"x" * 10)), ("9B", "cat", (None, None)),
                                     ("10", "double", (b"x" * 10, None)), ("0", "cat", (None, None)),
                                     ("1KiB", "double", (b"x" * 10, b"x" * 20))):
            with self.subTest(f"{limit} {command}"):
                out = self.out("run", command, "@input", env={"MER_KEEP_IO_MAX": limit})
                run = self.shown()
                self.assertEqual(want, self.kept(run["request_uid"]))
                self.assertEqual((10, len(out)), (run["bytes_in"], run["bytes_out"]))
                self.assertEqual(hashlib.sha256(b"x" * 10).hexdigest(), run["sha256_in"])
                self.assertEqual(hashlib.sha256(out).hexdigest(), run["sha256_out"])
        for text in ("many", "-1", "257MiB"):
            self.assertRegex(self.call(2, "run", "cat", "x", env={"MER_KEEP_IO_MAX": text})[1],
                             r"\Amer: MER_KEEP_IO_MAX: .*'" + text + "'")

    def test_lines(self):
        """Groups of many runs: each keeps its own."""
        self.change("model", "add", "upper", "--keep-io", "--protocol", "token", "--answer", "line",
                    "--ready-token", "READY", "--start-token", "GO", "--stop-token", "OVER", "--", PYTHON, "-c", UPPER)
        lines = [f"line {number}" for number in range(1500)]
        self.file("lines", "".join(line + "\n" for line in lines))
        self.out("run", "--lines", "upper", "@lines")
        rows = self.log("--limit", 2000)
        self.assertEqual(1500, len(rows))
        for row in rows[::100]:
            put, got = self.kept(row["request_uid"])
            self.assertEqual(hashlib.sha256(put).hexdigest(), row["sha256_in"])
            self.assertEqual(put.upper() + b"\n", got)
        self.assertEqual([(1500,)], self.sql("SELECT count(*) AS n FROM model_access_io"))

    @unittest.skipIf(SANITIZED, "memory under a sanitizer is not mer's")
    def test_memory(self):
        """What is kept of runs that have ended does not pile up: 160 MiB in, as much out."""
        with open(self.folder / "lines", "wb") as lines:
            for _ in range(160):
                lines.write(b"x" * ((1 << 20) - 1) + b"\n")
        child = self.start("run", "--lines", "cat", "@lines", stdout=open(os.devnull, "wb"))
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(0, child.returncode, child.stderr.read())
        self.assertLess(used.ru_maxrss, 256 << 10)
        self.assertEqual([(160,)], self.sql("SELECT count(*) AS n FROM model_access_io WHERE "
                                            "length(input) = 1048575 AND length(output) = 1048575"))

    def test_full_record(self):
        """Its rows and those of its owner are gone or closed: nothing of a group was written alone."""
        self.out("run", "cat", "x")
        self.assertEqual([(0,)], self.sql("SELECT count(*) AS n FROM owners"))
        self.assertEqual([(0,)], self.sql("SELECT count(*) AS n FROM model_access WHERE stopped_at IS NULL"))


class Replay:
    def setUp(self):
        super().setUp()
        self.change("model", "add", "says", "--keep-io", "--", "sh", "-c", SAYS)
        self.file("IN", b"")
        self.file("input", ALL)

    def record(self, answer, code=None):
        """A run that gave that answer."""
        self.file("ANSWER", answer)
        if code is not None:
            self.file("CODE", str(code))
        self.call(1 if code else 0, "run", "says", "@input")
        if code is not None:
            (self.folder / "CODE").unlink()
        return self.log("--limit", 1)[0]["request_uid"]

    def diff(self, code, uid, *words):
        out, err = self.call(code, "replay", uid, "--diff", *words)
        self.assertEqual(f"mer: the output of model 'says' has changed since run '{uid}'\n" if code else "", err)
        return out.decode("utf-8", "surrogateescape")

    def test_again(self):
        """The same input, a run of its own that names the one it repeats; what it answers is printed."""
        uid = self.record(ALL)
        self.file("ANSWER", b"another\0")
        self.assertEqual(b"another\0", self.out("replay", uid))
        self.assertEqual(ALL, (self.folder / "got").read_bytes())
        run = self.shown()
        self.assertEqual(("says", "ok", uid), (run["model"], run["status"], run["replays"]))
        self.assertNotEqual(uid, run["request_uid"])
        self.assertEqual((ALL, b"another\0"), self.kept(run["request_uid"]))
        self.assertIsNone(self.shown(uid)["replays"])
        self.assertEqual((ALL, ALL), self.kept(uid))
        as_json = json.loads(self.out("replay", "--json", run["request_uid"]))
        self.assertEqual("another\0", as_json["output"])

    def test_of_a_failed_run(self):
        uid = self.record(b"half", code=3)
        self.assertEqual(b"half", self.out("replay", uid))
        self.assertEqual("-status failed\n+status ok\n", self.diff(1, uid))
        self.file("CODE", "4")
        out, err = self.call(1, "replay", uid, "--diff")
        self.assertEqual(b"", out)
        self.assertIn("exit code 4", err)

    def test_same(self):
        for answer in (b"", b"x", b"x\n", ALL, b"a\nb\n" * 5000):
            uid = self.record(answer)
            self.assertEqual("", self.diff(0, uid))

    def test_lines(self):
        """A unified diff, as diff -u writes it."""
        before = [f"line {number}\n" for number in range(1, 31)]
        uid = self.record("".join(before))
        for now in (before[1:], before[:-1], before + ["more\n"], ["first\n"] + before, before[:14] + before[16:],
                    before[:10] + ["x\n", "y\n"] + before[10:], before[:-1] + ["line 30"], [], ["only"],
                    before[:2] + ["!\n"] + before[3:9] + ["!\n"] + before[10:], list(reversed(before)),
                    before[:2] + ["!\n"] + before[3:10] + ["!\n"] + before[11:],
                    before[:2] + ["!\n"] + before[3:8] + ["!\n"] + before[9:20] + before[21:]):
            with self.subTest(now=now):
                self.file("ANSWER", "".join(now))
                said = self.diff(1, uid)
                self.assertTrue(said.startswith("--- before\n+++ now\n@@ -"))
                self.assertEqual("".join(now), patched(before, said))
        self.file("ANSWER", "".join(before[:14] + ["!\n"] + before[15:]))
        self.assertEqual("--- before\n+++ now\n@@ -12,7 +12,7 @@\n line 12\n line 13\n line 14\n-line 15\n+!\n line 16\n"
                         " line 17\n line 18\n", self.diff(1, uid))

    def test_bytes(self):
        uid = self.record(bytes(20) + b"abc")
        self.file("ANSWER", bytes(20) + b"aXcd")
        self.assertEqual("bytes differ from offset 21 on; 23 before, 24 now\n-00000010  00 00 00 00 61 62 63\n"
                         "+00000010  00 00 00 00 61 58 63 64\n", self.diff(1, uid))
        self.file("ANSWER", b"")
        self.assertTrue(self.diff(1, uid).startswith("bytes differ from offset 0 on; 23 before, 0 now\n"))

    def test_tolerance(self):
        uid = self.record("loss 0.5000 [ 1.  -2.5e3]\nepoch 1000000 x1\n")
        near = "loss 0.5001 [1.  -2500.1]\nepoch 1000009 x1\n"
        self.file("ANSWER", near)
        self.diff(1, uid)
        self.assertEqual("", self.diff(0, uid, "--tolerance", "0.001"))
        said = self.diff(1, uid, "--tolerance", "0.00006")
        self.assertIn("-loss 0.5000", said)
        self.assertIn("\n epoch 1000000 x1\n", said)
        self.file("ANSWER", near.replace("x1", "x2"))
        self.diff(1, uid, "--tolerance", "0.001")
        for text in ("-1", "x", "nan", "inf", "", " 1", "1x"):
            self.assertIn("--tolerance: not a number of 0 or more: '" + text + "'",
                          self.call(2, "replay", uid, "--diff", f"--tolerance={text}")[1])
        self.assertIn("--tolerance goes with --diff", self.call(2, "replay", uid, "--tolerance", "1")[1])

    def test_json(self):
        uid = self.record("a\n")
        same = json.loads(self.out("replay", uid, "--diff", "--json"))
        self.assertEqual((uid, "says", "ok", False, None), tuple(same[name] for name in
                                                                 ("replays", "model", "status", "changed", "difference")))
        self.file("ANSWER", "b\n")
        other = json.loads(self.call(1, "replay", uid, "--diff", "--json")[0])
        self.assertEqual((uid, True, "--- before\n+++ now\n@@ -1 +1 @@\n-a\n+b\n"),
                         tuple(other[name] for name in ("replays", "changed", "difference")))

    def test_large_outputs(self):
        """What was not kept of the output is compared by its sha256."""
        self.file("ANSWER", "y" * 600)
        self.out("run", "says", "@input", env={"MER_KEEP_IO_MAX": "512"})
        uid = self.shown()["request_uid"]
        self.assertEqual("", self.diff(0, uid))
        self.file("ANSWER", "y" * 601)
        was, now = (hashlib.sha256(b"y" * n).hexdigest() for n in (600, 601))
        self.assertEqual(f"-sha256 {was}, 600 bytes\n+sha256 {now}, 601 bytes\n", self.diff(1, uid))
        self.assertIn("its numbers cannot be compared", self.call(3, "replay", uid, "--diff", "--tolerance", "1")[1])

    def test_tensors(self):
        """What the bytes of an input are is given to the model with them."""
        self.file("twice.py", "import mer\n@mer.model\ndef predict(x: mer.Tensor) -> mer.Tensor:\n"
                  "    return mer.Tensor(x.datatype, x.shape, bytes(2 * byte for byte in bytes(x.data)))\nmer.serve()\n")
        self.change("model", "add", "twice", "--keep-io", "--protocol", "frame",
                    "--env", "PYTHONPATH=" + os.environ["MER_SOURCE"] + "/python", "--", PYTHON, "twice.py")
        head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }".ljust(117) + b"\n"
        self.file("x.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes([1, 2, 3]))
        for word, kept in (("x=@x.npy", b"\1\2\3"), ("x:UINT8=[1,2,3]", b"")):
            said = self.out("run", "twice", "--tensor", word)
            self.assertEqual([2, 4, 6], json.loads(said)["outputs"][0]["data"])
            uid = self.shown()["request_uid"]
            self.assertEqual((kept, b"\2\4\6"), self.kept(uid))
            self.assertEqual(said, self.out("replay", uid))
            again = self.shown()
            self.assertEqual((uid, said), (again["replays"], self.out("replay", again["request_uid"])))
            self.assertEqual((kept, b"\2\4\6"), self.kept(again["request_uid"]))
            self.assertEqual(b"", self.out("replay", uid, "--diff"))

    SAYS_TENSOR = "import mer\n@mer.model\ndef predict(x: mer.Tensor) -> mer.Tensor:\n    {}\nmer.serve()\n"

    def test_tensors_beside_each_other(self):
        """By datatype, shape and element; the first that differs is named."""
        self.file("m.py", self.SAYS_TENSOR.format("return x"))
        self.change("model", "add", "m", "--keep-io", "--protocol", "frame",
                    "--env", "PYTHONPATH=" + os.environ["MER_SOURCE"] + "/python", "--", PYTHON, "m.py")
        self.out("run", "m", "--tensor", "x:FP32=[[1,2],[3,4]]")
        run = self.shown()
        uid, meta = run["request_uid"], run["output_meta"]
        output, = meta[0]["outputs"]
        self.assertEqual(("FP32", [2, 2]), (output["datatype"], output["shape"]))
        self.assertEqual(["FP32"], [tensor["datatype"] for tensor in run["input_meta"]["inputs"]])
        name = json.dumps(output["name"])
        self.assertIn("\noutput\t(16 bytes)\n", self.out("log", "show", uid).decode())
        for answer, tolerance, said in (
                ("x", None, ""), ("x", 0, ""),
                ("mer.Tensor('FP32', [2, 2], struct.pack('<4f', 1, 2, 3.001, 4.001))", None,
                 "[1,0] was 3.0, is 3.001; 2 of 4 elements differ"),
                ("mer.Tensor('FP32', [2, 2], struct.pack('<4f', 1, 2, 3.001, 4.001))", 0.01, ""),
                ("mer.Tensor('FP32', [2, 2], struct.pack('<4f', 1, 2, 3.001, 5))", 0.01,
                 "[1,1] was 4.0, is 5.0; 1 of 4 elements differ"),
                ("mer.Tensor('FP32', [4], bytes(x.data))", 1, "was FP32 [2,2], is FP32 [4]"),
                ("mer.Tensor('INT32', [2, 2], bytes(x.data))", 1, "was FP32 [2,2], is INT32 [2,2]")):
            with self.subTest(answer, tolerance=tolerance):
                self.file("m.py", "import struct\n" + self.SAYS_TENSOR.format("return " + answer))
                words = [] if tolerance is None else ["--tolerance", tolerance]
                out, _ = self.call(1 if said else 0, "replay", uid, "--diff", *words)
                self.assertEqual(f"tensor {name} {said}\n" if said else "", out.decode())

    def test_weights(self):
        """With those that are active now, or with others; which, its row says, and what bytes they were."""
        for name in ("1", "2"):
            self.file("w" + name, name)
        self.change("model", "add", "m", "--keep-io", "--train", "cp {dataset} {new_weights}", "--", "sh", "-c",
                    'cat "$0" -', "{weights}")
        for name in ("1", "2"):
            self.change("weights", "add", "m", "w" + name, "--version", name)
        self.change("weights", "use", "m", "1")
        self.assertEqual(b"1x", self.out("run", "m", "x"))
        uid = self.shown()["request_uid"]
        self.assertEqual(b"1x", self.out("replay", uid))
        self.assertEqual(b"2x", self.out("replay", uid, "--weights", "2"))
        run = self.shown()
        self.assertEqual((uid, "2", hashlib.sha256(b"2").hexdigest()),
                         tuple(run[name] for name in ("replays", "weights", "weights_sha256")))
        self.assertIn(b"-1x\n", self.call(1, "replay", uid, "--diff", "--weights", "2")[0])
        self.change("weights", "use", "m", "2")
        self.call(1, "replay", uid, "--diff")
        self.assertEqual(b"", self.out("replay", uid, "--diff", "--weights", "1"))
        self.assertIn("model 'm' has no weights '3'", self.call(3, "replay", uid, "--weights", "3")[1])
        self.change("train", "m", "--dataset", "w1")
        train = self.shown()
        self.assertEqual(("train", None), (train["kind"], self.kept(train["request_uid"])))
        self.assertIn("is a training, which has no input", self.call(3, "replay", train["request_uid"])[1])

    def test_what_cannot_be(self):
        self.assertIn("there is no run 'nobody'", self.call(3, "replay", "nobody")[1])
        self.change("model", "add", "plain", "--", "cat")
        self.out("run", "plain", "x")
        uid = self.shown()["request_uid"]
        self.assertEqual(f"mer: the input of run '{uid}' was not kept\n"
                         "hint: 'model set plain keep-io=on' keeps those of further runs\n",
                         self.call(3, "replay", uid)[1])
        self.out("run", "says", "@input", env={"MER_KEEP_IO_MAX": "511"})
        uid = self.shown()["request_uid"]
        self.assertEqual(f"mer: the input of run '{uid}', 512 bytes, was larger than what was kept\n"
                         "hint: MER_KEEP_IO_MAX says how much is kept of further runs\n",
                         self.call(3, "replay", uid)[1])
        uid = self.record("x")
        self.assertIn("on server 'nowhere'", self.call(3, "replay", uid, "--server", "nowhere")[1])
        self.assertEqual(b"x", self.out("replay", uid, "--server", "local"))
        self.change("model", "remove", "says")
        self.assertIn("there is no model 'says'", self.call(3, "replay", uid)[1])


class KeepOnSqlite(Keep, OnSqlite, unittest.TestCase):
    pass


class KeepOnPostgres(Keep, OnPostgres, unittest.TestCase):
    pass


class ReplayOnSqlite(Replay, OnSqlite, unittest.TestCase):
    pass


class ReplayOnPostgres(Replay, OnPostgres, unittest.TestCase):
    pass


if __name__ == "__main__":
    main("__main__")
