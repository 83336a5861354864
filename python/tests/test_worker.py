#!/usr/bin/python3
"""Models as workers: real processes at the end of a real connection. Prints TAP when run as a program."""
import contextlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from peer import (ANSWER, BYTES, CANCEL, DEADLINE_S, DRAIN, ENV, ERROR, HEADER, HELLO, INFER, LOG, MIB,
                  MORE, PING, PROGRESS, PYTHON, READY, RESULT, SKIP, TRAIN, Worker, main, pack,
                  tensors, wait_for)

ECHO = "@mer.model\ndef predict(x: bytes) -> bytes:\n    return x"
TEXT = {"content": "text"}
FLAT_KIB = 16 * 1024  # what a process may grow by where its memory is flat
try:
    import numpy
except ImportError:
    numpy = None

# Ways to run the same function: what holds for one holds for all.
KINDS = {
    "direct": "@mer.model\ndef predict(x: bytes) -> bytes:\n    return work(x)",
    "pool": "@mer.model(concurrency=4)\ndef predict(x: bytes) -> bytes:\n    return work(x)",
    "async": "@mer.model(concurrency=4)\nasync def predict(x: bytes) -> bytes:\n    return work(x)",
    "batch": "from typing import List\n@mer.model(max_batch=4)\n"
             "def predict(xs: List[bytes]) -> List[bytes]:\n    return [work(x) for x in xs]",
    "stream": "from typing import Iterator\n@mer.model\ndef predict(x: bytes) -> Iterator[bytes]:\n"
              "    yield work(x)",
    "async stream": "from typing import AsyncIterator\n@mer.model\n"
                    "async def predict(x: bytes) -> AsyncIterator[bytes]:\n    yield work(x)",
}


def model(kind, body):
    return f"def work(x):\n    {body}\n" + KINDS[kind]


def joined(frames):
    return b"".join(frame.body for frame in frames if frame.kind == RESULT)


class Case(unittest.TestCase):
    def worker(self, text, **more):
        worker = Worker(text, **more)
        self.addCleanup(worker.__exit__)
        return worker

    @contextlib.contextmanager
    def kind(self, kind, body):
        with self.subTest(kind=kind), Worker(model(kind, body)) as worker:
            yield worker


