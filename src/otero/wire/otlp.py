"""OTLP requests of log records and spans: checked, counted and made ready for the engine, which reads protobuf itself.

A request leaves here as a well-formed message without unknown fields, so that no client can send what the engine cannot
read. Values that are neither text, number nor truth value (arrays, key-value lists, byte strings) get a readable text
beside them, in a field of our own (`AnyValue.text`, 1000): a message as Python sees it has no place for it, a message as
the engine sees it has (`storage/otlp_view.py`).
"""

import base64
import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otero.errors import BadInput
from otero.model.records import RecordBatch, Signal

REQUESTS: dict[Signal, type[Message]] = {
    "logs": ExportLogsServiceRequest,
    "traces": ExportTraceServiceRequest,
}
_TEXT_TAG = b"\xc2\x3e"
"""Field 1000, length-delimited."""

_UNREADABLE = frozenset({"array_value", "kvlist_value", "bytes_value"})
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)

_VALUE, _BODY = 0x12, 0x2A
_ARRAY, _KVLIST, _BYTES = 0x2A, 0x32, 0x3A
"""Tags of AnyValue fields, and of the members of AnyValue that a text column cannot hold."""
_MAX_LENGTH = 4
"""Bytes of a length as varint: enough for 256 MiB."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Records of a request that are not stored; `reason` is a word for counters, `text` says it to the client."""

    reason: str
    text: str
    records: int


def digest_of(body: bytes) -> bytes:
    """What tells a request from all others: of the bytes that the client sent, before any change."""
    return hashlib.blake2b(body, digest_size=16).digest()


def parsed(signal: Signal, body: bytes) -> Message:
    """The request of these protobuf bytes. Raises BadInput."""
    try:
        return REQUESTS[signal].FromString(body)
    except DecodeError as error:
        raise BadInput(f"not a protobuf {REQUESTS[signal].DESCRIPTOR.name}: {error}") from None


def accepted(
    signal: Signal, request: Message, digest: bytes, oldest_ns: int = 0
) -> tuple[RecordBatch, list[Refused]]:
    """What of a request is stored, and what is not: records older than `oldest_ns`, spans without ids.

    The request is changed by it.
    """
    request.DiscardUnknownFields()
    records, refused = (
        _accept_spans(request, oldest_ns) if signal == "traces" else _accept_logs(request, oldest_ns)
    )
    payload = request.SerializeToString()
    if may_hold_unreadable(payload):
        _make_readable(signal, request)
        payload = request.SerializeToString()
    return RecordBatch(payload, records, digest), refused


def _accept_spans(request: Any, oldest_ns: int) -> tuple[int, list[Refused]]:
    def fault(span: Span) -> str:
        trace_id, span_id = span.trace_id, span.span_id
        if len(trace_id) != 16 or len(span_id) != 8 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
            return "bad_id"
        return "older_than_retention" if span.start_time_unix_nano < oldest_ns else ""

    faults: dict[str, int] = {}
    kept = sum(
        _keep_good(scope.spans, fault, faults)
        for resource in request.resource_spans
        for scope in resource.scope_spans
    )
    return kept, _told(faults, "spans")


def _accept_logs(request: Any, oldest_ns: int) -> tuple[int, list[Refused]]:
    def fault(record: LogRecord) -> str:
        time_ns = record.time_unix_nano or record.observed_time_unix_nano
        return "older_than_retention" if 0 < time_ns < oldest_ns else ""

    faults: dict[str, int] = {}
    kept = sum(
        _keep_good(scope.log_records, fault, faults)
        for resource in request.resource_logs
        for scope in resource.scope_logs
    )
    return kept, _told(faults, "log records")


def _keep_good(records: Any, fault: Callable[[Any], str], faults: dict[str, int]) -> int:
    """Drop what has a fault, counting it; how many stay."""
    found = [fault(record) for record in records]
    if any(found):
        kept = [type(record).FromString(record.SerializeToString()) for record in records]
        del records[:]
        records.extend(record for record, word in zip(kept, found, strict=True) if not word)
        for word in filter(None, found):
            faults[word] = faults.get(word, 0) + 1
    return len(records)


