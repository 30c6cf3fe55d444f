"""What the official SDK exports, series by series."""

import math
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from otero.clock import ManualClock
from otero.errors import BadInput, Unavailable
from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp_metrics import known
from otero.ingest.receivers.otlp_metrics.config import OtlpConfig
from otero.ingest.receivers.otlp_metrics.receiver import Accepted, OtlpMetrics
from otero.model.histograms import CUSTOM, boxed_rows, index_of
from otero.model.labels import decode_labels, encode_labels
from otero.model.metrics import Metadata
from tests.fakes import RecordingStore
from tests.wire.otlp_messages import messages

NOW_MS = 1_795_000_000_000
NS = 1_000_000


class Door:
    """A receiver on a store that records."""

    def __init__(self, config: OtlpConfig | None = None, *, max_series: int = 0, **options: int) -> None:
        self.clock = ManualClock(NOW_MS)
        self.store = RecordingStore(self.clock, max_series=max_series)
        self.receiver = OtlpMetrics(Intake(self.store), self.clock, config or OtlpConfig(), **options)

    def write(self, request: ExportMetricsServiceRequest) -> Accepted:
        return self.receiver.write(request.SerializeToString())

    def series(self) -> dict[str, float]:
        """The newest value by series text, of the last batch."""
        found = self.store.samples(self.store.batches[-1])
        return {text(sample.labels): sample.value for sample in found}


def text(labels: dict[str, str]) -> str:
    labels = dict(labels)
    name = labels.pop("__name__")
    return name + "{" + ",".join(f"{key}={value}" for key, value in labels.items()) + "}"


def request(*metrics: pb.Metric, resource: dict[str, str] | None = None, **scope: Any) -> Any:
    attributes = [{"key": k, "value": {"string_value": v}} for k, v in (resource or {}).items()]
    return ExportMetricsServiceRequest(
        resource_metrics=[
            {
                "resource": {"attributes": attributes},
                "scope_metrics": [{"scope": scope.get("scope"), "schema_url": scope.get("url", ""), "metrics": metrics}],
            }
        ]
    )  # fmt: skip


def attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]


def gauge(name: str = "g", at_ms: int = NOW_MS, value: float = 1.0, **attrs: str) -> pb.Metric:
    point = {"time_unix_nano": at_ms * NS, "as_double": value, "attributes": attributes(attrs)}
    return pb.Metric(name=name, gauge={"data_points": [point]})


def delta(value: float, start_ms: int, at_ms: int, **fields: Any) -> pb.Metric:
    point = {
        "start_time_unix_nano": start_ms * NS,
        "time_unix_nano": at_ms * NS,
        "as_double": value,
        **fields,
    }
    return pb.Metric(
        name="d", sum={"data_points": [point], "is_monotonic": True, "aggregation_temporality": 1}
    )


# -- the SDK -----------------------------------------------------------------------------------------------------------


class Sdk:
    """The official SDK with a reader that collects on request."""

    def __init__(self, temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE) -> None:
        kinds = dict.fromkeys((Counter, Histogram, ObservableCounter), temporality)
        self.reader = InMemoryMetricReader(preferred_temporality=kinds)
        self.provider = MeterProvider(
            [self.reader],
            resource=Resource({"service.name": "shop", "service.namespace": "eu", "host.name": "h1"}),
            views=[
                View(instrument_name="exp", aggregation=ExponentialBucketHistogramAggregation(max_scale=3)),
            ],
        )
        self.meter = self.provider.get_meter("lib", "1.2", "http://schema", {"team": "a"})

    def export(self) -> ExportMetricsServiceRequest:
        data = self.reader.get_metrics_data()
        assert data is not None
        return encode_metrics(data)

    def close(self) -> None:
        self.provider.shutdown()


@pytest.fixture
def sdk() -> Any:
    made: list[Sdk] = []

    def make(temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE) -> Sdk:
        made.append(Sdk(temporality))
        return made[-1]

    yield make
    for one in made:
        one.close()