class Values(Case):
    def test_annotations(self):
        floats = struct.pack("<4f", 1, 2, 3, 4)
        one = [  # annotation, expression, request, answer's meta and body
            ("bytes", "x + b'!'", (b"a\xff", BYTES), ({"content": "bytes"}, b"a\xff!")),
            ("bytes", "x", (b"", BYTES), ({"content": "bytes"}, b"")),
            ("bytes", "x", (b"h\xc3\xa9", TEXT), ({"content": "bytes"}, b"h\xc3\xa9")),
            ("str", "x.upper()", ("é".encode(), BYTES), ({"content": "text"}, "É".encode())),
            ("memoryview", "x[1:]", (b"abc", BYTES), ({"content": "bytes"}, b"bc")),
            ("int", "x + 1", (b" 41\n", BYTES), ({"content": "text"}, b"42")),
            ("float", "x / 2", (b"3", TEXT), ({"content": "text"}, b"1.5")),
            ("bool", "not x", (b"true", BYTES), ({"content": "text"}, b"false")),
            ("mer.Tensor", "x.elements[0]", (b"abc", BYTES), ({"content": "bytes"}, b"abc")),
        ]
        two = [
            ("mer.Tensor", "x", dict(x=("FP32", [2, 2], floats)),
             dict(output=("FP32", [2, 2], floats))),
            ("mer.Tensor", "x", dict(other=("FP32", [], floats[:4])),
             dict(output=("FP32", [], floats[:4]))),
            ("mer.Tensor", "{'a': x, 'b': 'text', 'c': b'x'}", dict(x=("INT8", [0], b"")),
             dict(a=("INT8", [0], b""), b=("BYTES", [1], b"\4\0\0\0text"),
                  c=("BYTES", [1], b"\1\0\0\0x"))),
            ("mer.Tensor", "{}", dict(x=("BOOL", [1], b"\1")), {}),
            ("mer.Tensor", "mer.Tensor.of(sum(x.data.cast('f')))", dict(x=("FP32", [4], floats)),
             dict(output=("FP32", [], struct.pack("<f", 10)))),
            ("mer.Tensor", "mer.Tensor.of(x.tolist(), 'FP16')", dict(x=("BF16", [1], b"\x80\x3f")),
             dict(output=("FP16", [1], b"\0\x3c"))),
            ("mer.Tensor", "mer.Tensor.of(x.elements[::-1])",
             dict(x=("BYTES", [2], b"\1\0\0\0a\0\0\0\0")),
             dict(output=("BYTES", [2], b"\0\0\0\0\1\0\0\0a"))),
        ]
        rows = [(kind, does, (data, meta), want) for kind, does, (data, meta), want in one]
        for kind, does, given, wanted in two:
            meta, data = tensors(**given)
            want, body = tensors(**wanted)
            rows.append((kind, does, (data, meta), ({"outputs": want["inputs"]}, body)))
        for kind, does, (data, meta), want in rows:
            with self.subTest(kind=kind, does=does):
                with Worker(f"@mer.model\ndef predict(x: {kind}): return {does}") as worker:
                    for _ in range(2):  # the second time from what is remembered
                        frame = worker.result(data, meta)
                        self.assertEqual((frame.meta, frame.body), want)

    def test_tensors_for_plain_kinds(self):
        rows = [("str", ("BYTES", [1], b"\2\0\0\0hi"), b"hi"), ("bytes", ("BYTES", [], b"\0\0\0\0"), b""),
                ("int", ("INT16", [1], b"\xfe\xff"), b"-2"), ("int", ("UINT64", [], b"\xff" * 8), b"%d" % (2**64 - 1)),
                ("float", ("FP16", [1, 1], b"\0\x3c"), b"1.0"), ("float", ("INT8", [1], b"\7"), b"7.0"),
                ("bool", ("BOOL", [1], b"\1"), b"true")]
        for kind, tensor, want in rows:
            with self.subTest(kind=kind, tensor=tensor):
                with Worker(f"@mer.model\ndef predict(x: {kind}): return x") as worker:
                    meta, data = tensors(x=tensor)
                    self.assertEqual(worker.result(data, meta).body, want)

    def test_several_inputs_by_name(self):
        worker = self.worker("@mer.model\ndef predict(a: mer.Tensor, b: str, c: float):\n"
                             "    return f'{a.tolist()} {b} {c}'")
        meta, data = tensors(c=("FP64", [], struct.pack("<d", 0.5)), a=("INT8", [2], b"\1\2"),
                             b=("BYTES", [1], b"\1\0\0\0x"))
        self.assertEqual(worker.result(data, meta).body, b"[1, 2] x 0.5")
        for drop in "abc":
            less = {n: v for n, v in dict(a=("INT8", [2], b"\1\2"), b=("BYTES", [1], b"\1\0\0\0x"),
                                          c=("FP64", [], bytes(8))).items() if n != drop}
            meta, data = tensors(**less)
            error = worker.error(data, meta)
            self.assertEqual((error["code"], error["message"]), ("input", f"input '{drop}' is missing"))
        self.assertIn("not one piece of bytes", worker.error(b"x")["message"])

    def test_no_input(self):
        worker = self.worker("@mer.model\ndef predict() -> str: return 'hello'")
        self.assertEqual(worker.result(b"", {}).body, b"hello")
        self.assertEqual(worker.result(b"", {"inputs": []}).body, b"hello")
        self.assertEqual(worker.error(b"x")["code"], "input")

    def test_inputs_belong_to_their_request(self):
        worker = self.worker("kept = []\n@mer.model\ndef predict(x: memoryview):\n    x[0] = 255\n"
                             "    kept.append(x)\n    return bytes(kept[0][:2])")
        for size in (100, 300_000):
            for letter in (b"a", b"b", b"c", b"d"):
                self.assertEqual(worker.result(letter * size).body, b"\xffa")

    def test_contract(self):
        worker = self.worker("""
            from typing import Annotated
            @mer.model
            def predict(x: Annotated[mer.Tensor, mer.Spec("FP32", [-1, 2])], n: str) -> Annotated[
                    dict, mer.Spec("FP32", [-1], name="y"), mer.Spec("BYTES", [1], name="z")]:
                if n == "wrong":
                    return {"y": x, "z": n}
                if n == "less":
                    return {"z": n}
                return {"y": mer.Tensor.of([sum(row) for row in x.tolist()]), "z": n}""")
        self.assertEqual(worker.ready["inputs"], [
            {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "n", "datatype": "BYTES", "shape": [1]}])
        self.assertEqual(worker.ready["outputs"], [
            {"name": "y", "datatype": "FP32", "shape": [-1]},
            {"name": "z", "datatype": "BYTES", "shape": [1]}])

        def given(x, n=b"n"):
            return reversed(tensors(x=x, n=("BYTES", [1], struct.pack("<I", len(n)) + n)))
        good = ("FP32", [1, 2], struct.pack("<2f", 1, 2))
        self.assertEqual(worker.result(*given(good)).body, struct.pack("<f", 3) + b"\1\0\0\0n")
        for x in (("FP64", [1, 2], bytes(16)), ("FP32", [2], bytes(8)), ("FP32", [2, 1], bytes(8)),
                  ("FP32", [1, 1, 2], bytes(8))):
            error = worker.error(*given(x))
            self.assertEqual((error["code"], error["message"]), (
                "input", f"input 'x' is {x[0]} {x[1]}, the model takes FP32 [-1, 2]"))
        for n in (b"wrong", b"less"):
            error = worker.error(*given(good, n))
            self.assertEqual(error["code"], "model")
            self.assertIn("contract", error["message"])
        self.assertEqual(worker.drain(), 0)

    def test_announced_contracts(self):
        of_bytes = [{"name": "x", "datatype": "BYTES", "shape": [1]}]
        for text, inputs, outputs in (
                ("def predict(x: str) -> bytes: ...", of_bytes, [{**of_bytes[0], "name": "output"}]),
                ("def predict(x: mer.Tensor) -> mer.Tensor: ...", None, None),
                ("def predict(x: bytes, y: mer.Tensor): ...", None, None),
                ("def predict(): ...", [], None)):
            with self.subTest(text=text), Worker("@mer.model\n" + text) as worker:
                self.assertEqual(worker.ready.get("inputs"), inputs)
                self.assertEqual(worker.ready.get("outputs"), outputs)

    def test_bad_inputs_are_errors_of_their_request(self):
        worker = self.worker("@mer.model\ndef predict(x: str): return x")
        good = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}}
        rows = [(b"\xff", BYTES), (b"a", {"content": "pickle"}), (b"", {"content": 1}),
                (b"", {"inputs": {}}), (b"", {"inputs": [1]}), (b"", {}),
                (bytes(4), {"inputs": [{**good, "name": 1}]}), (bytes(4), {"inputs": [{**good, "shape": 1}]}),
                (bytes(4), {"inputs": [{**good, "shape": [-1]}]}), (bytes(4), {"inputs": [{**good, "shape": [True]}]}),
                (bytes(4), {"inputs": [{**good, "datatype": "FP31"}]}), (bytes(4), {"inputs": [{**good, "datatype": 1}]}),
                (bytes(4), {"inputs": [{**good, "parameters": {}}]}), (bytes(8), {"inputs": [good, good]}),
                (bytes(4), {"inputs": [{**good, "datatype": "FP32"}]}),
                (bytes(8), {"inputs": [{**good, "shape": [2], "parameters": {"binary_data_size": 8}}]}),
                (b"a", {**BYTES, "deadline_ms": "x"}), (b"a", {**BYTES, "parameters": []})]
        for data, meta in rows:
            with self.subTest(meta=meta):
                error = worker.error(data, meta)
                self.assertEqual(error["code"], "input")
                self.assertNotIn("traceback", error)
                self.assertNotIn("\n", error["message"])
        self.assertEqual(worker.result(b"still here").body, b"still here")

    def test_numbers_that_are_none(self):
        for kind, words in (("int", [b"", b"1.5", b"1_0", b"x", b"\xff"]), ("float", [b"", b"1_0", b"a"]),
                            ("bool", [b"1", b"True", b""])):
            with Worker(f"@mer.model\ndef predict(x: {kind}): return x") as worker:
                for word in words:
                    self.assertEqual(worker.error(word)["code"], "input", (kind, word))

    def test_outputs_that_are_none(self):
        for value in ("None", "object()", "{'a': None}", "[1]", "float('nan')", "'\\ud800'", "{1: b'a'}"):
            with self.subTest(value=value):
                with Worker(f"@mer.model\ndef predict(x: bytes): return {value}") as worker:
                    self.assertEqual(worker.error(b"")["code"], "model")
                    worker.ping()

    def test_functions_that_do_not_say_what_they_take(self):
        for text, why in (("def predict(x): ...", "needs an annotation"),
                          ("def predict(x: list): ...", "none of"),
                          ("def predict(x: bytes = b''): ...", "default"),
                          ("def predict(*x: bytes): ...", "no fixed place"),
                          ("def predict(*, x: bytes): ...", "no fixed place"),
                          ("def predict(x: 'nothing'): ...", "nothing")):
            with self.subTest(text=text):
                with Worker("@mer.model\n" + text, ready=False) as worker:
                    self.assertEqual(worker.process.wait(DEADLINE_S), 1)
                    self.assertIn(why, worker.log())

    def test_callables(self):
        for text in ("class A:\n    def predict(self, x: str) -> str: return x\nmer.model(A().predict)",
                     "class A:\n    def __call__(self, x: str) -> str: return x\nmer.model(A())",
                     "import functools\ndef w(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n"
                     "    return g\n@mer.model\n@w\ndef predict(x: str) -> str: return x",
                     "class A:\n    async def __call__(self, x: str) -> str: return x\nmer.model(A())"):
            with self.subTest(text=text), Worker(text) as worker:
                self.assertEqual(worker.ready["inputs"][0]["datatype"], "BYTES")
                self.assertEqual(worker.result(b"a").body, b"a")

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_numpy(self):
        worker = self.worker("""
            import numpy as np, numpy.typing as npt
            from typing import Annotated
            @mer.model
            def predict(x: np.ndarray, y: Annotated[npt.NDArray[np.float32], mer.Spec("FP32", [2])]):
                x += 1
                return {"sum": x + y, "t": np.float64(0.5), "n": np.arange(3)[::-1]}""")
        meta, data = tensors(x=("FP32", [2], struct.pack("<2f", 1, 2)),
                             y=("FP32", [2], struct.pack("<2f", 10, 20)))
        frame = worker.result(data, meta)
        self.assertEqual(frame.body, struct.pack("<2fd3q", 12, 23, 0.5, 2, 1, 0))
        self.assertEqual([o["shape"] for o in frame.meta["outputs"]], [[2], [], [3]])


