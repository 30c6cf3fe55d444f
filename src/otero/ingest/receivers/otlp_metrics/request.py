"""One ExportMetricsServiceRequest as parts: the columns of each metric, deltas made cumulative, and `target_info`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.ingest.receivers.otlp_metrics.deltas import Changes
from otero.ingest.receivers.otlp_metrics.known import Known, KnownMetric, KnownResource
from otero.model.histograms import Histograms, box, boxed_rows
from otero.model.labels import LabelBytes
from otero.wire.otlp_metrics import (
    MALFORMED,
    Columns,
    Fault,
    count_fault,
    parse_histogram,
    read_histograms,
    read_numbers,
    read_summaries,
)
from otero.wire.otlp_native import exponential_fault, parse_exponential, read_custom, read_exponential
from otero.wire.otlp_request import Kind, MetricPoints, read_request
from otero.wire.otlp_series import PointSeries

MAX_AHEAD_MS = 600_000
"""Data points further in the future are refused, as Prometheus does."""
_MAX_TARGET_INFO = 20_000
"""Samples of `target_info` that a request may make, beyond the two that each resource gets anyway."""

NO_TIME = Fault("no_time", "the data point has no time")
AHEAD = Fault("too_far_in_future", "the data point is more than ten minutes ahead of this server's clock")
TOO_OLD = Fault("older_than_retention", "the data point is older than what is kept")
OVERFLOW = Fault("bad_histogram", "the counts exceed 64 bits")

H = TypeVar("H", pb.HistogramDataPoint, pb.ExponentialHistogramDataPoint)


@dataclass(slots=True)
class Part:
    """The columns of one metric, or the `target_info` of one resource (then `metric` is None)."""

    columns: Columns
    number: int
    metric: KnownMetric | None = None
    info: PointSeries | None = None


@dataclass(slots=True)
class Request:
    """A request taken apart. `count` are its data points, `faults` those that are refused."""

    parts: list[Part] = field(default_factory=list)
    histograms: list[Histograms] = field(default_factory=list)
    faults: dict[Fault, int] = field(default_factory=dict)
    times: dict[int, tuple[KnownResource, int, int]] = field(default_factory=dict)
    count: int = 0

    def refuse(self, faults: dict[Fault, int]) -> None:
        """Count data points that are refused."""
        add_faults(self.faults, faults)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one request. Times in milliseconds; data points from `oldest_ms` on are taken."""

    known: Known
    changes: Changes
    now_ms: int
    oldest_ms: int
    info_step_ms: int

    def read(self, body: bytes) -> Request:
        """Raises BadInput for what is no request."""
        request = Request()
        for points in read_request(body):
            request.count += len(points.points)
            known = self.known.metric(points)
            if known.metric.fault is not None:
                request.refuse({known.metric.fault: len(points.points)})
                continue
            columns, histograms = self._columns(points, known)
            columns = self._timely(columns)
            if points.kind == Kind.SUM and known.metric.delta:
                columns = self._sums(columns, known)
            request.refuse(columns.faults)
            if not columns.keys:
                continue
            if histograms is not None:
                _rebase(columns, sum(map(len, request.histograms)))
                request.histograms.append(histograms)
            request.parts.append(Part(columns, known.number, known))
            self._note_times(request, points.resource, columns.times_ns)
        self._add_target_info(request)
        return request

    def _columns(self, points: MetricPoints, known: KnownMetric) -> tuple[Columns, Histograms | None]:
        if points.kind in (Kind.GAUGE, Kind.SUM):
            return read_numbers(points.points), None
        if points.kind == Kind.SUMMARY:
            return read_summaries(points.points), None
        faults: dict[Fault, int] = {}
        if points.kind == Kind.HISTOGRAM:
            parsed = [parse_histogram(data) for data in points.points]
            if known.metric.delta:
                parsed = [
                    point
                    for point in parsed
                    if not self._refused(known, point, self.changes.add_histogram, faults)
                ]
            columns, histograms = (
                read_custom(parsed) if known.metric.native else (read_histograms(parsed), None)
            )
        else:
            exponential = [parse_exponential(data) for data in points.points]
            if known.metric.delta:
                exponential = [
                    point
                    for point in exponential
                    if not self._refused(known, point, self.changes.add_exponential, faults)
                ]
            columns, histograms = read_exponential(exponential)
        add_faults(columns.faults, faults)
        return columns, histograms

    def _refused(
        self,
        known: KnownMetric,
        point: H | None,
        add: Callable[[bytes, H], Fault | None],
        faults: dict[Fault, int],
    ) -> bool:
        """Whether a delta does not count; counts why, and adds it up otherwise."""
        if point is None:
            fault = MALFORMED
        else:
            fault = self._time_fault(point.time_unix_nano)
            if fault is None and isinstance(point, pb.ExponentialHistogramDataPoint):
                fault = exponential_fault(point)
        if point is not None and fault is None:
            key = type(point)(attributes=point.attributes).SerializeToString()
            stream = self.known.stream(known, key)
            if not stream:  # refused for its labels further on
                return False
            try:
                fault = add(stream, point)
            except ValueError:
                fault = OVERFLOW
        if fault is not None:
            count_fault(faults, fault)
        return fault is not None

    def _sums(self, columns: Columns, known: KnownMetric) -> Columns:
        """Deltas of numbers, added up."""
        values: list[float] = columns.values.tolist()
        starts: list[int] = columns.starts_ns.tolist()
        keep: list[int] = []
        faults: dict[Fault, int] = {}
        for at, (key, time_ns) in enumerate(zip(columns.keys, columns.times_ns.tolist(), strict=True)):
            series = self.known.point(known, key)
            if series.stale:
                self.changes.end(series.stream)
            elif series.fault is None:
                after = self.changes.add_number(series.stream, starts[at], time_ns, values[at])
                if isinstance(after, Fault):
                    count_fault(faults, after)
                    continue
                starts[at], values[at] = after.start_ns, after.value
            keep.append(at)
        columns.values = np.array(values, np.float64)
        columns.starts_ns = np.array(starts, np.uint64)
        add_faults(columns.faults, faults)
        return columns if len(keep) == len(values) else columns.take(np.array(keep, np.intp))

    def _time_fault(self, time_ns: int) -> Fault | None:
        if not time_ns:
            return NO_TIME
        time_ms = time_ns // 1_000_000
        if time_ms > self.now_ms + MAX_AHEAD_MS:
            return AHEAD
        return TOO_OLD if time_ms < self.oldest_ms else None

    def _timely(self, columns: Columns) -> Columns:
        """Without the points whose time cannot be stored."""
        times = columns.times_ns
        low = np.uint64(max(self.oldest_ms * 1_000_000, 1))
        high = np.uint64((self.now_ms + MAX_AHEAD_MS) * 1_000_000 + 999_999)
        timely = (times >= low) & (times <= high)
        if timely.all():
            return columns
        for time_ns in times[~timely].tolist():
            count_fault(columns.faults, self._time_fault(time_ns) or NO_TIME)
        return columns.take(np.flatnonzero(timely))

    def _note_times(self, request: Request, data: bytes, times_ns: NDArray[np.uint64]) -> None:
        resource = self.known.resource(data)
        first, last = int(times_ns.min()), int(times_ns.max())
        before = request.times.get(resource.number)
        if before is not None:
            first, last = min(first, before[1]), max(last, before[2])
        request.times[resource.number] = (resource, first, last)

    def _add_target_info(self, request: Request) -> None:
        """A sample at the last time of each resource's points, and from the first one on at every half look-back."""
        seen: set[tuple[LabelBytes, int]] = set()
        most = max(_MAX_TARGET_INFO // max(len(request.times), 1), 1)
        for resource, first_ns, last_ns in request.times.values():
            info = resource.target_info()
            if info is None:
                continue
            step_ns = max(self.info_step_ms * 1_000_000, -((first_ns - last_ns) // most))
            times = [
                time_ns
                for time_ns in (*range(first_ns, last_ns, step_ns), last_ns)
                if (info.labels[0], time_ns // 1_000_000) not in seen
            ]
            seen.update((info.labels[0], time_ns // 1_000_000) for time_ns in times)
            if times:
                count = len(times)
                columns = Columns(
                    [b""] * count,
                    np.array(times, np.uint64),
                    np.zeros(count, np.uint64),
                    np.ones(count, np.int64),
                    np.ones(count),
                )
                request.parts.append(Part(columns, resource.number, info=info))


def _rebase(columns: Columns, base: int) -> None:
    """Let boxed values point behind the `base` histograms that come before."""
    if base:
        rows = boxed_rows(columns.values)
        columns.values = np.where(rows < 0, columns.values, box(np.maximum(rows, 0) + base))


def add_faults(faults: dict[Fault, int], more: dict[Fault, int]) -> None:
    """Add to counts of refused data points."""
    for fault, count in more.items():
        faults[fault] = faults.get(fault, 0) + count
