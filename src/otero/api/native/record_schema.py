"""The native API's messages for spans and log records: OTLP's JSON."""

from typing import Any

import msgspec


class OtlpJson(msgspec.Struct, rename="camel"):
    """Base of the messages: names are in camelCase, as OTLP has them."""


class KeyValue(OtlpJson):
    """An attribute; `value` holds one of stringValue, intValue (a text), doubleValue, boolValue, arrayValue,
    kvlistValue, bytesValue (base64)."""

    key: str
    value: dict[str, Any] = {}


class ResourceFields(OtlpJson):
    """What sent it. As everywhere in OTLP's JSON, what is empty or 0 may be left out."""

    attributes: list[KeyValue] = []
    dropped_attributes_count: int = 0
    entity_refs: list[dict[str, Any]] = []


class ScopeFields(OtlpJson):
    """The instrumentation library."""

    name: str = ""
    version: str = ""
    attributes: list[KeyValue] = []
    dropped_attributes_count: int = 0


class EventFields(OtlpJson):
    """Something that happened within a span."""

    time_unix_nano: str = ""
    name: str = ""
    attributes: list[KeyValue] = []
    dropped_attributes_count: int = 0


class LinkFields(OtlpJson):
    """Another span that this one has to do with."""

    trace_id: str = ""
    span_id: str = ""
    trace_state: str = ""
    attributes: list[KeyValue] = []
    dropped_attributes_count: int = 0
    flags: int = 0


class StatusFields(OtlpJson):
    """How a span ended: code 0 unset, 1 ok, 2 error."""

    message: str = ""
    code: int = 0


class SpanFields(OtlpJson):
    """One span; ids in hexadecimal, times in nanoseconds since the epoch as texts."""

    trace_id: str = ""
    span_id: str = ""
    trace_state: str = ""
    parent_span_id: str = ""
    flags: int = 0
    name: str = ""
    kind: int = 0
    start_time_unix_nano: str = ""
    end_time_unix_nano: str = ""
    attributes: list[KeyValue] = []
    dropped_attributes_count: int = 0
    events: list[EventFields] = []
    dropped_events_count: int = 0
    links: list[LinkFields] = []
    dropped_links_count: int = 0
    status: StatusFields | None = None


class ScopeSpans(OtlpJson):
    """Spans of one instrumentation library."""

    scope: ScopeFields | None = None
    spans: list[SpanFields] = []
    schema_url: str = ""


class ResourceSpans(OtlpJson):
    """Spans of one resource."""

    resource: ResourceFields | None = None
    scope_spans: list[ScopeSpans] = []
    schema_url: str = ""


class Trace(OtlpJson):
    """A trace, as OTLP's TracesData."""

    resource_spans: list[ResourceSpans]


class TraceSummary(OtlpJson):
    """One trace of a list. The root is the span without parent that began first, else the first span."""

    trace_id: str
    root_service: str
    root_name: str
    start_time_unix_nano: str
    duration_nano: str
    spans: int
    errors: int
    services: dict[str, int]


class TraceList(OtlpJson):
    """The newest traces of a time, newest first."""

    traces: list[TraceSummary]


class LogFields(OtlpJson):
    """One log record with what it belongs to."""

    time_unix_nano: str = ""
    observed_time_unix_nano: str = ""
    severity_number: int = 0
    severity_text: str = ""
    body: dict[str, Any] = {}
    attributes: list[KeyValue] = []
    dropped_attributes_count: int = 0
    flags: int = 0
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""
    resource: ResourceFields | None = None
    resource_schema_url: str = ""
    scope: ScopeFields | None = None
    scope_schema_url: str = ""


class LogList(OtlpJson):
    """The newest log records of a time, newest first."""

    logs: list[LogFields]


class TraceQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`start` and `end`: Unix seconds or RFC 3339 (default: the last hour). `limit`: 1 to 10,000."""

    start: str = ""
    end: str = ""
    service: str = ""
    limit: int = 20


class LogQuery(msgspec.Struct, forbid_unknown_fields=True):
    """As TraceQuery; with `trace_id` the default is all of time."""

    start: str = ""
    end: str = ""
    service: str = ""
    trace_id: str = ""
    limit: int = 100


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""