class WallDoor(Door):
    """A door whose clock agrees with the SDK's, which reads the machine's."""

    def __init__(self, config: OtlpConfig | None = None) -> None:
        super().__init__(config)
        self.clock.advance(time.time_ns() // NS - NOW_MS)


def test_every_instrument_of_the_sdk(sdk: Callable[..., Sdk]) -> None:
    ours = sdk()
    meter = ours.meter
    meter.create_counter("http.requests", unit="{request}", description="How many").add(
        3, {"http.method": "GET"}
    )
    meter.create_up_down_counter("queue.size").add(-2)
    meter.create_gauge("cpu.use", unit="1").set(0.25, {"core": 0})
    meter.create_observable_counter("read.bytes", [lambda _: [Observation(10)]], unit="By")
    meter.create_observable_gauge("temperature", [lambda _: [Observation(21.5)]], unit="Cel")
    meter.create_observable_up_down_counter("balance", [lambda _: [Observation(-1)]])
    latency = meter.create_histogram("latency", unit="s", explicit_bucket_boundaries_advisory=[0.5, 1, 10])
    for value in (0.1, 0.7, 20):
        latency.record(value, {"ok": True})
    door = WallDoor()
    assert door.write(ours.export()) == Accepted(7, 0, "")
    common = "job=eu/shop"
    assert door.series() == {
        f"http_requests_total{{http_method=GET,{common}}}": 3,
        f"queue_size{{{common}}}": -2,
        f"cpu_use_ratio{{core=0,{common}}}": 0.25,
        f"read_bytes_total{{{common}}}": 10,
        f"temperature_celsius{{{common}}}": 21.5,
        f"balance{{{common}}}": -1,
        f"latency_seconds_sum{{{common},ok=true}}": 20.8,
        f"latency_seconds_count{{{common},ok=true}}": 3,
        f"latency_seconds_bucket{{{common},le=0.5,ok=true}}": 1,
        f"latency_seconds_bucket{{{common},le=1,ok=true}}": 2,
        f"latency_seconds_bucket{{{common},le=10,ok=true}}": 2,
        f"latency_seconds_bucket{{{common},le=+Inf,ok=true}}": 3,
        f"target_info{{host_name=h1,{common}}}": 1,
    }
    batch = door.store.batches[0]
    assert set(batch.metadata) == {
        Metadata("http_requests_total", "counter", "How many"),
        Metadata("queue_size", "gauge"),
        Metadata("cpu_use_ratio", "gauge"),
        Metadata("read_bytes_total", "counter", "", "bytes"),
        Metadata("temperature_celsius", "gauge", "", "celsius"),
        Metadata("balance", "gauge"),
        Metadata("latency_seconds", "histogram", "", "seconds"),
        Metadata("target_info", "gauge", "Target metadata"),
    }
    assert batch.start_ms is not None
    starts = dict(zip(batch.refs.tolist(), batch.start_ms.tolist(), strict=True))
    by_name = {text(decode_labels(door.store.registry.labels(ref))): start for ref, start in starts.items()}
    assert by_name[f"http_requests_total{{http_method=GET,{common}}}"] > NOW_MS - 10**10
    assert by_name[f"target_info{{host_name=h1,{common}}}"] == 0


def test_exponential_histograms_of_the_sdk(sdk: Callable[..., Sdk]) -> None:
    ours = sdk()
    recorded = [1.0, 2.0, 3.0, 1000.0, 0.0]
    instrument = ours.meter.create_histogram("exp", unit="ms")
    for value in recorded:
        instrument.record(value)
    door = WallDoor()
    assert door.write(ours.export()).rejected == 0
    batch = door.store.batches[0]
    histograms = batch.histograms
    assert histograms is not None
    (row,) = (row for row in boxed_rows(batch.values).tolist() if row >= 0)
    schema = int(histograms.schema[row])
    assert histograms.count[row] == 5
    assert histograms.sum[row] == 1006.0
    assert histograms.zero_count[row] == 1
    wanted = sorted(math.ceil(math.log2(value) * 2**schema) for value in recorded if value)
    assert index_of(histograms.bucket).tolist() == wanted
    assert histograms.value.tolist() == [1.0] * 4
    assert Metadata("exp_milliseconds", "histogram", "", "milliseconds") in batch.metadata


@pytest.mark.parametrize("native", [False, True])
def test_deltas_of_the_sdk_add_up(sdk: Callable[..., Sdk], native: bool) -> None:
    """The same recordings with either temporality give the same series."""
    both = [sdk(kind) for kind in (AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA)]
    doors = [WallDoor(OtlpConfig(convert_histograms_to_nhcb=native)) for _ in both]
    random = np.random.default_rng(7)
    instruments = [
        (
            one.meter.create_counter("c"),
            one.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2, 4]),
            one.meter.create_histogram("exp"),
        )
        for one in both
    ]
    for _ in range(5):
        values = random.lognormal(1.0, 4.0, 20).tolist()
        for counter, histogram, exponential in instruments:
            for value in values:
                counter.add(int(value), {"k": "v"})
                histogram.record(value)
                exponential.record(value)
        for one, door in zip(both, doors, strict=True):
            assert door.write(one.export()).rejected == 0
        series = [
            {name: value for name, value in door.series().items() if "exp" not in name} for door in doors
        ]
        assert series[0].keys() == series[1].keys()
        for name, value in series[0].items():
            assert series[1][name] == pytest.approx(value, nan_ok=True)
        theirs, ours = (door.store.batches[-1].histograms for door in doors)
        assert theirs is not None
        assert ours is not None
        assert ours.count.tolist() == theirs.count.tolist()
        assert ours.sum == pytest.approx(theirs.sum)
        if native:
            custom = [one.take(np.flatnonzero(one.schema == CUSTOM)) for one in (theirs, ours)]
            assert custom[0].bucket.tolist() == custom[1].bucket.tolist()
            assert custom[0].value.tolist() == custom[1].value.tolist()
            assert custom[1].custom_bounds == ((1.0, 2.0, 4.0),)
    starts = [batch.start_ms[0] for batch in doors[1].store.batches if batch.start_ms is not None]
    assert len(set(starts)) == 1


