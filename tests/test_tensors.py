#!/usr/bin/python3
"""Tensors on the command line, on the programs as users get them: .npy files and JSON in, .npy files and
JSON out, contracts that are held and shown. What is said of .npy files is said byte by byte; with NumPy, where
it is installed, they are compared with what it makes of them.

MER_PREFIX names the installation, MER_MODELS its example models, MER_SOURCE the tree. Prints TAP when run as a
program."""
import hashlib
import json
import os
import struct
import sys
import unittest
from pathlib import Path

import test_faults
from test_faults import each
from test_frame import FRAMES

try:
    import numpy
except ImportError:
    numpy = None

MODELS = Path(os.environ["MER_MODELS"])
SOURCE = Path(os.environ["MER_SOURCE"])

# Answers with its inputs as its outputs, or what {answer} says of meta and body; "saw" is a file in its home
# once it has been given anything.
WORKER = """#!/usr/bin/python3 -uIS
{frames}
from pathlib import Path
home = Path(os.environ["HOME"])
(home / "ran").touch()
wire = Wire()
wire.ready({ready})
while True:
    kind, number, flags, meta, body = wire.next()
    if kind == DRAIN:
        break
    if kind != INFER:
        continue
    (home / "saw").write_text(json.dumps(meta))
{answer}
"""
ECHO = "wire.send(RESULT, number, {'outputs': meta['inputs']}, body)"
MAGIC = b"\x93NUMPY"


def takes(*inputs):
    """A contract of (name, datatype, shape)."""
    return [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in inputs]


def request(*inputs, **more):
    """A request of (name, datatype, shape, data)."""
    return json.dumps({**more, "inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}
                                          for name, datatype, shape, data in inputs]})


def tensor(name, datatype, shape, size):
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def npy(descr, shape, data, fortran=False, version=1):
    """The bytes of a file."""
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(MAGIC) + 2 * version + 2 + len(text) + 1) % 64) + b"\n"
    return MAGIC + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


