"""How the engine reads OTLP by itself: tables that take whole protobuf requests, and views that make rows of them.

A request enters a Null table as one row of nested arrays (`ProtobufSingle`); a materialized view joins the arrays out
and writes rows into `otel_logs` and `otel_traces`. Nothing of it holds data, so it is made anew at every start and is
no part of the schema's versions.

`AnyValue.text` and `insert_id` are ours, under numbers that OTLP does not use: a readable form of arrays and the like,
which `wire/otlp.py` adds, and the number of the insert.
"""

from collections.abc import Mapping

from otero.model.records import Signal
from otero.storage.engine import SqlEngine

_INSERT_ID_TAG = b"\xc0\x3e"
"""Field 1000, a varint."""

LAST_NS = 5_662_224_000_000_000_000
"""First moment that a Date cannot hold any more (6 June 2149); later times are clamped below it."""

_COMMON = """\
syntax = "proto3";
message AnyValue {
  optional string string_value = 1; optional bool bool_value = 2; optional int64 int_value = 3;
  optional double double_value = 4; optional bytes array_value = 5; optional bytes kvlist_value = 6;
  optional bytes bytes_value = 7; string text = 1000;
}
message KeyValue { string key = 1; AnyValue value = 2; }
message Scope { string name = 1; string version = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4; }
message Resource { repeated KeyValue attributes = 1; uint32 dropped_attributes_count = 2; repeated bytes entity_refs = 3; }
"""
_SPANS = """\
message Event { fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4; }
message Link {
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; repeated KeyValue attributes = 4;
  uint32 dropped_attributes_count = 5; fixed32 flags = 6;
}
message Status { string message = 2; int32 code = 3; }
message Record {
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
  fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
  uint32 dropped_attributes_count = 10; repeated Event events = 11; uint32 dropped_events_count = 12;
  repeated Link links = 13; uint32 dropped_links_count = 14; Status status = 15; fixed32 flags = 16;
}
"""
_LOGS = """\
message Record {
  fixed64 time_unix_nano = 1; int32 severity_number = 2; string severity_text = 3; AnyValue body = 5;
  repeated KeyValue attributes = 6; uint32 dropped_attributes_count = 7; fixed32 flags = 8; bytes trace_id = 9;
  bytes span_id = 10; fixed64 observed_time_unix_nano = 11; string event_name = 12;
}
"""
_REQUEST = """\
message ScopeRecords { Scope scope = 1; repeated Record records = 2; string schema_url = 3; }
message ResourceRecords { Resource resource = 1; repeated ScopeRecords scopes = 2; string schema_url = 3; }
message Request { repeated ResourceRecords resources = 1; uint64 insert_id = 1000; }
"""
SCHEMAS: dict[Signal, str] = {"traces": _COMMON + _SPANS + _REQUEST, "logs": _COMMON + _LOGS + _REQUEST}
"""The messages of each signal as the engine reads them: OTLP's with the fields that become columns."""

_VALUE = (
    "Tuple(string_value Nullable(String), bool_value Nullable(Bool), int_value Nullable(Int64),"
    " double_value Nullable(Float64), array_value Nullable(String), kvlist_value Nullable(String),"
    " bytes_value Nullable(String), text String)"
)
_ATTRIBUTES = f"attributes Array(Tuple(key String, value {_VALUE})), dropped_attributes_count UInt32"
_RECORDS = {
    "traces": "trace_id String, span_id String, trace_state String, parent_span_id String, name String, kind Int32,"
    f" start_time_unix_nano UInt64, end_time_unix_nano UInt64, {_ATTRIBUTES},"
    f" events Array(Tuple(time_unix_nano UInt64, name String, {_ATTRIBUTES})), dropped_events_count UInt32,"
    f" links Array(Tuple(trace_id String, span_id String, trace_state String, {_ATTRIBUTES}, flags UInt32)),"
    " dropped_links_count UInt32, status Tuple(message String, code Int32), flags UInt32",
    "logs": f"time_unix_nano UInt64, severity_number Int32, severity_text String, body {_VALUE}, {_ATTRIBUTES},"
    " flags UInt32, trace_id String, span_id String, observed_time_unix_nano UInt64, event_name String",
}
_TYPES = {
    "string_value": "s", "int_value": "i", "bool_value": "b", "double_value": "d",
    "array_value": "a", "kvlist_value": "k", "bytes_value": "y",
}  # fmt: skip


def _of(attributes: str, member: str) -> str:
    return f"tupleElement(tupleElement({attributes}, 'value'), '{member}')"


def _text(s: str, i: str, b: str, d: str, t: str) -> str:
    return (
        f"multiIf(isNotNull({s}), assumeNotNull({s}), isNotNull({i}), toString(assumeNotNull({i})),"
        f" isNotNull({b}), if(assumeNotNull({b}), 'true', 'false'), isNotNull({d}), toString(assumeNotNull({d})), {t})"
    )