# -- labels ------------------------------------------------------------------------------------------------------------

RESOURCE = {
    "service.name": "shop",
    "service.namespace": "eu",
    "service.instance.id": "i-1",
    "k8s.pod.name": "p",
    "host.name": "h",
}


@pytest.mark.parametrize(
    ("config", "series"),
    [
        (
            OtlpConfig(),
            ["g{a_b=1,instance=i-1,job=eu/shop}", "target_info{host_name=h,instance=i-1,job=eu/shop,k8s_pod_name=p}"],
        ),
        (
            OtlpConfig(promote_resource_attributes=("k8s.pod.name", "service.name")),
            [
                "g{a_b=1,instance=i-1,job=eu/shop,k8s_pod_name=p,service_name=shop}",
                "target_info{host_name=h,instance=i-1,job=eu/shop,k8s_pod_name=p}",
            ],
        ),
        (
            OtlpConfig(promote_all_resource_attributes=True, ignore_resource_attributes=("host.name",)),
            [
                "g{a_b=1,instance=i-1,job=eu/shop,k8s_pod_name=p,service_instance_id=i-1,service_name=shop,"
                "service_namespace=eu}",
                "target_info{host_name=h,instance=i-1,job=eu/shop,k8s_pod_name=p}",
            ],
        ),
        (
            OtlpConfig(keep_identifying_resource_attributes=True),
            [
                "g{a_b=1,instance=i-1,job=eu/shop}",
                "target_info{host_name=h,instance=i-1,job=eu/shop,k8s_pod_name=p,service_instance_id=i-1,"
                "service_name=shop,service_namespace=eu}",
            ],
        ),
        (
            OtlpConfig(promote_scope_metadata=True),
            [
                "g{a_b=1,instance=i-1,job=eu/shop,otel_scope_name=lib,otel_scope_schema_url=http://s,"
                "otel_scope_the_team=x,otel_scope_version=2}",
                "target_info{host_name=h,instance=i-1,job=eu/shop,k8s_pod_name=p}",
            ],
        ),
        (
            OtlpConfig(translation_strategy="NoTranslation", promote_resource_attributes=("host.name",)),
            [
                "g{a.b=1,host.name=h,instance=i-1,job=eu/shop}",
                "target_info{host.name=h,instance=i-1,job=eu/shop,k8s.pod.name=p}",
            ],
        ),
    ],
)  # fmt: skip
def test_labels_by_configuration(config: OtlpConfig, series: list[str]) -> None:
    door = Door(config)
    scope = {"name": "lib", "version": "2", "attributes": attributes({"the.team": "x"})}
    accepted = door.write(request(gauge(**{"a.b": "1"}), resource=RESOURCE, scope=scope, url="http://s"))
    assert accepted == Accepted(1, 0, "")
    assert list(door.series()) == series


