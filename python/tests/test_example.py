#!/usr/bin/python3
"""The example model that uses the SDK. Prints TAP when run as a program."""
import json
import os
import struct
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
# pylint: disable=wrong-import-position
from mer.conformance import Check, Options
from peer import ENV, ERROR, SOURCE, TRAIN, Worker, main, tensors

IRIS = Path(os.environ.get("MER_MODELS", SOURCE / "models")).resolve() / "iris"
ARGV = [sys.executable, str(IRIS / "tensors.py")]


def flowers():
    lines = (IRIS / "iris.csv").read_text(encoding="ascii").splitlines()[1:]
    return [[float(x) for x in line.split(",")[:4]] for line in lines]


def as_tensor(rows):
    flat = [x for row in rows for x in row]
    return reversed(tensors(flowers=("FP32", [len(rows), 4], struct.pack(f"<{len(flat)}f", *flat))))


def species(frame):
    """Of an answer, and its probabilities."""
    sizes = [output["parameters"]["binary_data_size"] for output in frame.meta["outputs"]]
    names, at = [], 0
    while at < sizes[0]:
        size = struct.unpack_from("<I", frame.body, at)[0]
        names.append(frame.body[at + 4:at + 4 + size].decode())
        at += 4 + size
    numbers = struct.unpack_from(f"<{sizes[1] // 4}f", frame.body, at)
    return names, [numbers[i:i + 3] for i in range(0, len(numbers), 3)]


class Iris(unittest.TestCase):
    def setUp(self):
        self.worker = Worker("", argv=ARGV)
        self.addCleanup(self.worker.__exit__)

    def test_contract(self):
        self.assertEqual(self.worker.ready["inputs"],
                         [{"name": "flowers", "datatype": "FP32", "shape": [-1, 4]}])
        self.assertEqual([o["name"] for o in self.worker.ready["outputs"]], ["species", "probability"])
        self.assertTrue(self.worker.ready["train"])

    def test_agrees_with_the_token_worker(self):
        request = "".join("@!#START#!@\n" + ",".join(map(str, row)) + "\n@!#STOP#!@\n" for row in flowers())
        done = subprocess.run([IRIS / "iris.py", "serve", "--weights", IRIS / "weights/1.json"],
                              input=request, text=True, capture_output=True, check=True)
        want = [line for line in done.stdout.splitlines() if not line.startswith("@!#")]
        names, found = species(self.worker.result(*as_tensor(flowers())))
        self.assertEqual(names, want)
        order = ["setosa", "versicolor", "virginica"]
        for name, row in zip(names, found):
            self.assertAlmostEqual(sum(row), 1, places=5)
            self.assertEqual(order[row.index(max(row))], name)

    def test_none_and_bad_flowers(self):
        self.assertEqual(species(self.worker.result(*as_tensor([]))), ([], []))
        for bad in (float("nan"), float("inf"), 1e6):
            error = self.worker.error(*as_tensor([[1, 1, 1, 1], [1, bad, 1, 1]]))
            self.assertEqual(error["code"], "input")
            self.assertIn("flower 2", error["message"])
        self.assertEqual(self.worker.error(b"5.1,3.5,1.4,0.2")["code"], "input")

    def test_train(self):
        path = os.path.join(self.worker.folder, "2.json")
        job = {"dataset": str(IRIS / "iris.csv"), "new_weights": path, "new_version": "2",
               "old_weights": "", "old_version": "", "parameters": {}}
        frame = self.worker.answer(b"", job, kind=TRAIN)[-1]
        self.assertEqual(frame.meta, {"metrics": {"accuracy": 1.0, "held_out": 30, "trained_on": 120}})
        self.assertEqual(Path(path).read_bytes(), (IRIS / "weights/1.json").read_bytes())
        frame = self.worker.answer(b"", {**job, "dataset": path}, kind=TRAIN)[-1]
        self.assertEqual((frame.kind, frame.meta["code"]), (ERROR, "input"))

    def test_weights(self):
        path = Path(self.worker.folder, "w.json")
        weights = json.loads((IRIS / "weights/1.json").read_text(encoding="ascii"))
        rows = weights["discriminants"]
        rows["setosa"], rows["virginica"] = rows["virginica"], rows["setosa"]
        path.write_text(json.dumps(weights), encoding="ascii")
        with Worker("", argv=ARGV, weights=str(path)) as worker:
            self.assertEqual(species(worker.result(*as_tensor(flowers()[:1])))[0], ["virginica"])

    def test_keeps_the_protocol(self):
        os.environ["PYTHONPATH"] = ENV["PYTHONPATH"]
        check = Check(Options(ARGV))
        check.run()
        self.assertEqual((check.violated, check.note), ({}, ""))


if __name__ == "__main__":
    main("__main__")
