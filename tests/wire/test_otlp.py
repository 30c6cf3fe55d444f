"""Requests of log records and spans: what is accepted, and what the engine gets to read."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from otero.errors import BadInput
from otero.wire.otlp import accepted, digest_of, may_hold_unreadable, parsed, value_text

SCALARS = st.one_of(
    st.builds(AnyValue, string_value=st.text(max_size=300)),
    st.builds(AnyValue, int_value=st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.just(AnyValue()),
)
UNREADABLE = st.one_of(
    st.builds(AnyValue, bytes_value=st.binary(max_size=300)),
    st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(SCALARS, max_size=4))),
    st.builds(
        AnyValue,
        kvlist_value=st.builds(
            KeyValueList,
            values=st.lists(st.builds(KeyValue, key=st.text(max_size=4), value=SCALARS), max_size=4),
        ),
    ),
)


def spans(*values: AnyValue, **fields: Any) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(**{"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_time_unix_nano": 10} | fields)
    )
    for number, value in enumerate(values):
        span.attributes.add(key=f"k{number}", value=value)
    return request


@given(
    st.lists(SCALARS, max_size=5),
    UNREADABLE,
    st.sampled_from(["span", "event", "link", "resource", "scope", "body"]),
)
def test_a_value_that_is_no_scalar_is_always_found_and_gets_its_text(
    scalars: list[AnyValue], value: AnyValue, place: str
) -> None:
    # Found at whatever length the value makes of what is around it.
    if place == "body":
        logs = ExportLogsServiceRequest()
        logs.resource_logs.add().scope_logs.add().log_records.add(body=value)
        batch, _ = accepted("logs", logs, b"")
        request: Any = logs
    else:
        request = spans(*scalars)
        resource = request.resource_spans[0]
        span = resource.scope_spans[0].spans[0]
        holder = {
            "span": span,
            "event": span.events.add(),
            "link": span.links.add(),
            "resource": resource.resource,
            "scope": resource.scope_spans[0].scope,
        }[place]
        holder.attributes.add(key="x", value=value)
        batch, _ = accepted("traces", request, b"")
    text = value_text(value).encode()
    assert b"\xc2\x3e" in batch.payload
    assert text in batch.payload
    back = type(request).FromString(batch.payload)
    back.DiscardUnknownFields()
    request.DiscardUnknownFields()
    assert back.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)


@given(st.lists(SCALARS, max_size=8))
def test_scalars_alone_are_hardly_ever_taken_for_more(values: list[AnyValue]) -> None:
    request = spans(*values)
    raw = request.SerializeToString()
    batch, refused = accepted("traces", request, b"d")
    assert (batch.records, batch.digest, refused) == (1, b"d", [])
    assert batch.payload == raw


def test_ids_are_hardly_ever_taken_for_more() -> None:
    random = Random(1)
    found = 0
    for _ in range(100):
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        for _ in range(100):
            scope.spans.add(trace_id=random.randbytes(16), span_id=random.randbytes(8), name="GET /")
        found += may_hold_unreadable(request.SerializeToString())
    assert found < 5


def test_values_as_text() -> None:
    value = AnyValue()
    assert value_text(value) == ""
    value.array_value.values.add(string_value="a")
    value.array_value.values.add(int_value=1)
    value.array_value.values.add(double_value=float("nan"))
    value.array_value.values.add(bytes_value=b"\xff")
    value.array_value.values.add().kvlist_value.values.add(key="k").value.bool_value = True
    assert value_text(value) == '["a",1,"nan","/w==",{"k":true}]'
    assert value_text(AnyValue(bytes_value=b"\xff")) == "/w=="


def test_spans_without_ids_and_old_ones_are_refused_their_neighbours_kept() -> None:
    request = spans()
    scope = request.resource_spans[0].scope_spans[0]
    scope.spans.add(trace_id=b"t" * 15, span_id=b"s" * 8, start_time_unix_nano=10)
    scope.spans.add(trace_id=b"t" * 16, span_id=bytes(8), start_time_unix_nano=10)
    scope.spans.add(trace_id=bytes(16), span_id=b"s" * 8, start_time_unix_nano=10)
    scope.spans.add(trace_id=b"t" * 16, span_id=b"z" * 8, start_time_unix_nano=9)
    batch, refused = accepted("traces", request, b"", oldest_ns=10)
    assert batch.records == 1
    assert [
        span.span_id
        for span in ExportTraceServiceRequest.FromString(batch.payload).resource_spans[0].scope_spans[0].spans
    ] == [b"s" * 8]
    assert [(r.reason, r.records) for r in refused] == [("bad_id", 3), ("older_than_retention", 1)]
    assert "1 spans are older than the retention" in refused[1].text


def test_a_log_record_without_time_is_no_old_one() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add()
    records.add(observed_time_unix_nano=11)
    records.add(time_unix_nano=9, observed_time_unix_nano=11)
    batch, refused = accepted("logs", request, b"", oldest_ns=10)
    assert batch.records == 2
    assert [(r.reason, r.records) for r in refused] == [("older_than_retention", 1)]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_bad_input(body: bytes) -> None:
    for signal in ("logs", "traces"):
        try:
            request = parsed(signal, body)
        except BadInput:
            continue
        batch, _ = accepted(signal, request, digest_of(body))
        parsed(signal, batch.payload)


def test_unknown_fields_do_not_reach_the_engine() -> None:
    raw = spans().SerializeToString() + b"\xc0\x3e\x07"
    assert accepted("traces", parsed("traces", raw), b"")[0].payload == spans().SerializeToString()


def test_not_protobuf() -> None:
    with pytest.raises(BadInput, match="not a protobuf ExportLogsServiceRequest"):
        parsed("logs", b"\xff")