def test_attributes_that_become_one_label_are_joined() -> None:
    door = Door(OtlpConfig(promote_resource_attributes=("a.b", "c")))
    resource = {"a.b": "resource", "c": "resource", "service.name": "s"}
    door.write(
        request(
            gauge(**{"a_b": "3", "a.b": "1", "a-b": "", "job": "mine", "__name__": "x"}), resource=resource
        )
    )
    assert next(iter(door.series())) == "g{a_b=1;3,c=resource,job=s}"  # "a-b" comes first, and is empty


def test_target_info_needs_an_identity_and_something_to_tell() -> None:
    for resource in ({}, {"service.name": "s", "service.instance.id": "i"}, {"host.name": "h"}):
        door = Door()
        door.write(request(gauge(), resource=resource))
        assert [name.partition("{")[0] for name in door.series()] == ["g"]


def test_target_info_covers_the_time_of_its_resource() -> None:
    door = Door(lookback_ms=100_000)
    resource = {"service.name": "s", "host.name": "h"}
    metrics = [gauge("a", NOW_MS - 120_000), gauge("b", NOW_MS)]
    both = request(*metrics, resource=resource)
    both.MergeFrom(request(gauge("c", NOW_MS - 20_000), resource={**resource}))
    door.write(both)
    times = [sample.time_ms - NOW_MS for sample in door.store.samples(name="target_info")]
    assert times == [-120_000, -70_000, -20_000, 0]


def test_target_info_of_many_resources_is_bounded() -> None:
    door = Door()
    message = ExportMetricsServiceRequest()
    for at in range(100):
        resource = {"service.name": f"s{at}", "host.name": "h"}
        message.MergeFrom(request(gauge("a", 1), gauge("b"), resource=resource))
    door.write(message)
    count = len(door.store.samples(name="target_info"))
    assert 20_000 <= count <= 20_200


def test_scope_without_a_name_gives_no_labels() -> None:
    door = Door(OtlpConfig(promote_scope_metadata=True))
    door.write(request(gauge(), scope={"version": "2"}, url="u"))
    assert list(door.series()) == ["g{}"]


def test_a_new_configuration_counts_from_then_on() -> None:
    door = Door()
    body = request(gauge(**{"a.b": "1"}), resource=RESOURCE)
    door.write(body)
    door.receiver.configure(OtlpConfig(translation_strategy="NoTranslation"))
    door.write(body)
    assert "g{a.b=1,instance=i-1,job=eu/shop}" in door.series()


# -- repeated requests -------------------------------------------------------------------------------------------------


def test_the_same_series_again_hand_over_the_same_array() -> None:
    door = Door()
    for at in (3, 2, 1):
        door.write(request(gauge("a", NOW_MS - at), gauge("b", NOW_MS - at), resource=RESOURCE))
    door.write(request(gauge("b"), gauge("a"), resource=RESOURCE))
    first, second, third, other = door.store.batches
    assert first.refs is second.refs is third.refs
    assert second.metadata == () != first.metadata
    assert other.refs.tolist() == [first.refs[1], first.refs[0], first.refs[2]]


def test_series_that_were_forgotten_are_found_anew() -> None:
    door = Door()
    door.write(request(gauge()))
    door.store.registry.forget(door.store.batches[0].refs)
    door.write(request(gauge()))
    assert door.store.batches[1].refs.tolist() != door.store.batches[0].refs.tolist()
    assert door.series() == {"g{}": 1.0}


