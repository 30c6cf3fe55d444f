"""Random OTLP messages, made from their descriptors."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
}


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return _fields(field.message_type, depth - 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from(list(field.enum_type.values_by_number)) | st.integers(0, 99)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=17)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return TEXTS
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in _INTEGERS:
        return _INTEGERS[field.cpp_type]
    return st.floats(allow_nan=False)


def _fields(descriptor: Descriptor, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    def build(draw: st.DrawFn) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for field in descriptor.fields:
            if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and depth == 0:
                continue
            if field.containing_oneof is not None and any(
                other.name in out for other in field.containing_oneof.fields
            ):
                continue
            if draw(st.booleans()):
                values = _values(field, depth)
                out[field.name] = draw(st.lists(values, max_size=2) if field.is_repeated else values)
        return out

    return st.composite(build)()


def messages(kind: type[Message], depth: int = 7) -> st.SearchStrategy[Message]:
    """Messages of one type, at most `depth` levels deep."""
    return _fields(kind.DESCRIPTOR, depth).map(lambda fields: kind(**fields))