# What a file holds, and what the tensor that is made of it is when it is written again.
FILES = {
    "bool": ("|b1", "(2,)", b"\1\0"),
    "uint8": ("|u1", "(3,)", b"\0\x7f\xff"),
    "uint16": ("<u2", "(1,)", b"\1\2"),
    "uint32": ("<u4", "(1,)", b"\1\2\3\4"),
    "uint64": ("<u8", "(1,)", b"\xff" * 8),
    "int8": ("|i1", "(1,)", b"\x80"),
    "int16": ("<i2", "(2, 1)", b"\1\2\3\4"),
    "int32": ("<i4", "(1,)", b"\1\2\3\4"),
    "int64": ("<i8", "()", b"\1\2\3\4\5\6\7\x88"),
    "fp16": ("<f2", "(1, 1, 1)", b"\0\x3c"),
    "fp32": ("<f4", "(2, 3)", struct.pack("<6f", *range(6))),
    "fp64": ("<f8", "(1,)", struct.pack("<d", 0.1)),
    "nan": ("<f4", "(2,)", struct.pack("<2f", float("nan"), float("inf"))),
    "strings": ("|S3", "(2,)", b"a\0\0abc"),
    "nothing": ("<f4", "(0, 3)", b""),
}
CHANGED = {
    "bf16": (npy("<V2", "(2,)", b"\x80\x3f\x49\xc0"), npy("<f4", "(2,)", b"\0\0\x80\x3f\0\0\x49\xc0")),
    "text": (npy("<U2", "(2,)", "ä€".encode("utf-32-le") + "x\0".encode("utf-32-le")),
             npy("|S5", "(2,)", "ä€".encode() + b"x\0\0\0\0")),
    "by_column": (npy("|u1", "(2, 3)", bytes([1, 4, 2, 5, 3, 6]), True), npy("|u1", "(2, 3)", bytes([1, 2, 3, 4, 5, 6]))),
    "big_endian": (npy(">i2", "(2,)", b"\1\2\3\4"), npy("<i2", "(2,)", b"\2\1\4\3")),
    "version_2": (npy("<f4", "(1,)", b"\0\0\x80\x3f", version=2), npy("<f4", "(1,)", b"\0\0\x80\x3f")),
}
BAD_FILES = {
    "no_npy": (b"1,2,3\n", "no .npy file"),
    "empty": (b"", "no .npy file"),
    "npz": (b"PK\3\4", "no .npy file"),
    "cut": (npy("<f4", "(2,)", b"\0" * 7), "cut off: it has 7 of 8 bytes"),
    "cut_header": (npy("<f4", "(2,)", b"")[:40], "cut off in its header"),
    "behind": (npy("<f4", "(2,)", b"\0" * 9), "1 bytes stand behind"),
    "complex": (npy("<c8", "(1,)", b"\0" * 8), "dtype '<c8'"),
    "objects": (npy("|O", "(1,)", b"\0" * 8), "dtype '.O'"),
    "huge": (npy("<f4", "(4294967296, 4294967296)", b""), "shape is too large"),
    "header": (MAGIC + b"\1\0\2\0{\n", "header is none"),
}
LITERALS = {
    "floats": ("x:FP32=[[1,2.5],[-3e-3,0.1]]", "FP32", [2, 2], [1.0, 2.5, -0.003, 0.1]),
    "doubles": ("x:FP64=[0.1]", "FP64", [1], [0.1]),
    "halves": ("x:FP16=[0.1,65504]", "FP16", [2], [0.1, 65504.0]),
    "brains": ("x:BF16=[3.14]", "BF16", [1], [3.14]),
    "whole": ("x:INT64=[9223372036854775807]", "INT64", [1], [9223372036854775807]),
    "large": ('x:UINT64=["18446744073709551615"]', "UINT64", [1], [18446744073709551615]),
    "scalar": ("x:UINT8=7", "UINT8", [], [7]),
    "bools": ("x:BOOL=[true,0]", "BOOL", [2], [True, False]),
    "strings": ('x:BYTES=["a\\"b","ä"]', "BYTES", [2], ['a"b', "ä"]),
    "none": ("x:FP32=[[],[]]", "FP32", [2, 0], []),
}
REFUSED_WORDS = {
    "no_value": ("x", "not NAME=VALUE: 'x'"),
    "no_name": ("=[1]", "not NAME=VALUE"),
    "no_json": ("x:FP32=hello", "--tensor x: it is not JSON"),
    "nan": ("x:FP32=[NaN]", "--tensor x: it is not JSON"),
    "cut": ("x:FP32=[1", "--tensor x: it is not JSON"),
    "no_file": ("x=@nothing.npy", "nothing.npy"),
    "folder": ("x=@/", "'/'"),
}
F22 = takes(("x", "FP32", [-1, 2]))
REJECTED = {
    "name": (F22, ["y=[[1,2]]"], "no such input: 'y'; the model takes x FP32 .-1,2."),
    "missing": (takes(("x", "FP32", [1]), ("y", "BYTES", [1])), ["x=[1]"],
                "no input 'y'; the model takes x FP32 .1., y BYTES .1."),
    "twice": (F22, ["x=[[1,2]]", "x=[[1,2]]"], "'x' is there twice"),
    "datatype": (F22, ["x:FP64=[[1,2]]"], "'x' is FP64 .1,2., the model takes FP32 .-1,2."),
    "shape": (F22, ["x=[[1,2,3]]"], "'x' is FP32 .1,3., the model takes FP32 .-1,2."),
    "rank": (F22, ["x=[1,2]"], "'x' is FP32 .2., the model takes FP32 .-1,2."),
    "ragged": (F22, ["x=[[1,2],[3]]"], r"'x': data\[1\]: 1 elements, not 2"),
    "range": (takes(("x", "INT8", [-1])), ["x=[1,128]"], r"'x': data\[1\]: 128 is out of the range of INT8"),
    "null": (F22, ["x=[[1,null]]"], r"'x': data\[0\]\[1\]: null is no FP32"),
    "datatype_unknown": (None, ["x=[1]"], "'x' has no datatype"),
    "no_datatype": (None, ["x:FP31=[1]"], "'x:FP31' has no datatype"),
}
REFUSED_REQUESTS = {
    "words": ("5.1,3.5", "not JSON.*the model takes tensors: x FP32 .-1,2."),
    "array": ("[[1,2]]", "no array of inputs"),
    "empty": ("", "not JSON"),
    "no_inputs": ('{"input": []}', "no array of inputs"),
    "too_large": (request(("x", "FP32", [1, 2], [1, 1e39])), "out of the range of FP32"),
    "nan": ('{"inputs":[{"name":"x","data":[[NaN,1]]}]}', "not JSON: line 1"),
}
ODD_ANSWERS = {
    "elements": ("{'outputs': [{'name': 'y', 'datatype': 'BYTES', 'shape': [1], 'parameters': "
                 "{'binary_data_size': 5}}]}, b'\\0\\0\\0\\0x'", "elements do not end"),
    "size": ("{'outputs': [{'name': 'y', 'datatype': 'FP32', 'shape': [2], 'parameters': "
             "{'binary_data_size': 4}}]}, b'1234'", "does not fit 2 elements"),
    "name": ("{'outputs': [{'datatype': 'FP32', 'shape': [2]}]}", "no name"),
}