def test_metadata_is_told_again_when_it_could_not_be_stored() -> None:
    door = Door()
    door.store.unavailable = True
    with pytest.raises(Unavailable):
        door.write(request(gauge()))
    door.store.unavailable = False
    door.write(request(gauge()))
    assert door.store.batches[0].metadata == (Metadata("g", "gauge"),)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_BYTES", 20_000)
    door = Door()
    for at in range(100):
        door.write(request(gauge(k=f"{at:0500}"), resource=RESOURCE))
        assert door.receiver.remembered_bytes < 25_000
    door.write(request(gauge(k=f"{99:0500}"), resource=RESOURCE))
    assert door.store.batches[-1].refs.tolist() == door.store.batches[-2].refs.tolist()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_each_wrong_data_point_is_refused_alone() -> None:
    door = Door(retention_ms=86_400_000)
    points = [
        {"time_unix_nano": NOW_MS * NS, "as_int": 1},
        {"time_unix_nano": 0, "as_int": 2},
        {"time_unix_nano": (NOW_MS + 601_000) * NS, "as_int": 3},
        {"time_unix_nano": (NOW_MS - 86_400_001) * NS, "as_int": 4},
        {"time_unix_nano": NOW_MS * NS},
        {"time_unix_nano": NOW_MS * NS, "as_int": 5, "attributes": attributes({"__": "x"})},
        {"time_unix_nano": (NOW_MS + 599_000) * NS, "as_int": 6, "attributes": attributes({"k": "v"})},
    ]
    accepted = door.write(request(pb.Metric(name="g", gauge={"data_points": points})))
    assert (accepted.points, accepted.rejected) == (2, 5)
    assert door.series() == {"g{}": 1.0, "g{k=v}": 6.0}
    assert accepted.message.endswith("; and others")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (pb.Metric(name="s", sum={"data_points": [{"time_unix_nano": NOW_MS * NS, "as_int": 1}]}),
         "metric 's' is neither cumulative nor delta (1)"),
        (gauge("..."), "nothing is left of the metric name '...' in Prometheus' alphabet (1)"),
        (gauge(at_ms=0), "the data point has no time (1)"),
        (gauge(**{"": "x"}), "nothing is left of the attribute name '' in Prometheus' alphabet (1)"),
    ],
)  # fmt: skip
def test_what_is_told_of_refused_points(metric: pb.Metric, message: str) -> None:
    door = Door()
    accepted = door.write(request(metric, gauge("good")))
    assert accepted == Accepted(1, 1, message)
    assert door.series() == {"good{}": 1.0}


def test_what_is_no_request_is_bad_input() -> None:
    with pytest.raises(BadInput, match="not an ExportMetricsServiceRequest"):
        Door().receiver.write(b"\x0a\xff")


def test_an_empty_request_stores_nothing() -> None:
    door = Door()
    assert door.receiver.write(b"") == Accepted(0, 0, "")
    assert door.write(request(pb.Metric(name="m"), pb.Metric(name="g", gauge={}))) == Accepted(0, 0, "")
    assert door.store.batches == []


def test_points_over_the_series_limit_are_refused_whole() -> None:
    door = Door(max_series=4)
    histogram = pb.Metric(
        name="h",
        histogram={
            "aggregation_temporality": 2,
            "data_points": [{"time_unix_nano": NOW_MS * NS, "count": 1, "bucket_counts": [1, 0, 0], "explicit_bounds": [1, 2]}],
        },
    )  # fmt: skip
    for _ in range(2):
        accepted = door.write(request(gauge("a"), histogram, resource=RESOURCE))
        assert (accepted.points, accepted.rejected) == (1, 1)
        assert "limits.series" in accepted.message
        assert list(door.series()) == ["a{instance=i-1,job=eu/shop}"]


# -- the rest of a data point ------------------------------------------------------------------------------------------


def test_flag_of_no_recorded_value_ends_series() -> None:
    door = Door()
    flagged = {"time_unix_nano": NOW_MS * NS, "flags": 1}
    door.write(
        request(
            pb.Metric(name="g", gauge={"data_points": [flagged]}),
            pb.Metric(name="h", histogram={"data_points": [flagged], "aggregation_temporality": 2}),
            pb.Metric(
                name="e", exponential_histogram={"data_points": [flagged], "aggregation_temporality": 2}
            ),
            pb.Metric(
                name="s", summary={"data_points": [{**flagged, "quantile_values": [{"quantile": 0.5}]}]}
            ),
        )
    )
    samples = door.store.samples()
    assert all(sample.stale for sample in samples)
    assert [text(sample.labels) for sample in samples] == [
        "g{}",
        "h_count{}",
        "h_bucket{le=+Inf}",
        "e{}",
        "s_sum{}",
        "s_count{}",
        "s{quantile=0.5}",
    ]
    assert door.store.batches[0].histograms is None


