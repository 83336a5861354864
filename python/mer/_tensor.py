"""Tensors as the wire has them: a datatype, a shape, and row-major little-endian bytes."""
from __future__ import annotations

import math
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

    from ._wire import Buffer


class Datatype:
    """What is known of a datatype whose elements have one size."""

    __slots__ = ("size", "code", "numpy")

    def __init__(self, size: int, code: str, numpy: str) -> None:
        self.size = size
        self.code = code  # of struct
        self.numpy = numpy  # its dtype; empty: it has none


DATATYPES = {
    "BOOL": Datatype(1, "?", "|b1"),
    "UINT8": Datatype(1, "B", "|u1"),
    "UINT16": Datatype(2, "H", "<u2"),
    "UINT32": Datatype(4, "I", "<u4"),
    "UINT64": Datatype(8, "Q", "<u8"),
    "INT8": Datatype(1, "b", "|i1"),
    "INT16": Datatype(2, "h", "<i2"),
    "INT32": Datatype(4, "i", "<i4"),
    "INT64": Datatype(8, "q", "<i8"),
    "FP16": Datatype(2, "e", "<f2"),
    "BF16": Datatype(2, "H", ""),
    "FP32": Datatype(4, "f", "<f4"),
    "FP64": Datatype(8, "d", "<f8"),
}
OF_NUMPY = {row.numpy: name for name, row in DATATYPES.items() if row.numpy}
BYTES = "BYTES"
LENGTH = struct.Struct("<I")
GUESSES = ((bool, "BOOL"), (int, "INT64"), (float, "FP32"), ((str, bytes), BYTES))


def split_elements(data: Buffer, count: int) -> Optional[List[bytes]]:
    """The elements of a BYTES tensor, or None where they do not end exactly with the data."""
    elements = []
    at, size = 0, len(data)
    for _ in range(count):
        start = at + LENGTH.size
        if start > size:
            return None
        at = start + LENGTH.unpack_from(data, at)[0]
        if at > size:
            return None
        elements.append(bytes(data[start:at]))
    return elements if at == size else None


def join_elements(elements: Iterable[bytes]) -> bytes:
    """The data of a BYTES tensor."""
    return b"".join(part for element in elements for part in (LENGTH.pack(len(element)), element))


def bf16_bits(value: float) -> int:
    """The nearest BF16, ties to even."""
    packed = struct.pack("<f", value)
    bits = int(LENGTH.unpack(packed)[0])
    if math.isnan(value):
        return bits >> 16 | 0x40
    low, kept = bits & 0xFFFF, bits >> 16
    if low == 0x8000:  # half-way, or rounded to it
        single = struct.unpack("<f", packed)[0]
        return kept + (abs(value) > abs(single) or (value == single and kept & 1))
    return kept + (low > 0x8000)


def bf16_values(data: Buffer) -> List[float]:
    """Exact, since each BF16 is an FP32."""
    halves = struct.unpack(f"<{len(data) // 2}H", data)
    return list(struct.unpack(f"<{len(halves)}f", struct.pack(
        f"<{len(halves)}I", *(half << 16 for half in halves))))


def flatten(values: Any) -> Tuple[List[Any], List[int]]:
    """The leaves of nested lists, and their shape."""
    if not isinstance(values, (list, tuple)):
        return [values], []
    parts = [flatten(value) for value in values]
    if any(shape != parts[0][1] for _, shape in parts):
        raise ValueError("the nested lists are of different lengths")
    shape = [len(values), *(parts[0][1] if parts else [])]
    return [leaf for leaves, _ in parts for leaf in leaves], shape


def nest(flat: List[Any], shape: Sequence[int]) -> Any:
    """The reverse of flatten."""
    for axis in range(len(shape) - 1, 0, -1):
        length = shape[axis]
        flat = [flat[i * length:(i + 1) * length] for i in range(math.prod(shape[:axis]))]
    return flat if shape else flat[0]


