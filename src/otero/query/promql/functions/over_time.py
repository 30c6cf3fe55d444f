"""`*_over_time`: one number from the samples of each window.

Sums are compensated as Prometheus does it (Neumaier), sample after sample. Where every partial sum is exact, which one
look at the block tells (integers and short binary fractions, not too large), a plain sum is the same number and much
faster. Minimum, maximum and counts do not depend on the order.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from otero.query.promql.functions.args import Args, RangeResult, nothing
from otero.query.promql.functions.context import Context
from otero.query.promql.windows import TILE, Window

EXACT_SCALE = 1024.0
"""Multiples of 1/1024 are taken as short binary fractions."""

EXACT_LIMIT = float(1 << 53)


def sum_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _summed(window, average=False)


def avg_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _summed(window, average=True)


def min_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _reduced(window, np.fmin, np.inf))


def max_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _reduced(window, np.fmax, -np.inf))


def count_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    sizes = np.broadcast_to(window.spread(window.sizes), window.shape)
    return sizes.astype(np.float64), window.at_least(1)


def present_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return np.ones(window.shape), window.at_least(1)


def first_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: window.rows(window.lo))


def last_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: window.rows(window.hi - 1))


def ts_of_first_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _seconds(window, window.lo))


def ts_of_last_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _seconds(window, window.hi - 1))


def ts_of_min_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _time_of_extreme(window, np.less_equal))


def ts_of_max_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _time_of_extreme(window, np.greater_equal))


def stdvar_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: _variance(window))


def stddev_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    return _each_window(window, lambda: np.sqrt(_variance(window)))


def _each_window(window: Window, kernel: Callable[[], NDArray[np.float64]]) -> RangeResult:
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    with np.errstate(all="ignore"):
        return kernel(), window.at_least(1)


def _seconds(window: Window, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.broadcast_to(window.spread(window.times(rows) / 1000), window.shape).copy()


def samples(
    window: Window, tile: slice
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_] | None]]:
    """The samples of a tile's windows, oldest first: (rows [k, G], values [k, S], where there is one; None for everywhere)."""
    lo = window.lo[tile]
    sizes = window.hi[tile] - lo
    everywhere, most = int(sizes.min()), int(sizes.max())
    for offset in range(most):
        rows = lo + offset
        values = window.rows(rows)
        if offset < everywhere:
            yield rows, values, None
        else:
            yield rows, values, np.broadcast_to(window.spread(offset < sizes), values.shape)


class Compensated:
    """Running compensated sums [k, S]."""

    __slots__ = ("_scratch", "error", "sum")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.sum = np.zeros(shape)
        self.error = np.zeros(shape)
        self._scratch = (np.empty(shape), np.empty(shape), np.empty(shape))

    def add(self, values: NDArray[np.float64], where: NDArray[np.bool_] | None) -> None:
        """Add one value to each. The error of a rounded addition is found without branches (Knuth); it is the same
        number that Neumaier's comparison finds."""
        total, lost, part = self._scratch
        np.add(self.sum, values, out=total)
        np.subtract(total, self.sum, out=part)
        np.subtract(total, part, out=lost)
        np.subtract(self.sum, lost, out=lost)
        np.subtract(values, part, out=part)
        np.add(lost, part, out=lost)
        if where is None:
            self._scratch = (self.sum, lost, part)
            self.sum = total
            self.error += lost
        else:
            np.copyto(self.sum, total, where=where)
            np.add(self.error, lost, out=self.error, where=where)

    def total(self) -> NDArray[np.float64]:
        """The sums; an infinite sum has no error."""
        out = self.sum + self.error
        if not math.isfinite(np.add.reduce(out, axis=None)):
            np.copyto(out, self.sum, where=~np.isfinite(out))
        return out