_TEXTS = {
    "bad_id": "have no trace id of 16 bytes and span id of 8 bytes that are not all zero",
    "older_than_retention": "are older than the retention",
}


def _told(faults: dict[str, int], what: str) -> list[Refused]:
    return [Refused(word, f"{count} {what} {_TEXTS[word]}", count) for word, count in faults.items()]


def may_hold_unreadable(payload: bytes) -> bool:
    """Whether a serialized request may hold an AnyValue that is an array, a key-value list or a byte string.

    Looking at each attribute from Python costs five times what parsing does. So look for the bytes: the tag of a field
    that is an AnyValue (KeyValue.value or LogRecord.body), a length, the tag of such a member, and its length, where the
    first length is just that of the rest. What protobuf serializes has no other form; a text may look the same by chance.
    """
    data = np.frombuffer(bytes(_MAX_LENGTH + 1) + payload + bytes(_MAX_LENGTH), np.uint8)
    at = np.flatnonzero((data == _ARRAY) | (data == _KVLIST) | (data == _BYTES))
    inner, width = _lengths(data, at + 1)
    for size in range(1, _MAX_LENGTH + 1):
        begin = at - size
        outer, outer_width = _lengths(data, begin)
        tag = data[begin - 1]
        whole = (outer_width == size) & (outer == inner + width + 1)
        if (whole & ((tag == _VALUE) | (tag == _BODY))).any():
            return True
    return False


def _lengths(data: NDArray[np.uint8], at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The varints that begin at these places, and how many bytes each has."""
    value = np.zeros(len(at), np.int64)
    width = np.zeros(len(at), np.int64)
    going = np.ones(len(at), np.bool_)
    for place in range(_MAX_LENGTH):
        byte = data[np.minimum(at + place, len(data) - 1)].astype(np.int64)
        value += np.where(going, (byte & 0x7F) << (7 * place), 0)
        width += going
        going &= byte >= 0x80
    return value, width


def _make_readable(signal: Signal, request: Any) -> None:
    """Give every value that is neither text, number nor truth value its readable text."""
    for resource in request.resource_spans if signal == "traces" else request.resource_logs:
        _add_texts(resource.resource.attributes)
        for scope in resource.scope_spans if signal == "traces" else resource.scope_logs:
            _add_texts(scope.scope.attributes)
            for record in scope.spans if signal == "traces" else scope.log_records:
                _add_texts(record.attributes)
                if signal == "logs":
                    if record.body.WhichOneof("value") in _UNREADABLE:
                        _add_text(record.body)
                    continue
                for part in (*record.events, *record.links):
                    _add_texts(part.attributes)


def _add_texts(attributes: Iterable[KeyValue]) -> None:
    for attribute in attributes:
        if attribute.value.WhichOneof("value") in _UNREADABLE:
            _add_text(attribute.value)


def _add_text(value: AnyValue) -> None:
    text = value_text(value).encode()
    value.MergeFromString(_TEXT_TAG + _varint(len(text)) + text)


def value_text(value: AnyValue) -> str:
    """A value as text: lists and mappings as JSON, bytes as base64, nothing as the empty text."""
    plain = plain_value(value)
    if isinstance(plain, str):
        return plain
    return "" if plain is None else orjson.dumps(plain).decode()


def plain_value(value: AnyValue) -> Any:
    """A value as Python has it: bytes as base64, integers beyond 64 bits do not occur, NaN and infinities as words."""
    match value.WhichOneof("value"):
        case "array_value":
            return [plain_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: plain_value(item.value) for item in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value" if not math.isfinite(value.double_value):
            return str(value.double_value)
        case None:
            return None
        case member:
            return getattr(value, member)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