def test_exemplars() -> None:
    trace, span = uuid.UUID(int=5).bytes, bytes(7) + b"\x09"
    exemplar = {"time_unix_nano": (NOW_MS - 5) * NS, "as_double": 0.7, "trace_id": trace, "span_id": span}
    point = {
        "time_unix_nano": NOW_MS * NS,
        "count": 1,
        "bucket_counts": [0, 1, 0],
        "explicit_bounds": [0.5, 1],
    }
    door = Door()
    more = {
        **exemplar,
        "time_unix_nano": 0,
        "filtered_attributes": attributes({"user": "u", "long": "x" * 99}),
    }
    summed = pb.Metric(
        name="c",
        sum={
            "aggregation_temporality": 2,
            "data_points": [{"time_unix_nano": NOW_MS * NS, "as_int": 1, "exemplars": [more]}],
        },
    )
    histogram = pb.Metric(
        name="h",
        histogram={"aggregation_temporality": 2, "data_points": [{**point, "exemplars": [exemplar]}]},
    )
    door.write(request(summed, histogram, gauge("g")))
    ids = encode_labels({"trace_id": f"{5:032x}", "span_id": f"{9:016x}"})
    assert [
        (text(decode_labels(door.store.registry.labels(one.ref))), one.labels, one.value, one.time_ms)
        for one in door.store.batches[0].exemplars
    ] == [("c{}", ids, 0.7, NOW_MS), ("h_bucket{le=1}", ids, 0.7, NOW_MS - 5)]


def test_summaries() -> None:
    quantiles = [{"quantile": 0.5, "value": 2.0}, {"quantile": 0.99, "value": 9.0}]
    point = {"time_unix_nano": NOW_MS * NS, "count": 3, "sum": 12.0, "quantile_values": quantiles}
    door = Door()
    door.write(request(pb.Metric(name="rpc", unit="ms", summary={"data_points": [point]})))
    assert door.series() == {
        "rpc_milliseconds_sum{}": 12.0,
        "rpc_milliseconds_count{}": 3.0,
        "rpc_milliseconds{quantile=0.5}": 2.0,
        "rpc_milliseconds{quantile=0.99}": 9.0,
    }
    assert door.store.batches[0].metadata == (Metadata("rpc_milliseconds", "summary", "", "milliseconds"),)


def test_native_histograms_of_several_metrics_share_a_batch() -> None:
    point = {"time_unix_nano": NOW_MS * NS, "count": 2, "zero_count": 2}
    metrics = [
        pb.Metric(name=name, exponential_histogram={"aggregation_temporality": 2, "data_points": [{**point, "sum": total}]})
        for name, total in (("a", 1.0), ("b", 2.0))
    ]  # fmt: skip
    door = Door()
    door.write(request(metrics[0], gauge("g"), metrics[1]))
    batch = door.store.batches[0]
    assert batch.histograms is not None
    rows = boxed_rows(batch.values).tolist()
    assert rows == [0, -1, 1]
    assert batch.histograms.sum[[rows[0], rows[2]]].tolist() == [1.0, 2.0]


# -- deltas ------------------------------------------------------------------------------------------------------------


def test_deltas_out_of_order_are_refused() -> None:
    door = Door()
    assert door.write(request(delta(1, NOW_MS, NOW_MS + 10))).rejected == 0
    assert door.write(request(delta(2, NOW_MS + 10, NOW_MS + 20))).rejected == 0
    again = door.write(request(delta(2, NOW_MS + 10, NOW_MS + 20)))
    assert again == Accepted(0, 1, "a delta ends no later than the one before it (1)")
    older = door.write(request(delta(5, NOW_MS - 10, NOW_MS + 30)))
    assert older == Accepted(0, 1, "a delta starts before its stream began (1)")
    door.write(request(delta(4, NOW_MS + 20, NOW_MS + 40)))
    assert door.store.values() == [1.0, 3.0, 7.0]
    assert [batch.start_ms[0] for batch in door.store.batches if batch.start_ms is not None] == [NOW_MS] * 3