class Tensors(test_faults.Case):
    def worker(self, inputs=None, answer=ECHO, name="m", **ready):
        if inputs is not None:
            ready["inputs"] = inputs
        words = ", ".join(f"{key}={value!r}" for key, value in ready.items())
        text = (WORKER.replace("{frames}", FRAMES).replace("{ready}", words)
                .replace("{answer}", "    " + answer))
        self.add(name, self.script(text, name), options=("--protocol", "frame"))

    def answer(self, *words, id=None, **options):
        """The outputs of a response by their names."""
        response = json.loads(self.mer("run", "m", *words, out=None, **options))
        self.assertEqual(response.pop("model_name"), "m")
        self.assertEqual(list(response), [*([] if id is None else ["id"]), "outputs"])
        self.assertEqual(response.get("id"), id)
        return {output.pop("name"): output for output in response["outputs"]}

    def file(self, name, data):
        path = self.top / name
        path.write_bytes(data)
        return path

    def refused(self, *words, says, code=2):
        """Nothing was given to the model."""
        self.mer(*words, code=code, says=says)
        self.assertFalse((self.home / "saw").exists())

    # --- files ---

    @each(FILES)
    def comes_back(self, descr, shape, data):
        self.worker()
        given, made = self.file("x.npy", npy(descr, shape, data)), self.top / "y.npy"
        self.mer("run", "m", "--tensor", f"x=@{given}", "-o", f"x=@{made}")
        self.assertEqual(made.read_bytes(), given.read_bytes())
        self.one_row("ok", bytes_in=self.rows()[0]["bytes_in"])

    @each(CHANGED)
    def file_changes(self, given, want):
        self.worker()
        given, made = self.file("x.npy", given), self.top / "y.npy"
        self.mer("run", "m", "--tensor", f"x=@{given}", "-o", f"x=@{made}")
        self.assertEqual(made.read_bytes(), want)

    @each(BAD_FILES)
    def bad_file(self, data, says):
        self.worker()
        self.file("x.npy", data)
        self.refused("run", "m", "--tensor", "x=@x.npy", says=f"--tensor x: 'x.npy': .*{says}")
        self.assertEqual(self.rows(), [])

    def test_large_file(self):
        data = os.urandom(16 << 20)
        self.worker()
        given, made = self.file("x.npy", npy("<i4", "(2048, 2048)", data)), self.top / "y.npy"
        self.mer("run", "m", "--tensor", f"x=@{given}", "-o", f"x=@{made}")
        self.assertTrue(made.read_bytes() == given.read_bytes())

    def test_file_is_the_datatype(self):
        self.worker()
        self.file("x.npy", npy("<f8", "(1,)", bytes(8)))
        self.refused("run", "m", "--tensor", "x:FP32=@x.npy", says="'x.npy' is FP64, not FP32")
        self.mer("run", "m", "--tensor", "x:FP64=@x.npy", "-o", "x=@y.npy")

    def test_several(self):
        self.worker(takes(("a", "FP32", [-1]), ("b:0", "BYTES", [1]), ("c", "INT64", [])))
        self.file("a.npy", npy("<f4", "(2,)", struct.pack("<2f", 1, 2)))
        got = self.answer("--tensor", "c=7", "--tensor", 'b:0=["text"]', "--tensor", "a=@a.npy")
        self.assertEqual(list(got), ["c", "b:0", "a"])
        self.assertEqual([one["data"] for one in got.values()], [[7], ["text"], [1.0, 2.0]])

    # --- JSON ---

    @each(LITERALS)
    def literal(self, word, datatype, shape, data):
        self.worker()
        got = self.answer("--tensor", word)
        self.assertEqual(got, {"x": {"datatype": datatype, "shape": shape, "data": data}})

    @each(REFUSED_WORDS)
    def refused_word(self, word, says):
        self.worker()
        self.refused("run", "m", "--tensor", word, says=says)
        self.assertEqual(self.rows(), [])

    @each(REJECTED)
    def rejected(self, contract, words, says):
        self.worker(contract)
        options = [part for word in words for part in ("--tensor", word)]
        self.refused("run", "m", *options, says=says)
        row = self.one_row("rejected", exit_code=None)
        self.assertRegex(row["error"], says)

    def test_not_all_is_text(self):
        data = b"\1\0\0\0\xff" + b"\2\0\0\0ab"
        self.worker(answer=f"wire.send(RESULT, number, {{'outputs': [{tensor('y', 'BYTES', [2], 11)}]}}, {data!r})")
        got = self.answer("--tensor", "x:BOOL=true")["y"]
        self.assertEqual(got["data"], ["/w==", "YWI="])
        self.assertEqual(got["parameters"], {"content_type": "base64"})
        self.worker(name="n")  # and back
        sent = request(("x", "BYTES", [2], got["data"])).replace('"data"', '"parameters": {"content_type": "base64"}, "data"')
        self.worker(takes(("x", "BYTES", [2]), ("z", "BOOL", [])), name="o")
        sent = json.loads(sent)
        sent["inputs"].append({"name": "z", "data": True})
        got = json.loads(self.mer("run", "o", json.dumps(sent), out=None))["outputs"][0]
        self.assertEqual(got["data"], ["/w==", "YWI="])

    def test_no_number(self):
        self.worker()
        self.file("x.npy", npy("<f4", "(3,)", struct.pack("<3f", float("nan"), 1, float("-inf"))))
        process = self.start("run", "m", "--tensor", "x=@x.npy")
        out, err = process.communicate(timeout=test_faults.DEADLINE_S)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(json.loads(out)["outputs"][0]["data"], [None, 1.0, None])
        self.assertRegex(err, rb"\A[^\n]*output 'x' has values[^\n]*\n\Z")

    # --- requests ---

    def test_request(self):
        self.worker(F22)
        text = request(("x", "FP32", [2, 2], [1, 2, 3, 4]), id="42", parameters={"k": 1})
        path = self.file("request.json", text.encode())
        want = {"x": {"datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}}
        for words, data in ((f"@{path}",), None), (("-",), text.encode()), ((text,), None):
            self.assertEqual(self.answer(*words, data=data, id="42"), want)
        self.assertEqual(json.loads((self.home / "saw").read_text()),
                         {"inputs": [tensor("x", "FP32", [2, 2], 16)], "parameters": {"k": 1}})
        for row in self.rows():
            self.assertEqual((row["status"], row["bytes_in"], row["sha256_in"]),
                             ("ok", len(text), hashlib.sha256(text.encode()).hexdigest()))

    @each(REFUSED_REQUESTS)
    def refused_request(self, text, says):
        self.worker(F22)
        path = self.file("input", text.encode())
        self.refused("run", "m", f"@{path}", says=says)
        self.one_row("rejected")

    def test_request_to_who_takes_bytes(self):
        """Where bytes are an input they stay what they are."""
        text = request(("x", "FP32", [1], [1]))
        for name, contract in ("nothing", None), ("one", takes(("x", "BYTES", [1]))):
            with self.subTest(name):
                self.worker(contract, "assert meta == BYTES; wire.answer(number, body)", name=name)
                self.mer("run", name, text, out=text.encode())

    def test_lines(self):
        self.worker(F22)
        lines = [request(("x", "FP32", [1, 2], [i, 0.5])) for i in range(100)]
        got = self.mer("run", "--lines", "m", self.lines_file(*lines), out=None).splitlines()
        self.assertEqual([json.loads(line)["outputs"][0]["data"] for line in got],
                         [[float(i), 0.5] for i in range(100)])

    def test_line_that_is_none(self):
        self.worker(F22)
        lines = [request(("x", "FP32", [1, 2], [1, 2])), "1,2", request(("x", "FP32", [1, 2], [3, 4]))]
        got = self.mer("run", "--lines", "--keep-going", "m", self.lines_file(*lines), code=2, out=None,
                       says="line 2: .*takes tensors").split(b"\n")
        self.assertEqual([bool(line) for line in got], [True, False, True, False])
        self.assertEqual(self.statuses(), ["ok", "rejected", "ok"])

    # --- answers ---

    def test_in_parts(self):
        one = tensor("y", "INT8", [2], 2)
        self.worker(answer=f"for flags in (MORE, MORE, 0): wire.send(RESULT, number, {{'outputs': [{one}]}}, b'\\1\\2', flags)")
        got = self.mer("run", "m", "--tensor", "x:BOOL=true", out=None).splitlines()
        want = {"model_name": "m", "outputs": [{"name": "y", "datatype": "INT8", "shape": [2], "data": [1, 2]}]}
        self.assertEqual([json.loads(line) for line in got], [want] * 3)
        self.mer("run", "m", "--tensor", "x:BOOL=true", "-o", "y=@y.npy", code=1,
                 says="in parts, and more than one has an output 'y'")
        self.assertFalse((self.top / "y.npy").exists())

    def test_bytes_for_tensors(self):
        self.worker(answer="wire.answer(number, b'done')")
        self.mer("run", "m", "--tensor", "x:BOOL=true", out=b"done")
        self.mer("run", "m", "--tensor", "x:BOOL=true", "-o", "y=@y.npy", out=b"done", code=2,
                 says="the answer has no tensor 'y'")

    def test_tensors_for_bytes(self):
        body = struct.pack("<2f", 1, 2)
        self.worker(answer=f"wire.send(RESULT, number, {{'outputs': [{tensor('y', 'FP32', [2], 8)}]}}, {body!r})")
        self.mer("run", "m", "words", out=body)
        self.mer("run", "m", "words", "-o", "y=@y.npy")
        self.assertEqual((self.top / "y.npy").read_bytes(), npy("<f4", "(2,)", body))
        self.assertEqual([row["bytes_in"] for row in self.rows()], [5, 5])

    def test_some_to_files(self):
        self.worker()
        words = ("--tensor", "a:INT8=[1]", "--tensor", "b:INT8=[2]", "--tensor", "c:INT8=[3]")
        got = self.answer(*words, "-o", "b=@b.npy")
        self.assertEqual({name: one["data"] for name, one in got.items()}, {"a": [1], "c": [3]})
        self.assertEqual((self.top / "b.npy").read_bytes(), npy("|i1", "(1,)", b"\2"))
        (self.top / "all").mkdir()
        self.mer("run", "m", *words, "--tensor-out", "all", "--tensor-out", "a=@first.npy")
        self.assertEqual(sorted(os.listdir(self.top / "all")), ["b.npy", "c.npy"])
        self.assertEqual((self.top / "first.npy").read_bytes(), npy("|i1", "(1,)", b"\1"))

    def test_where_nothing_can_be_written(self):
        self.worker()
        for word, says in (("x=@no/x.npy", "cannot write 'no/x.npy'"), ("no", "no folder to write to: 'no'"),
                           (f"x=@{self.top}", "is a folder"), ("=@x", "not NAME=@FILE"), ("x=@", "not NAME=@FILE")):
            with self.subTest(word):
                self.refused("run", "m", "--tensor", "x:BOOL=true", "-o", word, says=says)
        self.assertEqual(self.rows(), [])

    def test_a_failure_leaves_the_file(self):
        self.worker(answer="wire.send(ERROR, number, {'code': 'model', 'message': 'no'})")
        old = self.file("y.npy", b"old")
        self.mer("run", "m", "--tensor", "x:BOOL=true", "-o", f"y=@{old}", code=1, says="no")
        self.assertEqual(old.read_bytes(), b"old")

    def test_an_output_is_no_path(self):
        for name in ("../y", ".y", "a/b"):
            with self.subTest(name):
                self.worker(answer=f"wire.send(RESULT, number, {{'outputs': [{tensor(name, 'INT8', [1], 1)}]}}, b'1')",
                            name="m" + str(len(name)) + name[-1])
                (self.top / "out").mkdir(exist_ok=True)
                self.mer("run", "m" + str(len(name)) + name[-1], "--tensor", "x:BOOL=true", "-o", "out", code=1,
                         says="cannot be the name of a file")
                self.assertEqual(os.listdir(self.top / "out"), [])

    @each(ODD_ANSWERS)
    def odd_answer(self, answer, says):
        self.worker(answer=f"wire.send(RESULT, number, {answer})")
        self.mer("run", "m", "--tensor", "x:BOOL=true", code=1, out=None, says=says)
        self.mer("run", "m", "--tensor", "x:BOOL=true", "-o", ".", code=1, out=None, says=says)
        self.assertEqual([name for name in os.listdir(self.top) if name.endswith(".npy")], [])

    def test_as_an_object(self):
        self.worker(F22)
        said = json.loads(self.mer("run", "m", "--json", "--tensor", "x=[[1,2]]", out=None))
        self.assertEqual(json.loads(said["output"])["outputs"][0]["data"], [1.0, 2.0])
        self.assertEqual((said["status"], said["bytes_out"]), ("ok", 8))

    # --- who has none ---

    @each({"once": ("once",), "token": ("token",)})
    def plain_protocol(self, protocol):
        self.echo_model(protocol)
        for words in ("--tensor", "x:FP32=[1]"), ("words", "-o", "x=@x.npy"):
            self.mer("run", "m", *words, code=2, says="only a model of the frame protocol")
        self.assertEqual(self.statuses(), ["rejected"] * 2)
        self.assertFalse((self.home / "ran").exists())

    def test_together(self):
        self.worker()
        for words, says in ((("in", "--tensor", "x:BOOL=1"), "both INPUT and --tensor"),
                            (("--lines", "@x", "--tensor", "x:BOOL=1"), "for a single run"),
                            (("--lines", "@x", "-o", "."), "for a single run")):
            self.refused("run", "m", *words, says=says)

    # --- contracts ---

    def shown(self, name="m"):
        said = json.loads(self.mer("--json", "model", "show", name, out=None))
        return said["inputs"], said["outputs"]

    def models_row(self):
        with self.connect() as db:
            return tuple(db.execute("SELECT updated_at, created_at FROM models WHERE name = 'm'").fetchone())

    @each({"run": (("run", "m", "--tensor", "x=[[1,2]]"),), "ping": (("model", "ping", "m"),)})
    def contract_is_shown(self, words):
        outputs = takes(("x", "FP32", [-1, 2]), ("y", "BYTES", []))
        self.worker(F22, outputs=outputs)
        before = self.models_row()
        self.assertEqual(self.shown(), (None, None))
        self.mer(*words, out=None)
        self.assertEqual(self.shown(), (F22, outputs))
        self.assertEqual(self.models_row(), before)
        text = self.mer("model", "show", "m", out=None).decode()
        self.assertIn("inputs\tx FP32 [-1,2]\n", text)
        self.assertIn("outputs\tx FP32 [-1,2], y BYTES []\n", text)

    def test_shown_as_it_is_now(self):
        self.worker(F22)
        self.mer("model", "ping", "m", out=None)
        self.assertEqual(self.shown(), (F22, None))
        text = (self.top / "m").read_text().replace("inputs=", "outputs=")
        (self.top / "m").write_text(text)
        self.mer("model", "ping", "m", out=None)
        self.assertEqual(self.shown(), (None, F22))

    def test_without_a_record(self):
        self.worker(F22)
        self.mer("run", "--no-record", "m", "--tensor", "x=[[1,2]]", out=None)
        self.assertEqual(self.shown(), (None, None))

    # --- workers as people write them ---

    def add_iris(self):
        self.add("iris2", "python3", "tensors.py", options=(
            "--protocol", "frame", "--workdir", MODELS / "iris", "--env", f"PYTHONPATH={SOURCE / 'python'}",
            "--env", "PYTHONDONTWRITEBYTECODE=1"))

    def test_sdk(self):
        self.add_iris()
        got = json.loads(self.mer("run", "iris2", "--tensor", "flowers=[[5.1,3.5,1.4,0.2],[6.3,3.3,6,2.5]]",
                                  "-o", "probability=@p.npy", out=None))
        self.assertEqual(got["outputs"], [{"name": "species", "datatype": "BYTES", "shape": [2],
                                           "data": ["setosa", "virginica"]}])
        made = (self.top / "p.npy").read_bytes()
        self.assertEqual(made[:-24], npy("<f4", "(2, 3)", b""))
        first, second = struct.unpack("<3f", made[-24:-12]), struct.unpack("<3f", made[-12:])
        self.assertEqual((first.index(max(first)), second.index(max(second))), (0, 2))
        self.mer("run", "iris2", "--tensor", "flowers=[[1,2,3]]", code=2, says="the model takes FP32 .-1,4.")
        self.mer("run", "iris2", "--tensor", "flowers=[[1,2,3,2e6]]", code=2, says="within -1e6 to 1e6")
        self.assertEqual(self.statuses(), ["ok", "rejected", "failed"])

    def test_worker_in_c(self):
        """It knows no tensors, and says so; what it answers is bytes."""
        self.add("c", MODELS / "moments/moments_frame", options=("--protocol", "frame"))
        self.mer("run", "c", "--tensor", "x:FP64=[1,2]", code=2, says="not bytes, but numbers as text")
        self.mer("run", "c", "1 2 3", "-o", "y=@y.npy", code=2, out=None, says="no tensor 'y'")

    @unittest.skipIf(numpy is None, "NumPy is not installed")
    def test_numpy(self):
        self.worker()
        rows = numpy.arange(24).reshape(2, 3, 4)
        arrays = {kind: rows.astype(kind) for kind in
                  ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">i4", ">f8")}
        arrays["columns"] = numpy.asfortranarray(rows)
        arrays["slice"] = rows[:, ::2, 1]
        arrays["scalar"] = numpy.float32(2.5)
        arrays["none"] = rows[:0]
        arrays["bytes"] = numpy.array([b"a", b"", b"abc"])
        for name, array in arrays.items():
            with self.subTest(name):
                numpy.save(self.top / "x.npy", array)
                self.mer("run", "m", "--tensor", "x=@x.npy", "-o", "x=@y.npy")
                got = numpy.load(self.top / "y.npy")
                self.assertEqual((got.shape, got.dtype), (array.shape, array.dtype.newbyteorder("=")))
                self.assertTrue((got == array).all())
        numpy.save(self.top / "x.npy", numpy.array(["ä", "", "€x"]))
        got = self.answer("--tensor", "x=@x.npy")
        self.assertEqual(got["x"], {"datatype": "BYTES", "shape": [3], "data": ["ä", "", "€x"]})


if __name__ == "__main__":
    from tap import TAPTestRunner

    runner = TAPTestRunner()
    runner.set_stream(True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Tensors)
    sys.exit(not runner.run(suite).wasSuccessful())
