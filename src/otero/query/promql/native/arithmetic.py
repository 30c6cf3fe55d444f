"""Sums of native histograms: of groups, of pairs, weighted; multiplication and division by numbers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, ResetHint
from otero.query.promql.aggregate import neumaier, overflowing_mean
from otero.query.promql.native.layout import (
    Floats,
    Rows,
    buckets_of_keys,
    compact,
    kept,
    keys,
    rows_of_keys,
    settle_thresholds,
    share_bounds,
    to_schema,
    widen_zero,
)

_HUGE = 2.0**1020
_SPLITS = 48
"""More than enough to take any sum of floats apart."""
_PIECE = 1 << 22
"""Buckets that are added up at a time."""
_ROW_COST = 8
_DENSE = 8
"""Up to so many cells per bucket that goes in, sums are made in a table instead of sorting."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """One histogram per group, without empty buckets, and what is to be told about them (bool, one per group).

    mixed        exponential and custom buckets met: there is no sum, the row is empty.
    reconciled   custom bounds differed: the sum has those that all had.
    conflicting  one histogram said that its counter had been reset, another that it had not.
    """

    histograms: Histograms
    mixed: NDArray[np.bool_]
    reconciled: NDArray[np.bool_]
    conflicting: NDArray[np.bool_]


def group_sum(
    h: Histograms,
    groups: Rows,
    count: int,
    weights: Floats | None = None,
    *,
    mean: bool = False,
    coarsest: NDArray[np.int8] | None = None,
) -> Sums:
    """The sum of weight times histogram over each group, or the mean.

    groups [N] are numbers below `count`, weights float64 [N]. Sums are compensated: as good as Kahan's. A mean survives
    a sum that overflows. Hints are combined as addition does; weights do not change them. `coarsest` [count] is a
    resolution that no result may exceed.
    """
    custom = h.schema == CUSTOM
    mixed = np.zeros(count, np.bool_)
    if custom.any():
        has_custom = np.bincount(groups[custom], minlength=count) > 0
        mixed = has_custom & (np.bincount(groups[~custom], minlength=count) > 0)
        if mixed.any():
            fit = np.flatnonzero(~mixed[groups])
            h, groups = h.take(fit), groups[fit]
            weights = None if weights is None else weights[fit]
    h, reconciled = share_bounds(h, groups, count)
    threshold = settle_thresholds(h, groups, count)
    h = widen_zero(h, threshold[groups])
    schema = np.full(count, np.iinfo(np.int8).max, np.int8)
    np.minimum.at(schema, groups, h.schema)
    if coarsest is not None:
        schema = np.where(schema == CUSTOM, schema, np.minimum(schema, coarsest))
    h = to_schema(h, schema[groups])
    bounds = np.full(count, -1, np.int32)
    bounds[groups] = h.bounds

    divisor = np.bincount(groups, minlength=count) if mean else None
    total = _Totals(groups, count, weights, divisor)
    offsets, bucket, value = total.buckets(h)
    hint, conflicting = _hints(h.hint, groups, count)
    out = Histograms(
        np.where(schema == np.iinfo(np.int8).max, 0, schema).astype(np.int8),
        threshold,
        total.of(h.zero_count),
        total.of(h.count),
        total.of(h.sum),
        hint,
        bounds,
        h.custom_bounds,
        offsets,
        bucket,
        value,
    )
    return Sums(out, mixed, reconciled, conflicting)


def sum_rows(
    h: Histograms,
    rows: Rows,
    groups: Rows,
    count: int,
    weights: Floats | None = None,
    *,
    mean: bool = False,
    coarsest: NDArray[np.int8] | None = None,
) -> Sums:
    """`group_sum` of some rows of `h`, in pieces that do not fill the memory."""
    size = int(np.diff(h.offsets)[rows].sum()) + _ROW_COST * len(rows)
    if size <= _PIECE or count < 2:
        everything = len(rows) == len(h) and np.array_equal(rows, np.arange(len(h)))
        return group_sum(
            h if everything else h.take(rows), groups, count, weights, mean=mean, coarsest=coarsest
        )
    order = np.argsort(groups, kind="stable")
    edges = np.searchsorted(groups[order], np.arange(count + 1))
    cost = np.concatenate([[0], np.cumsum(np.diff(h.offsets)[rows[order]] + _ROW_COST)])[edges]
    parts: list[Sums] = []
    first = 0
    while first < count:
        last = max(int(np.searchsorted(cost, cost[first] + _PIECE, "right")) - 1, first + 1)
        chosen = order[edges[first] : edges[last]]
        parts.append(
            group_sum(
                h.take(rows[chosen]),
                groups[chosen] - first,
                last - first,
                None if weights is None else weights[chosen],
                mean=mean,
                coarsest=None if coarsest is None else coarsest[first:last],
            )
        )
        first = last
    return Sums(
        Histograms.concat([part.histograms for part in parts]),
        np.concatenate([part.mixed for part in parts]),
        np.concatenate([part.reconciled for part in parts]),
        np.concatenate([part.conflicting for part in parts]),
    )


def add(left: Histograms, right: Histograms) -> Sums:
    """left + right, row by row."""
    return _pairs(left, right, 1.0)


def subtract(left: Histograms, right: Histograms) -> Sums:
    """left - right, row by row. The operator of PromQL makes a gauge of it, see `layout.with_hint`."""
    return _pairs(left, right, -1.0)


def subtract_alike(h: Histograms, minuends: Rows, subtrahends: Rows) -> tuple[NDArray[np.intp], Histograms]:
    """Differences of the pairs of rows that have one layout, which is most of neighbours in time, and which pairs those
    are. Much cheaper than sums. Hints are those of the minuends."""
    alike = h.schema[minuends] == h.schema[subtrahends]
    alike &= h.zero_threshold[minuends] == h.zero_threshold[subtrahends]
    alike &= h.bounds[minuends] == h.bounds[subtrahends]
    lengths = np.diff(h.offsets)
    alike &= lengths[minuends] == lengths[subtrahends]
    pairs = np.flatnonzero(alike)
    if len(pairs) == 0:
        return pairs, h.take(pairs)
    a, b = h.take(minuends[pairs]), h.take(subtrahends[pairs])
    moved = a.bucket != b.bucket
    if moved.any():
        odd = np.zeros(len(pairs), np.bool_)
        odd[a.rows()[moved]] = True
        rest = np.flatnonzero(~odd)
        pairs, a, b = pairs[rest], a.take(rest), b.take(rest)
    with np.errstate(all="ignore"):
        out = replace(
            a,
            zero_count=a.zero_count - b.zero_count,
            count=a.count - b.count,
            sum=a.sum - b.sum,
            value=a.value - b.value,
        )
    return pairs, compact(out)


def _pairs(left: Histograms, right: Histograms, weight: float) -> Sums:
    rows = np.arange(len(left))
    weights = np.repeat([1.0, weight], len(left))
    return group_sum(
        Histograms.concat([left, right]),
        np.concatenate([rows, rows]),
        len(left),
        weights if weight < 0 else None,
    )


def scale(h: Histograms, factor: Floats) -> Histograms:
    """Every count and sum times one number per row; the layout stays."""
    with np.errstate(all="ignore"):
        return replace(
            h,
            zero_count=h.zero_count * factor,
            count=h.count * factor,
            sum=h.sum * factor,
            value=h.value * np.repeat(factor, np.diff(h.offsets)),
            hint=np.where(factor < 0, ResetHint.GAUGE, h.hint).astype(np.uint8),
        )


def divide(h: Histograms, divisor: Floats) -> Histograms:
    """Every count and sum divided by one number per row; a division by zero leaves no buckets."""
    spread = np.repeat(divisor, np.diff(h.offsets))
    with np.errstate(all="ignore"):
        out = replace(
            h,
            zero_count=h.zero_count / divisor,
            count=h.count / divisor,
            sum=h.sum / divisor,
            value=h.value / spread,
            hint=np.where(divisor < 0, ResetHint.GAUGE, h.hint).astype(np.uint8),
        )
    return out if (divisor != 0).all() else kept(out, spread != 0)


def _hints(hint: NDArray[np.uint8], groups: Rows, count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The hint of each sum, and where hints contradict each other: gauge wins, then doubt."""
    seen = np.bincount(groups * 4 + hint, minlength=count * 4).reshape(count, 4) > 0
    conflicting = seen[:, ResetHint.RESET] & seen[:, ResetHint.NOT_RESET]
    only = np.where(
        seen[:, ResetHint.RESET],
        ResetHint.RESET,
        np.where(seen[:, ResetHint.NOT_RESET], ResetHint.NOT_RESET, ResetHint.UNKNOWN),
    )
    doubtful = conflicting | seen[:, ResetHint.UNKNOWN]
    out = np.where(seen[:, ResetHint.GAUGE], ResetHint.GAUGE, np.where(doubtful, ResetHint.UNKNOWN, only))
    return out.astype(np.uint8), conflicting


