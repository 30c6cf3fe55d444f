"""Requests as columns: the fast way against the generated classes, and what bytes of any kind do."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.errors import BadInput
from otero.model.samples import NAN_BITS, STALE, STALE_BITS, bits
from otero.wire.otlp_metrics import (
    MALFORMED,
    NO_VALUE,
    parse_histogram,
    read_histograms,
    read_numbers,
    read_summaries,
)
from otero.wire.otlp_request import Kind, read_request
from tests.wire.otlp_messages import messages

TOLERANT = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
KINDS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}


def expected(request: ExportMetricsServiceRequest) -> Iterator[tuple[Any, ...]]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                data = getattr(metric, kind)
                points = [point.SerializeToString() for point in data.data_points]
                if not points:
                    continue
                del data.data_points[:]
                yield (
                    resource.resource.SerializeToString(),
                    scope.scope.SerializeToString(),
                    scope.schema_url.encode(),
                    metric,
                    KINDS[kind],
                    points,
                )


@TOLERANT
@given(messages(ExportMetricsServiceRequest, 6))
def test_the_frame_is_read_as_the_generated_classes_read_it(request: ExportMetricsServiceRequest) -> None:
    got = [
        (each.resource, each.scope, each.schema_url, pb.Metric.FromString(each.head), each.kind, each.points)
        for each in read_request(request.SerializeToString())
    ]
    assert got == list(expected(request))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadInput):
        for each in read_request(body):
            if each.kind in (Kind.GAUGE, Kind.SUM):
                read_numbers(each.points)


@given(st.data())
def test_damaged_requests_are_read_or_refused(data: st.DataObject) -> None:
    point = pb.NumberDataPoint(time_unix_nano=5, as_int=3, attributes=[{"key": "a"}])
    metric = pb.Metric(name="m", gauge={"data_points": [point, point]})
    body = bytearray(
        ExportMetricsServiceRequest(
            resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}]
        ).SerializeToString()
    )
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(body)[: data.draw(st.integers(0, len(body)))]
    with contextlib.suppress(BadInput):
        for each in read_request(damaged):
            read_numbers(each.points)
            read_summaries(each.points)
            read_histograms(list(map(parse_histogram, each.points)))


def test_a_request_that_ends_too_early_says_where() -> None:
    with pytest.raises(BadInput, match="not an ExportMetricsServiceRequest message: broken at byte 2"):
        list(read_request(b"\x0a\x05ab"))


def test_the_last_kind_of_a_metric_counts() -> None:
    gauge = pb.Metric(gauge={"data_points": [{"as_int": 1}]}).SerializeToString()
    total = pb.Metric(sum={"data_points": [{"as_int": 2}], "is_monotonic": True}).SerializeToString()
    more = pb.Metric(sum={"data_points": [{"as_int": 3}], "aggregation_temporality": 2}).SerializeToString()
    scope = pb.ScopeMetrics(metrics=[pb.Metric()]).SerializeToString()
    metric = gauge + total + more
    scope = bytes([0x12, len(metric)]) + metric
    resource = bytes([0x12, len(scope)]) + scope
    (got,) = read_request(bytes([0x0A, len(resource)]) + resource)
    assert read_numbers(got.points).values.tolist() == [2.0, 3.0]
    assert pb.Metric.FromString(got.head) == pb.Metric(
        sum={"is_monotonic": True, "aggregation_temporality": 2}
    )


def number_points() -> st.SearchStrategy[Message]:
    return messages(pb.NumberDataPoint, 2)


@TOLERANT
@given(st.lists(number_points(), max_size=6), st.booleans())
def test_numbers_fast_and_slow_agree(points: list[pb.NumberDataPoint], regular: bool) -> None:
    if regular:
        for point in points:
            point.ClearField("exemplars")
            point.start_time_unix_nano = point.start_time_unix_nano or 1
            point.time_unix_nano = point.time_unix_nano or 1
            if point.WhichOneof("value") is None:
                point.as_double = 0.0
    data = [point.SerializeToString() for point in points]
    columns = read_numbers(data)
    wanted = [p for p in points if p.WhichOneof("value") or p.flags & 1]
    assert columns.times_ns.tolist() == [p.time_unix_nano for p in wanted]
    assert columns.starts_ns.tolist() == [p.start_time_unix_nano for p in wanted]
    assert columns.values.tolist() == [
        float(p.as_int) if p.WhichOneof("value") == "as_int" else p.as_double for p in wanted
    ]
    assert columns.faults == ({NO_VALUE: len(points) - len(wanted)} if len(wanted) < len(points) else {})
    for key, point in zip(columns.keys, wanted, strict=True):
        rest = pb.NumberDataPoint.FromString(key)
        assert rest == pb.NumberDataPoint(attributes=point.attributes, flags=point.flags)
    # However a point is written, its key is the same.
    assert columns.keys == [key for one in data for key in read_numbers([one, b"\x19"]).keys]
    assert read_numbers([*data, b"\x19"]).faults[MALFORMED] == 1


def test_payloads_of_nan_mean_nothing_but_the_end() -> None:
    boxed = np.array([0x7FFE_0000_0000_0003, 0x7FF8_0000_0AB5_E247, int(STALE_BITS)], np.uint64).view(float)
    points = [pb.NumberDataPoint(time_unix_nano=1, as_double=value) for value in boxed.tolist()]
    values = read_numbers([point.SerializeToString() for point in points]).values
    assert bits(values).tolist() == [int(NAN_BITS), int(NAN_BITS), int(STALE_BITS)]
    assert math.isnan(STALE)


def test_histograms() -> None:
    point = pb.HistogramDataPoint(
        time_unix_nano=7,
        start_time_unix_nano=3,
        count=6,
        sum=2.5,
        bucket_counts=[1, 2, 3],
        explicit_bounds=[0.5, 1.0],
        min=0.1,
        max=9.0,
        attributes=[{"key": "a"}],
        exemplars=[{"as_double": 0.7}, {"as_double": 0.5}, {"as_int": 4}],
    )
    bare = pb.HistogramDataPoint(time_unix_nano=8, count=2)
    columns = read_histograms([point, None, bare])
    assert columns.values.tolist() == [2.5, 6.0, 1.0, 3.0, 6.0, 2.0, 2.0]
    assert columns.widths.tolist() == [5, 2]
    assert [(at, sample) for at, sample, _ in columns.exemplars] == [(0, 3), (0, 2), (0, 4)]
    assert columns.faults == {MALFORMED: 1}
    assert pb.HistogramDataPoint.FromString(columns.keys[0]) == pb.HistogramDataPoint(
        sum=0.0, explicit_bounds=[0.5, 1.0], attributes=[{"key": "a"}]
    )
    assert columns.keys[1] == b""


def test_summaries() -> None:
    point = pb.SummaryDataPoint(
        time_unix_nano=7, count=3, sum=4.5, quantile_values=[{"quantile": 0.5, "value": 1.5}, {"quantile": 1}]
    )
    columns = read_summaries([point.SerializeToString(), b"\x0a"])
    assert columns.values.tolist() == [4.5, 3.0, 1.5, 0.0]
    assert columns.widths.tolist() == [4]
    assert columns.faults == {MALFORMED: 1}
    assert [v.quantile for v in pb.SummaryDataPoint.FromString(columns.keys[0]).quantile_values] == [0.5, 1.0]


def test_points_that_are_taken_keep_their_samples_and_exemplars() -> None:
    points = [
        pb.HistogramDataPoint(time_unix_nano=at, count=at, exemplars=[{"as_int": at}]) for at in range(1, 5)
    ]
    columns = read_histograms(points).take(np.array([1, 3]))
    assert columns.values.tolist() == [2.0, 2.0, 4.0, 4.0]
    assert [(at, exemplar.as_int) for at, _, exemplar in columns.exemplars] == [(0, 2), (1, 4)]
