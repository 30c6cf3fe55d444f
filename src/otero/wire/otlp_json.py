"""OTLP/JSON to the messages of opentelemetry-proto, and any of these messages to OTLP/JSON.

OTLP's JSON is protobuf's JSON mapping with three differences, for which `google.protobuf.json_format` cannot be used: ids
of traces and spans are hexadecimal, enums are numbers, unknown fields are ignored. What is accepted is wider than what is
written: 64-bit integers as numbers or strings, enums as numbers or names, field names in camelCase and snake_case, base64
of either alphabet.

Rules: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding and https://protobuf.dev/programming-guides/json/
"""

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from otero.errors import BadInput

MAX_DEPTH = 90
"""Messages within messages. Protobuf itself reads no more than 100 levels."""

M = TypeVar("M", bound=Message)
Convert = Callable[[Any, int], Any]

_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


def from_json(kind: type[M], body: bytes) -> M:
    """The message that a JSON document describes.

    Raises BadInput for what is not JSON, and for a value of a wrong type with the path to it
    (`resourceSpans[0].scopeSpans[1].spans[7].traceId: …`).
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"not valid JSON: {error}") from None
    try:
        fields = _converter(cast("Descriptor", kind.DESCRIPTOR))(document, 1)
    except _WrongError as wrong:
        raise BadInput(wrong.told()) from None
    return kind(**fields)


def to_json(message: Message) -> bytes:
    """A message as OTLP/JSON: camelCase names, fields that have their default left out."""
    return orjson.dumps(to_tree(message))


def to_tree(message: Message) -> dict[str, Any]:
    """What `to_json` writes, as dicts, lists, texts, numbers and booleans."""
    renderers = _renderer(cast("Descriptor", message.DESCRIPTOR))
    out: dict[str, Any] = {}
    for field, value in message.ListFields():
        name, render, repeated = renderers[field.number]
        if render is None:
            out[name] = list(value) if repeated else value
        else:
            out[name] = [render(item) for item in value] if repeated else render(value)
    return out


class _WrongError(Exception):
    """What is wrong; each level on the way out adds its part of the path, innermost first."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__()
        self.path: list[str | int] = []
        self._expected = expected
        self._found = found

    def told(self) -> str:
        path = ""
        for part in reversed(self.path):
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
        message = f"expected {self._expected}, found {_shown(self._found)}"
        return f"{path}: {message}" if path else message


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = orjson.dumps(value).decode()
    return f"{text[:60]}…" if len(text) > 60 else text


# -- from JSON ---------------------------------------------------------------------------------------------------------

_converters: dict[str, Convert] = {}


def _converter(descriptor: Descriptor) -> Convert:
    """The function that turns an object into the arguments of a message's constructor."""
    found = _converters.get(descriptor.full_name)
    if found is None:
        fields: dict[str, tuple[str, Convert]] = {}
        found = _converters[descriptor.full_name] = _of_message(fields)
        for field in descriptor.fields:
            convert = _of_field(field)
            fields[field.name] = fields[field.json_name] = (field.name, convert)
    return found


def _of_message(fields: dict[str, tuple[str, Convert]]) -> Convert:
    lookup = fields.get

    def convert(value: Any, depth: int) -> dict[str, Any]:
        if type(value) is not dict:
            raise _WrongError("an object", value)
        if depth > MAX_DEPTH:
            raise _WrongError(f"at most {MAX_DEPTH} levels", value)
        out: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                field = lookup(key)
                if field is not None and item is not None:
                    out[field[0]] = field[1](item, depth + 1)
        except _WrongError as wrong:
            wrong.path.append(key)
            raise
        return out

    return convert


def _of_field(field: FieldDescriptor) -> Convert:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        one = _converter(cast("Descriptor", field.message_type))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        one = _of_enum(cast("EnumDescriptor", field.enum_type))
    elif field.cpp_type in _RANGES:
        one = _of_integer(*_RANGES[field.cpp_type])
    elif field.type == FieldDescriptor.TYPE_BYTES:
        one = _hex if field.name in _HEX_FIELDS else _base64
    else:
        one = _SCALARS[field.cpp_type]
    return _of_list(one) if field.is_repeated else one


def _of_list(one: Convert) -> Convert:
    def convert(value: Any, depth: int) -> list[Any]:
        if type(value) is not list:
            raise _WrongError("an array", value)
        out: list[Any] = []
        append = out.append
        try:
            for item in value:
                append(one(item, depth))
        except _WrongError as wrong:
            wrong.path.append(len(out))
            raise
        return out

    return convert


def _text(value: Any, _: int) -> str:
    if type(value) is not str:
        raise _WrongError("a string", value)
    return value


def _boolean(value: Any, _: int) -> bool:
    if type(value) is not bool:
        raise _WrongError("true or false", value)
    return value


def _double(value: Any, _: int) -> float:
    if type(value) is float or type(value) is int:
        return value
    if type(value) is str:
        special = _SPECIAL.get(value)
        if special is not None:
            return special
        if _NUMBER.fullmatch(value):
            return float(value)
    raise _WrongError('a number, "NaN", "Infinity" or "-Infinity"', value)


def _of_integer(low: int, high: int) -> Convert:
    def convert(value: Any, _: int) -> int:
        number = value
        if (type(value) is str and _INTEGER.fullmatch(value)) or (
            type(value) is float and value.is_integer()
        ):
            number = int(value)
        if type(number) is int and low <= number <= high:
            return number
        raise _WrongError(f"an integer from {low} to {high}", value)

    return convert


def _of_enum(enum: EnumDescriptor) -> Convert:
    numbers = {name: value.number for name, value in enum.values_by_name.items()}
    integer = _of_integer(*_RANGES[FieldDescriptor.CPPTYPE_INT32])

    def convert(value: Any, depth: int) -> int:
        if type(value) is str:
            number = numbers.get(value)
            if number is not None:
                return number
        elif type(value) is int:
            return integer(value, depth)
        raise _WrongError(f"a number or a name of {enum.name}", value)

    return convert


def _hex(value: Any, _: int) -> bytes:
    if type(value) is str:
        try:
            return binascii.unhexlify(value)
        except ValueError:
            pass
    raise _WrongError("hexadecimal digits, two for each byte", value)


def _base64(value: Any, _: int) -> bytes:
    if type(value) is str:
        text = value.replace("-", "+").replace("_", "/").rstrip("=")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            pass
    raise _WrongError("base64", value)


_SCALARS: dict[int, Convert] = {
    FieldDescriptor.CPPTYPE_STRING: _text,
    FieldDescriptor.CPPTYPE_BOOL: _boolean,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_FLOAT: _double,
}

# -- to JSON -----------------------------------------------------------------------------------------------------------

Render = Callable[[Any], Any]
_renderers: dict[str, dict[int, tuple[str, Render | None, bool]]] = {}


def _renderer(descriptor: Descriptor) -> dict[int, tuple[str, Render | None, bool]]:
    """By field number: the field's name in JSON, how its values are rendered (None: as they are), whether it repeats."""
    found = _renderers.get(descriptor.full_name)
    if found is None:
        found = _renderers[descriptor.full_name] = {
            field.number: (field.json_name, _render_field(field), field.is_repeated)
            for field in descriptor.fields
        }
    return found


def _render_field(field: FieldDescriptor) -> Render | None:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return to_tree
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.hex if field.name in _HEX_FIELDS else _render_base64
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return str
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _render_double
    return None


def _render_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _render_double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
