"""Any spans and log records that OTLP allows, with every field."""

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    EntityRef,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
U32 = st.integers(0, (1 << 32) - 1)
TIMES = st.one_of(
    st.integers(0, (1 << 64) - 1), st.integers(1_700_000_000_000_000_000, 1_700_000_001_000_000_000)
)
ENUM = st.one_of(st.integers(0, 5), st.integers(-(1 << 31), (1 << 31) - 1))


def _nested(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    pairs = st.builds(KeyValue, key=TEXT, value=values)
    return st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(values, max_size=3))),
        st.builds(AnyValue, kvlist_value=st.builds(KeyValueList, values=st.lists(pairs, max_size=3))),
    )


VALUES = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=TEXT),
        st.builds(AnyValue, int_value=st.integers(-(1 << 63), (1 << 63) - 1)),
        st.builds(AnyValue, double_value=st.floats()),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, bytes_value=st.binary(max_size=20)),
        st.builds(AnyValue),
    ),
    _nested,
    max_leaves=6,
)
ATTRIBUTES = st.lists(st.builds(KeyValue, key=TEXT, value=VALUES), max_size=4)
COMMON: dict[str, Any] = {"attributes": ATTRIBUTES, "dropped_attributes_count": U32}
RESOURCES = st.builds(
    Resource,
    **COMMON,
    entity_refs=st.lists(st.builds(EntityRef, type=TEXT, id_keys=st.lists(TEXT, max_size=2)), max_size=2),
)
SCOPES = st.builds(InstrumentationScope, name=TEXT, version=TEXT, **COMMON)
EVENTS = st.builds(Span.Event, time_unix_nano=TIMES, name=TEXT, **COMMON)
LINKS = st.builds(
    Span.Link,
    trace_id=st.binary(max_size=16),
    span_id=st.binary(max_size=8),
    trace_state=TEXT,
    flags=U32,
    **COMMON,
)
SPANS = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    parent_span_id=st.sampled_from([b"", b"parentid"]),
    trace_state=TEXT,
    flags=U32,
    name=TEXT,
    kind=ENUM,
    start_time_unix_nano=TIMES,
    end_time_unix_nano=TIMES,
    events=st.lists(EVENTS, max_size=3),
    links=st.lists(LINKS, max_size=2),
    dropped_events_count=U32,
    dropped_links_count=U32,
    status=st.builds(Status, message=TEXT, code=ENUM),
    **COMMON,
)
RECORDS = st.builds(
    LogRecord,
    time_unix_nano=TIMES,
    observed_time_unix_nano=TIMES,
    severity_number=ENUM,
    severity_text=TEXT,
    body=VALUES,
    flags=U32,
    trace_id=st.sampled_from([b"", b"t" * 16]),
    span_id=st.sampled_from([b"", b"s" * 8]),
    event_name=TEXT,
    **COMMON,
)


def _requests(request: Any, resource: Any, scope: Any, member: str, inner: str, records: Any) -> Any:
    scopes = st.builds(scope, scope=SCOPES, schema_url=TEXT, **{inner: st.lists(records, max_size=4)})
    resources = st.builds(
        resource, resource=RESOURCES, schema_url=TEXT, **{member: st.lists(scopes, max_size=2)}
    )
    return st.lists(resources, max_size=3).map(
        lambda found: request(**{f"resource_{inner_of(member)}": found})
    )


def inner_of(member: str) -> str:
    return member.removeprefix("scope_")


TRACE_REQUESTS = _requests(
    ExportTraceServiceRequest, ResourceSpans, ScopeSpans, "scope_spans", "spans", SPANS
)
LOG_REQUESTS = _requests(
    ExportLogsServiceRequest, ResourceLogs, ScopeLogs, "scope_logs", "log_records", RECORDS
)