def _map(attributes: str) -> str:
    members = ", ".join(
        _of(attributes, name) for name in ("string_value", "int_value", "bool_value", "double_value", "text")
    )
    texts = f"arrayMap((s, i, b, d, t) -> {_text('s', 'i', 'b', 'd', 't')}, {members})"
    return f"CAST((tupleElement({attributes}, 'key'), {texts}), 'Map(LowCardinality(String), String)')"


def _letter(names: Mapping[str, str]) -> str:
    """The type's letter; `names` says how each member is called here."""
    cases = ", ".join(f"isNotNull({names[member]}), '{letter}'" for member, letter in _TYPES.items())
    return f"multiIf({cases}, 'n')"


def _types(attributes: str) -> str:
    members = ", ".join(_of(attributes, member) for member in _TYPES)
    letters = ", ".join(_TYPES.values())
    letter = _letter(_TYPES)
    return (
        f"if(arrayAll(s -> isNotNull(s), {_of(attributes, 'string_value')}), '',"
        f" arrayStringConcat(arrayMap(({letters}) -> {letter}, {members})))"
    )


def _raw(attributes: str) -> str:
    """The bytes of what is neither text nor number, in order."""
    members = ", ".join(_of(attributes, name) for name in ("array_value", "kvlist_value", "bytes_value"))
    return (
        "arrayMap(v -> assumeNotNull(v), arrayFilter(v -> isNotNull(v),"
        f" arrayMap((a, k, y) -> coalesce(a, k, y), {members})))"
    )


def _time(nanoseconds: str) -> str:
    return f"fromUnixTimestamp64Nano(toInt64(least({nanoseconds}, toUInt64({LAST_NS - 1}))))"


_RESOURCE = {
    "ResourceSchemaUrl": "r.schema_url",
    "ResourceAttributes": _map("r.resource.attributes"),
    "ResourceAttributeTypes": _types("r.resource.attributes"),
    "ResourceDroppedAttributesCount": "r.resource.dropped_attributes_count",
    "ResourceEntityRefs": "r.resource.entity_refs",
    "RawResource": _raw("r.resource.attributes"),
}
_SCOPE = {
    "ScopeSchemaUrl": "c.schema_url",
    "ScopeName": "c.scope.name",
    "ScopeVersion": "c.scope.version",
    "ScopeAttributes": _map("c.scope.attributes"),
    "ScopeAttributeTypes": _types("c.scope.attributes"),
    "ScopeDroppedAttributesCount": "c.scope.dropped_attributes_count",
    "RawScope": _raw("c.scope.attributes"),
}
_BODY = {member: f"e.body.{member}" for member in _TYPES}
_WHEN = "multiIf(e.time_unix_nano != 0, e.time_unix_nano, e.observed_time_unix_nano != 0, e.observed_time_unix_nano, InsertId * 1000)"
_KINDS = "['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer']"
_CODES = "['Unset', 'Ok', 'Error']"
_RECORD = {
    "logs": {
        "Timestamp": _time(_WHEN),
        "ObservedTimestamp": _time("e.observed_time_unix_nano"),
        "TraceId": "lower(hex(e.trace_id))",
        "SpanId": "lower(hex(e.span_id))",
        "TraceFlags": "e.flags",
        "SeverityText": "e.severity_text",
        "SeverityNumber": "e.severity_number",
        "Body": _text(
            "e.body.string_value",
            "e.body.int_value",
            "e.body.bool_value",
            "e.body.double_value",
            "e.body.text",
        ),
        "BodyType": f"if(isNotNull(e.body.string_value), '', {_letter(_BODY)})",
        "LogAttributes": _map("e.attributes"),
        "LogAttributeTypes": _types("e.attributes"),
        "LogDroppedAttributesCount": "e.dropped_attributes_count",
        "EventName": "e.event_name",
        "RawValues": "arrayConcat(RawResource, RawScope, arrayMap(v -> assumeNotNull(v), arrayFilter(v -> isNotNull(v),"
        f" [coalesce(e.body.array_value, e.body.kvlist_value, e.body.bytes_value)])), {_raw('e.attributes')})",
        "OriginalTimes": f"if(e.time_unix_nano = 0 OR greatest(e.time_unix_nano, e.observed_time_unix_nano) >= {LAST_NS},"
        " [e.time_unix_nano, e.observed_time_unix_nano], [])",
    },
    "traces": {
        "Timestamp": _time("e.start_time_unix_nano"),
        "TraceId": "lower(hex(e.trace_id))",
        "SpanId": "lower(hex(e.span_id))",
        "ParentSpanId": "lower(hex(e.parent_span_id))",
        "TraceState": "e.trace_state",
        "Flags": "e.flags",
        "SpanName": "e.name",
        "SpanKind": f"if(e.kind BETWEEN 0 AND 5, {_KINDS}[e.kind + 1], toString(e.kind))",
        "SpanAttributes": _map("e.attributes"),
        "SpanAttributeTypes": _types("e.attributes"),
        "SpanDroppedAttributesCount": "e.dropped_attributes_count",
        "Duration": "if(e.end_time_unix_nano > e.start_time_unix_nano, e.end_time_unix_nano - e.start_time_unix_nano, 0)",
        "StatusCode": f"if(e.status.code BETWEEN 0 AND 2, {_CODES}[e.status.code + 1], toString(e.status.code))",
        "StatusMessage": "e.status.message",
        "`Events.Timestamp`": f"arrayMap(t -> {_time('t')}, e.events.time_unix_nano)",
        "`Events.Name`": "e.events.name",
        "`Events.Attributes`": f"arrayMap(x -> {_map('x')}, e.events.attributes)",
        "`Events.AttributeTypes`": f"arrayMap(x -> {_types('x')}, e.events.attributes)",
        "`Events.DroppedAttributesCount`": "e.events.dropped_attributes_count",
        "DroppedEventsCount": "e.dropped_events_count",
        "`Links.TraceId`": "arrayMap(x -> lower(hex(x)), e.links.trace_id)",
        "`Links.SpanId`": "arrayMap(x -> lower(hex(x)), e.links.span_id)",
        "`Links.TraceState`": "e.links.trace_state",
        "`Links.Attributes`": f"arrayMap(x -> {_map('x')}, e.links.attributes)",
        "`Links.AttributeTypes`": f"arrayMap(x -> {_types('x')}, e.links.attributes)",
        "`Links.DroppedAttributesCount`": "e.links.dropped_attributes_count",
        "`Links.Flags`": "e.links.flags",
        "DroppedLinksCount": "e.dropped_links_count",
        "RawValues": f"arrayConcat(RawResource, RawScope, {_raw('e.attributes')},"
        f" arrayFlatten(arrayMap(x -> {_raw('x')}, e.events.attributes)),"
        f" arrayFlatten(arrayMap(x -> {_raw('x')}, e.links.attributes)))",
        "OriginalTimes": "if(e.end_time_unix_nano < e.start_time_unix_nano"
        f" OR arrayMax(arrayConcat([e.start_time_unix_nano], e.events.time_unix_nano)) >= {LAST_NS},"
        " arrayConcat([e.start_time_unix_nano, e.end_time_unix_nano], e.events.time_unix_nano), [])",
    },
}