class Life(Case):
    def test_ready(self):
        worker = self.worker("@mer.model(name='echo', concurrency=3, max_body=1000)\n"
                             "def predict(x: bytes): return x")
        ready = worker.ready
        self.assertEqual((ready["version"], ready["name"], ready["concurrency"], ready["max_body"],
                          ready["train"]), (1, "echo", 3, 1000, False))
        self.assertRegex(ready["sdk"], r"\Amer-python \d+\.\d+\.\d+\Z")
        self.assertRegex(ready["runtime"], r"\A\w+ 3\.\d+\.\d+")

    def test_load_before_ready_with_the_weights(self):
        worker = self.worker(ready=False, text="""
            @mer.load
            def load(weights):
                mer.log(f"loading {weights}")
                mer.progress(1, 2)
            @mer.model
            def predict(): return f"{mer.weights()} {mer.weights_version()}" """)
        worker.send(HELLO, 0, {"versions": [7, 1], "max_body": 99, "weights": "/w", "weights_version": "3"})
        frames = worker.until(READY)
        self.assertEqual([f.kind for f in frames], [LOG, PROGRESS, READY])
        self.assertEqual((frames[0].ident, frames[0].meta), (0, {"level": "info", "message": "loading /w"}))
        self.assertEqual(worker.result(b"", {}).body, b"/w 3")

    def test_load_without_weights_or_parameter_or_async(self):
        for how in ("def load(): global a; a = 'x'", "def load(weights): global a; a = str(weights)",
                    "async def load(weights): global a; a = str(weights)"):
            for kind in ("def", "async def"):
                with self.subTest(how=how, kind=kind):
                    with Worker(f"@mer.load\n{how}\n@mer.model\n{kind} predict(): return a") as worker:
                        self.assertIn(worker.result(b"", {}).body, (b"x", b"None"))

    def test_load_fails(self):
        for kind in ("def", "async def"):
            worker = self.worker(f"@mer.load\n{kind} load():\n    raise OSError('no such weights')\n"
                                 f"@mer.model\n{kind} predict(x: str): return x", ready=False)
            worker.send(HELLO, 0, {"versions": [1]})
            frame = worker.receive()
            self.assertEqual((frame.kind, frame.ident, frame.meta["code"], frame.meta["message"]),
                             (ERROR, 0, "load", "OSError: no such weights"))
            self.assertIn("in load", frame.meta["traceback"])
            self.assertEqual(worker.process.wait(DEADLINE_S), 1)

    def test_no_common_version(self):
        worker = self.worker(ECHO, ready=False)
        worker.send(HELLO, 0, {"versions": [2, 3]})
        self.assertEqual(worker.receive().meta["code"], "version")
        self.assertEqual(worker.process.wait(DEADLINE_S), 1)

    def test_ping_while_it_loads(self):
        worker = self.worker("import os\n@mer.load\ndef load(w):\n    open(w).read()\n" + ECHO, ready=False)
        gate = os.path.join(worker.folder, "gate")
        os.mkfifo(gate)
        worker.send(HELLO, 0, {"versions": [1], "weights": gate})
        worker.ping()
        with open(gate, "w", encoding="ascii"):
            pass
        self.assertEqual(worker.receive().kind, READY)

    def test_drain_answers_what_is_open(self):
        for kind in KINDS:
            with self.kind(kind, "return x") as worker:
                n = worker.ready["concurrency"]
                worker.socket.sendall(b"".join(pack(INFER, i + 1, BYTES, b"a") for i in range(n)) + pack(DRAIN))
                last = [worker.receive() for _ in range(n * (2 if "stream" in kind else 1))]
                self.assertEqual({f.ident for f in last}, set(range(1, n + 1)))
                self.assertEqual(worker.socket.recv(1), b"")
                self.assertEqual(worker.process.wait(DEADLINE_S), 0)

    def test_end_of_file(self):
        for kind in KINDS:
            with self.kind(kind, "return x") as worker:
                worker.result(b"a")
                worker.socket.close()
                self.assertEqual(worker.process.wait(DEADLINE_S), 0)

    def test_end_of_file_in_mid_frame(self):
        data = pack(INFER, 1, BYTES, b"hello" * 20000)
        for cut in (1, 31, 32, 40, 60, 70000):
            with self.subTest(cut=cut), Worker(ECHO) as worker:
                worker.socket.sendall(data[:cut])
                worker.socket.close()
                self.assertEqual(worker.process.wait(DEADLINE_S), 0)

    def test_end_of_file_while_it_computes(self):
        for kind in KINDS:
            with self.kind(kind, "(mer.log('begun'), __import__('time').sleep(600))") as worker:
                worker.ask(b"a")
                worker.until(LOG)
                worker.socket.close()
                worker.process.wait(DEADLINE_S)

    def test_broken_frames(self):
        rows = [b"NERF" + bytes(28), b"MERF\2\3" + bytes(26), pack(200), pack(READY), pack(HELLO, 0, {"versions": [1]}),
                pack(INFER, 0, BYTES), pack(INFER, 1, b"[]"), pack(INFER, 1, b"{"), pack(PING, 0, {"a": "x" * 64}),
                pack(PING, 0, None, b"x" * 65), pack(INFER, 1, tensors(x=("FP32", [2], bytes(8)))[0], bytes(7)),
                pack(INFER, 1, tensors(x=("FP32", [2], bytes(9)))[0], bytes(9)),
                pack(INFER, 1, tensors(x=("BYTES", [2], bytes(5)))[0], bytes(5)),
                HEADER.pack(b"MERF", 1, INFER, 0, 1, 0, 0, 1 << 63), HEADER.pack(b"MERF", 1, INFER, 0, 1, 1 << 21, 0, 0),
                pack(INFER, 5, BYTES) * 99 + pack(INFER, 5, BYTES)]
        for kind in ("direct", "async", "pool"):
            for data in rows[:-1] if kind == "direct" else rows[:4]:
                with self.subTest(kind=kind, data=data[:80]):
                    body = KINDS[kind].replace("bytes", "mer.Tensor").replace("work(x)", "x")
                    with Worker(body, log=None) as worker:
                        worker.socket.sendall(data)
                        frame = worker.receive()
                        self.assertEqual((frame.kind, frame.ident, frame.meta["code"]), (ERROR, 0, "protocol"))
                        self.assertEqual(worker.socket.recv(1), b"")
                        self.assertEqual(worker.process.wait(DEADLINE_S), 1)
                        self.assertIn("mer: ", worker.log())

    def test_broken_while_it_computes(self):
        worker = self.worker(model("direct", "(mer.log('begun'), __import__('time').sleep(600))"))
        worker.ask(b"a")
        worker.until(LOG)
        worker.socket.sendall(b"rubbish" * 9)
        frame = worker.receive()
        self.assertEqual(frame.meta["code"], "protocol")
        self.assertEqual(worker.socket.recv(1), b"")
        self.assertEqual(worker.process.wait(DEADLINE_S), 1)

    def test_more_requests_than_promised(self):
        worker = self.worker(model("direct", "(mer.log('begun'), __import__('time').sleep(600))"))
        worker.ask(b"a")
        worker.until(LOG)
        worker.ask(b"b")
        self.assertEqual(worker.receive().meta["code"], "protocol")

    def test_told_of_its_own_fault(self):
        worker = self.worker(ECHO)
        worker.send(ERROR, 0, {"code": "protocol", "message": "you have broken it"})
        self.assertEqual(worker.process.wait(DEADLINE_S), 1)
        self.assertIn("MER says: protocol: you have broken it", worker.log())

    def test_child_processes_have_no_part_in_the_connection(self):
        worker = self.worker("import os, time\n@mer.load\ndef load():\n    global child\n    child = os.fork()\n"
                             "    if child == 0:\n        time.sleep(600)\n@mer.model\ndef predict(): return child")
        worker.result(b"", {})
        worker.process.kill()
        self.assertEqual(worker.socket.recv(1), b"")

    def test_environment_and_descriptors(self):
        worker = self.worker("import os, subprocess\n@mer.model\ndef predict() -> str:\n"
                             "    ls = subprocess.run(['ls', '/proc/self/fd'], capture_output=True, close_fds=False)\n"
                             "    return f\"{'MER_FRAME_FD' in os.environ} {ls.stdout.split()}\"")
        self.assertEqual(worker.result(b"", {}).body, b"False [b'0', b'1', b'2', b'3']")

    def test_at_a_terminal(self):
        import pty
        leader, follower = pty.openpty()
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "m.py")
                path.write_text("import mer\n" + ECHO + "\nmer.serve()\n", encoding="ascii")
                done = subprocess.run([sys.executable, path], stdin=follower, env=ENV, capture_output=True,
                                      timeout=DEADLINE_S)
        finally:
            os.close(leader)
            os.close(follower)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"mer model add", done.stderr)

    def test_starts_without_what_costs_time(self):
        heavy = {"json", "typing", "inspect", "asyncio", "threading", "socket", "traceback", "re", "enum"}
        worker = self.worker("import sys\n@mer.model\ndef predict() -> str: return ' '.join(sys.modules)")
        names = worker.result(b"", {}).body.decode().split()
        bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], env=ENV, text=True,
                              capture_output=True, check=True).stdout.split()
        self.assertEqual(heavy & set(names) - set(bare), set())


