"""What is known of the series of OTLP: found by the bytes of resource, scope, metric and data point, made once."""

import itertools
from dataclasses import dataclass, field

from otero.model.metrics import Metadata
from otero.wire.otlp_request import MetricPoints
from otero.wire.otlp_series import (
    TARGET_INFO,
    MetricSeries,
    PointSeries,
    ResourceLabels,
    SeriesRules,
    scope_labels,
)

MAX_BYTES = 512 << 20
"""About what may be remembered; beyond, all is forgotten and made anew. Half a million series of a usual kind."""
_OVERHEAD, _LABELS_OVERHEAD = 300, 50
"""Of the objects around the bytes of one key, of one label set."""


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
        self.nbytes = 0

    def make_room(self) -> None:
        """Forget everything when too much is remembered. Between two requests only."""
        if self.nbytes > MAX_BYTES:
            self._resources.clear()
            self.nbytes = 0

    def resource(self, data: bytes) -> KnownResource:
        """What is known of a `Resource` message."""
        found = self._resources.get(data)
        if found is None:
            self.nbytes += _OVERHEAD + 4 * len(data)
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
            self.nbytes += 2 * _OVERHEAD + sum(map(len, key))
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
            found = known.points[key] = known.metric.series(key)
            self.nbytes += _OVERHEAD + len(key) + sum(_LABELS_OVERHEAD + len(data) for data in found.labels)
        return found

    def stream(self, known: KnownMetric, key: bytes) -> bytes:
        """The identity of a data point's series, from any of its keys; empty when its series cannot be made."""
        found = known.streams.get(key)
        if found is None:
            self.nbytes += _OVERHEAD + len(key)
            found = known.streams[key] = self.point(known, key).stream
        return found
