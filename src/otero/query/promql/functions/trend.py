"""deriv, predict_linear and double_exponential_smoothing: lines through the samples of each window."""

import numpy as np
from numpy.typing import NDArray

from otero.errors import ExecutionError
from otero.query.promql.functions.args import Args, RangeResult, nothing, scalar
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.over_time import Compensated, samples
from otero.query.promql.windows import Window

Floats = NDArray[np.float64]


def deriv(window: Window, args: Args, context: Context) -> RangeResult:
    """Slope per second of the least-squares line."""
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    origin_ms = window.times(window.lo)
    out = np.empty(window.shape)
    with np.errstate(all="ignore"):
        for tile in window.tiles():
            out[tile] = _line(window, tile, origin_ms[tile])[0]
    return out, window.at_least(2)


def predict_linear(window: Window, args: Args, context: Context) -> RangeResult:
    """The value of the least-squares line so many seconds after the step."""
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    ahead_s = scalar(args, 0)[:, None]
    now_ms = np.repeat(context.steps.times_ms()[:, None], window.lo.shape[1], axis=1)
    out = np.empty(window.shape)
    with np.errstate(all="ignore"):
        for tile in window.tiles():
            slope, intercept = _line(window, tile, now_ms[tile])
            out[tile] = slope * ahead_s[tile] + intercept
    return out, window.at_least(2)


def _line(window: Window, tile: slice, origin_ms: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Slope and value at `origin_ms` [k, G] of the line through each window, with compensated sums."""
    shape = (tile.stop - tile.start, window.block.series_count)
    sums = Compensated((4, *shape))
    cells = np.empty((4, *shape))
    first: Floats = np.full(shape, np.nan)
    constant = np.ones(shape, np.bool_)
    for offset, (rows, values, where) in enumerate(samples(window, tile)):
        if offset == 0:
            first = values.copy()
        else:
            same = values == first
            constant &= same if where is None else same | ~where
        cells[0] = window.spread((window.times(rows) - origin_ms) / 1e3)
        cells[1] = values
        np.multiply(cells[0], values, out=cells[2])
        np.multiply(cells[0], cells[0], out=cells[3])
        sums.add(cells, where)
    count = window.spread(window.sizes[tile]).astype(np.float64)
    x, y, xy, xx = sums.total()
    slope = (xy - x * y / count) / (xx - x * x / count)
    intercept = y / count - slope * x / count
    still = np.where(np.isinf(first), np.nan, 0.0)
    return np.where(constant, still, slope), np.where(constant, first + still, intercept)


def double_exponential_smoothing(window: Window, args: Args, context: Context) -> RangeResult:
    """The last smoothed value, with a factor for values and one for the trend."""
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    for name, factor in (("smoothing", scalar(args, 0)), ("trend", scalar(args, 1))):
        bad = ((factor <= 0) | (factor >= 1)) & (window.hi > window.lo).any(axis=1)
        if bad.any():
            raise ExecutionError(
                f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor[bad][0]:f}"
            )
    smoothing, trend = scalar(args, 0)[:, None], scalar(args, 1)[:, None]
    out = np.empty(window.shape)
    with np.errstate(all="ignore"):
        for tile in window.tiles():
            out[tile] = _smoothed(window, tile, smoothing[tile], trend[tile])
    return out, window.at_least(2)


def _smoothed(window: Window, tile: slice, smoothing: Floats, trend: Floats) -> Floats:
    shape = (tile.stop - tile.start, window.block.series_count)
    before, level, slope = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for offset, (_, values, where) in enumerate(samples(window, tile)):
        if offset == 0:
            level = values.copy()
            continue
        if offset == 1:
            slope = values - level
        else:
            slope = trend * (level - before) + (1 - trend) * slope
        smoothed = smoothing * values + (1 - smoothing) * (level + slope)
        if where is None:
            before, level = level, smoothed
        else:
            before = np.where(where, level, before)
            level = np.where(where, smoothed, level)
    return level
