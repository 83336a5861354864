"""JSON without the json package, whose import costs a third of a worker's start."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def no_constant(word: str) -> NoReturn:
    """NaN and Infinity, which Python's parser would take."""
    raise ValueError(f"{word} is no JSON")


try:
    from _json import encode_basestring_ascii as quote  # what the json package itself runs on
    from _json import make_scanner
except ImportError:
    import json

    quote = json.encoder.encode_basestring_ascii
    scan: Any = json.JSONDecoder(parse_constant=no_constant).scan_once  # type: ignore[attr-defined]
else:
    class Rules:
        """What the scanner asks of a decoder."""

        strict = True
        object_hook = object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = staticmethod(no_constant)
        memo: dict[str, str] = {}

    scan = make_scanner(Rules())  # type: ignore[arg-type]

BLANKS = " \t\n\r"


def decode(text: str) -> Any:
    """Raises ValueError, or RecursionError."""
    text = text.strip(BLANKS)
    try:
        try:
            value, end = scan(text, 0)
        except SystemError:  # it can only say what is wrong once this is imported
            __import__("json.decoder")
            value, end = scan(text, 0)
    except StopIteration as error:
        raise ValueError(f"expecting a value at character {error.value}") from None
    if end != len(text):
        raise ValueError(f"extra data at character {end}")
    return value


def encode(value: Any) -> str:
    """ASCII. Raises TypeError or ValueError for what JSON does not have."""
    if isinstance(value, str):
        return str(quote(value))
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{value!r} is no JSON")
        return float.__repr__(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a key of an object is a string")
        return "{" + ",".join(f"{quote(k)}:{encode(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(encode, value)) + "]"
    raise TypeError(f"{type(value).__name__} is no JSON")
