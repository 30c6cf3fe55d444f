"""What is known of the series of OTLP: found by the bytes of resource, scope, metric and data point, made once."""

import itertools
from dataclasses import dataclass, field

from otero.model.metrics import Metadata
from otero.wire.otlp_metrics import MetricPoints
from otero.wire.otlp_series import (
    TARGET_INFO,
    MetricSeries,
    PointSeries,
    ResourceLabels,
    SeriesRules,
    scope_labels,
)

MAX_KNOWN = 1_000_000
"""Keys, metrics and resources that are remembered; with one more, all are forgotten and made anew."""


@dataclass(slots=True)
class KnownMetric:
    """The series of one metric, by the keys of its data points. `number` is its own, `told` when storage has its metadata."""

    number: int
    metric: MetricSeries
    points: dict[bytes, PointSeries] = field(default_factory=dict)
    streams: dict[bytes, bytes] = field(default_factory=dict)
    told: bool = False

    @property
    def metadata(self) -> Metadata:
        """What storage should know of the metric."""
        return self.metric.metadata


@dataclass(slots=True)
class KnownResource:
    """One resource: its labels, and the metrics that it has sent."""

    number: int
    labels: ResourceLabels
    metrics: dict[tuple[bytes, bytes, bytes], KnownMetric] = field(default_factory=dict)

    def target_info(self) -> PointSeries | None:
        """The series that tells of the resource."""
        info = self.labels.target_info
        return None if info is None else PointSeries((info,), info)


TARGET_METADATA = Metadata(TARGET_INFO, "gauge", "Target metadata")


class Known:
    """Everything that is remembered. Bounded: forgetting costs time only."""

    def __init__(self, rules: SeriesRules, *, native: bool) -> None:
        self._rules = rules
        self._native = native
        self._numbers = itertools.count()
        self._resources: dict[bytes, KnownResource] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def make_room(self) -> None:
        """Forget everything when too much is remembered. Between two requests only."""
        if self._size > MAX_KNOWN:
            self._resources.clear()
            self._size = 0

    def resource(self, data: bytes) -> KnownResource:
        """What is known of a `Resource` message."""
        found = self._resources.get(data)
        if found is None:
            self._size += 1
            found = self._resources[data] = KnownResource(
                next(self._numbers), ResourceLabels.of(data, self._rules)
            )
        return found

    def metric(self, points: MetricPoints) -> KnownMetric:
        """What is known of a metric in its scope and resource."""
        resource = self.resource(points.resource)
        key = (points.head, points.scope, points.schema_url)
        found = resource.metrics.get(key)
        if found is None:
            self._size += 1
            scope = scope_labels(points.scope, points.schema_url, self._rules)
            found = resource.metrics[key] = KnownMetric(
                next(self._numbers),
                MetricSeries.of(
                    points.head, points.kind, resource.labels, scope, self._rules, native=self._native
                ),
            )
        return found

    def point(self, known: KnownMetric, key: bytes) -> PointSeries:
        """The series of a data point."""
        found = known.points.get(key)
        if found is None:
            self._size += 1
            found = known.points[key] = known.metric.series(key)
        return found

    def stream(self, known: KnownMetric, key: bytes) -> bytes:
        """The identity of a data point's series, from any of its keys; empty when its series cannot be made."""
        found = known.streams.get(key)
        if found is None:
            self._size += 1
            found = known.streams[key] = self.point(known, key).stream
        return found