def test_deltas_of_a_request_that_was_not_stored_count_when_it_comes_again() -> None:
    door = Door()
    door.write(request(delta(1, NOW_MS, NOW_MS + 10)))
    door.store.unavailable = True
    with pytest.raises(Unavailable):
        door.write(request(delta(2, NOW_MS + 10, NOW_MS + 20)))
    door.store.unavailable = False
    assert door.write(request(delta(2, NOW_MS + 10, NOW_MS + 20))).rejected == 0
    assert door.store.values() == [1.0, 3.0]


def test_streams_that_are_idle_begin_anew() -> None:
    door = Door()
    door.write(request(delta(1, NOW_MS, NOW_MS + 10)))
    door.clock.advance(300_001)
    door.write(request(delta(2, NOW_MS + 10, NOW_MS + 300_000)))
    assert door.store.values() == [1.0, 2.0]


def test_a_stream_that_says_that_it_ended_begins_anew() -> None:
    door = Door()
    door.write(request(delta(1, NOW_MS, NOW_MS + 10)))
    door.write(request(delta(0, NOW_MS + 10, NOW_MS + 20, flags=1)))
    door.write(request(delta(2, NOW_MS + 20, NOW_MS + 30)))
    assert door.store.values() == [1.0, 2.0]
    assert [sample.stale for sample in door.store.samples()] == [False, True, False]


def test_one_request_may_hold_several_deltas_of_a_stream() -> None:
    door = Door()
    first, second = delta(1, NOW_MS, NOW_MS + 10), delta(2, NOW_MS + 10, NOW_MS + 20)
    door.write(request(first, second))
    assert door.store.values() == [1.0, 3.0]


def test_other_bounds_begin_anew() -> None:
    def histogram(bounds: list[float], counts: list[int], at_ms: int) -> pb.Metric:
        point = {
            "start_time_unix_nano": (at_ms - 10) * NS,
            "time_unix_nano": at_ms * NS,
            "explicit_bounds": bounds,
            "bucket_counts": counts,
            "count": sum(counts),
            "sum": float(sum(counts)),
        }
        return pb.Metric(name="h", histogram={"aggregation_temporality": 1, "data_points": [point]})

    door = Door()
    door.write(request(histogram([1.0], [1, 2], NOW_MS + 10)))
    door.write(request(histogram([1.0], [1, 1], NOW_MS + 20)))
    assert door.store.batches[-1].values.tolist() == [5.0, 5.0, 2.0, 5.0]
    door.write(request(histogram([2.0], [1, 1], NOW_MS + 30)))
    assert door.store.batches[-1].values.tolist() == [2.0, 2.0, 1.0, 2.0]
    starts = [int(batch.start_ms[0]) for batch in door.store.batches if batch.start_ms is not None]
    assert starts == [NOW_MS, NOW_MS, NOW_MS + 20]


# -- everything --------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(messages(ExportMetricsServiceRequest, 6), st.booleans(), st.booleans())
def test_any_request_is_stored_or_refused_point_by_point(
    message: ExportMetricsServiceRequest, native: bool, escape: bool
) -> None:
    """Whatever is stored has sound columns and labels; what is sent twice is accepted twice, deltas apart."""
    for resource in message.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                for point in getattr(metric, kind).data_points:
                    point.time_unix_nano = (NOW_MS - point.time_unix_nano % 1000) * NS
    strategy = "UnderscoreEscapingWithSuffixes" if escape else "NoTranslation"
    door = Door(
        OtlpConfig(
            convert_histograms_to_nhcb=native, translation_strategy=strategy, promote_scope_metadata=True
        )
    )
    body = message.SerializeToString()
    first, second = door.receiver.write(body), door.receiver.write(body)
    assert first.points + first.rejected == second.points + second.rejected
    assert bool(first.rejected) == bool(first.message)
    for batch in door.store.batches:
        assert len(batch.refs) == len(batch.times_ms) == len(batch.values)
        rows = boxed_rows(batch.values)
        assert rows.max(initial=-1) < (0 if batch.histograms is None else len(batch.histograms))
        for ref in batch.refs.tolist():
            data = door.store.registry.labels(ref)
            labels = decode_labels(data)
            assert encode_labels(labels) == data
            assert list(labels) == sorted(labels)
            assert all(labels.values())
            assert labels["__name__"]
