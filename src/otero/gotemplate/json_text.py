"""encoding/json: values as JSON text.

Rules: https://pkg.go.dev/encoding/json#Marshal
"""

import math
from typing import Any

import orjson

from otero.gotemplate.formatting import float_text
from otero.gotemplate.times import Duration, Time
from otero.gotemplate.values import FunctionError, List, Map, Struct, type_name

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_LARGE, _SMALL = 1e21, 1e-6
"""From the one on and below the other, numbers have an exponent."""


def to_json(value: Any) -> str:
    """A value as Go's json.Marshal writes it: keys of maps sorted, `<`, `>` and `&` escaped. Raises FunctionError."""
    try:
        text = orjson.dumps(_plain(value)).decode()
    except TypeError as error:
        raise FunctionError(f"json: {error}") from None
    for char, escape in _UNSAFE.items():
        if char in text:
            text = text.replace(char, escape)
    return text


def _plain(value: Any) -> Any:
    """A value as orjson takes it, what differs from Go being written already."""
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return orjson.Fragment(str(int(value)))
    if isinstance(value, float):
        return orjson.Fragment(_number(value))
    if isinstance(value, Map):
        return {name: _plain(item) for name, item in value.sorted_items()}
    if isinstance(value, List):
        return [_plain(item) for item in value.items]
    if isinstance(value, Struct):
        return {value.json_names.get(name, name): _plain(item) for name, item in value.fields.items()}
    if isinstance(value, Duration):
        return orjson.Fragment(str(value.ns))
    if isinstance(value, Time):
        return value.format("2006-01-02T15:04:05.999999999Z07:00")
    raise FunctionError(f"json: unsupported type: {type_name(value)}")


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise FunctionError(f"json: unsupported value: {float_text(value)}")
    size = abs(value)
    if size and not _SMALL <= size < _LARGE:
        return float_text(value, "e").replace("e-0", "e-")
    return float_text(value, "f")
