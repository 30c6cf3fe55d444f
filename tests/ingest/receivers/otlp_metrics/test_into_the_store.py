"""OTLP metrics through the real storage to PromQL, and again after a restart."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.clock import ManualClock
from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp_metrics.config import OtlpConfig
from otero.ingest.receivers.otlp_metrics.receiver import Accepted, OtlpMetrics
from otero.model.budget import Budget
from otero.model.histograms import boxed_rows, index_of
from otero.model.matchers import Matcher, MatchOp
from otero.query.promql.engine import Engine
from otero.storage.metrics import MetricStore, StorageSettings

NOW_MS = time.time_ns() // 60_000_000_000 * 60_000
NS = 1_000_000
STEP_MS = 15_000
STEPS = 41
START_MS = NOW_MS - (STEPS - 1) * STEP_MS
CUMULATIVE, DELTA = 2, 1


def export(at: int, temporality: int) -> bytes:
    """What a process sends at its export number `at`: 30 requests a step, a third of them of each duration."""
    of = at + 1 if temporality == CUMULATIVE else 1
    start_ms = START_MS - STEP_MS if temporality == CUMULATIVE else START_MS + (at - 1) * STEP_MS
    times = {"start_time_unix_nano": start_ms * NS, "time_unix_nano": (START_MS + at * STEP_MS) * NS}
    durations = {"count": 30 * of, "sum": 10.0 * of * (1 + 2 + 4)}
    metrics = [
        pb.Metric(
            name="requests",
            sum={
                "is_monotonic": True,
                "aggregation_temporality": temporality,
                "data_points": [{**times, "as_int": 30 * of}],
            },
        ),
        pb.Metric(
            name="latency",
            unit="s",
            histogram={
                "aggregation_temporality": temporality,
                "data_points": [
                    {**times, **durations, "explicit_bounds": [1, 2, 4], "bucket_counts": [10 * of] * 3 + [0]}
                ],
            },
        ),
        pb.Metric(
            name="latency.exp",
            unit="s",
            exponential_histogram={
                "aggregation_temporality": temporality,
                # At scale 0 the durations 1, 2 and 4 end the buckets -1, 0 and 1 of OTLP.
                "data_points": [
                    {**times, **durations, "positive": {"offset": -1, "bucket_counts": [10 * of] * 3}}
                ],
            },
        ),
    ]
    resource: Any = {
        "attributes": [
            {"key": key, "value": {"string_value": value}}
            for key, value in (("service.name", "shop"), ("service.instance.id", "1"), ("host.name", "h1"))
        ]
    }
    return ExportMetricsServiceRequest(
        resource_metrics=[{"resource": resource, "scope_metrics": [{"metrics": metrics}]}]
    ).SerializeToString()


QUERIES = {
    "rate(requests_total[5m])": 2.0,
    "increase(requests_total[5m])": 600.0,
    "rate(latency_seconds_count[5m])": 2.0,
    'rate(latency_seconds_bucket{le="2"}[5m])': 4 / 3,
    "histogram_quantile(0.5, rate(latency_seconds_bucket[5m]))": 1.5,
    "histogram_count(rate(latency_exp_seconds[5m]))": 2.0,
    "histogram_avg(rate(latency_exp_seconds[5m]))": 7 / 3,
    "histogram_quantile(0.5, rate(latency_exp_seconds[5m]))": math.sqrt(2),
    'rate(requests_total[5m]) * on(job, instance) group_left(host_name) target_info{host_name="h1"}': 2.0,
}


def answers(store: MetricStore, clock: ManualClock) -> dict[str, float]:
    engine = Engine(store)
    found: dict[str, float] = {}
    for query in QUERIES:
        budget = Budget(clock, timeout_s=60, max_samples=1 << 30)
        value: Any = engine.instant(query, NOW_MS, budget).value
        (found[query],) = value.values.tolist()
    return found


def newest_histogram(store: MetricStore, clock: ManualClock) -> tuple[float, float, list[int], list[float]]:
    """Count, sum, indexes and counts of the buckets of the exponential histogram."""
    name = Matcher("__name__", MatchOp.EQUAL, "latency_exp_seconds")
    (block,) = store.select([name], NOW_MS, NOW_MS, Budget(clock, timeout_s=60, max_samples=1 << 30))
    assert block.histograms is not None
    rows = boxed_rows(block.values)
    row = block.histograms.take(rows[rows >= 0][-1:])
    return float(row.count[0]), float(row.sum[0]), index_of(row.bucket).tolist(), row.value.tolist()


@pytest.mark.parametrize("temporality", [CUMULATIVE, DELTA])
def test_what_promql_says_of_exported_metrics(temporality: int, tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    settings = StorageSettings(path=tmp_path, flush_interval_ms=10**9)
    store = MetricStore(settings, clock)
    store.start()
    receiver = OtlpMetrics(Intake(store), clock, OtlpConfig(), retention_ms=settings.retention_ms)
    for at in range(STEPS):
        assert receiver.write(export(at, temporality)) == Accepted(3, 0, "")
    histogram = (30.0 * STEPS, 70.0 * STEPS, [0, 1, 2], [10.0 * STEPS] * 3)
    try:
        assert answers(store, clock) == pytest.approx(QUERIES)
        assert newest_histogram(store, clock) == histogram
    finally:
        store.stop()
    again = MetricStore(settings, clock)
    again.start()
    try:
        assert answers(again, clock) == pytest.approx(QUERIES)
        assert newest_histogram(again, clock) == histogram
    finally:
        again.stop()
