"""What the distribution within a native histogram says: quantiles, fractions, variance; many rows at a time.

Observations are spread evenly over a custom bucket and over the zero bucket, evenly on a logarithmic scale over an
exponential bucket. The zero bucket ends at zero on the side on which the histogram has no buckets.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms
from otero.query.promql.native.layout import Floats, bounds_of

_CELLS = 1 << 19
"""About so many buckets are looked at together."""


@dataclass(frozen=True, slots=True, eq=False)
class _Buckets:
    """The buckets of some rows side by side, ascending, zero bucket included; filled up at the right with empty ones.

    rows       which rows, intp [n]. lower, upper, count float64 [n, B].
    length     intp [n]: how many buckets each row has.
    below, above  bool [n]: whether the histogram has negative and positive buckets.
    """

    rows: NDArray[np.intp]
    lower: Floats
    upper: Floats
    count: Floats
    length: NDArray[np.intp]
    below: NDArray[np.bool_]
    above: NDArray[np.bool_]


def _tables(h: Histograms) -> Iterator[_Buckets]:
    """All rows of `h`, those with about as many buckets together."""
    lower, upper = bounds_of(h)
    value = h.value
    rows = h.rows()
    threshold = h.zero_threshold[rows]
    exponential = (h.schema != CUSTOM)[rows]
    # Where a bucket overlaps with the zero bucket, the zero bucket has that part.
    upper = np.where(exponential & (upper < 0) & (upper > -threshold), -threshold, upper)
    lower = np.where(exponential & (lower > 0) & (lower < threshold), threshold, lower)
    below = np.bincount(rows[h.bucket < 0], minlength=len(h))
    lengths = np.diff(h.offsets)
    zero = np.flatnonzero((h.zero_count > 0) & (h.schema != CUSTOM))
    if len(zero):
        at = h.offsets[zero] + below[zero]
        lower = np.insert(lower, at, -h.zero_threshold[zero])
        upper = np.insert(upper, at, h.zero_threshold[zero])
        value = np.insert(value, at, h.zero_count[zero])
    has_zero = np.zeros(len(h), np.int64)
    has_zero[zero] = 1
    length = lengths + has_zero
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(length)])[:-1]
    lower, upper, value = (np.append(column, 0.0) for column in (lower, upper, value))
    order = np.argsort(length, kind="stable").astype(np.intp)
    at = 0
    while at < len(order):
        next_ones = order[at : at + _CELLS]
        cells_up_to = np.arange(1, len(next_ones) + 1) * np.maximum(length[next_ones], 1)
        chosen = next_ones[: max(1, int(np.searchsorted(cells_up_to, _CELLS, "right")))]
        at += len(chosen)
        width = max(1, int(length[chosen[-1]]))
        there = np.arange(width) < length[chosen][:, None]
        cells = np.where(there, start[chosen][:, None] + np.arange(width), len(value) - 1)
        yield _Buckets(
            chosen,
            lower[cells],
            upper[cells],
            value[cells],
            length[chosen].astype(np.intp),
            below[chosen] > 0,
            (lengths - below)[chosen] > 0,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Quantiles:
    """float64 [N], and where NaN was observed (bool [N]): so often that there is no answer (`lost`), or else in some
    number that makes the answer too high (`skewed`)."""

    values: Floats
    lost: NDArray[np.bool_]
    skewed: NDArray[np.bool_]


def quantile(h: Histograms, q: Floats) -> Quantiles:
    """The q-quantile of each row; q is float64 [N]. NaN counts as larger than any other observation."""
    size = len(h)
    out = Quantiles(np.full(size, np.nan), np.zeros(size, np.bool_), np.zeros(size, np.bool_))
    with np.errstate(all="ignore"):
        for table in _tables(h):
            rows = table.rows
            values, lost, skewed = _quantile(
                table, q[rows], h.count[rows], np.isnan(h.sum[rows]), h.schema[rows] == CUSTOM
            )
            asked = (q[rows] >= 0) & (q[rows] <= 1) & (h.count[rows] != 0)
            out.values[rows] = np.where(asked, values, np.nan)
            out.lost[rows] = asked & lost
            out.skewed[rows] = asked & skewed
    out.values[q < 0] = -np.inf
    out.values[q > 1] = np.inf
    return out


def _quantile(
    table: _Buckets, q: Floats, total: Floats, nan: NDArray[np.bool_], custom: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    forward = nan | (q < 0.5)
    n = np.arange(len(q))
    width = table.count.shape[1]
    rising = np.cumsum(table.count, axis=1)
    falling = np.cumsum(table.count[:, ::-1], axis=1)[:, ::-1]
    reached = np.where(forward[:, None], rising, falling)
    rank = np.where(forward, q, 1 - q) * total
    hit = (reached >= rank[:, None]) & (table.count != 0)
    found = hit.any(axis=1)
    first = np.argmax(hit, axis=1)
    last = width - 1 - np.argmax(hit[:, ::-1], axis=1)
    end = np.where(forward, np.maximum(table.length - 1, 0), 0)
    at = np.where(found, np.where(forward, first, last), end)
    lower, upper, inside = table.lower[n, at], table.upper[n, at], table.count[n, at]
    reached_here = np.where(table.length > 0, reached[n, at], 0.0)

    middle = ~custom & (lower < 0) & (upper > 0)
    lower = np.where(middle & ~table.below & table.above, 0.0, lower)
    upper = np.where(middle & table.below & ~table.above, 0.0, upper)
    lowest = custom & (lower == -np.inf)
    at_end = np.where(
        lowest & (upper <= 0), upper, np.where(custom & ~lowest & (upper == np.inf), lower, np.nan)
    )
    ended = (lowest & (upper <= 0)) | (custom & ~lowest & (upper == np.inf))
    lower = np.where(lowest, 0.0, lower)

    reached_here = np.minimum(reached_here, total)
    short = reached_here < rank
    lost = ~ended & short & nan
    seen = reached_here + np.where(forward, rising[:, -1] - rising[n, at], falling[:, 0] - falling[n, at])
    skewed = ~ended & ~short & nan & (seen < total)

    share = np.where(forward, rank - (reached_here - inside), reached_here - rank) / inside
    linear = custom | ((lower <= 0) & (upper >= 0))
    low, high = np.log2(np.abs(lower)), np.log2(np.abs(upper))
    positive = np.exp2(low + (high - low) * share)
    negative = -np.exp2(high + (low - high) * (1 - share))
    within = np.where(linear, lower + (upper - lower) * share, np.where(lower > 0, positive, negative))
    values = np.where(ended, at_end, np.where(short, np.where(nan, np.nan, upper), within))
    return values, lost, skewed


def fraction(h: Histograms, lower: Floats, upper: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The share of observations between `lower` and `upper` (float64 [N]) of each row, and where NaN was observed.

    Observations that are NaN lie in no interval, but count.
    """
    values = np.full(len(h), np.nan)
    narrowed = np.zeros(len(h), np.bool_)
    with np.errstate(all="ignore"):
        for table in _tables(h):
            rows = table.rows
            total, custom = h.count[rows], h.schema[rows] == CUSTOM
            counted = np.where(np.isnan(h.sum[rows]), table.count.sum(axis=1), total)
            high = _rank(table, upper[rows], custom, counted)
            low = _rank(table, lower[rows], custom, counted)
            share = np.where(lower[rows] >= upper[rows], 0.0, (high - low) / total)
            asked = (total != 0) & ~np.isnan(lower[rows]) & ~np.isnan(upper[rows])
            values[rows] = np.where(asked, share, np.nan)
            narrowed[rows] = asked & (lower[rows] < upper[rows]) & (counted < total)
    return values, narrowed