class Running(Case):
    def test_many_requests(self):
        for kind in KINDS:
            with self.kind(kind, "return x[::-1]") as worker:
                for i in range(300):
                    self.assertEqual(joined(worker.answer(b"%d." % i)), (b"%d." % i)[::-1])
                self.assertEqual(worker.drain(), 0)

    def test_exceptions(self):
        for kind in KINDS:
            with self.kind(kind, "raise ValueError('first line\\nsecond')") as worker:
                for _ in range(2):
                    error = worker.error(b"x")
                    self.assertEqual((error["code"], error["message"]), ("model", "ValueError: first line second"))
                    self.assertIn("in work", error["traceback"])
                    self.assertIn("raise ValueError", error["traceback"])
                    self.assertNotIn("mer/_", error["traceback"])
                worker.ping()

    def test_input_error_of_the_model(self):
        for kind in KINDS:
            with self.kind(kind, "raise mer.InputError('no such flower')") as worker:
                self.assertEqual(worker.error(b"x"), {"code": "input", "message": "no such flower"})

    def test_huge_and_hostile_exceptions(self):
        rows = ["raise ValueError('\\U0001F600\\ud800\\0' * 5000000)", "f = lambda: f()\n    f()",
                "raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})()",
                "raise type('E' * 200000, (Exception,), {})()", "assert False"]
        for row in rows:
            for kind in ("direct", "async"):
                with self.subTest(row=row, kind=kind), Worker(model(kind, row)) as worker:
                    error = worker.error(b"x")
                    self.assertEqual(error["code"], "model")
                    self.assertLessEqual(len(json.dumps(error)), MIB)
                    worker.ping()

    def test_sys_exit(self):
        for kind in ("direct", "pool", "async", "batch"):
            with self.subTest(kind=kind), Worker(model(kind, "raise SystemExit(3)")) as worker:
                self.assertEqual(worker.error(b"x")["message"], "SystemExit: 3")
                self.assertNotEqual(worker.process.wait(DEADLINE_S), 0)

    def test_log_and_progress(self):
        body = "mer.log('a', level='warn'), mer.progress(1), mer.progress(2, 4, 'half'); return b''"
        for kind in ("direct", "pool", "async", "stream", "async stream"):
            with self.kind(kind, body) as worker:
                frames = worker.answer(b"")[:3]
                self.assertEqual([(f.kind, f.ident, f.meta) for f in frames], [
                    (LOG, 1, {"level": "warn", "message": "a"}), (PROGRESS, 1, {"done": 1}),
                    (PROGRESS, 1, {"done": 2, "total": 4, "message": "half"})])

    def test_log_of_side_threads(self):
        worker = self.worker("import threading\ngo = threading.Event()\n"
                             "def later(context):\n    go.wait()\n    context.run(mer.log, 'late')\n"
                             "    context.run(mer.progress, 1)\n    mer.log('other')\n"
                             "@mer.model\ndef predict(x: str):\n    import contextvars\n"
                             "    if x == 'go': go.set()\n"
                             "    else: threading.Thread(target=later, args=[contextvars.copy_context()]).start()\n"
                             "    return x")
        worker.result(b"a")
        ident = worker.ask(b"go")
        frames = [worker.receive() for _ in range(3)]
        self.assertEqual(sorted((f.kind, f.ident, f.meta.get("message", "")) for f in frames),
                         sorted([(LOG, 0, "late"), (LOG, 0, "other"), (RESULT, ident, "")]))

    def test_log_without_mer(self):
        done = subprocess.run([sys.executable, "-c", "import mer; mer.log('x', 'warn'); mer.progress(1); "
                               "print(mer.cancelled(), mer.remaining(), mer.parameters(), mer.weights())"],
                              env=ENV, capture_output=True, text=True, check=True)
        self.assertEqual((done.stdout, done.stderr), ("False None {} None\n", "warn: x\n"))

    def test_prints_are_log(self):
        text = ("import os, ctypes\nprint('at import')\n" +
                model("direct", "print('of python'); os.write(1, b'of fd 1\\n'); "
                      "ctypes.CDLL(None).puts(b'of C'); ctypes.CDLL(None).fflush(None); return input_of()") +
                "\ndef input_of():\n    import sys\n    return sys.stdin.read().encode() + b'empty'")
        for stdio in (False, True):
            with self.subTest(stdio=stdio):
                argv = [sys.executable, "-m", "mer", "serve", "FILE"] if stdio else None
                with Worker(text, stdio=stdio, argv=argv) as worker:
                    self.assertEqual(worker.result(b"").body, b"empty")
                    self.assertEqual(worker.log(), "at import\nof python\nof fd 1\nof C\n")
                    self.assertEqual(worker.drain(), 0)

    def test_parameters(self):
        worker = self.worker("@mer.model\ndef predict() -> str: return str(mer.parameters())")
        self.assertEqual(worker.result(b"", {"parameters": {"a": 1}}).body, b"{'a': 1}")
        self.assertEqual(worker.result(b"", {}).body, b"{}")

    def test_stream(self):
        for kind in ("stream", "async stream"):
            text = KINDS[kind].replace("yield work(x)", "\n    for i in range(int(x)):\n        yield b'%d' % i")
            with self.subTest(kind=kind), Worker(text) as worker:
                for count in (0, 1, 5):
                    frames = worker.answer(b"%d" % count)
                    self.assertEqual([(f.flags, f.meta, f.body) for f in frames],
                                     [(MORE, BYTES, b"%d" % i) for i in range(count)] + [(0, {}, b"")])

    def test_stream_fails_in_the_middle(self):
        worker = self.worker("@mer.model\ndef predict(x: str):\n    yield x\n    raise ValueError('over')")
        frames = worker.answer(b"a")
        self.assertEqual([f.kind for f in frames], [RESULT, ERROR])

    def test_ping_while_it_computes(self):
        for kind in KINDS:
            with self.kind(kind, "mer.log('begun'); return open(x).read().encode()") as worker:
                gate = os.path.join(worker.folder, "gate")
                os.mkfifo(gate)
                ident = worker.ask(gate.encode())
                worker.until(LOG)
                for _ in range(3):
                    worker.ping()
                with open(gate, "w", encoding="ascii") as file:
                    file.write("through")
                self.assertIn(b"through", joined(worker.until(RESULT, ident)))
                worker.answer(b"/dev/null")

    def test_requests_side_by_side(self):
        texts = {"pool": "import threading\nall = threading.Barrier(4)\n" + model("pool", "all.wait(); return x"),
                 "async": "import asyncio\nn = 0\n@mer.model(concurrency=4)\nasync def predict(x: bytes) -> bytes:\n"
                          "    global n\n    n += 1\n    while n < 4: await asyncio.sleep(0)\n    return x"}
        for kind, text in texts.items():
            with self.subTest(kind=kind), Worker(text) as worker:
                for i in range(4):
                    worker.ask(b"%d" % i)
                answers = [worker.receive() for _ in range(4)]
                self.assertEqual({f.ident: f.body for f in answers}, {i + 1: b"%d" % i for i in range(4)})

    def test_answers_out_of_order(self):
        worker = self.worker("import asyncio\n@mer.load\nasync def load():\n    global later\n    later = asyncio.Event()\n"
                             "@mer.model\nasync def predict(x: str):\n"
                             "    if x == 'wait': await later.wait()\n    later.set()\n    return x")
        first, second = worker.ask(b"wait"), worker.ask(b"now")
        self.assertEqual([worker.receive().ident for _ in range(2)], [second, first])

    def test_results_while_nobody_reads(self):
        for kind in ("pool", "async", "batch"):
            with self.kind(kind, "return x") as worker:
                body = os.urandom(2 * MIB)
                for _ in range(4):
                    worker.ask(body)  # more than the sockets hold; would wait for ever if it did not read on
                worker.send(PING, 0, {"p": 1})
                found = [worker.receive() for _ in range(5)]
                self.assertEqual(sum(f.body == body for f in found), 4)

    def test_deadline(self):
        for kind in KINDS:
            with self.kind(kind, "return x") as worker:
                self.assertEqual(worker.error(b"", {**BYTES, "deadline_ms": 0})["code"], "deadline")
                self.assertEqual(joined(worker.answer(b"a", {**BYTES, "deadline_ms": 60000})), b"a")

    def test_deadline_while_it_runs(self):
        texts = ["import time\n@mer.model\ndef predict(x: str):\n    while True:\n        yield x\n        time.sleep(0.001)",
                 "import asyncio\n@mer.model\nasync def predict(x: str): await asyncio.sleep(600)",
                 "import time\n@mer.model\ndef predict(x: str):\n    while not mer.cancelled(): time.sleep(0.001)\n"
                 "    assert mer.remaining() == 0\n    raise mer.Cancelled"]
        for text in texts:
            with self.subTest(text=text), Worker(text) as worker:
                self.assertEqual(worker.error(b"a", {**BYTES, "deadline_ms": 50})["code"], "deadline")

    def test_cancel(self):
        texts = {"plain": "import time\n@mer.model\ndef predict(x: str):\n    mer.log('begun')\n"
                          "    while not mer.cancelled(): time.sleep(0.001)\n    raise mer.Cancelled",
                 "pool": "import time\n@mer.model(concurrency=2)\ndef predict(x: str):\n    mer.log('begun')\n"
                         "    while not mer.cancelled(): time.sleep(0.001)\n    raise mer.Cancelled",
                 "stream": "import time\n@mer.model\ndef predict(x: str):\n    mer.log('begun')\n    try:\n"
                           "        while True:\n            yield x\n            time.sleep(0.001)\n"
                           "    finally: mer.log('closed')",
                 "async": "import asyncio\n@mer.model\nasync def predict(x: str):\n    mer.log('begun')\n    try:\n"
                          "        await asyncio.sleep(600)\n    finally: mer.log('closed')",
                 "async stream": "import asyncio\n@mer.model\nasync def predict(x: str):\n    mer.log('begun')\n"
                                 "    while True:\n        yield x\n        await asyncio.sleep(0.001)"}
        for kind, text in texts.items():
            with self.subTest(kind=kind), Worker(text) as worker:
                for _ in range(3):
                    ident = worker.ask(b"a")
                    while worker.receive().kind != LOG:
                        pass
                    worker.send(CANCEL, ident)
                    while (frame := worker.receive()).kind != ERROR:
                        pass
                    self.assertEqual((frame.ident, frame.meta["code"]), (ident, "cancelled"))
                worker.send(CANCEL, ident)  # has crossed the answer
                worker.ping()

    def test_result_that_was_faster_than_cancel(self):
        worker = self.worker("import time\n@mer.model\ndef predict(x: str):\n    mer.log('begun')\n"
                             "    while not mer.cancelled(): time.sleep(0.001)\n    return x")
        ident = worker.ask(b"a")
        worker.until(LOG)
        worker.send(CANCEL, ident)
        self.assertEqual(worker.receive().body, b"a")

    def test_cancel_races(self):
        draw = random.Random(10)
        for kind in KINDS:
            with self.kind(kind, "return x") as worker:
                many = worker.ready["concurrency"]
                for _ in range(60):
                    idents = range(worker.next_id, worker.next_id + draw.randint(1, many))
                    worker.next_id = idents.stop
                    data = [pack(INFER, i, BYTES, b"a") for i in idents]
                    for ident in idents:
                        data.insert(draw.randint(data.index(pack(INFER, ident, BYTES, b"a")) + 1, len(data)),
                                    pack(CANCEL, ident))
                    worker.socket.sendall(b"".join(data))
                    left = set(idents)
                    while left:
                        frame = worker.receive()
                        self.assertIn(frame.ident, left)
                        if frame.kind == ERROR:
                            self.assertEqual(frame.meta["code"], "cancelled")
                        if frame.kind == ERROR or frame.kind == RESULT and not frame.flags & MORE:
                            left.remove(frame.ident)
                worker.ping()
                self.assertEqual(worker.drain(), 0)

    def test_train(self):
        for kind in ("def", "async def"):
            for served in ("def", "async def"):
                with self.subTest(kind=kind, served=served), Worker(f"""
@mer.train
{kind} train(job: mer.Train):
    mer.progress(1, 2)
    if job.dataset == "bad":
        raise ValueError("no such dataset")
    with open(job.new_weights, "w") as file:
        file.write(f"{{job.dataset}} {{job.new_version}} {{job.old_weights}} {{job.parameters}}")
    return {{"accuracy": 0.5, "rows": 7}}
@mer.model
{served} predict(x: str): return x""") as worker:
                    self.assertTrue(worker.ready["train"])
                    path = os.path.join(worker.folder, "2.json")
                    job = {"dataset": "d.csv", "new_weights": path, "new_version": "2", "old_weights": "",
                           "old_version": "", "parameters": {"a": 1}}
                    frames = worker.answer(b"", job, kind=TRAIN)
                    self.assertEqual([f.kind for f in frames], [PROGRESS, RESULT])
                    self.assertEqual(frames[1].meta, {"metrics": {"accuracy": 0.5, "rows": 7}})
                    self.assertEqual(Path(path).read_text(encoding="ascii"), "d.csv 2  {'a': 1}")
                    error = worker.error(b"", {**job, "dataset": "bad"}, kind=TRAIN)
                    self.assertEqual((error["code"], error["message"]), ("model", "ValueError: no such dataset"))
                    self.assertEqual(worker.error(b"", {}, kind=TRAIN)["code"], "input")
                    worker.result(b"a")

    def test_train_that_is_not_there_or_gives_no_numbers(self):
        with Worker(ECHO) as worker:
            self.assertEqual(worker.error(b"", {"dataset": "a", "new_weights": "b"}, kind=TRAIN)["code"], "unsupported")
        for value, code in (("None", None), ("[1]", "model"), ("{'a': 'x'}", "model"), ("{'a': float('nan')}", "model")):
            with Worker(f"@mer.train\ndef train(job): return {value}\n" + ECHO) as worker:
                frame = worker.answer(b"", {"dataset": "a", "new_weights": "b"}, kind=TRAIN)[-1]
                self.assertEqual(frame.meta.get("code"), code)


