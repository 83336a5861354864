"""What a model's annotations say: how inputs become arguments and values become outputs."""
from __future__ import annotations

import math
import sys

from . import _json
from ._tensor import BYTES, DATATYPES, Spec, Tensor, split_elements
from ._wire import Violation, dump_meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

    from ._wire import Buffer

    Convert = Callable[[Buffer], Any]

CACHE_MAX = 256  # distinct metas that are remembered; more than that and it starts anew
FLOATS = ("FP16", "BF16", "FP32", "FP64")
CONTENT = {bytes: "bytes", str: "text"}
ONE_OF_BYTES = Spec(BYTES, [1])
PLAIN_KINDS = (str, bytes, memoryview, int, float, bool)


class InputError(Exception):
    """The input is not what the model takes. Raise it with a message of one line; the caller sees
    it without a traceback."""


class Described:
    """A tensor of a request, before its bytes are looked at."""

    __slots__ = ("name", "datatype", "shape", "size")

    def __init__(self, name: str, datatype: str, shape: Tuple[int, ...], size: int) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.size = size


def is_count(value: object) -> bool:
    """Whether JSON gave a whole number of at least 0; true is none."""
    return type(value) is int and value >= 0


def described(item: Any) -> Described:
    """One of a meta's `inputs`."""
    if not isinstance(item, dict):
        raise InputError("an input is described by no object")
    name, datatype, shape = (item.get(key) for key in ("name", "datatype", "shape"))
    parameters = item.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if not isinstance(name, str):
        raise InputError("an input has no name")
    if datatype != BYTES and (not isinstance(datatype, str) or datatype not in DATATYPES):
        raise InputError(f"input '{name}' has the unknown datatype {str(datatype)[:40]!r}")
    if not isinstance(shape, list) or not all(map(is_count, shape)):
        raise InputError(f"input '{name}' has no shape")
    if not is_count(size):
        raise InputError(f"input '{name}' has no binary_data_size")
    assert isinstance(size, int)
    if datatype != BYTES and math.prod(shape) * DATATYPES[datatype].size != size:
        raise Violation(f"input '{name}' is {size} bytes, which is no {datatype} {shape}")
    return Described(name, datatype, tuple(shape), size)


def own(body: Buffer) -> memoryview:
    """A view that a model may write to: small bodies come as bytes, which nobody may change."""
    return memoryview(bytearray(body) if type(body) is bytes else body)


def to_text(data: Buffer) -> str:
    """UTF-8, or it is refused."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the input is no UTF-8 at byte {error.start}") from None


def to_number(kind: type, data: Buffer) -> Any:
    """A number's text, as people and JSON write it."""
    text = to_text(data).strip()
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        if "_" in text:
            raise ValueError
        return kind(text)
    except (ValueError, KeyError):
        raise InputError(f"{text[:40]!r} is no {kind.__name__}") from None


def of_content(kind: Any) -> Callable[[Buffer], Any]:
    """How a piece of bytes becomes an argument."""
    if kind is str:
        return to_text
    if kind is bytes:
        return bytes
    if kind is memoryview:
        return own
    if kind in (int, float, bool):
        return lambda data: to_number(kind, data)
    if kind is Tensor:
        return lambda data: Tensor.of_elements([bytes(data)], [1])
    return lambda data: Tensor.of_elements([bytes(data)], [1]).numpy()


def elements_of(of: Described, data: memoryview) -> List[bytes]:
    """The elements of a BYTES input."""
    elements = split_elements(data, math.prod(of.shape))
    if elements is None:
        raise Violation(f"the elements of input '{of.name}' do not end with its {of.size} bytes")
    return elements


def of_tensor(kind: Any, of: Described) -> Convert:
    """How a tensor becomes an argument."""
    if kind is Tensor or kind not in PLAIN_KINDS:
        def to_tensor(body: Buffer) -> Any:
            data = own(body)
            elements = elements_of(of, data) if of.datatype == BYTES else None
            tensor = Tensor.received(of.datatype, of.shape, data, elements)
            return tensor if kind is Tensor else tensor.numpy()
        return to_tensor
    if math.prod(of.shape) != 1:
        raise InputError(f"input '{of.name}' is one {kind.__name__}, not {list(of.shape)}")
    if of.datatype == BYTES:
        whole = of_content(kind)
        return lambda body: whole(elements_of(of, memoryview(body))[0])
    is_bool = of.datatype == "BOOL"
    number = {bool: is_bool, float: not is_bool, int: not is_bool and of.datatype not in FLOATS}
    if not number.get(kind):
        raise InputError(f"input '{of.name}' is one {kind.__name__}, not {of.datatype}")
    return lambda body: kind(Tensor.received(of.datatype, (), memoryview(body), None).tolist())


