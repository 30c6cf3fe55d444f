"""rate, increase and delta: differences over a range, extrapolated to its edges; irate and idelta: of the last two samples.

The rules are Prometheus': a fall of a counter is a restart from zero; the result is stretched to an edge of the range
when a sample would be expected there (within 1.1 average distances), else by half a distance, and never below the time
at which the counter was zero. Operations come in the same order, so that results are equal to the last bit.

A start timestamp tells when a counter began: a later start than the previous sample is a restart, and one inside the
range before the first sample is a sample of zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.labels import METRIC_NAME
from otero.query.promql.functions import resets
from otero.query.promql.functions.args import Args, RangeResult, modifier, nothing
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.extended import extended
from otero.query.promql.windows import Runs, Window


def rate(window: Window, args: Args, context: Context) -> RangeResult:
    """Increase per second of a counter."""
    return _extrapolated(window, context, counter=True, per_second=True)


def increase(window: Window, args: Args, context: Context) -> RangeResult:
    """Increase of a counter."""
    return _extrapolated(window, context, counter=True, per_second=False)


def delta(window: Window, args: Args, context: Context) -> RangeResult:
    """Difference of a gauge."""
    return _extrapolated(window, context, counter=False, per_second=False)


def irate(window: Window, args: Args, context: Context) -> RangeResult:
    """Increase per second between the last two samples of a counter."""
    return _last_two(window, counter=True)


def idelta(window: Window, args: Args, context: Context) -> RangeResult:
    """Difference of the last two samples of a gauge."""
    return _last_two(window, counter=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """What extrapolation needs, in seconds, per step and timestamp column [steps, G]."""

    sampled: NDArray[np.float64]
    to_start: NDArray[np.float64]
    to_end: NDArray[np.float64]

    @staticmethod
    def of(window: Window) -> "_Edges":
        first_ms = window.times(window.lo)
        last_ms = window.times(window.hi - 1)
        ends_ms = window.ends_ms[:, None]
        sampled = (last_ms - first_ms) / 1000
        distance = sampled / (window.sizes - 1)
        threshold = distance * 1.1
        half = distance / 2
        to_start = (first_ms - (ends_ms - window.range_ms)) / 1000
        to_end = (ends_ms - last_ms) / 1000
        return _Edges(
            sampled,
            np.where(to_start >= threshold, half, to_start),
            np.where(to_end >= threshold, half, to_end),
        )


def _extrapolated(window: Window, context: Context, *, counter: bool, per_second: bool) -> RangeResult:
    kind = modifier(context.call)
    if kind is not None:
        return extended(window, kind, context, counter=counter, per_second=per_second)
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    with np.errstate(all="ignore"):
        starts = window.block.start_ms
        if counter and starts is not None:
            doubt_starts(window, context)
            return _with_starts(window, starts, per_second=per_second)
        return _plain(window, counter=counter, per_second=per_second), window.at_least(2)


def doubt_starts(window: Window, context: Context) -> None:
    """Warn about counters whose start timestamps overlap with the sample before."""
    if window.block.start_ms is None:
        return
    names = window.block.labels.column(METRIC_NAME)
    for code in np.unique(names.codes[resets.overlapping(window)]).tolist():
        context.warn(
            "sample has start time that overlaps with previous sample timestamp"
            f' for metric "{names.values[code]}"',
            0,
        )


def _plain(window: Window, *, counter: bool, per_second: bool) -> NDArray[np.float64]:
    edges = _Edges.of(window)
    factor = _factor(window, edges.sampled, edges.to_start, edges.to_end, per_second)
    # The time at which a counter was zero counts where it lies nearer than the edge: where the first value is below this
    # share of the increase. The share is a little too large, so that it cannot miss a case.
    share = edges.to_start / edges.sampled * (1 + 1e-9)
    values, group = window.block.values, window.block.group
    runs = Runs.of(group) if window.lo.shape[1] > 1 and values.flags.c_contiguous else None
    out = np.empty(window.shape)
    falls = resets.find(window) if counter else None
    for tile in window.tiles():
        lo, last = window.lo[tile], window.hi[tile] - 1
        if runs is None:
            first, result = window.rows(lo), window.rows(last)
            own_factor, own_share = window.spread(factor[tile]), window.spread(share[tile])
        else:
            first, result = runs.pick(values, lo), runs.pick(values, last)
            own_factor, own_share = runs.spread(factor[tile]), runs.spread(share[tile])
        result -= first
        flat = result.reshape(len(lo), -1)
        if falls is not None:
            falls.add_to(flat, tile)
        np.multiply(result, own_factor, out=out[tile].reshape(result.shape))
        if not counter:
            continue
        near = first <= result * own_share
        if near.any():
            near &= first >= 0
            k, s = np.nonzero(near.reshape(flat.shape))
            step, column = k + tile.start, group[s]
            span, start, end = (a[step, column] for a in (edges.sampled, edges.to_start, edges.to_end))
            change = flat[k, s]
            zero = span * (first.reshape(flat.shape)[k, s] / change)
            start = np.where((change > 0) & (zero < start), zero, start)
            out[step, s] = change * _factor(window, span, start, end, per_second)
    return out


def _factor(
    window: Window,
    sampled: NDArray[np.float64],
    to_start: NDArray[np.float64],
    to_end: NDArray[np.float64],
    per_second: bool,
) -> NDArray[np.float64]:
    factor = (sampled + to_start + to_end) / sampled
    return factor / (window.range_ms / 1000) if per_second else factor


def _with_starts(window: Window, starts: NDArray[np.int64], *, per_second: bool) -> RangeResult:
    """The same for counters that say when they began; everything is per series here."""
    block = window.block
    group = block.group
    falls = resets.find(window)
    range_s = window.range_ms / 1000
    out = np.empty(window.shape)
    present = np.empty(window.shape, np.bool_)
    series = np.arange(block.series_count)
    for tile in window.tiles():
        lo, hi = window.lo[tile], window.hi[tile]
        size = (hi - lo).take(group, axis=1)
        first_ms = window.times(lo).take(group, axis=1)
        last_ms = window.times(hi - 1).take(group, axis=1)
        ends_ms = window.ends_ms[tile, None]
        start_ms = starts[np.clip(lo, 0, block.values.shape[0] - 1).take(group, axis=1), series]
        known = (start_ms != 0) & (start_ms > ends_ms - window.range_ms) & (start_ms < first_ms) & (size > 0)
        distance = np.where(size > 1, (last_ms - first_ms) / 1000 / (size - 1), 0.0)
        threshold = distance * 1.1
        first = window.rows(lo)
        result = window.rows(hi - 1)
        result -= np.where(known, 0.0, first)
        falls.add_to(result, tile)
        sampled = (last_ms - np.where(known, start_ms, first_ms)) / 1000
        to_start = (first_ms - (ends_ms - window.range_ms)) / 1000
        to_start = np.where(to_start >= threshold, distance / 2, to_start)
        zero = np.where((result > 0) & (first >= 0), sampled * (first / result), to_start)
        to_start = np.where(known, 0.0, np.where(zero < to_start, zero, to_start))
        to_end = (ends_ms - last_ms) / 1000
        to_end = np.where(to_end >= threshold, distance / 2, to_end)
        factor = (sampled + to_start + to_end) / sampled
        out[tile] = result * (factor / range_s if per_second else factor)
        present[tile] = (size > 1) | known
    return out, None if present.all() else present


def _last_two(window: Window, *, counter: bool) -> RangeResult:
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    starts = window.block.start_ms
    out = np.empty(window.shape)
    with np.errstate(all="ignore"):
        seconds = window.spread((window.times(window.hi - 1) - window.times(window.hi - 2)) / 1000)
        for tile in window.tiles():
            last = window.rows(window.hi[tile] - 1)
            before = window.rows(window.hi[tile] - 2)
            result = last - before
            if counter:
                fell = last < before
                if starts is not None:
                    fell |= resets.restarted(window, starts, window.hi[tile] - 1)
                result = np.where(fell, last, result)
                result /= seconds[tile]
            out[tile] = result
    return out, window.at_least(2)
