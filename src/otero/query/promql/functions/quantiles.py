"""quantile_over_time and mad_over_time: order statistics of the samples of each window."""

import numpy as np
from numpy.typing import NDArray

from otero.query.promql.functions.args import Args, RangeResult, nothing, scalar
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.numbers import doubt_quantiles
from otero.query.promql.functions.over_time import samples
from otero.query.promql.windows import Window


def quantile_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    """The q-quantile, interpolated between samples."""
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    q = scalar(args, 0)
    if (window.hi > window.lo).any():
        doubt_quantiles(q, context, 0)
    out = np.empty(window.shape)
    with np.errstate(all="ignore"):
        for tile in window.tiles():
            cells = _sorted_cells(window, tile)
            sizes = np.broadcast_to(window.spread(window.sizes[tile]), out[tile].shape)
            out[tile] = _quantile(q[tile, None], cells, sizes)
    return out, window.at_least(1)


def mad_over_time(window: Window, args: Args, context: Context) -> RangeResult:
    """The median of the distances from the median; NaN when a sample is NaN."""
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    out = np.empty(window.shape)
    half = np.full((1, 1), 0.5)
    with np.errstate(all="ignore"):
        for tile in window.tiles():
            cells = _sorted_cells(window, tile)
            sizes = np.broadcast_to(window.spread(window.sizes[tile]), out[tile].shape)
            median = _quantile(half, cells, sizes)
            distances = np.abs(cells - median[:, :, None])
            distances.sort(axis=2)
            unknown = np.count_nonzero(~np.isnan(cells), axis=2) < sizes
            out[tile] = np.where(unknown, np.nan, _quantile(half, distances, sizes))
    return out, window.at_least(1)


def _sorted_cells(window: Window, tile: slice) -> NDArray[np.float64]:
    """[k, S, L]: the samples of each window in ascending order, NaN and cells behind the window last."""
    longest = int(window.sizes[tile].max(initial=0))
    cells = np.full((tile.stop - tile.start, window.block.series_count, max(longest, 1)), np.nan)
    for offset, (_, values, where) in enumerate(samples(window, tile)):
        np.copyto(cells[:, :, offset], values, where=True if where is None else where)
    cells.sort(axis=2)
    return cells


def _quantile(
    q: NDArray[np.float64], cells: NDArray[np.float64], sizes: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Prometheus' quantile of sorted cells [k, S, L], of which `sizes` [k, S] count; NaN is less than any number."""
    numbers = cells.shape[2] - np.count_nonzero(np.isnan(cells), axis=2)
    unknown = sizes - numbers
    rank = q * (sizes - 1)
    floor = np.floor(rank)
    low = np.maximum(0.0, floor)
    high = np.minimum(sizes - 1, low + 1)
    weight = rank - floor

    def at(place: NDArray[np.float64]) -> NDArray[np.float64]:
        index = np.where(np.isfinite(place), place, 0).astype(np.intp) - unknown
        found = np.take_along_axis(cells, np.clip(index, 0, cells.shape[2] - 1)[:, :, None], axis=2)[:, :, 0]
        return np.where(index < 0, np.nan, found)

    out = at(low) * (1 - weight) + at(high) * weight
    out = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, out))
    return np.where(np.isnan(q), np.nan, out)