def plain(value: Any) -> bytes:
    """An element of a BYTES tensor."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"an element of a BYTES tensor is str or bytes, not {type(value).__name__}")


class Tensor:
    """A tensor: `datatype` as in the Open Inference Protocol v2 ("FP32"), `shape`, and `data`.

    An input's `data` is a view of the bytes that were received, without a copy; they belong to this
    request alone, so a model may keep or change them. `numpy()` is a view of the same bytes.
    """

    __slots__ = ("datatype", "shape", "_data", "_elements")

    datatype: str
    shape: Tuple[int, ...]
    _data: Optional[memoryview]
    _elements: Optional[List[bytes]]

    def __init__(self, datatype: str, shape: Sequence[int], data: Buffer) -> None:
        """Of bytes as the wire has them. Raises ValueError where their number does not fit."""
        self.datatype = datatype
        self.shape = tuple(shape)
        self._elements = None
        view = memoryview(data)
        self._data = view.cast("B") if view.nbytes else memoryview(b"")
        if any(length < 0 for length in self.shape):
            raise ValueError(f"no shape: {list(shape)}")
        if datatype == BYTES:
            self._elements = split_elements(self._data, math.prod(self.shape))
            fits = self._elements is not None
        elif datatype in DATATYPES:
            fits = math.prod(self.shape) * DATATYPES[datatype].size == view.nbytes
        else:
            raise ValueError(f"unknown datatype {datatype!r}")
        if not fits:
            raise ValueError(f"{view.nbytes} bytes are no {datatype} {list(shape)}")

    @classmethod
    def of(cls, values: Any, datatype: Optional[str] = None) -> Tensor:
        """Of a number, string or nested lists of them. Without a datatype it is that of the first
        value: BOOL, INT64, FP32, or BYTES for str and bytes."""
        flat, shape = flatten(values)
        if datatype is None:
            first = flat[0] if flat else 0.0
            datatype = next((name for kind, name in GUESSES if isinstance(first, kind)), "")
        if datatype == BYTES:
            return cls.of_elements([plain(value) for value in flat], shape)
        if datatype not in DATATYPES:
            raise ValueError(f"no datatype {datatype!r} for {flat[0] if flat else values!r}")
        if datatype == "BF16":
            flat = [bf16_bits(value) for value in flat]
        code = DATATYPES[datatype].code
        try:
            return cls(datatype, shape, struct.pack(f"<{len(flat)}{code}", *flat))
        except struct.error as error:
            raise ValueError(f"no {datatype}: {error}") from None

    @classmethod
    def of_elements(cls, elements: List[bytes], shape: Sequence[int]) -> Tensor:
        """BYTES of elements that are bytes already."""
        self = cls.__new__(cls)
        self.datatype, self.shape = BYTES, tuple(shape)
        self._data, self._elements = None, elements
        if len(elements) != math.prod(self.shape):
            raise ValueError(f"{len(elements)} elements are no BYTES {list(shape)}")
        return self

    @classmethod
    def of_numpy(cls, values: Any) -> Tensor:
        """Of an array, without a copy where it is contiguous and little-endian."""
        kind = values.dtype.kind
        if kind in "OUS":
            return cls.of(values.tolist(), BYTES)
        little = values.dtype.newbyteorder("<")
        if little.str not in OF_NUMPY:
            raise TypeError(f"no datatype for an array of {values.dtype}")
        if values.dtype.str != little.str:
            values = values.astype(little)
        if not values.flags.c_contiguous:
            values = values.copy()
        octets = values.reshape(-1).view("u1")
        return cls(OF_NUMPY[little.str], values.shape, octets.data if values.size else b"")

    @classmethod
    def received(cls, datatype: str, shape: Tuple[int, ...], data: memoryview,
                 elements: Optional[List[bytes]]) -> Tensor:
        """Of what was checked already."""
        self = cls.__new__(cls)
        self.datatype, self.shape, self._data, self._elements = datatype, shape, data, elements
        return self

    @property
    def data(self) -> memoryview:
        """The bytes as the wire has them. Numbers without numpy: `x.data.cast("f")[0]`."""
        if self._data is None:
            self._data = memoryview(join_elements(self._elements or []))
        return self._data

    @property
    def elements(self) -> List[bytes]:
        """The elements of a BYTES tensor, flat."""
        if self._elements is None:
            raise TypeError(f"a tensor of {self.datatype} has no elements of bytes")
        return self._elements

    def tolist(self) -> Any:
        """Numbers, or bytes, in lists nested as the shape says; one element where it is []."""
        if self.datatype == BYTES:
            return nest(self.elements, self.shape)
        if self.datatype == "BF16":
            return nest(bf16_values(self.data), self.shape)
        count = math.prod(self.shape)
        code = DATATYPES[self.datatype].code
        return nest(list(struct.unpack(f"<{count}{code}", self.data)), self.shape)

    def numpy(self) -> Any:
        """An array over the same bytes. Copied are BF16, which becomes float32, and BYTES, which
        becomes an array of objects."""
        import numpy  # type: ignore[import-not-found,unused-ignore]
        if self.datatype == BYTES:
            flat = numpy.empty(len(self.elements), dtype=object)
            flat[:] = self.elements
            return flat.reshape(self.shape)
        if self.datatype == "BF16":
            halves = numpy.frombuffer(self.data, dtype="<u2") if self.data else []
            wide = numpy.asarray(halves, dtype="<u4") << 16
            return wide.astype("<u4").view("<f4").reshape(self.shape)
        dtype = DATATYPES[self.datatype].numpy
        if not self.data:
            return numpy.empty(self.shape, dtype=dtype)
        return numpy.frombuffer(self.data, dtype=dtype).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Any:
        values = self.numpy()
        if dtype is not None and values.dtype != dtype:
            return values.astype(dtype)
        return values.copy() if copy else values

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Tensor) and self.datatype == other.datatype
                and self.shape == other.shape and self.data == other.data)

    __hash__ = None  # type: ignore[assignment] # it can change

    def __repr__(self) -> str:
        return f"Tensor({self.datatype} {list(self.shape)})"


class Spec:
    """A contract: datatype and shape of an input or output, -1 for any length.

        def predict(x: Annotated[mer.Tensor, mer.Spec("FP32", [-1, 4])]) -> ...

    An output's name is `output` unless told; an input's is its parameter's.
    """

    __slots__ = ("datatype", "shape", "name")

    def __init__(self, datatype: str, shape: Sequence[int], name: str = "output") -> None:
        if datatype not in DATATYPES and datatype != BYTES:
            raise ValueError(f"unknown datatype {datatype!r}")
        if any(length < -1 for length in shape):
            raise ValueError(f"no shape: {list(shape)}")
        self.datatype = datatype
        self.shape = tuple(shape)
        self.name = name

    def fits(self, datatype: str, shape: Sequence[int]) -> bool:
        """Whether a tensor keeps it."""
        return (datatype == self.datatype and len(shape) == len(self.shape)
                and all(want in (-1, have) for want, have in zip(self.shape, shape)))

    def to_json(self, name: str) -> Dict[str, Any]:
        """As ready announces it."""
        return {"name": name, "datatype": self.datatype, "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)}"

    def __repr__(self) -> str:
        return f"Spec({self.datatype!r}, {list(self.shape)}, name={self.name!r})"
