"""`anchored` and `smoothed` ranges: differences between values at the very edges of the range.

Anchored, the value at an edge is the last sample at or before it. Smoothed, it is interpolated between the samples
around it. Both look beyond the range, as far as the lookback.
"""

import numpy as np
from numpy.typing import NDArray

from otero.query.promql.functions.args import Modifier, RangeResult, nothing
from otero.query.promql.functions.context import Context
from otero.query.promql.windows import Window, count_until, window


def from_anchor(found: Window, context: Context) -> tuple[Window, NDArray[np.bool_] | None]:
    """The window with one sample more at its start: the last at or before it. Present where the range itself has a sample."""
    wide = window(found.source, found.ends_ms, found.range_ms + context.lookback_ms)
    inner = count_until(wide.block.times_ms, wide.ends_ms - found.range_ms)
    present = wide.spread(inner < wide.hi)
    lo = np.maximum(inner - 1, wide.lo)
    anchored = Window(wide.block, wide.ends_ms, found.range_ms, lo, wide.hi, found.source)
    if present.all():
        return anchored, None
    return anchored, np.broadcast_to(present, anchored.shape).astype(np.bool_)


def extended(
    found: Window, kind: Modifier, context: Context, *, counter: bool, per_second: bool
) -> RangeResult:
    """rate, increase and delta between the edges of the range, without extrapolation."""
    smoothed = kind == "smoothed"
    ahead_ms = context.lookback_ms if smoothed else 0
    wide = window(found.source, found.ends_ms + ahead_ms, found.range_ms + context.lookback_ms + ahead_ms)
    if wide.block.values.size == 0 or wide.lo.size == 0:
        return nothing(found)
    times = wide.block.times_ms
    start_ms = (found.ends_ms - found.range_ms)[:, None]
    end_ms = found.ends_ms[:, None]
    last = wide.hi - 1
    first = np.maximum(np.minimum(count_until(times, start_ms[:, 0]), last) - 1, wide.lo)
    if smoothed:
        last = np.minimum(np.maximum(count_until(times, end_ms[:, 0] - 1), wide.lo), last)
    first_ms, last_ms = wide.times(first), wide.times(last)
    present = (wide.hi > wide.lo) & (last_ms > start_ms) & (first_ms <= end_ms)
    begin = np.where(first_ms <= start_ms, first + 1, first)
    stop = np.where(last_ms >= end_ms, last, last + 1)
    out = np.empty(found.shape)
    with np.errstate(all="ignore"):
        for tile in wide.tiles():
            left, right = wide.rows(first[tile]), wide.rows(last[tile])
            if smoothed:
                left = _at(wide, first[tile], first_ms[tile] < start_ms[tile], start_ms[tile], left, counter)
                beyond = (last[tile] > wide.lo[tile]) & (last_ms[tile] > end_ms[tile])
                right = _at(wide, last[tile] - 1, beyond, end_ms[tile], right, counter)
            result = right - left
            if counter:
                result += _corrections(wide, begin[tile], stop[tile], left, right)
            out[tile] = result / (found.range_ms / 1000) if per_second else result
    shown = wide.spread(present)
    return out, None if shown.all() else np.broadcast_to(shown, found.shape).astype(np.bool_)


def _at(
    wide: Window,
    row: NDArray[np.intp],
    between: NDArray[np.bool_],
    at_ms: NDArray[np.int64],
    otherwise: NDArray[np.float64],
    counter: bool,
) -> NDArray[np.float64]:
    """Values at a moment between `row` and the next, where `between`."""
    before, after = wide.rows(row), wide.rows(row + 1)
    base = np.where(after < before, 0.0, before) if counter else before
    before_ms = wide.times(row)
    part = wide.spread((at_ms - before_ms).astype(np.float64))
    whole = wide.spread((wide.times(row + 1) - before_ms).astype(np.float64))
    return np.where(wide.spread(between), base + (after - base) * part / whole, otherwise)


def _corrections(
    wide: Window,
    begin: NDArray[np.intp],
    stop: NDArray[np.intp],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What counters lost by restarts between the edges, whose samples inside are rows begin to stop - 1."""
    lost = np.zeros(left.shape)
    before = left.copy()
    for offset in range(int((stop - begin).max(initial=0))):
        value = wide.rows(begin + offset)
        inside = np.broadcast_to(wide.spread(begin + offset < stop), value.shape)
        np.add(lost, before, out=lost, where=inside & (value < before))
        np.copyto(before, value, where=inside)
    np.add(lost, before, out=lost, where=right < before)
    return lost
