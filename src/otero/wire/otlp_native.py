"""OTLP's histograms as native histograms: exponential ones, and explicit buckets as custom bounds.

OTLP's bucket i of scale s is (base^i, base^(i+1)], base = 2^(2^-s); a native histogram's bucket i ends at base^i, hence
the shift by one. Scales above 8 are reduced by merging buckets, scales below -4 cannot be stored.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.model.histograms import (
    CUSTOM,
    MAX_SCHEMA,
    MIN_SCHEMA,
    Histograms,
    ResetHint,
    box,
    negative,
    positive,
)
from otero.model.samples import STALE
from otero.wire.otlp_metrics import MALFORMED, NO_RECORDED_VALUE, Columns, Fault, count_fault, histogram_key

DEFAULT_ZERO_THRESHOLD = 1e-128
"""What Prometheus takes when a data point names no threshold of its own."""

_MAX_SHIFT = 40
"""Any index is 0 or -1 after this, and numpy shifts by 63 bits at most."""

_MISMATCH = Fault("bad_histogram", "the buckets do not add up to the count")
_SCALE = Fault("bad_histogram", f"the scale is below {MIN_SCHEMA}")
_BOUNDS = Fault("bad_histogram", "the bounds are not strictly ascending numbers")
_BUCKETS = Fault("bad_histogram", "the number of buckets does not fit the number of bounds")
_THRESHOLD = Fault("bad_histogram", "the zero threshold is no finite number of 0 or more")


def parse_exponential(data: bytes) -> pb.ExponentialHistogramDataPoint | None:
    """An exponential histogram's data point; None for what is no such message."""
    try:
        return pb.ExponentialHistogramDataPoint.FromString(data)
    except DecodeError:
        return None


