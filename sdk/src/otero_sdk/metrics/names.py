"""The names under which request metrics are exposed.

Requests are recorded once, in one histogram by method, route, status and scheme. At a scrape its families are computed
in each vocabulary that is asked for, so that a second one costs a request nothing.

| vocabulary | families |
|---|---|
| `http` | `http_requests_total{method,endpoint,status}`, `http_request_duration_seconds{method,endpoint}`, `http_requests_in_flight{method}` |
| `golden` | `requests_total{service,endpoint,method}`, `errors_total{service,endpoint,error_type}`, `request_duration_seconds{service,endpoint}` |
| `otel` | `http_server_request_duration_seconds`, `http_server_active_requests`: OpenTelemetry's semantic conventions for HTTP, as Prometheus writes them |
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

_ERROR_TYPES: Final = {500: "application_error", 502: "bad_gateway", 503: "unavailable", 504: "timeout"}
"""Why a request failed, as far as its status tells; other statuses of 500 and above are `server_error`."""

FIRST_STATUSES: Final = ("200", "500")
"""Statuses whose series of a known route exist from the start, so that `rate()` sees the first request and error."""

Key = tuple[str, str, str, str]
"""Method, route, status, scheme."""


@dataclass(slots=True)
class Observed:
    """A histogram's values: counts by bucket (each alone, the last one is +Inf), their sum, and an exemplar by bucket."""

    counts: list[float]
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    def add(self, other: "Observed") -> None:
        for index, count in enumerate(other.counts):
            self.counts[index] += count
        self.total += other.total
        for index, exemplar in other.exemplars.items():
            known = self.exemplars.get(index)
            if known is None or float(known.timestamp or 0) < float(exemplar.timestamp or 0):
                self.exemplars[index] = exemplar


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that was recorded about requests, at one moment."""

    bounds: Sequence[float]
    """Upper bounds in seconds, without +Inf."""
    requests: Mapping[Key, Observed]
    in_flight: Mapping[tuple[str, str], float]
    """By method and scheme."""
    expected: Collection[tuple[str, str]]
    """Methods and routes of which the application is made, whether or not they were asked for."""
    started_s: float | None
    """When counting began, Unix seconds; None: not to be exposed."""


def families(recorded: Recorded, names: Sequence[str], service: str) -> Iterable[Metric]:
    """The families of each vocabulary, in its order."""
    for name in names:
        yield from _VOCABULARIES[name](recorded, service)


def _http(recorded: Recorded, service: str) -> Iterable[Metric]:
    del service
    requests = CounterMetricFamily(
        "http_requests",
        "Requests answered, by method, route and status.",
        labels=["method", "endpoint", "status"],
    )
    counts: dict[tuple[str, ...], float] = {
        (method, route, status): 0.0 for method, route in recorded.expected for status in FIRST_STATUSES
    }
    for (method, route, status, _), observed in recorded.requests.items():
        key = (method, route, status)
        counts[key] = counts.get(key, 0.0) + sum(observed.counts)
    _add_counts(requests, counts, recorded)
    yield requests
    yield _histogram(
        "http_request_duration_seconds",
        "Time to answer a request, by method and route.",
        ["method", "endpoint"],
        _grouped(recorded, lambda key: (key[0], key[1]), recorded.expected),
        recorded,
    )
    in_flight: dict[str, float] = {}
    for (method, _), count in recorded.in_flight.items():
        in_flight[method] = in_flight.get(method, 0.0) + count
    gauge = GaugeMetricFamily(
        "http_requests_in_flight", "Requests that are being answered.", labels=["method"]
    )
    for method, count in in_flight.items():
        gauge.add_metric([method], count)
    yield gauge


def _golden(recorded: Recorded, service: str) -> Iterable[Metric]:
    requests = CounterMetricFamily("requests", "Requests.", labels=["service", "endpoint", "method"])
    counts: dict[tuple[str, ...], float] = {
        (service, route, method): 0.0 for method, route in recorded.expected
    }
    errors: dict[tuple[str, ...], float] = {
        (service, route, _ERROR_TYPES[500]): 0.0 for _, route in recorded.expected
    }
    for (method, route, status, _), observed in recorded.requests.items():
        count = sum(observed.counts)
        key = (service, route, method)
        counts[key] = counts.get(key, 0.0) + count
        if status >= "500":
            key = (service, route, _ERROR_TYPES.get(int(status), "server_error"))
            errors[key] = errors.get(key, 0.0) + count
    _add_counts(requests, counts, recorded)
    yield requests
    failed = CounterMetricFamily(
        "errors",
        "Requests answered with a status of 500 and above.",
        labels=["service", "endpoint", "error_type"],
    )
    _add_counts(failed, errors, recorded)
    yield failed
    yield _histogram(
        "request_duration_seconds",
        "Time to answer a request, by route.",
        ["service", "endpoint"],
        _grouped(
            recorded, lambda key: (service, key[1]), [(service, route) for _, route in recorded.expected]
        ),
        recorded,
    )


def _otel(recorded: Recorded, service: str) -> Iterable[Metric]:
    del service
    # error.type is there when the request failed: an absent label and an empty one are the same.
    grouped = _grouped(
        recorded,
        lambda key: (key[0], key[1], key[2], key[3], key[2] if key[2] >= "500" else ""),
        [
            (method, route, status, "http", status if status >= "500" else "")
            for method, route in recorded.expected
            for status in FIRST_STATUSES
        ],
    )
    yield _histogram(
        "http_server_request_duration_seconds",
        "Duration of HTTP server requests.",
        ["http_request_method", "http_route", "http_response_status_code", "url_scheme", "error_type"],
        grouped,
        recorded,
    )
    gauge = GaugeMetricFamily(
        "http_server_active_requests",
        "Number of active HTTP server requests.",
        labels=["http_request_method", "url_scheme"],
    )
    for labels, count in recorded.in_flight.items():
        gauge.add_metric(list(labels), count)
    yield gauge


_VOCABULARIES: Final[Mapping[str, Callable[[Recorded, str], Iterable[Metric]]]] = {
    "http": _http,
    "golden": _golden,
    "otel": _otel,
}


def _grouped(
    recorded: Recorded, labels_of: Callable[[Key], tuple[str, ...]], expected: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], Observed]:
    grouped = {labels: Observed([0.0] * (len(recorded.bounds) + 1)) for labels in expected}
    for key, observed in recorded.requests.items():
        labels = labels_of(key)
        if labels not in grouped:
            grouped[labels] = Observed([0.0] * (len(recorded.bounds) + 1))
        grouped[labels].add(observed)
    return grouped


def _add_counts(
    family: CounterMetricFamily, counts: Mapping[tuple[str, ...], float], recorded: Recorded
) -> None:
    for labels, count in counts.items():
        family.add_metric(list(labels), count, created=recorded.started_s)


def _histogram(
    name: str,
    documentation: str,
    labels: Sequence[str],
    values: Mapping[tuple[str, ...], Observed],
    recorded: Recorded,
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    les = [*map(floatToGoString, recorded.bounds), "+Inf"]
    for label_values, observed in values.items():
        own = {label: value for label, value in zip(labels, label_values, strict=True) if value}
        so_far = 0.0
        for index, (le, count) in enumerate(zip(les, observed.counts, strict=True)):
            so_far += count
            bucket = Sample(f"{name}_bucket", {**own, "le": le}, so_far, None, observed.exemplars.get(index))
            family.samples.append(bucket)
        family.samples.append(Sample(f"{name}_count", own, so_far))
        family.samples.append(Sample(f"{name}_sum", own, observed.total))
        if recorded.started_s is not None:
            family.samples.append(Sample(f"{name}_created", own, recorded.started_s))
    return family
