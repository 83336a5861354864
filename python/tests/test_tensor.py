#!/usr/bin/python3
"""Tensors without numpy, and with it where it is installed. Prints TAP when run as a program."""
import math
import random
import struct
import sys
import unittest
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import mer
import peer
from mer import _tensor

try:
    import numpy
except ImportError:
    numpy = None

ALL_HALVES = struct.pack("<65536H", *range(65536))
VALUES = {"BOOL": [True, False], "FP16": [0.5, -2.0, 65504.0], "BF16": [0.5, -2.0, 3.0],
          "FP32": [0.5, -2.0 ** 99], "FP64": [0.1, -1e300], "BYTES": [b"", b"ab", b"\0\xff" * 99]}
VALUES |= {f"{sign}INT{bits}": [0, 1, 2**(bits - (not sign)) - 1] + ([] if sign else [-2**(bits - 1)])
           for sign in ("U", "") for bits in (8, 16, 32, 64)}


class Plain(unittest.TestCase):
    def test_every_datatype_there_and_back(self):
        self.assertEqual(set(VALUES), {*_tensor.DATATYPES, "BYTES"})
        for datatype, values in VALUES.items():
            with self.subTest(datatype=datatype):
                made = mer.Tensor.of(values, datatype)
                again = mer.Tensor(datatype, [len(values)], bytes(made.data))
                self.assertEqual(again.tolist(), values)
                self.assertEqual(again, made)
                self.assertEqual(made.shape, (len(values),))

    def test_bytes_on_the_wire(self):
        rows = [("INT16", [1, -2], b"\1\0\xfe\xff"), ("FP32", [1.0], b"\0\0\x80\x3f"),
                ("BOOL", [True, False], b"\1\0"), ("BF16", [1.0], b"\x80\x3f"),
                ("FP16", [1.0], b"\0\x3c"), ("BYTES", ["é", b"\n"], b"\2\0\0\0\xc3\xa9\1\0\0\0\n"),
                ("UINT64", [2**64 - 1], b"\xff" * 8)]
        for datatype, values, data in rows:
            self.assertEqual(bytes(mer.Tensor.of(values, datatype).data), data, datatype)

    def test_every_bf16(self):
        values = mer.Tensor("BF16", [65536], ALL_HALVES).tolist()
        for bits, value in enumerate(values):
            want = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
            if math.isnan(want):
                self.assertTrue(math.isnan(value))
                self.assertEqual(_tensor.bf16_bits(value) & 0x7FC0, 0x7FC0)
            else:
                self.assertEqual(value, want)
                self.assertEqual(_tensor.bf16_bits(value), bits)

    def test_bf16_rounds_to_nearest_even(self):
        draw = random.Random(8)
        finite = [b for b in range(0x7F80)]
        for _ in range(5000):
            low = draw.choice(finite[:-1])
            a, b = (Fraction(v) for v in mer.Tensor("BF16", [2], struct.pack("<2H", low, low + 1)).tolist())
            middle = (a + b) / 2
            for value in (middle, middle + (b - a) / 10**9, middle - (b - a) / 10**9,
                          a + (b - a) * Fraction(draw.random())):
                number = float(value)
                exact = Fraction(number)
                want = low if exact < middle or exact == middle and low % 2 == 0 else low + 1
                self.assertEqual(_tensor.bf16_bits(number), want, (low, number))
                self.assertEqual(_tensor.bf16_bits(-number), want | 0x8000)

    def test_every_fp16(self):
        values = mer.Tensor("FP16", [65536], ALL_HALVES).tolist()
        for bits, value in enumerate(values):
            sign, exponent, fraction = -1 if bits >> 15 else 1, bits >> 10 & 31, bits & 1023
            if exponent == 31:
                self.assertFalse(math.isfinite(value))
            elif exponent == 0:
                self.assertEqual(value, sign * fraction * 2.0 ** -24)
            else:
                self.assertEqual(value, sign * (1024 + fraction) * 2.0 ** (exponent - 25))

    def test_shapes(self):
        for values, shape in ((7, ()), ([], (0,)), ([[1, 2], [3, 4], [5, 6]], (3, 2)), ([[[]]], (1, 1, 0)),
                              ([[], []], (2, 0)), ([[[1], [2]]], (1, 2, 1))):
            made = mer.Tensor.of(values, "INT8")
            self.assertEqual((made.shape, made.tolist()), (shape, values))
        self.assertEqual(mer.Tensor("INT8", [2, 0, 3], b"").tolist(), [[], []])

    def test_datatype_of_values(self):
        for values, datatype in ((True, "BOOL"), ([1], "INT64"), ([0.5], "FP32"), ("a", "BYTES"),
                                 ([b"a"], "BYTES"), ([], "FP32")):
            self.assertEqual(mer.Tensor.of(values).datatype, datatype)

    def test_refused(self):
        for make in (lambda: mer.Tensor("FP32", [2], b"1234"), lambda: mer.Tensor("FP31", [1], b"1234"),
                     lambda: mer.Tensor("FP32", [-1], b""), lambda: mer.Tensor.of([[1], [1, 2]]),
                     lambda: mer.Tensor.of([1, [2]]), lambda: mer.Tensor.of([256], "UINT8"),
                     lambda: mer.Tensor.of([None]), lambda: mer.Tensor("BYTES", [1], b"\2\0\0\0x"),
                     lambda: mer.Tensor("BYTES", [1], b"\0\0\0\0x"), lambda: mer.Tensor("BYTES", [2], b"\0\0\0\0"),
                     lambda: mer.Tensor("BYTES", [2**60], b"\0\0\0\0"),
                     lambda: mer.Spec("X", []), lambda: mer.Spec("FP32", [-2])):
            with self.assertRaises(ValueError):
                make()
        for make in (lambda: mer.Tensor.of([1], "BYTES"), lambda: mer.Tensor.of([1]).elements):
            with self.assertRaises(TypeError):
                make()

    def test_random_elements(self):
        draw = random.Random(9)
        for _ in range(300):
            elements = [draw.randbytes(draw.randrange(9)) for _ in range(draw.randrange(9))]
            data = _tensor.join_elements(elements)
            self.assertEqual(_tensor.split_elements(data, len(elements)), elements)
            for wrong in (len(elements) - 1, len(elements) + 1):
                self.assertIsNone(_tensor.split_elements(data, max(wrong, 0)) if wrong >= 0 else None)
            for i in range(len(data)):
                self.assertIsNone(_tensor.split_elements(data[:i], len(elements)))

    def test_contract(self):
        spec = mer.Spec("FP32", [-1, 4])
        self.assertTrue(spec.fits("FP32", (7, 4)))
        self.assertTrue(spec.fits("FP32", [0, 4]))
        for datatype, shape in (("FP64", (7, 4)), ("FP32", (4,)), ("FP32", (7, 3)), ("FP32", (1, 7, 4))):
            self.assertFalse(spec.fits(datatype, shape))