class _Totals:
    """Sums or means over groups of rows, of one number per row or of buckets."""

    def __init__(
        self, groups: Rows, count: int, weights: Floats | None, divisor: NDArray[np.intp] | None
    ) -> None:
        self._groups = groups
        self._count = count
        self._weights = weights
        self._divisor = divisor

    def of(self, numbers: Floats) -> Floats:
        """float64 [count] from one number per row."""
        weighted = numbers if self._weights is None else numbers * self._weights
        sums = total(self._groups, weighted, self._count)
        if self._divisor is None:
            return sums
        with np.errstate(all="ignore"):
            out = sums / self._divisor
        for group in np.flatnonzero(~np.isfinite(sums)).tolist():
            members = weighted[self._groups == group]
            if len(members) and np.isfinite(members).all():
                out[group] = overflowing_mean(members.tolist())
        return out

    def buckets(self, h: Histograms) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Offsets, bucket numbers and values of the groups."""
        count = self._count
        if len(h.bucket) == 0:
            return np.zeros(count + 1, np.int64), h.bucket, h.value
        rows = h.rows()
        group = self._groups[rows].astype(np.int64, copy=False)
        weighted = h.value if self._weights is None else h.value * self._weights[rows]
        table = _Table(h.bucket)
        width = table.width
        if count * width <= max(_DENSE * len(group), 1 << 12):
            cells = group * width + table.code(h.bucket)
            sums = total(cells, weighted, count * width)
            owner, column = np.nonzero(sums.reshape(count, width))
            bucket = table.bucket(column)
            found = owner * width + column
        else:
            found, cells = np.unique(keys(group, h.bucket), return_inverse=True)
            sums = total(cells, weighted, len(found))
            filled = np.flatnonzero(sums)
            owner, bucket = rows_of_keys(found[filled]), buckets_of_keys(found[filled])
            found = filled
        value = sums[found]
        if self._divisor is not None:
            value = value / self._divisor[owner]
            for at in np.flatnonzero(~np.isfinite(sums[found])).tolist():
                value[at] = self._mean(int(owner[at]), weighted[cells == found[at]], rows[cells == found[at]])
            filled = value != 0  # a mean may round to nothing
            owner, bucket, value = owner[filled], bucket[filled], value[filled]
        offsets = np.searchsorted(owner, np.arange(count + 1)).astype(np.int64)
        return offsets, bucket, value

    def _mean(self, group: int, numbers: Floats, rows: NDArray[np.int64]) -> float:
        """The mean of one bucket of a group whose sum is not finite; histograms without that bucket count as zero."""
        if not np.isfinite(numbers).all():
            return float(np.add.reduce(numbers))
        of_rows = np.zeros(len(self._groups))
        of_rows[rows] = numbers
        return overflowing_mean(of_rows[self._groups == group].tolist())


class _Table:
    """Bucket numbers as column numbers of a table: the range of negative ones, then that of positive ones."""

    def __init__(self, bucket: NDArray[np.int64]) -> None:
        below = bucket < 0
        some_below = bool(below.any())
        self._first_negative, end = _range(bucket[below] if some_below else bucket[:0])
        self._negatives = end - self._first_negative
        self._first_positive, end = _range(bucket[~below] if some_below else bucket)
        self.width = self._negatives + end - self._first_positive

    def code(self, bucket: NDArray[np.int64]) -> NDArray[np.int64]:
        shift = self._negatives - self._first_positive
        if self._negatives == 0:
            return bucket + shift
        return np.where(bucket < 0, bucket - self._first_negative, bucket + shift)

    def bucket(self, code: NDArray[np.int64]) -> NDArray[np.int64]:
        shift = self._first_positive - self._negatives
        if self._negatives == 0:
            return code + shift
        return np.where(code < self._negatives, code + self._first_negative, code + shift)


def _range(numbers: NDArray[np.int64]) -> tuple[int, int]:
    return (int(numbers.min()), int(numbers.max()) + 1) if len(numbers) else (0, 0)


def _binned(cells: NDArray[np.integer], numbers: Floats, size: int) -> Floats:
    return np.bincount(cells, numbers, size).astype(np.float64, copy=False)


def total(cells: NDArray[np.integer], numbers: Floats, size: int) -> Floats:
    """Compensated sums per cell, float64 [size].

    As in `aggregate.total`, numbers are split against a power of two above the sum of magnitudes: high parts add up
    without rounding. That is repeated where so much cancels that what is left matters.
    """
    if len(numbers) == 0:
        return np.zeros(size)
    with np.errstate(all="ignore"):
        most = max(float(numbers.max()), -float(numbers.min())) * len(numbers)
        if most < 2.0**53 and np.array_equal(numbers, np.rint(numbers)):
            return _binned(cells, numbers, size)
        magnitude = _binned(cells, np.abs(numbers), size)
        result = np.zeros(size)
        part, into, bound = numbers, cells, magnitude
        for _ in range(_SPLITS):
            power = np.ldexp(1.5, np.frexp(np.where(bound < _HUGE, bound, 1.0))[1] + 1)
            wide = power[into]
            high = (part + wide) - wide
            part = part - high
            result += _binned(into, high, size)
            bound = _binned(into, np.abs(part), size)
            cancelled = np.abs(result) < bound * 2.0**26
            if not cancelled.any():
                break
            open_parts = cancelled[into]
            result += _binned(into[~open_parts], part[~open_parts], size)
            part, into = part[open_parts], into[open_parts]
        result += _binned(into, part, size)
        for cell in np.flatnonzero(~(magnitude < _HUGE)).tolist():
            members = numbers[cells == cell]
            finite = np.isfinite(members).all()
            result[cell] = neumaier(members.tolist()) if finite else np.add.reduce(members)
    return result