class Parameter:
    """A parameter of the model's function."""

    __slots__ = ("name", "kind", "spec")

    def __init__(self, name: str, kind: Any, spec: Optional[Spec]) -> None:
        self.name = name
        self.kind = kind
        self.spec = spec

    def contract(self) -> Optional[Spec]:
        """What is announced: text and bytes are known without being told."""
        if self.spec is None and self.kind in (str, bytes, memoryview):
            return ONE_OF_BYTES
        return self.spec

    def check(self, of: Described) -> None:
        if self.spec is not None and not self.spec.fits(of.datatype, of.shape):
            raise InputError(f"input '{self.name}' is {of.datatype} {list(of.shape)}, "
                             f"the model takes {self.spec}")


class Plan:
    """What a request's meta says: all but its body. Requests with equal metas share it."""

    __slots__ = ("arguments", "only", "body_bytes", "deadline_ms", "parameters", "traceparent")

    def __init__(self, converts: List[Tuple[int, int, Convert]], body_bytes: Optional[int],
                 deadline_ms: Optional[float], parameters: Dict[str, Any]) -> None:
        self.only = converts[0][2] if len(converts) == 1 else None  # of one parameter

        def arguments(body: Buffer) -> Tuple[Any, ...]:
            if len(converts) == 1:
                return (converts[0][2](body),)
            view = own(body)
            return tuple(convert(view[begin:end]) for begin, end, convert in converts)
        self.arguments = arguments
        self.body_bytes = body_bytes  # of its tensors; None: any
        self.deadline_ms = deadline_ms
        self.parameters = parameters
        self.traceparent: Optional[str] = None


def unwrap(hint: Any) -> Tuple[Any, List[Spec]]:
    """An annotation without `Annotated`, and the contracts that were in it."""
    notes = getattr(hint, "__metadata__", None)
    if notes is None:
        return hint, []
    return hint.__origin__, [note for note in notes if isinstance(note, Spec)]


def is_numpy_array(kind: Any) -> bool:
    """Also `numpy.typing.NDArray[...]`; numpy is not imported for that."""
    kind = getattr(kind, "__origin__", kind)
    return getattr(kind, "__module__", "") == "numpy" and kind.__name__ == "ndarray"


def first_argument(hint: Any) -> Any:
    """X of List[X] or Iterator[X], else None."""
    return (getattr(hint, "__args__", None) or (None,))[0]


class Shape:
    """The parameters and annotations of a function. inspect would cost more than all the rest of
    a start, so it is asked only about callables that are no plain functions."""

    STREAM, COROUTINE, ASYNC_STREAM = 0x20, 0x80, 0x200  # bits of co_flags
    VARIADIC = 0x0C

    def __init__(self, function: Callable[..., Any]) -> None:
        code = getattr(function, "__code__", None)
        if code is None or hasattr(function, "__self__") or hasattr(function, "__wrapped__"):
            self._inspect(function)
            return
        count = code.co_argcount
        if code.co_flags & self.VARIADIC or code.co_kwonlyargcount:
            raise TypeError(f"{function.__name__}: parameters that have no fixed place")
        self.names = list(code.co_varnames[:count])
        self.defaults = self.names[count - len(getattr(function, "__defaults__", None) or ()):]
        self.stream = bool(code.co_flags & (self.STREAM | self.ASYNC_STREAM))
        self.is_async = bool(code.co_flags & (self.COROUTINE | self.ASYNC_STREAM))
        self.hints = dict(function.__annotations__)
        if any(isinstance(hint, str) for hint in self.hints.values()):
            self._resolve(function)

    def _resolve(self, function: Any) -> None:
        import typing
        self.hints = typing.get_type_hints(function, include_extras=True)

    def _inspect(self, function: Any) -> None:
        import inspect
        target = function if hasattr(function, "__code__") else function.__call__
        rows = inspect.signature(function).parameters.values()
        if any(row.kind not in (row.POSITIONAL_ONLY, row.POSITIONAL_OR_KEYWORD) for row in rows):
            raise TypeError(f"{function}: parameters that have no fixed place")
        self.names = [row.name for row in rows]
        self.defaults = [row.name for row in rows if row.default is not row.empty]
        is_async_stream = inspect.isasyncgenfunction(target)
        self.stream = is_async_stream or inspect.isgeneratorfunction(target)
        self.is_async = is_async_stream or inspect.iscoroutinefunction(target)
        self._resolve(inspect.unwrap(target))