@unittest.skipIf(numpy is None, "numpy is not installed")
class WithNumpy(unittest.TestCase):
    def test_every_datatype(self):
        for datatype, values in VALUES.items():
            with self.subTest(datatype=datatype):
                made = mer.Tensor.of([values, values], datatype)
                array = made.numpy()
                self.assertEqual(array.shape, made.shape)
                self.assertEqual(array.tolist(), made.tolist())
                if datatype not in ("BF16", "BYTES"):
                    self.assertEqual(mer.Tensor.of_numpy(array), made)
                    self.assertEqual(array.dtype.itemsize, _tensor.DATATYPES[datatype].size)

    def test_no_copies(self):
        data = bytearray(16)
        tensor = mer.Tensor("FP32", [2, 2], data)
        tensor.numpy()[1, 1] = 1.0
        self.assertEqual(data[12:], b"\0\0\x80\x3f")
        array = numpy.zeros((2, 3), "f4")
        out = mer.Tensor.of_numpy(array)
        array[0, 0] = 1.0
        self.assertEqual(bytes(out.data[:4]), b"\0\0\x80\x3f")

    def test_arrays_that_are_not_as_the_wire(self):
        base = numpy.arange(12, dtype="f4").reshape(3, 4)
        for array in (base.T, base[:, ::2], base[::-1], base.astype(">f4"), base.astype(">i8"),
                      numpy.float32(5).reshape(()), numpy.zeros((0, 4), "i2"), base.astype("f2"),
                      base > 3, numpy.asfortranarray(base), numpy.array(["é", "b"]),
                      numpy.array([b"a", b""], dtype=object)):
            tensor = mer.Tensor.of_numpy(array)
            want = array.tolist()
            got = tensor.tolist()
            if tensor.datatype == "BYTES":
                want = [w if isinstance(w, bytes) else w.encode() for w in want]
            self.assertEqual((got, tensor.shape), (want, array.shape))

    def test_no_datatype(self):
        for array in (numpy.zeros(1, "c8"), numpy.zeros(1, "M8[s]"), numpy.array([1, "a"], dtype=object)):
            with self.assertRaises(TypeError):
                mer.Tensor.of_numpy(array)

    def test_as_array(self):
        tensor = mer.Tensor.of([[1.0, 2.0]])
        self.assertEqual(numpy.asarray(tensor).tolist(), [[1.0, 2.0]])
        self.assertEqual(numpy.asarray(tensor, dtype="f8").dtype, "f8")
        self.assertEqual(mer.Tensor("FP32", [0, 4], b"").numpy().shape, (0, 4))
        self.assertEqual(mer.Tensor("BF16", [0], b"").numpy().shape, (0,))


if __name__ == "__main__":
    peer.main("__main__")
