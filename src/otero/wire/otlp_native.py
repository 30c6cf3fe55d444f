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
from otero.wire.otlp_metrics import (
    MALFORMED,
    NO_RECORDED_VALUE,
    Columns,
    Fault,
    count_fault,
    histogram_key,
)

DEFAULT_ZERO_THRESHOLD = 1e-128
"""What Prometheus takes when a data point names no threshold of its own."""

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
    """Columns and histograms in the making. Buckets come as (row, bucket number, count), in any order."""

    def __init__(self) -> None:
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
        self.bucket_rows: list[NDArray[np.int64]] = []
        self.buckets: list[NDArray[np.int64]] = []
        self.values: list[NDArray[np.float64]] = []

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

    def add_buckets(self, numbers: NDArray[np.int64], counts: NDArray[np.float64]) -> None:
        """Buckets of the newest row; empty ones are left out."""
        filled = np.flatnonzero(counts)
        if len(filled):
            self.bucket_rows.append(np.full(len(filled), len(self.count) - 1, np.int64))
            self.buckets.append(numbers[filled])
            self.values.append(counts[filled])

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
        """Offsets, bucket numbers and counts in order, buckets that reducing the scale made one added up."""
        if not self.buckets:
            return np.zeros(len(self.count) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0)
        row = np.concatenate(self.bucket_rows)
        bucket = np.concatenate(self.buckets)
        value = np.concatenate(self.values)
        order = np.lexsort((bucket, row))
        row, bucket, value = row[order], bucket[order], value[order]
        first = np.ones(len(row), np.bool_)
        first[1:] = (row[1:] != row[:-1]) | (bucket[1:] != bucket[:-1])
        starts = np.flatnonzero(first)
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
    out = _Rows()
    for point in points:
        fault = MALFORMED if point is None else exponential_fault(point)
        if point is None or fault is not None:
            count_fault(out.faults, fault or MALFORMED)
            continue
        out.point(point, point.count)
        if not point.flags & NO_RECORDED_VALUE:
            reduce_by = max(point.scale - MAX_SCHEMA, 0)
            out.schema.append(point.scale - reduce_by)
            out.zero_threshold.append(point.zero_threshold or DEFAULT_ZERO_THRESHOLD)
            out.zero_count.append(point.zero_count)
            out.bounds.append(-1)
            for side, number in ((point.positive, positive), (point.negative, negative)):
                counts = np.array(side.bucket_counts, np.float64)
                index = (np.arange(len(counts)) + side.offset >> reduce_by) + 1
                out.add_buckets(number(index), counts)
        for name in _EXPONENTIAL_CHANGES:
            point.ClearField(name)
        out.keys.append(point.SerializeToString())
    return out.finish()


def exponential_fault(point: pb.ExponentialHistogramDataPoint) -> Fault | None:
    """What keeps a data point from becoming a native histogram."""
    if point.flags & NO_RECORDED_VALUE:
        return None
    if point.scale < MIN_SCHEMA:
        return _SCALE
    if not 0 <= point.zero_threshold < math.inf:
        return _THRESHOLD
    filled = point.zero_count + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
    return None if _adds_up(filled, point.count, point.sum) else _MISMATCH


def _adds_up(filled: int, count: int, total: float) -> bool:
    """NaN is observed in no bucket, and makes the sum NaN."""
    return filled <= count if math.isnan(total) else filled == count


def read_custom(points: Sequence[pb.HistogramDataPoint | None]) -> tuple[Columns, Histograms | None]:
    """Explicit buckets as native histograms with custom bounds. The points are used up."""
    out = _Rows()
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
            counts = np.array(point.bucket_counts or [point.count], np.float64)
            out.add_buckets(positive(np.arange(len(counts))), counts)
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
