"""OTLP/JSON: what real exporters send, protobuf's own mapping as oracle, and what is refused."""

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otero.errors import BadInput
from otero.wire.otlp_json import MAX_DEPTH, from_json, to_json
from tests.wire.otlp_messages import messages

REQUESTS = (ExportTraceServiceRequest, ExportMetricsServiceRequest, ExportLogsServiceRequest)
IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}


def with_hex_ids(tree: Any) -> Any:
    if isinstance(tree, list):
        return [with_hex_ids(item) for item in tree]
    if isinstance(tree, dict):
        return {
            key: base64.b64decode(value).hex() if key in IDS else with_hex_ids(value)
            for key, value in tree.items()
        }
    return tree


@st.composite
def requests(draw: st.DrawFn) -> Message:
    return draw(messages(draw(st.sampled_from(REQUESTS))))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(requests(), st.booleans(), st.booleans())
def test_agrees_with_protobufs_mapping_but_for_the_ids(
    message: Message, enum_numbers: bool, snake_case: bool
) -> None:
    tree = json_format.MessageToDict(
        message, use_integers_for_enums=enum_numbers, preserving_proto_field_name=snake_case
    )
    body = json.dumps(with_hex_ids(tree), ensure_ascii=snake_case).encode()
    assert from_json(type(message), body) == message


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(requests())
def test_written_and_read_again(message: Message) -> None:
    written = to_json(message)
    assert from_json(type(message), written) == message
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    assert json.loads(written) == with_hex_ids(tree)


def test_reads_what_the_javascript_exporter_sends() -> None:
    body = b"""{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":
    "unknown_service:node"}}],"droppedAttributesCount":0},"scopeSpans":[{"scope":{"name":"x","version":""},"spans":[
    {"traceId":"5b8EFFF798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","traceState":null,"name":"js","kind":1,
    "startTimeUnixNano":"1795348559788000000","endTimeUnixNano":"1795348559788640000","attributes":[
    {"key":"a","value":{"intValue":1}},{"key":"b","value":{"stringValue":"c"}},{"key":"d","value":{"doubleValue":1.5}},
    {"key":"e","value":{"arrayValue":{"values":[{"boolValue":false},{"bytesValue":"-_8="}]}}},{"key":"f"}],
    "droppedAttributesCount":0,"events":[],"droppedEventsCount":0,"status":{"code":"STATUS_CODE_ERROR"},"links":[],
    "droppedLinksCount":0,"flags":257,"aFieldOfTomorrow":{"deep":[1]}}]}]}]}"""
    request = from_json(ExportTraceServiceRequest, body)
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert span == Span(
        trace_id=bytes.fromhex("5b8efff798038103d269b633813fc60c"),
        span_id=bytes.fromhex("eee19b7ec3c1b174"),
        name="js",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=1795348559788000000,
        end_time_unix_nano=1795348559788640000,
        attributes=[
            KeyValue(key="a", value=AnyValue(int_value=1)),
            KeyValue(key="b", value=AnyValue(string_value="c")),
            KeyValue(key="d", value=AnyValue(double_value=1.5)),
            KeyValue(
                key="e",
                value=AnyValue(
                    array_value={"values": [AnyValue(bool_value=False), AnyValue(bytes_value=b"\xfb\xff")]}
                ),
            ),
            KeyValue(key="f"),
        ],
        status={"code": 2},
        flags=257,
    )


def test_reads_numbers_of_all_forms() -> None:
    body = b"""{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[
    {"asInt":"-9223372036854775808"},{"asInt":7.0},{"asDouble":"NaN"},{"asDouble":"-Infinity"},{"asDouble":"1e3"},
    {"asDouble":2}]}},{"histogram":{"dataPoints":[{"bucketCounts":["1",2],"explicitBounds":[0.5]}]}}]}]}]}"""
    gauge, histogram = (
        from_json(ExportMetricsServiceRequest, body).resource_metrics[0].scope_metrics[0].metrics
    )
    points = gauge.gauge.data_points
    assert [p.as_int for p in points[:2]] == [-(1 << 63), 7]
    assert math.isnan(points[2].as_double)
    assert [p.as_double for p in points[3:]] == [-math.inf, 1000.0, 2.0]
    assert list(histogram.histogram.data_points[0].bucket_counts) == [1, 2]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not valid JSON"),
        (b"[]", "expected an object, found an array"),
        (b'{"resourceSpans":{}}', "resourceSpans: expected an array, found an object"),
        (b'{"resourceSpans":[null]}', "resourceSpans[0]: expected an object, found null"),
        (
            b'{"resource_spans":[{},{"scopeSpans":[{"spans":[{},{"traceId":"xyz"}]}]}]}',
            'resource_spans[1].scopeSpans[0].spans[1].traceId: expected hexadecimal digits, two for each byte, found "xyz"',
        ),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}',
            'resourceSpans[0].scopeSpans[0].spans[0].kind: expected a number or a name of SpanKind, found "SERVER"',
        ),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"-1"}]}]}]}',
            'startTimeUnixNano: expected an integer from 0 to 18446744073709551615, found "-1"',
        ),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":1.5}]}]}]}',
            "startTimeUnixNano: expected an integer from 0 to 18446744073709551615, found 1.5",
        ),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":1}]}]}]}',
            "spans[0].name: expected a string, found 1",
        ),
        (
            b'{"resourceSpans":[{"resource":{"attributes":[{"value":{"bytesValue":"*"}}]}}]}',
            'attributes[0].value.bytesValue: expected base64, found "*"',
        ),
        (
            b'{"resourceSpans":[{"resource":{"attributes":[{"value":{"boolValue":1}}]}}]}',
            "value.boolValue: expected true or false, found 1",
        ),
        (
            b'{"resourceSpans":[{"resource":{"attributes":[{"value":{"doubleValue":"inf"}}]}}]}',
            'value.doubleValue: expected a number, "NaN", "Infinity" or "-Infinity", found "inf"',
        ),
    ],
)
def test_says_what_is_wrong_and_where(body: bytes, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_json(ExportTraceServiceRequest, body)
    assert told in str(caught.value)


def nested(levels: int) -> bytes:
    value = '{"arrayValue":{"values":[' * levels + '{"intValue":1}' + "]}}" * levels
    return f'{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}'.encode()


def test_depth_is_bounded_below_what_protobuf_reads() -> None:
    fits = (MAX_DEPTH - 5) // 2
    message = from_json(ExportTraceServiceRequest, nested(fits))
    assert ExportTraceServiceRequest.FromString(message.SerializeToString()) == message
    with pytest.raises(BadInput, match="at most 90 levels"):
        from_json(ExportTraceServiceRequest, nested(fits + 1))
    with pytest.raises(BadInput):
        from_json(ExportTraceServiceRequest, nested(100_000))


def test_writes_responses_and_errors() -> None:
    response = ExportTraceServiceResponse(partial_success={"rejected_spans": 3, "error_message": "why"})
    assert to_json(response) == b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"why"}}'
    assert to_json(ExportTraceServiceResponse()) == b"{}"
    assert to_json(Status(code=3, message="no")) == b'{"code":3,"message":"no"}'