def _rank(table: _Buckets, value: Floats, custom: NDArray[np.bool_], counted: Floats) -> Floats:
    """How many observations lie below a value [n]."""
    n = np.arange(len(value))
    around = (table.lower <= 0) & (table.upper >= 0)
    lower = np.where(around & (~table.below & table.above)[:, None], 0.0, table.lower)
    upper = np.where(around & (table.below & ~table.above)[:, None], 0.0, table.upper)
    there = np.arange(lower.shape[1]) < table.length[:, None]
    hit = there & ((lower >= value[:, None]) | (upper > value[:, None]))
    at = np.argmax(hit, axis=1)
    low, high, inside = lower[n, at], upper[n, at], table.count[n, at]
    before = np.cumsum(table.count, axis=1)[n, at] - inside
    linear = np.where(low == -np.inf, inside, before + inside * (value - low) / (high - low))
    log_low, log_high, log_value = np.log2(np.abs(low)), np.log2(np.abs(high)), np.log2(np.abs(value))
    share = np.where(
        value > 0,
        (log_value - log_low) / (log_high - log_low),
        1 - (log_value - log_high) / (log_low - log_high),
    )
    within = np.where(custom | around[n, at], linear, before + inside * share)
    rank = np.where(low >= value, before, within)
    rank = np.where(hit.any(axis=1), rank, counted)
    return np.where(rank > counted, counted, rank)


def variance(h: Histograms) -> Floats:
    """The variance of each row, float64 [N]: all observations of a bucket in its middle, of the zero bucket at zero."""
    out = np.full(len(h), np.nan)
    with np.errstate(all="ignore"):
        mean = h.sum / h.count
        for table in _tables(h):
            rows = table.rows
            custom = (h.schema[rows] == CUSTOM)[:, None]
            geometric = np.copysign(np.sqrt(table.upper * table.lower), table.upper)
            exponential = np.where((table.lower <= 0) & (table.upper >= 0), 0.0, geometric)
            middle = np.where(custom, (table.upper + table.lower) / 2, exponential)
            apart = middle - mean[rows][:, None]
            squares = np.where(table.count == 0, 0.0, table.count * apart * apart)
            out[rows] = squares.sum(axis=1) / h.count[rows]
    return out
