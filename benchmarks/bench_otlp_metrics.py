"""OTLP metrics from request bytes to batches at the intake's door: `python benchmarks/bench_otlp_metrics.py`.

CPU time of one thread. A request is what one process of 20 instruments with 50 attribute sets each exports; requests
differ in times and values only, but for "new series", where every attribute set is new.
"""

import time
from collections.abc import Callable

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.clock import ManualClock
from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp_metrics.config import OtlpConfig
from otero.ingest.receivers.otlp_metrics.receiver import OtlpMetrics
from otero.model.metrics import MetricBatch
from otero.storage.registry import SeriesRegistry
from otero.wire.otlp_json import from_json, to_json

INSTRUMENTS, SETS, REQUESTS = 20, 50, 20
NOW_MS = 1_700_000_000_000
CUMULATIVE, DELTA = pb.AGGREGATION_TEMPORALITY_CUMULATIVE, pb.AGGREGATION_TEMPORALITY_DELTA


class Nowhere:
    """A store that keeps the registry only."""

    def __init__(self) -> None:
        self.registry = SeriesRegistry(ManualClock())

    def append(self, batch: MetricBatch) -> None:
        pass


def attributes(number: int) -> list[KeyValue]:
    values = {
        "http.request.method": "GET",
        "http.route": f"/api/v1/things/{number}",
        "http.response.status_code": "200",
        "server.address": "shop.example.org",
    }
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def times(at: int) -> dict[str, int]:
    return {
        "start_time_unix_nano": NOW_MS * 1_000_000 - 10**12,
        "time_unix_nano": (NOW_MS + at * 15_000 - 600_000) * 1_000_000,
    }


def number(at: int, one: int) -> pb.NumberDataPoint:
    return pb.NumberDataPoint(attributes=attributes(one), as_int=at * 7 + one, **times(at))


def sums(at: int, first: int, temporality: int = CUMULATIVE) -> dict[str, object]:
    points = [number(at, first + one) for one in range(SETS)]
    return {"sum": {"data_points": points, "is_monotonic": True, "aggregation_temporality": temporality}}


def histograms(at: int, first: int) -> dict[str, object]:
    bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
    points = [
        pb.HistogramDataPoint(
            attributes=attributes(first + one),
            explicit_bounds=bounds,
            bucket_counts=[at] * 15,
            count=15 * at,
            sum=float(at),
            **times(at),
        )
        for one in range(SETS)
    ]
    return {"histogram": {"data_points": points, "aggregation_temporality": CUMULATIVE}}


def exponential(at: int, first: int) -> dict[str, object]:
    points = [
        pb.ExponentialHistogramDataPoint(
            attributes=attributes(first + one),
            scale=4,
            positive={"offset": -20, "bucket_counts": [at + 1] * 80},
            count=80 * (at + 1),
            sum=float(at),
            **times(at),
        )
        for one in range(SETS)
    ]
    return {"exponential_histogram": {"data_points": points, "aggregation_temporality": CUMULATIVE}}


def request(data: Callable[[int, int], dict[str, object]], at: int, first: int = 0) -> bytes:
    metrics = [
        pb.Metric(name=f"http.server.thing{one}", unit="s", **data(at, first)) for one in range(INSTRUMENTS)
    ]
    resource = {
        "attributes": [
            KeyValue(key="service.name", value=AnyValue(string_value="shop")),
            KeyValue(key="service.instance.id", value=AnyValue(string_value="7f3d")),
            KeyValue(key="k8s.pod.name", value=AnyValue(string_value="shop-1")),
        ]
    }
    scopes = [{"scope": {"name": "bench", "version": "1"}, "metrics": metrics}]
    return ExportMetricsServiceRequest(
        resource_metrics=[{"resource": resource, "scope_metrics": scopes}]
    ).SerializeToString()


def measure(name: str, bodies: list[bytes], samples: int, warm: int = 1) -> None:
    receiver = OtlpMetrics(Intake(Nowhere()), ManualClock(NOW_MS), OtlpConfig())
    for body in bodies[:warm]:
        receiver.write(body)
    rest = bodies[warm:]
    began = time.process_time()
    for body in rest:
        assert not receiver.write(body).rejected
    spent = time.process_time() - began
    points = len(rest) * INSTRUMENTS * SETS
    print(f"| {name} | {points / spent:,.0f} | {points * samples / spent:,.0f} |")


def main() -> None:
    print("| | data points/s | samples/s |\n|---|---|---|")
    ticks = range(REQUESTS + 1)
    measure("sums, known series", [request(sums, at) for at in ticks], 1)
    measure("sums, delta", [request(lambda at, one: sums(at, one, DELTA), at) for at in ticks], 1)
    measure("histograms of 14 bounds", [request(histograms, at) for at in ticks], 17)
    measure("exponential histograms of 80 buckets", [request(exponential, at) for at in ticks], 1)
    measure("sums, new series", [request(sums, at, at * SETS) for at in range(6)], 1, warm=0)
    body = request(sums, 1)
    message = ExportMetricsServiceRequest.FromString(body)
    text = to_json(message)
    began = time.process_time()
    for _ in range(REQUESTS):
        from_json(ExportMetricsServiceRequest, text).SerializeToString()
    spent = time.process_time() - began
    print(f"| sums, JSON to protobuf | {REQUESTS * INSTRUMENTS * SETS / spent:,.0f} | |")


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