class Batches(Case):
    text = """
        from typing import List
        @mer.model(max_batch=4, max_wait=%s, concurrency=%d)
        def predict(x: List[str]) -> List[str]:
            if "fail" in x:
                raise ValueError("the whole batch")
            return [ValueError(i) if i == "bad" else f"{i} of {len(x)}" for i in x]"""

    def ask(self, worker, *bodies):
        worker.socket.sendall(b"".join(
            pack(INFER, i + 1, meta, body) for i, (meta, body) in enumerate(bodies)))
        return sorted((f.ident, f.body.decode() or f.meta["message"])
                      for f in (worker.receive() for _ in bodies))

    def test_full_batches_do_not_wait(self):
        worker = self.worker(self.text % (600, 8))
        self.assertEqual(worker.ready["max_batch"], 4)
        got = self.ask(worker, *[(BYTES, b"%d" % i) for i in range(8)])
        self.assertEqual([text for _, text in got], [f"{i} of 4" for i in range(8)])

    def test_nobody_waits_for_what_cannot_come(self):
        worker = self.worker(self.text % (600, 4))
        got = self.ask(worker, *[(BYTES, b"%d" % i) for i in range(4)])
        self.assertEqual([text for _, text in got], [f"{i} of 4" for i in range(4)])

    def test_the_first_one_waits_no_longer_than_told(self):
        worker = self.worker(self.text % (0.001, 8))
        self.assertEqual(self.ask(worker, (BYTES, b"a")), [(1, "a of 1")])

    def test_errors_of_one_and_of_all(self):
        worker = self.worker(self.text % (600, 4))
        got = self.ask(worker, (BYTES, b"a"), (BYTES, b"bad"), (BYTES, b"\xff"), (BYTES, b"b"))
        self.assertEqual([text for _, text in got],
                         ["a of 3", "ValueError: bad", "the input is no UTF-8 at byte 0", "b of 3"])
        worker = self.worker(self.text % (600, 4))
        got = self.ask(worker, (BYTES, b"a"), (BYTES, b"fail"), (BYTES, b"b"), (BYTES, b"c"))
        self.assertEqual({text for _, text in got}, {"ValueError: the whole batch"})

    def test_parameters_are_equal_within_a_batch(self):
        worker = self.worker("from typing import List\n@mer.model(max_batch=4, concurrency=4)\n"
                             "def predict(x: List[str]) -> List[str]:\n"
                             "    return [f'{len(x)} {mer.parameters()}'] * len(x)")
        other = {**BYTES, "parameters": {"a": 1}}
        got = self.ask(worker, (BYTES, b""), (BYTES, b""), (other, b""), (other, b""))
        self.assertEqual([text for _, text in got], ["2 {}", "2 {}", "2 {'a': 1}", "2 {'a': 1}"])

    def test_wrong_number_of_answers(self):
        for value in ("[]", "None", "x + x", "5"):
            with self.subTest(value=value), Worker(
                    "from typing import List\n@mer.model(max_batch=2)\n"
                    f"def predict(x: List[str]) -> List[str]: return {value}") as worker:
                self.assertEqual(worker.error(b"a")["code"], "model")

    def test_several_inputs(self):
        worker = self.worker("from typing import List\n@mer.model(max_batch=2, max_wait=600, concurrency=2)\n"
                             "def predict(a: List[mer.Tensor], b: List[str]) -> List[str]:\n"
                             "    return [f'{x.tolist()} {y}' for x, y in zip(a, b)]")
        meta, body = tensors(a=("INT8", [1], b"\1"), b=("BYTES", [1], b"\1\0\0\0x"))
        self.assertEqual(self.ask(worker, (meta, body), (meta, body)), [(1, "[1] x"), (2, "[1] x")])

    def test_refused(self):
        for text in ("@mer.model(max_batch=2)\ndef predict(x: str): ...",
                     "@mer.model(max_batch=2)\ndef predict(): ...",
                     "from typing import List\n@mer.model(max_batch=2)\nasync def predict(x: List[str]): ...",
                     "from typing import List\n@mer.model(max_batch=8, concurrency=4)\ndef predict(x: List[str]): ...",
                     "@mer.model(concurrency=-1)\ndef predict(): ..."):
            with self.subTest(text=text), Worker(text, ready=False) as worker:
                self.assertEqual(worker.process.wait(DEADLINE_S), 1)

    def test_cancel_of_one_that_waits_behind_a_batch(self):
        worker = self.worker("from typing import List\n@mer.model(max_batch=2)\n"
                             "def predict(x: List[str]) -> List[str]:\n    mer.log('begun')\n    open(x[0]).read()\n"
                             "    return x")
        gate = os.path.join(worker.folder, "gate")
        os.mkfifo(gate)
        first = worker.ask(gate.encode())
        worker.until(LOG)
        second = worker.ask(gate.encode())
        worker.send(CANCEL, second)
        frame = worker.receive()  # while the first one still computes
        self.assertEqual((frame.kind, frame.ident, frame.meta["code"]), (ERROR, second, "cancelled"))
        with open(gate, "w", encoding="ascii"):
            pass
        self.assertEqual(worker.receive().ident, first)