class Signature:
    """Inputs and outputs of one function. Raises TypeError where it does not say what it takes."""

    def __init__(self, function: Callable[..., Any], batch: bool) -> None:
        self.name = getattr(function, "__name__", "model")
        self.shape = Shape(function)
        self.parameters = [self._parameter(name, batch) for name in self.shape.names]
        if batch and not self.parameters:
            raise TypeError(f"{self.name}: a batch needs an input")
        self.outputs = self._outputs(self.shape.hints.get("return"), batch)
        self.metas: Dict[Any, bytes] = {}

    def _parameter(self, name: str, batch: bool) -> Parameter:
        where = f"{self.name}: parameter '{name}'"
        if name in self.shape.defaults:
            raise TypeError(f"{where}: an input has no default; see mer.parameters()")
        if name not in self.shape.hints:
            raise TypeError(f"{where} needs an annotation: mer.Tensor, str, bytes, ...")
        hint = self.shape.hints[name]
        if batch:
            if getattr(hint, "__origin__", None) is not list:
                raise TypeError(f"{where}: a batch comes as List[...], an item a request")
            hint = first_argument(hint)
        kind, specs = unwrap(hint)
        if len(specs) > 1:
            raise TypeError(f"{where} has several contracts")
        if not is_numpy_array(kind) and kind not in (Tensor, *PLAIN_KINDS):
            raise TypeError(f"{where}: {kind!r} is none of mer.Tensor, numpy.ndarray, str, bytes, "
                            "memoryview, int, float, bool")
        return Parameter(name, kind, specs[0] if specs else None)

    def _outputs(self, hint: Any, batch: bool) -> Optional[List[Spec]]:
        if batch or self.shape.stream:
            hint = first_argument(hint)
        kind, specs = unwrap(hint)
        if specs:
            return specs
        return [ONE_OF_BYTES] if kind in (str, bytes) and not self.shape.stream else None

    def contracts(self) -> Dict[str, Any]:
        """The fields of ready; left out where not all is known."""
        fields = {}
        inputs = [(p.name, p.contract()) for p in self.parameters]
        if all(spec is not None for _, spec in inputs):
            fields["inputs"] = [spec.to_json(name) for name, spec in inputs if spec is not None]
        if self.outputs is not None:
            fields["outputs"] = [spec.to_json(spec.name) for spec in self.outputs]
        return fields

    # Inputs

    def plan(self, meta: Dict[str, Any], body_bytes: int) -> Plan:
        """Raises Violation where the lengths do not fit, else InputError."""
        deadline = meta.get("deadline_ms")
        if deadline is not None and (isinstance(deadline, bool)
                                     or not isinstance(deadline, (int, float))):
            raise InputError("deadline_ms is no number")
        parameters = meta.get("parameters", {})
        if not isinstance(parameters, dict):
            raise InputError("parameters is no object")
        if "content" in meta:
            return Plan([(0, 0, self._content(meta))], None, deadline, parameters)
        items = meta.get("inputs", [])
        if not isinstance(items, list):
            raise InputError("inputs is no array")
        tensors = [described(item) for item in items]
        size = sum(of.size for of in tensors)
        if size != body_bytes:
            raise Violation(f"a body of {body_bytes} bytes for tensors of {size}")
        return Plan(self._tensors(tensors), size, deadline, parameters)

    def _content(self, meta: Dict[str, Any]) -> Convert:
        if meta["content"] not in ("bytes", "text"):
            raise InputError(f"content is {str(meta['content'])[:40]!r}, neither bytes nor text")
        if len(self.parameters) != 1:
            raise InputError(f"the model takes {self._names()}, not one piece of bytes")
        parameter = self.parameters[0]
        parameter.check(Described(parameter.name, BYTES, (1,), 0))
        return of_content(parameter.kind)

    def _names(self) -> str:
        names = " and ".join(f"'{parameter.name}'" for parameter in self.parameters)
        return f"the inputs {names}" if names else "no input"

    def _tensors(self, tensors: List[Described]) -> List[Tuple[int, int, Convert]]:
        starts, at = {}, 0
        for of in tensors:
            if of.name in starts:
                raise InputError(f"input '{of.name}' is there twice")
            starts[of.name] = (at, of)
            at += of.size
        if len(self.parameters) == 1 and len(tensors) == 1:  # whatever its name
            starts = {self.parameters[0].name: (0, tensors[0])}
        rows = []
        for parameter in self.parameters:
            if parameter.name not in starts:
                raise InputError(f"input '{parameter.name}' is missing")
            at, of = starts.pop(parameter.name)
            parameter.check(of)
            rows.append((at, at + of.size, of_tensor(parameter.kind, of)))
        if starts:
            raise InputError(f"the model has no input '{next(iter(starts))}'")
        return rows

    # Outputs

    def encode(self, value: Any) -> Tuple[bytes, Sequence[Buffer]]:
        """A value as a result's meta and the pieces of its body."""
        kind = type(value)
        if kind is bytes or kind is str:
            meta = self.metas.get(kind) or self._meta(kind)
            return meta, (value if kind is bytes else value.encode(),)
        if kind is Tensor:
            name = self.outputs[0].name if self.outputs and len(self.outputs) == 1 else "output"
            return self._meta((name, value.datatype, value.shape, len(value.data))), (value.data,)
        if isinstance(value, dict):
            if not all(isinstance(name, str) for name in value):
                raise TypeError("an output's name is a string")
            tensors = [(name, to_output(item)) for name, item in value.items()]
            key = tuple((name, t.datatype, t.shape, len(t.data)) for name, t in tensors)
            return self._meta(("", key)), [t.data for _, t in tensors]
        if isinstance(value, (bytearray, memoryview)):
            return self._meta(bytes), (memoryview(value).cast("B"),)
        if isinstance(value, (bool, int, float)):
            return self._meta(str), (_json.encode(value).encode(),)
        return self.encode(to_output(value))

    def _meta(self, key: Any) -> bytes:
        """The meta of outputs of this kind, from the last time."""
        meta = self.metas.get(key)
        if meta is None:
            if len(self.metas) >= CACHE_MAX:
                self.metas.clear()
            meta = self.metas[key] = self._describe(key)
        return meta

    def _describe(self, key: Any) -> bytes:
        if key in CONTENT:
            self._check_outputs([("output", BYTES, (1,), 0)], by_name=False)
            return dump_meta({"content": CONTENT[key]})
        rows = list(key[1]) if key[0] == "" else [key]
        self._check_outputs(rows, by_name=key[0] == "")
        return dump_meta({"outputs": [
            {"name": name, "datatype": datatype, "shape": list(shape),
             "parameters": {"binary_data_size": size}} for name, datatype, shape, size in rows]})

    def _check_outputs(self, rows: List[Tuple[str, str, Tuple[int, ...], int]],
                       by_name: bool) -> None:
        """Holds the model to its own contract."""
        if self.outputs is None:
            return
        if len(rows) != len(self.outputs):
            raise TypeError(f"{self.name} gave {len(rows)} outputs, "
                            f"its contract has {len(self.outputs)}")
        specs = {spec.name: spec for spec in self.outputs}
        for name, datatype, shape, _ in rows:
            spec = specs.get(name) if by_name else self.outputs[0]
            if spec is None or not spec.fits(datatype, shape):
                raise TypeError(f"{self.name} gave '{name}' as {datatype} {list(shape)}, "
                                f"its contract says {spec or 'nothing of it'}")


def to_output(value: Any) -> Tensor:
    """What a model may give for a named output."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (str, bytes)):
        return Tensor.of([value])
    numpy: Any = sys.modules.get("numpy")  # who has an array has imported it
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return Tensor.of_numpy(numpy.asarray(value))
    raise TypeError(f"the model gave {type(value).__name__}, which is none of mer.Tensor, "
                    "numpy.ndarray, str, bytes, a number, or a dict of tensors")
