"""Text for ClickHouse: bound parameters, conditions for matchers, and Native blocks. The only place that quotes."""

from collections.abc import Mapping, Sequence

import numpy as np

from otero.model.labels import METRIC_NAME
from otero.model.matchers import Matcher, MatchOp
from otero.storage.engine import Column, Parameter

_TSV = str.maketrans(
    {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\0": "\\0", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
)


def bound(parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """Values as the texts that `{name:Type}` parses: TSV-escaped, arrays with quoted texts."""
    return {name: _bound(value) for name, value in parameters.items()}


def _bound(value: Parameter) -> str:
    if isinstance(value, str):
        return value.translate(_TSV)
    if isinstance(value, int | float):
        return str(value)
    return (
        "[" + ",".join(quoted(item) if isinstance(item, str) else str(item) for item in value) + "]"
    ).translate(_TSV)


def quoted(text: str) -> str:
    """A text as a SQL literal, for the few places that take no parameter."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def series_condition(matchers: Sequence[Matcher], prefix: str = "m") -> tuple[str, dict[str, Parameter]]:
    """A condition on the columns `metric` and `labels` of the table `series`, and its parameters.

    An absent label is the empty text in a Map too, so matchers that match "" need no special case.
    """
    parts: list[str] = []
    parameters: dict[str, Parameter] = {}
    for number, matcher in enumerate(matchers):
        value, name = f"{prefix}{number}v", f"{prefix}{number}n"
        if matcher.name == METRIC_NAME:
            column = "metric"
        else:
            column = f"labels[{{{name}:String}}]"
            parameters[name] = matcher.name
        match matcher.op:
            case MatchOp.EQUAL:
                parts.append(f"{column} = {{{value}:String}}")
                parameters[value] = matcher.value
            case MatchOp.NOT_EQUAL:
                parts.append(f"{column} != {{{value}:String}}")
                parameters[value] = matcher.value
            case MatchOp.REGEX | MatchOp.NOT_REGEX:
                negated = "NOT " if matcher.op is MatchOp.NOT_REGEX else ""
                parts.append(f"{negated}match({column}, {{{value}:String}})")
                parameters[value] = f"^(?s:{matcher.value})$"
    return " AND ".join(parts) or "1", parameters


def native_block(columns: Sequence[Column]) -> bytes:
    """One block of ClickHouse's Native format: counts, then per column its name, its type and its data."""
    rows = len(columns[0])
    parts = [_varint(len(columns)), _varint(rows)]
    for column in columns:
        parts += [_text(column.name.encode()), _text(column.type.encode())]
        if column.type == "LowCardinality(String)":
            parts += _low_cardinality(column)
            continue
        if column.ends is not None:
            parts.append(column.ends.astype(np.uint64).tobytes())
        if isinstance(column.values, np.ndarray):
            parts.append(np.ascontiguousarray(column.values).tobytes())
        else:
            parts.append(b"".join(map(_text, column.values)))
    return b"".join(parts)


def _low_cardinality(column: Column) -> list[bytes]:
    """Version 1, flags (own dictionary, code width), dictionary, codes: the serialisation of one part."""
    size = len(column.dictionary)
    width = 0 if size <= 0xFF else 1 if size <= 0xFFFF else 2
    codes = np.asarray(column.values).astype((np.uint8, np.uint16, np.uint32)[width])
    return [
        (1).to_bytes(8, "little"),
        (0x600 | width).to_bytes(8, "little"),
        size.to_bytes(8, "little"),
        b"".join(map(_text, column.dictionary)),
        len(codes).to_bytes(8, "little"),
        codes.tobytes(),
    ]


def _text(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
