"""The metrics of requests: what a request pays is one observation of one histogram and two changes of one gauge."""

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import REGISTRY, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar

from otero_sdk.metrics.names import Key, Observed, Recorded, families

UNKNOWN: Final = "unknown"
"""The endpoint of requests that no route of the application matches."""
OTHER: Final = "other"
"""The endpoint of requests beyond the bound on endpoints."""
MAX_ROUTES: Final = 1000
METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)

DURATION: Final = "otero_sdk_request_duration_seconds"
ACTIVE: Final = "otero_sdk_active_requests"
"""Names inside the files of several workers; they are exposed under those of the vocabularies only."""


class _Series:
    """One histogram of method, route, status and scheme, with the latest exemplar of each bucket."""

    __slots__ = ("exemplars", "histogram")

    def __init__(self, histogram: Histogram, buckets: int) -> None:
        self.histogram = histogram
        self.exemplars: list[tuple[str, str, float, float] | None] = [None] * buckets


class RequestMetrics:
    """Records requests and is, as a collector of prometheus-client, their families in all vocabularies asked for.

    Raises ValueError when the registry already has a metric of one of these names.
    """

    def __init__(
        self,
        service: str,
        names: Sequence[str],
        buckets: Sequence[float],
        *,
        folder: Path | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._service = service
        self._names = tuple(names)
        self._bounds = tuple(float(bound) for bound in buckets if bound != float("inf"))
        if not self._bounds or list(self._bounds) != sorted(set(self._bounds)):
            raise ValueError(f"buckets={list(buckets)}: rising upper bounds in seconds are expected")
        self._duration = Histogram(
            DURATION,
            "Time to answer a request.",
            ["method", "route", "status", "scheme"],
            registry=None,
            buckets=self._bounds,
        )
        self._active = Gauge(
            ACTIVE,
            "Requests being answered.",
            ["method", "scheme"],
            registry=None,
            multiprocess_mode="livesum",
        )
        self._series: dict[Key, _Series] = {}
        self._gauges: dict[tuple[str, str], Gauge] = {}
        self._routes: set[str] = set()
        self._expected: list[Callable[[], Iterable[tuple[str, str]]]] = []
        created = os.environ.get("PROMETHEUS_DISABLE_CREATED_SERIES", "").lower() not in ("true", "1", "t")
        # Files keep counting when a worker is replaced: their beginning is that of the directory.
        began = folder.stat().st_ctime if folder is not None else time.time()
        self._started_s = began if created else None
        try:
            registry.register(self)
        except ValueError as error:
            raise ValueError(
                f"{error}: the application makes metrics of these names itself; delete them there, or choose others: "
                'instrument(..., metric_names=["otel"])'
            ) from None

    @property
    def bounds(self) -> tuple[float, ...]:
        return self._bounds

    def expect(self, routes: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """`routes` gives methods and routes of an application; it is asked at each scrape."""
        self._expected.append(routes)

    def active(self, method: str, scheme: str) -> Gauge:
        """The gauge of requests in flight, for `inc` and `dec`."""
        gauge = self._gauges.get((method, scheme))
        if gauge is None:
            gauge = self._gauges[method, scheme] = self._active.labels(method, scheme)
        return gauge

    def observe(
        self,
        method: str,
        route: str,
        status: str,
        scheme: str,
        seconds: float,
        trace: tuple[str, str] | None = None,
    ) -> None:
        """Count a request; `trace` are the ids of its trace and span in hexadecimal, the exemplar of its bucket."""
        series = self._series.get((method, route, status, scheme))
        if series is None:
            series = self._new(method, route, status, scheme)
        series.histogram.observe(seconds)
        if trace is not None:
            series.exemplars[bisect_left(self._bounds, seconds)] = (trace[0], trace[1], seconds, time.time())

    def _new(self, method: str, route: str, status: str, scheme: str) -> _Series:
        if route not in self._routes:
            if len(self._routes) >= MAX_ROUTES:
                route = OTHER
            self._routes.add(route)
        key = (method, route, status, scheme)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self._duration.labels(*key), len(self._bounds) + 1)
        return series

    def collect(self) -> Iterable[Metric]:
        """The families of this process."""
        return self.families([*self._duration.collect(), *self._active.collect()])

    def describe(self) -> Iterable[Metric]:
        """Names without values: the registry refuses a second metric of the same name by them."""
        empty = Recorded(self._bounds, {}, {}, (), None)
        return families(empty, self._names, self._service)

    def families(self, recorded: Iterable[Metric]) -> Iterable[Metric]:
        """Metrics of one or of all processes, those of requests under the names of the vocabularies, others as they are."""
        requests: dict[Key, Observed] = {}
        in_flight: dict[tuple[str, str], float] = {}
        positions = {bound: index for index, bound in enumerate((*self._bounds, float("inf")))}
        for metric in recorded:
            if metric.name == DURATION:
                _read_histogram(metric, positions, requests)
            elif metric.name == ACTIVE:
                for sample in metric.samples:
                    in_flight[sample.labels["method"], sample.labels["scheme"]] = sample.value
            else:
                yield metric
        for key, series in list(self._series.items()):
            if (observed := requests.get(key)) is not None:
                for index, exemplar in enumerate(series.exemplars):
                    if exemplar is not None:
                        trace_id, span_id, seconds, at_s = exemplar
                        labels = {"trace_id": trace_id, "span_id": span_id}
                        observed.exemplars[index] = Exemplar(labels, seconds, at_s)
        expected = {pair for routes in self._expected for pair in routes()}
        found = Recorded(self._bounds, requests, in_flight, sorted(expected), self._started_s)
        yield from families(found, self._names, self._service)


def _read_histogram(metric: Metric, positions: dict[float, int], into: dict[Key, Observed]) -> None:
    cumulative: dict[Key, dict[int, float]] = {}
    for sample in metric.samples:
        labels = sample.labels
        key = (labels["method"], labels["route"], labels["status"], labels["scheme"])
        if sample.name.endswith("_bucket"):
            # Bounds that an earlier worker of the same directory had are not ours.
            if (index := positions.get(float(labels["le"]))) is not None:
                cumulative.setdefault(key, {})[index] = sample.value
        elif sample.name.endswith("_sum"):
            into.setdefault(key, Observed([])).total = sample.value
    for key, buckets in cumulative.items():
        counts: list[float] = []
        before = 0.0
        for index in range(len(positions)):
            so_far = buckets.get(index, before)
            counts.append(so_far - before)
            before = so_far
        into.setdefault(key, Observed([])).counts = counts