class Bodies(Case):
    def test_sizes(self):
        for kind in KINDS:
            with self.kind(kind, "return x") as worker:
                for size in (0, 1, 8191, 8192, 8193, 65535 - 51, 65536, 65537, MIB, 3 * MIB + 1):
                    body = os.urandom(size)
                    self.assertEqual(joined(worker.answer(body)) == body, True, size)

    def test_in_any_pieces(self):
        worker = self.worker(ECHO)
        data = pack(INFER, 1, BYTES, b"hello") + pack(200, 9, {"a": 1}, b"xyz", SKIP) + pack(PING, 0, {"b": 2})
        for i in range(len(data)):
            worker.socket.sendall(data[i:i + 1])
        self.assertEqual([worker.receive().body, worker.receive().flags], [b"hello", ANSWER])

    def test_tensor_of_1_mib(self):
        worker = self.worker("@mer.model\ndef predict(x: mer.Tensor) -> mer.Tensor: return x")
        for _ in range(20):
            meta, body = tensors(x=("FP32", [256, 1024], os.urandom(MIB)))
            self.assertTrue(worker.result(body, meta).body == body)

    def test_256_mib_without_a_copy(self):
        """One buffer, for input and output together."""
        worker = self.worker("@mer.model\ndef predict(x: mer.Tensor) -> mer.Tensor: return x")
        worker.result(*reversed(tensors(x=("UINT8", [1], b"a"))))
        before = worker.status("VmHWM")
        size = 256 * MIB
        meta = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [size],
                            "parameters": {"binary_data_size": size}}]}
        piece = os.urandom(MIB)
        raw = json.dumps(meta).encode()
        worker.socket.sendall(HEADER.pack(b"MERF", 1, INFER, 0, 9, len(raw), 0, size) + raw)
        for _ in range(256):
            worker.socket.sendall(piece)
        header = HEADER.unpack(worker.read(32))
        self.assertEqual((header[2], header[7]), (RESULT, size))
        worker.read(header[5])
        for _ in range(256):
            self.assertTrue(worker.read(MIB) == piece)
        self.assertLess(worker.status("VmHWM") - before, 256 * 1024 + FLAT_KIB)
        worker.ping()
        wait_for(lambda: worker.status("VmRSS") - before < FLAT_KIB, "the buffer is kept")

    def test_stream_of_256_mib_is_flat(self):
        worker = self.worker("@mer.model\ndef predict(x: bytes):\n    for _ in range(256): yield b'x' * (1 << 20)")
        worker.ask(b"")
        before, count = worker.status("VmHWM"), 0
        while worker.receive().flags & MORE:
            count += 1
        self.assertEqual(count, 256)
        self.assertLess(worker.status("VmHWM") - before, FLAT_KIB)

    def test_flood_of_logs_is_flat_and_waits(self):
        worker = self.worker("@mer.model\ndef predict(x: bytes):\n"
                             "    for i in range(20000): mer.log('x' * 2000)\n    return b''")
        worker.answer(b"")
        worker.ask(b"")
        self.assertLess(worker.status("VmHWM"), 64 * 1024)
        count = 0
        while worker.receive().kind == LOG:
            count += 1
        self.assertEqual(count, 20000)

    def test_flood_of_pings_is_flat(self):
        worker = self.worker(ECHO)
        before = worker.status("VmHWM")
        data = pack(PING, 0, {"a": 1}, b"x" * 64) * 1000
        for _ in range(30):
            worker.socket.sendall(data)
            for _ in range(1000):
                self.assertEqual(worker.receive().kind, PING)
        self.assertLess(worker.status("VmHWM") - before, FLAT_KIB)

    def test_flood_of_skipped_frames_is_flat(self):
        worker = self.worker(ECHO)
        before = worker.status("VmHWM")
        for _ in range(4):
            worker.socket.sendall(pack(99, 7, {"a": 1}, bytes(32 * MIB), SKIP))
        worker.ping()
        self.assertLess(worker.status("VmHWM") - before, FLAT_KIB)

    def test_memory_after_many_requests(self):
        for kind in ("direct", "pool", "async", "batch"):
            with self.kind(kind, "return x") as worker:
                for turn in range(3):
                    for i in range(1500):
                        worker.answer(b"x" * 1000, {**BYTES, "deadline_ms": 60000 + turn * 1500 + i})
                    if turn == 0:
                        before = worker.status("VmHWM")
                self.assertLess(worker.status("VmHWM") - before, 4 * 1024)

    def test_input_over_the_workers_limit(self):
        worker = self.worker("@mer.model(max_body=1000)\ndef predict(x: bytes): return x")
        self.assertEqual(worker.result(b"x" * 1000).body, b"x" * 1000)
        worker.ask(b"x" * 1001)
        self.assertEqual(worker.receive().meta["code"], "protocol")

    def test_output_over_the_limit_of_mer(self):
        worker = self.worker("@mer.model\ndef predict(x: bytes):\n    if x != b'parts': return x\n"
                             "    return (b'y' * n for n in (100, 101))", max_body=100)
        self.assertEqual(worker.result(b"x" * 100).body, b"x" * 100)
        error = worker.error(b"x" * 101)
        self.assertEqual((error["code"], error["message"]),
                         ("limit", "an answer of 101 bytes, over the limit of 100"))
        self.assertEqual([f.kind for f in worker.answer(b"parts")], [RESULT, ERROR])


class Installed(Case):
    @unittest.skipUnless(shutil.which("pip3") or subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0,
        "pip is not installed")
    def test_pip(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(PYTHON, Path(folder, "python"),
                            ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
            target = Path(folder, "target")
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation",
                 "--disable-pip-version-check", "--root-user-action=ignore", "--no-cache-dir",
                 "--target", target, Path(folder, "python")],
                capture_output=True, text=True, timeout=DEADLINE_S * 3, env={**ENV, "HOME": folder})
            if "BackendUnavailable" in done.stderr or "bdist_wheel" in done.stderr:
                self.skipTest("setuptools and wheel are not installed, or too old")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue((target / "mer" / "py.typed").exists())
            self.assertFalse((target / "tests").exists())
            done = subprocess.run([sys.executable, "-c", "import mer; print(mer.__file__)"], text=True,
                                  cwd=folder,  # not where there is another one
                                  env={**ENV, "PYTHONPATH": str(target)}, capture_output=True, check=True)
            self.assertTrue(done.stdout.startswith(str(target)))


if __name__ == "__main__":
    main("__main__")
