"""What remote write says of itself, under the names that dashboards of Prometheus' remote write use."""

from prometheus_client import Counter, Gauge, Histogram

from otero.telemetry import REGISTRY

_BY = ["remote_name", "url"]


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"prometheus_remote_storage_{name}", text, [*_BY, *labels], registry=REGISTRY)


def _gauge(name: str, text: str) -> Gauge:
    return Gauge(f"prometheus_remote_storage_{name}", text, _BY, registry=REGISTRY)


SAMPLES = _counter("samples", "Samples that were sent, repetitions not counted.")
HISTOGRAMS = _counter("histograms", "Native histograms that were sent.")
EXEMPLARS = _counter("exemplars", "Exemplars that were sent.")
METADATA = _counter("metadata", "Metadata entries that were sent.")
FAILED = _counter("samples_failed", "Samples that the destination refused for good.")
RETRIED = _counter(
    "samples_retried", "Samples that are sent again because the destination could not take them."
)
DROPPED = _counter("samples_dropped", "Samples that are not sent, by reason.", "reason")
BYTES = _counter("bytes", "Compressed bytes that were sent.")
PENDING = _gauge("samples_pending", "Samples that were read from the journal and are not acknowledged.")
SHARDS = _gauge("shards", "Requests that go out side by side.")
HIGHEST_IN = Gauge(
    "prometheus_remote_storage_highest_timestamp_in_seconds",
    "Newest sample read from the journal.",
    _BY,
    registry=REGISTRY,
)
HIGHEST_SENT = _gauge("queue_highest_sent_timestamp_seconds", "Newest sample that is acknowledged.")
LAG_BYTES = Gauge(
    "otero_remote_write_lag_bytes", "Journal that the destination has not had.", _BY, registry=REGISTRY
)
GAUGES = (PENDING, SHARDS, HIGHEST_IN, HIGHEST_SENT, LAG_BYTES)
"""What a destination shows as long as it is there."""
SEND_SECONDS = Histogram(
    "prometheus_remote_storage_sent_batch_duration_seconds",
    "Time of requests.",
    _BY,
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60),
)
