"""encoding/json: values as JSON text.

Rules: https://pkg.go.dev/encoding/json#Marshal
"""

import json
import math
from typing import Any

from otero.gotemplate.formatting import float_text
from otero.gotemplate.times import Duration, Time
from otero.gotemplate.values import FunctionError, List, Map, Struct, type_name

_UNSAFE = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_LARGE, _SMALL = 1e21, 1e-6
"""From the one on and below the other, numbers have an exponent."""


def to_json(value: Any) -> str:
    """A value as Go's json.Marshal writes it: keys of maps sorted, `<`, `>` and `&` escaped. Raises FunctionError."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).translate(_UNSAFE)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Map):
        return _object([(key, item) for key, item in value.sorted_items()])
    if isinstance(value, List):
        return f"[{','.join(map(to_json, value.items))}]"
    if isinstance(value, Struct):
        return _object([(value.json_names.get(name, name), item) for name, item in value.fields.items()])
    if isinstance(value, Duration):
        return str(value.ns)
    if isinstance(value, Time):
        return f'"{value.format("2006-01-02T15:04:05.999999999Z07:00")}"'
    raise FunctionError(f"json: unsupported type: {type_name(value)}")


def _object(pairs: list[tuple[str, Any]]) -> str:
    return f"{{{','.join(f'{to_json(key)}:{to_json(item)}' for key, item in pairs)}}}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise FunctionError(f"json: unsupported value: {float_text(value)}")
    size = abs(value)
    if size and not _SMALL <= size < _LARGE:
        text = float_text(value, "e")
        return text.replace("e-0", "e-")
    return float_text(value, "f")