def is_exact(window: Window) -> bool:
    """Whether every sum of numbers within one window is exact, in any order. NaN is NaN in any order."""
    first, last = int(window.lo.min()), int(window.hi.max())
    values = window.block.values[first:last]
    longest = int(window.sizes.max(initial=0))
    if values.size == 0 or longest == 0:
        return False
    # Rows behind the end of a shorter timestamp column hold NaN.
    largest = max(float(np.fmax.reduce(values, axis=None)), -float(np.fmin.reduce(values, axis=None)))
    if not largest * EXACT_SCALE * longest < EXACT_LIMIT:  # also when all is NaN
        return False
    height = max(1, (1 << 16) // values.shape[1])
    for start in range(0, len(values), height):
        scaled = values[start : start + height] * EXACT_SCALE
        if not ((scaled == np.rint(scaled)) | np.isnan(scaled)).all():
            return False
    return True


def _summed(window: Window, *, average: bool) -> RangeResult:
    return _each_window(window, lambda: _sums(window, average))


def _sums(window: Window, average: bool) -> NDArray[np.float64]:
    if is_exact(window):
        out = _reduced(window, np.add, 0.0)
        out += 0.0  # a sum that starts from zero is never the negative one
        if average:
            out /= window.spread(window.sizes)
        return out
    out = np.empty(window.shape)
    for tile in window.tiles():
        running = Compensated(out[tile].shape)
        for _, values, where in samples(window, tile):
            running.add(values, where)
        if not average:
            out[tile] = running.total()
            continue
        counts = window.spread(window.sizes[tile])
        out[tile] = running.sum / counts + running.error / counts
        infinite = ~np.isfinite(running.sum)
        if infinite.any():
            step, series = np.nonzero(infinite)
            out[tile][step, series] = _careful_averages(window, step + tile.start, series)
    return out


def _careful_averages(
    window: Window, steps: NDArray[np.intp], series: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Averages of single windows whose plain sums overflow: a running mean takes over where the sum becomes infinite."""
    out = np.empty(len(steps))
    some = max(1, (1 << 20) // max(int(window.sizes.max()), 1))
    for start in range(0, len(steps), some):
        values, sizes = window.gather(steps[start : start + some], series[start : start + some])
        inside = np.arange(len(values))[:, None] < sizes
        unknown = (np.isnan(values) & inside).any(axis=0)
        out[start : start + some] = np.nan
        known = np.flatnonzero(~unknown)
        out[start + known] = [_running_mean(values[: sizes[i], i].tolist()) for i in known.tolist()]
    return out


def _running_mean(values: list[float]) -> float:
    total, error, mean, incremental = values[0], 0.0, 0.0, False
    for count, value in enumerate(values[1:], 2):
        if not incremental:
            new_total, new_error = _neumaier(value, total, error)
            if new_total not in (np.inf, -np.inf):
                total, error = new_total, new_error
                continue
            incremental = True
            mean = total / (count - 1)
            error /= count - 1
        share = (count - 1) / count
        mean, error = _neumaier(value / count, share * mean, share * error)
    return mean + error if incremental else total / len(values) + error / len(values)


def _neumaier(value: float, total: float, error: float) -> tuple[float, float]:
    new = total + value
    if new in (np.inf, -np.inf):
        return new, 0.0
    if abs(total) >= abs(value):
        return new, error + ((total - new) + value)
    return new, error + ((value - new) + total)


def _reduced(window: Window, operation: np.ufunc, neutral: float) -> NDArray[np.float64]:
    """Windows folded by an operation that does not mind the order. fmin and fmax pass over NaN: where a window holds
    nothing else, the result is NaN."""
    values = window.block.values
    lo, hi = window.lo, window.hi
    steps, series = window.shape
    out = np.empty((steps, series))
    low, high = lo.max(axis=1), hi.min(axis=1)
    earliest, latest = lo.min(axis=1), hi.max(axis=1)
    ragged = int((low - earliest + latest - np.maximum(high, low)).max()) > 4
    longest = int(window.sizes.max(initial=0))
    runs = -(-steps * series // TILE)
    # Rough costs in microseconds: a call and what it reads, sample by sample for all steps or step by step.
    by_sample = longest * (12 * runs + steps * series * 2.5e-3)
    by_step = steps * (25 + longest * series * 0.8e-3)
    if ragged or by_sample < by_step:
        for tile in window.tiles():
            folded: NDArray[np.float64] | None = None
            for _, cells, where in samples(window, tile):
                if folded is None:
                    folded = (
                        np.where(where, cells, np.nan if operation is not np.add else 0.0)
                        if where is not None
                        else cells
                    )
                elif where is None:
                    operation(folded, cells, out=folded)
                else:
                    operation(folded, cells, out=folded, where=where)
            out[tile] = neutral if folded is None else folded
        return out
    for step in range(steps):
        a, b = int(low[step]), int(high[step])
        if b > a:
            operation.reduce(values[a:b], axis=0, out=out[step])
        else:
            out[step] = np.nan if operation is not np.add else 0.0
        for row in (
            *range(int(earliest[step]), min(a, int(latest[step]))),
            *range(max(a, b), int(latest[step])),
        ):
            inside = window.spread(((lo[step] <= row) & (row < hi[step]))[None])[0]
            operation(out[step], values[row], out=out[step], where=inside)
    return out


def _time_of_extreme(window: Window, better: np.ufunc) -> NDArray[np.float64]:
    """The time in seconds of the last sample that is `better` than all before it; NaN gives way to any number."""
    out = np.empty(window.shape)
    for tile in window.tiles():
        best: NDArray[np.float64] | None = None
        when = np.zeros(out[tile].shape)
        for rows, values, where in samples(window, tile):
            seconds = window.spread(window.times(rows) / 1000)
            if best is None:
                best = values.copy()
                when[:] = seconds
                continue
            take = better(values, best) | np.isnan(best)
            if where is not None:
                take &= where
            np.copyto(best, values, where=take)
            np.copyto(when, seconds, where=take)
        out[tile] = when
    return out


def _variance(window: Window) -> NDArray[np.float64]:
    """Welford's running variance with compensated sums, as Prometheus computes it."""
    out = np.empty(window.shape)
    for tile in window.tiles():
        mean, squares = Compensated(out[tile].shape), Compensated(out[tile].shape)
        now = mean.total()
        for count, (_, values, where) in enumerate(samples(window, tile), 1):
            distance = values - now
            mean.add(distance / count, where)
            now = mean.total()
            np.subtract(values, now, out=values)
            np.multiply(values, distance, out=values)
            squares.add(values, where)
        out[tile] = squares.total() / window.spread(window.sizes[tile])
    return out
