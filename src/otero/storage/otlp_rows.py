"""Rows of `otel_logs` and `otel_traces` as the messages that they came from; the way back from `otlp_view`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otero.model.records import Placed

_KINDS = {b"Unspecified": 0, b"Internal": 1, b"Server": 2, b"Client": 3, b"Producer": 4, b"Consumer": 5}
_CODES = {b"Unset": 0, b"Ok": 1, b"Error": 2}

Row = Mapping[str, Any]


@dataclass(slots=True)
class Context:
    """Resources and scopes that rows have in common are made once."""

    resources: dict[Any, tuple[Resource, int]]
    scopes: dict[Any, tuple[InstrumentationScope, int]]

    @staticmethod
    def empty() -> "Context":
        return Context({}, {})


def rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of one answer of the engine: times as nanoseconds, texts as bytes, maps as pairs."""
    columns: dict[str, list[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        elif name == "Events.Timestamp":
            column = column.cast(pa.list_(pa.int64()))
        columns[name] = column.to_pylist()
    names = list(columns)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(names, values, strict=True))


def span_of(row: Row, context: Context) -> Placed[Span]:
    """The span of a row with all columns."""
    resource, scope, raws = _around(row, context)
    times = row["OriginalTimes"] or [
        row["Timestamp"],
        row["Timestamp"] + row["Duration"],
        *row["Events.Timestamp"],
    ]
    span = Span(
        trace_id=bytes.fromhex(row["TraceId"].decode()),
        span_id=bytes.fromhex(row["SpanId"].decode()),
        parent_span_id=bytes.fromhex(row["ParentSpanId"].decode()),
        trace_state=row["TraceState"].decode(),
        flags=row["Flags"],
        name=row["SpanName"].decode(),
        kind=_number(_KINDS, row["SpanKind"]),  # pyright: ignore[reportArgumentType]
        start_time_unix_nano=times[0],
        end_time_unix_nano=times[1],
        dropped_attributes_count=row["SpanDroppedAttributesCount"],
        dropped_events_count=row["DroppedEventsCount"],
        dropped_links_count=row["DroppedLinksCount"],
    )
    _fill(span.attributes, row["SpanAttributes"], row["SpanAttributeTypes"], raws)
    for number, name in enumerate(row["Events.Name"]):
        event = span.events.add(
            time_unix_nano=times[2 + number],
            name=name.decode(),
            dropped_attributes_count=row["Events.DroppedAttributesCount"][number],
        )
        _fill(event.attributes, row["Events.Attributes"][number], row["Events.AttributeTypes"][number], raws)
    for number, trace_id in enumerate(row["Links.TraceId"]):
        link = span.links.add(
            trace_id=bytes.fromhex(trace_id.decode()),
            span_id=bytes.fromhex(row["Links.SpanId"][number].decode()),
            trace_state=row["Links.TraceState"][number].decode(),
            dropped_attributes_count=row["Links.DroppedAttributesCount"][number],
            flags=row["Links.Flags"][number],
        )
        _fill(link.attributes, row["Links.Attributes"][number], row["Links.AttributeTypes"][number], raws)
    code = _number(_CODES, row["StatusCode"])
    if code or row["StatusMessage"]:
        span.status.code = code  # pyright: ignore[reportAttributeAccessIssue]
        span.status.message = row["StatusMessage"].decode()
    return _placed(row, resource, scope, span)


def log_of(row: Row, context: Context) -> Placed[LogRecord]:
    """The log record of a row with all columns."""
    resource, scope, raws = _around(row, context)
    times = row["OriginalTimes"] or [row["Timestamp"], row["ObservedTimestamp"]]
    record = LogRecord(
        time_unix_nano=times[0],
        observed_time_unix_nano=times[1],
        severity_number=row["SeverityNumber"],
        severity_text=row["SeverityText"].decode(),
        dropped_attributes_count=row["LogDroppedAttributesCount"],
        flags=row["TraceFlags"],
        trace_id=bytes.fromhex(row["TraceId"].decode()),
        span_id=bytes.fromhex(row["SpanId"].decode()),
        event_name=row["EventName"].decode(),
    )
    if row["BodyType"] != b"n":
        _set(record.body, row["Body"], row["BodyType"] or b"s", raws)
    _fill(record.attributes, row["LogAttributes"], row["LogAttributeTypes"], raws)
    return _placed(row, resource, scope, record)


def _placed(row: Row, resource: Resource, scope: InstrumentationScope, record: Any) -> Placed[Any]:
    return Placed(resource, row["ResourceSchemaUrl"].decode(), scope, row["ScopeSchemaUrl"].decode(), record)


def _around(row: Row, context: Context) -> tuple[Resource, InstrumentationScope, Iterator[bytes]]:
    """The resource and the scope of a row, and what is left of its raw values."""
    raws: Sequence[bytes] = row["RawValues"]
    key = (
        tuple(row["ResourceAttributes"]), row["ResourceAttributeTypes"], row["ResourceDroppedAttributesCount"],
        tuple(row["ResourceEntityRefs"]), tuple(raws),
    )  # fmt: skip
    found = context.resources.get(key)
    if found is None:
        resource = Resource(dropped_attributes_count=row["ResourceDroppedAttributesCount"])
        rest = iter(raws)
        _fill(resource.attributes, row["ResourceAttributes"], row["ResourceAttributeTypes"], rest)
        for reference in row["ResourceEntityRefs"]:
            resource.entity_refs.add().ParseFromString(reference)
        found = context.resources[key] = (resource, len(raws) - len(list(rest)))
    resource, used = found
    raws = raws[used:]
    key = (
        tuple(row["ScopeAttributes"]), row["ScopeAttributeTypes"], row["ScopeDroppedAttributesCount"],
        row["ScopeName"], row["ScopeVersion"], tuple(raws),
    )  # fmt: skip
    found = context.scopes.get(key)
    if found is None:
        scope = InstrumentationScope(
            name=row["ScopeName"].decode(),
            version=row["ScopeVersion"].decode(),
            dropped_attributes_count=row["ScopeDroppedAttributesCount"],
        )
        rest = iter(raws)
        _fill(scope.attributes, row["ScopeAttributes"], row["ScopeAttributeTypes"], rest)
        found = context.scopes[key] = (scope, len(raws) - len(list(rest)))
    scope, used = found
    return resource, scope, iter(raws[used:])


def _number(names: Mapping[bytes, int], text: bytes) -> int:
    return names[text] if text in names else int(text)


def _fill(target: Any, pairs: Iterable[tuple[bytes, bytes]], types: bytes, raws: Iterator[bytes]) -> None:
    """Add the attributes of a map, each with its type."""
    for number, (key, text) in enumerate(pairs):
        attribute: KeyValue = target.add(key=key.decode())
        _set(attribute.value, text, types[number : number + 1] if types else b"s", raws)


def _set(value: AnyValue, text: bytes, letter: bytes, raws: Iterator[bytes]) -> None:
    match letter:
        case b"s":
            value.string_value = text.decode()
        case b"i":
            value.int_value = int(text)
        case b"b":
            value.bool_value = text == b"true"
        case b"d":
            value.double_value = float(text)
        case b"a":
            value.array_value.SetInParent()
            value.array_value.MergeFromString(next(raws))
        case b"k":
            value.kvlist_value.SetInParent()
            value.kvlist_value.MergeFromString(next(raws))
        case b"y":
            value.bytes_value = next(raws)
        case _:
            value.SetInParent()