def insert_id_field(insert_id: int) -> bytes:
    """What is put behind the requests of one insert, so that its rows know their insert."""
    out = bytearray(_INSERT_ID_TAG)
    while insert_id > 0x7F:
        out.append(insert_id & 0x7F | 0x80)
        insert_id >>= 7
    return bytes(out) + bytes((insert_id,))


def make_views(engine: SqlEngine) -> None:
    """Make the tables that take requests, `otlp_logs` and `otlp_traces`, and their views."""
    for signal in SCHEMAS:
        for statement in _statements(signal):
            engine.command(statement)


def _statements(signal: Signal) -> list[str]:
    scope = f"scope Tuple(name String, version String, {_ATTRIBUTES})"
    records = f"scopes Array(Tuple({scope}, records Array(Tuple({_RECORDS[signal]})), schema_url String))"
    resource = f"resource Tuple({_ATTRIBUTES}, entity_refs Array(String))"
    listed = _columns({"ServiceName": "ResourceAttributes['service.name']"} | _RECORD[signal])
    kept = [name for name in (*_RESOURCE, *_SCOPE) if not name.startswith("Raw")]
    inner = (
        f"SELECT InsertId, {', '.join(_RESOURCE)}, {_columns(_SCOPE)}, c.records AS records FROM ("
        f"SELECT InsertId, {_columns(_RESOURCE)}, arrayJoin(r.scopes) AS c FROM ("
        f"SELECT insert_id AS InsertId, arrayJoin(resources) AS r FROM otlp_{signal}))"
    )
    select = (
        f"SELECT InsertId, {', '.join(kept)}, {listed} FROM ("
        f"SELECT InsertId, {', '.join((*_RESOURCE, *_SCOPE))}, arrayJoin(records) AS e FROM ({inner}))"
    )
    return [
        f"DROP VIEW IF EXISTS otlp_{signal}_rows SYNC",
        f"DROP TABLE IF EXISTS otlp_{signal} SYNC",
        f"CREATE TABLE otlp_{signal} (resources Array(Tuple({resource}, {records}, schema_url String)), insert_id UInt64)"
        " ENGINE = Null",
        f"CREATE MATERIALIZED VIEW otlp_{signal}_rows TO otel_{signal} AS {select}",
    ]


def _columns(expressions: dict[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())