class _Rows:
    """Columns and histograms in the making.

    Buckets come as runs, of which there are at most two for a row, the negative one first: `index` of the first bucket
    after shifting right by `shift`, its `sign`, the length; the counts of all runs one after the other.
    """

    def __init__(self, first: int) -> None:
        self.first = first  # the number of OTLP's bucket 0
        self.keys: list[bytes] = []
        self.times: list[int] = []
        self.starts: list[int] = []
        self.exemplars: list[tuple[int, int, pb.Exemplar]] = []
        self.faults: dict[Fault, int] = {}
        self.rows: list[int] = []  # the row of each point, -1 for the end of a series
        self.schema: list[int] = []
        self.zero_threshold: list[float] = []
        self.zero_count: list[int] = []
        self.count: list[int] = []
        self.sum: list[float] = []
        self.bounds: list[int] = []
        self.custom: dict[tuple[float, ...], int] = {}
        self.runs: list[tuple[int, int, int, int, int]] = []
        self.counts: list[int] = []

    def point(self, point: pb.HistogramDataPoint | pb.ExponentialHistogramDataPoint, count: int) -> None:
        """What all points have; a histogram's row follows unless the point ends its series."""
        self.exemplars += [(len(self.keys), 0, exemplar) for exemplar in point.exemplars]
        self.times.append(point.time_unix_nano)
        self.starts.append(point.start_time_unix_nano)
        if point.flags & NO_RECORDED_VALUE:
            self.rows.append(-1)
            return
        self.rows.append(len(self.count))
        self.count.append(count)
        self.sum.append(point.sum)

    def run(self, counts: Sequence[int], index: int, shift: int, sign: int) -> None:
        """Buckets of the newest row."""
        if counts:
            self.runs.append((len(self.count) - 1, index, shift, sign, len(counts)))
            self.counts += counts

    def finish(self) -> tuple[Columns, Histograms | None]:
        rows = np.array(self.rows, np.int64)
        values = np.where(rows < 0, STALE, box(np.maximum(rows, 0)))
        columns = Columns(
            self.keys,
            np.array(self.times, np.uint64),
            np.array(self.starts, np.uint64),
            np.ones(len(rows), np.int64),
            values,
            self.exemplars,
            self.faults,
        )
        if not self.count:
            return columns, None
        offsets, bucket, value = self._sparse()
        return columns, Histograms(
            np.array(self.schema, np.int8),
            np.array(self.zero_threshold, np.float64),
            np.array(self.zero_count, np.float64),
            np.array(self.count, np.float64),
            np.array(self.sum, np.float64),
            np.full(len(self.count), ResetHint.UNKNOWN, np.uint8),
            np.array(self.bounds, np.int32),
            tuple(self.custom),
            offsets,
            bucket,
            value,
        )

    def _sparse(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Offsets, bucket numbers and counts; empty buckets left out, those that the shift made one added up."""
        if not self.runs:
            return np.zeros(len(self.count) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0)
        runs = np.array(self.runs, np.int64)
        lengths = runs[:, 4]
        value = np.array(self.counts, np.float64)
        filled = np.flatnonzero(value)
        run = np.repeat(np.arange(len(runs)), lengths)[filled]
        within = filled - (np.cumsum(lengths) - lengths)[run]
        index = (runs[run, 1] + within >> runs[run, 2]) + self.first
        row, value = runs[run, 0], value[filled]
        bucket = np.where(runs[run, 3] > 0, positive(index), negative(index))
        order = np.lexsort((bucket, row))
        row, bucket, value = row[order], bucket[order], value[order]
        starts = np.flatnonzero(np.concatenate(([True], (np.diff(row) != 0) | (np.diff(bucket) != 0))))
        if len(starts) < len(value):
            row, bucket, value = row[starts], bucket[starts], np.add.reduceat(value, starts)
        return np.searchsorted(row, np.arange(len(self.count) + 1)).astype(np.int64), bucket, value


_EXPONENTIAL_CHANGES = (
    "time_unix_nano", "start_time_unix_nano", "count", "sum", "scale", "zero_count", "positive", "negative",
    "exemplars", "min", "max", "zero_threshold",
)  # fmt: skip


def read_exponential(
    points: Sequence[pb.ExponentialHistogramDataPoint | None],
) -> tuple[Columns, Histograms | None]:
    """Exponential histograms: one boxed value each, and what they point into. The points are used up."""
    out = _Rows(first=1)
    for point in points:
        if point is None:
            count_fault(out.faults, MALFORMED)
            continue
        above, below = point.positive.bucket_counts[:], point.negative.bucket_counts[:]
        fault = _fault(point, above, below)
        if fault is not None:
            count_fault(out.faults, fault)
            continue
        out.point(point, point.count)
        if not point.flags & NO_RECORDED_VALUE:
            shift = min(max(point.scale - MAX_SCHEMA, 0), _MAX_SHIFT)
            out.schema.append(min(point.scale, MAX_SCHEMA))
            out.zero_threshold.append(point.zero_threshold or DEFAULT_ZERO_THRESHOLD)
            out.zero_count.append(point.zero_count)
            out.bounds.append(-1)
            if below:
                out.run(below, point.negative.offset, shift, -1)
            if above:
                out.run(above, point.positive.offset, shift, 1)
        for name in _EXPONENTIAL_CHANGES:
            point.ClearField(name)
        out.keys.append(point.SerializeToString())
    return out.finish()


def exponential_fault(point: pb.ExponentialHistogramDataPoint) -> Fault | None:
    """What keeps a data point from becoming a native histogram."""
    return _fault(point, point.positive.bucket_counts, point.negative.bucket_counts)


def _fault(
    point: pb.ExponentialHistogramDataPoint, above: Sequence[int], below: Sequence[int]
) -> Fault | None:
    if point.flags & NO_RECORDED_VALUE:
        return None
    if point.scale < MIN_SCHEMA:
        return _SCALE
    if not 0 <= point.zero_threshold < math.inf:
        return _THRESHOLD
    filled = point.zero_count + sum(above) + sum(below)
    return None if _adds_up(filled, point.count, point.sum) else _MISMATCH


def _adds_up(filled: int, count: int, total: float) -> bool:
    """NaN is observed in no bucket, and makes the sum NaN."""
    return filled <= count if math.isnan(total) else filled == count


def read_custom(points: Sequence[pb.HistogramDataPoint | None]) -> tuple[Columns, Histograms | None]:
    """Explicit buckets as native histograms with custom bounds. The points are used up."""
    out = _Rows(first=0)
    for point in points:
        fault = MALFORMED if point is None else _custom_fault(point)
        if point is None or fault is not None:
            count_fault(out.faults, fault or MALFORMED)
            continue
        out.point(point, point.count)
        if not point.flags & NO_RECORDED_VALUE:
            out.schema.append(CUSTOM)
            out.zero_threshold.append(0.0)
            out.zero_count.append(0)
            bounds = tuple(point.explicit_bounds)
            out.bounds.append(out.custom.setdefault(bounds, len(out.custom)))
            out.run(point.bucket_counts[:] or [point.count], 0, 0, 1)
        point.ClearField("sum")
        out.keys.append(histogram_key(point, 0))
    return out.finish()


def _custom_fault(point: pb.HistogramDataPoint) -> Fault | None:
    if point.flags & NO_RECORDED_VALUE:
        return None
    bounds, counts = point.explicit_bounds, point.bucket_counts
    if len(counts) != len(bounds) + 1 and (counts or bounds):
        return _BUCKETS
    if any(not low < high for low, high in pairwise(bounds)):
        return _BOUNDS
    if bounds and not (not math.isnan(bounds[0]) and bounds[-1] < math.inf):
        return _BOUNDS
    if counts and not _adds_up(sum(counts), point.count, point.sum):
        return _MISMATCH
    return None
