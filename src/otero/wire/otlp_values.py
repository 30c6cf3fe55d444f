"""Attribute values as label values: the texts that OpenTelemetry's own libraries for Prometheus make of them.

Texts stay, booleans and numbers become what JSON writes, bytes base64; arrays and maps become JSON as Go writes it.
"""

import base64
import json
import math
from collections.abc import Iterable

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_GO_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def text_of(value: AnyValue) -> str:
    """The text of a value; empty for one that is not set."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "double_value" and not math.isfinite(value.double_value):
        # The words of the collector's library, which Prometheus' receiver keeps.
        number = "NaN" if math.isnan(value.double_value) else f"{'+' if value.double_value > 0 else '-'}Inf"
        return f"json: unsupported value: {number}"
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind is None:
        return ""
    try:
        return _json(value)
    except ValueError:  # a number in it that JSON does not have
        return ""


def format_number(value: float) -> str:
    """A finite number as JSON writers of Go print it: no exponent from 1e-6 up to 1e21."""
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    if 1e-6 <= abs(value) < 1e21:
        return format_plain(value)
    mantissa, _, exponent = repr(value).partition("e")
    sign = "-" if exponent.startswith("-") else "+"
    digits = exponent.lstrip("+-0")
    return f"{mantissa.removesuffix('.0')}e{sign}{digits.zfill(2) if sign == '+' else digits}"


def format_plain(value: float) -> str:
    """The shortest decimal text without any exponent that reads back as `value`: the `le` and `quantile` of OTLP."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent_text = repr(value).partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    if not exponent_text:
        return f"{sign}{whole}.{fraction}" if fraction.strip("0") else f"{sign}{whole}"
    digits = whole + fraction.rstrip("0")
    point = len(whole) + int(exponent_text)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits}{'0' * (point - len(digits))}"


def _json(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return "null"
    if kind == "string_value":
        return _quoted(value.string_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        if not math.isfinite(value.double_value):
            raise ValueError
        return format_number(value.double_value)
    if kind == "bytes_value":
        return f'"{base64.b64encode(value.bytes_value).decode()}"'
    if kind == "array_value":
        return f"[{','.join(map(_json, value.array_value.values))}]"
    return _json_map(value.kvlist_value.values)


def _json_map(pairs: Iterable[KeyValue]) -> str:
    values = {pair.key: pair.value for pair in pairs}
    return "{" + ",".join(f"{_quoted(key)}:{_json(values[key])}" for key in sorted(values)) + "}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_GO_ESCAPES)
