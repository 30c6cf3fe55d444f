"""Aggregations over the series of each group, at every step.

Every function takes `values` and `present` [steps, S] (present None: everywhere) and `groups` [S] with numbers below
`count`, and answers values [steps, count]. Numerics follow Prometheus: sums are as good as Kahan's, min and max skip
NaN, quantiles take NaN as the smallest value. What is not there weighs nothing.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from otero.query.matching import layers

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
Groups = NDArray[np.intp]

_TILE = 1 << 15
"""Cells that are worked on at a time, so that they stay in the processor's cache."""


def tiles(steps: int, width: int) -> Iterator[slice]:
    """Runs of steps that are worked on together."""
    rows = max(_TILE // max(width, 1), 1)
    for at in range(0, steps, rows):
        yield slice(at, min(at + rows, steps))


def _cells(groups: Groups, count: int, rows: int) -> Groups:
    """The group of each cell of `rows` flattened rows, as a number below rows * count."""
    return (groups + np.arange(rows, dtype=np.intp)[:, None] * count).ravel()


def counts(steps: int, present: Mask | None, groups: Groups, count: int) -> NDArray[np.int64]:
    """How many series of each group have a value: int64 [steps, count]."""
    if present is None:
        return np.broadcast_to(np.bincount(groups, minlength=count), (steps, count))
    out = np.empty((steps, count), np.int64)
    for rows in tiles(steps, len(groups)):
        size = rows.stop - rows.start
        cells = _cells(groups, count, size)[present[rows].ravel()]
        out[rows] = np.bincount(cells, minlength=size * count).reshape(size, count)
    return out


def total(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    """Compensated sums [steps, count].

    Each value is split against a power of two above the group's sum of magnitudes: the high parts add up without any
    rounding, the low parts are small. Where a magnitude overflows, the sum is made as Prometheus makes it, one by one.
    """
    steps, width = values.shape
    out = np.empty((steps, count))
    height = min(max(_TILE // max(width, 1), 1), max(steps, 1))
    cells = _cells(groups, count, height) if count != 1 else groups
    for rows in tiles(steps, width):
        tile = values[rows]
        if present is not None:
            tile = np.where(present[rows], tile, 0.0)
        size = tile.shape[0]
        into = cells[: size * width]

        def add(weights: Values, into: Groups = into, size: int = size) -> Values:
            if count == 1:
                return np.add.reduce(weights, axis=1)[:, None]
            sums = np.bincount(into, np.ravel(weights), size * count)
            return sums.astype(np.float64, copy=False).reshape(size, count)

        magnitude = add(np.abs(tile))
        most = magnitude.max(initial=0.0)
        if most < 2.0**53 and _whole(tile):
            out[rows] = add(tile)
            continue

        def split(parts: Values, bound: Values) -> tuple[Values, Values]:
            """The sums of the high parts, and the low parts; `bound` is at least the sum of magnitudes."""
            # The power is above twice the bound: no partial sum of high parts rounds, whatever their signs.
            power = np.ldexp(1.5, np.frexp(np.where(bound < _HUGE, bound, 1.0))[1] + 1)
            wide = power if count == 1 else power.take(groups, axis=1)
            high = parts + wide
            high -= wide
            return add(high), parts - high

        result, low = split(tile, magnitude)
        if (np.abs(result) < magnitude * 2.0**-26).any():  # so much cancels that the low parts matter as much
            more, low = split(low, add(np.abs(low)))
            result += more
        result += add(low)
        if not most < _HUGE:
            _repair(result, tile, magnitude, groups)
        out[rows] = result
    return out


_HUGE = 2.0**1020


def _whole(tile: Values) -> bool:
    """Whether all values are whole numbers; most tiles that are not show it at once."""
    start = tile[:1, :16]
    return bool((start == np.rint(start)).all() and (tile == np.rint(tile)).all())


def _repair(result: Values, tile: Values, magnitude: Values, groups: Groups) -> None:
    """Sums that hold infinities or NaN, or may overflow, one cell at a time."""
    for step, group in zip(*np.nonzero(~(magnitude < _HUGE)), strict=True):
        members = tile[step, groups == group]
        if np.isfinite(members).all():
            result[step, group] = neumaier(members.tolist())
        else:
            result[step, group] = np.add.reduce(members)


def neumaier(numbers: list[float]) -> float:
    result = compensation = 0.0
    for number in numbers:
        result, compensation = _add(number, result, compensation)
    return result + compensation


def _add(number: float, result: float, compensation: float) -> tuple[float, float]:
    """One step of Kahan's summation in Neumaier's form."""
    added = result + number
    if math.isinf(added):
        return added, 0.0
    if abs(result) >= abs(number):
        return added, compensation + ((result - added) + number)
    return added, compensation + ((number - added) + result)


def average(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    """Means [steps, count]; where the sum overflows, by Prometheus' incremental mean."""
    sums = total(values, present, groups, count)
    out = sums / counts(values.shape[0], present, groups, count)
    for step, group in zip(*np.nonzero(~np.isfinite(sums)), strict=True):
        here = groups == group
        if present is not None:
            here = here & present[step]
        members = values[step, here]
        if len(members) and np.isfinite(members).all():
            out[step, group] = overflowing_mean(members.tolist())
    return out


def overflowing_mean(numbers: list[float]) -> float:
    result, compensation, mean = numbers[0], 0.0, numbers[0]
    incremental = False
    for position, number in enumerate(numbers[1:], start=2):
        if not incremental:
            added, more = _add(number, result, compensation)
            if not math.isinf(added):
                result, compensation = added, more
                continue
            incremental = True
            mean = result / (position - 1)
            compensation /= position - 1
        share = (position - 1) / position
        mean, compensation = _add(number / position, share * mean, share * compensation)
    if incremental:
        return mean + compensation
    return result / len(numbers) + compensation / len(numbers)


def least(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    """Minimum, NaN only where there is nothing else."""
    return _extreme(np.fmin, values, present, groups, count)


def greatest(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    """Maximum, NaN only where there is nothing else."""
    return _extreme(np.fmax, values, present, groups, count)


def _extreme(function: np.ufunc, values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    if present is not None:
        values = np.where(present, values, np.nan)
    if count == 1:
        return function.reduce(values, axis=1)[:, None]
    columns = layers(groups, count)
    if len(columns) <= 64:
        out = np.full((values.shape[0], count), np.nan)
        for layer in columns:
            out[:, groups[layer]] = function(out[:, groups[layer]], values[:, layer])
        return out
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count))
    turned = np.ascontiguousarray(values.T[order])
    return np.ascontiguousarray(function.reduceat(turned, starts, axis=0).T)


def variance(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    """Population variance, around the first value of each group so that equal values give exactly 0."""
    steps = values.shape[0]
    mask = np.ones(values.shape, np.bool_) if present is None else present
    base = np.zeros((steps, count))
    seen = np.zeros((steps, count), np.bool_)
    for layer in layers(groups, count):
        into = groups[layer]
        new = mask[:, layer] & ~seen[:, into]
        base[:, into] = np.where(new, values[:, layer], base[:, into])
        seen[:, into] |= new
        if seen.all():
            break
    number = counts(steps, present, groups, count)
    shifted = values - base[:, groups]
    mean = total(shifted, present, groups, count) / number
    shifted -= mean[:, groups]
    np.multiply(shifted, shifted, out=shifted)
    return total(shifted, present, groups, count) / number


def deviation(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    return np.sqrt(variance(values, present, groups, count))


def ones(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:  # noqa: ARG001
    return np.ones((values.shape[0], count))


def numbers(values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    return counts(values.shape[0], present, groups, count).astype(np.float64)


Reduction = Callable[[Values, Mask | None, Groups, int], Values]

REDUCTIONS: dict[str, Reduction] = {
    "sum": total,
    "avg": average,
    "count": numbers,
    "min": least,
    "max": greatest,
    "group": ones,
    "stddev": deviation,
    "stdvar": variance,
}
"""Aggregations without a parameter."""


def same_size(groups: Groups, count: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Groups of equal size together: `(group numbers [n], columns [n, size])`, columns in their own order."""
    sizes = np.bincount(groups, minlength=count)
    order = np.argsort(groups, kind="stable").astype(np.intp, copy=False)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        if size:
            chosen = np.flatnonzero(sizes == size)
            yield chosen, order[starts[chosen][:, None] + np.arange(size)]


def quantile(q: Values, values: Values, present: Mask | None, groups: Groups, count: int) -> Values:
    """The φ-quantile [steps, count] by linear interpolation between ranks; `q` is φ of each step."""
    steps = values.shape[0]
    out = np.empty((steps, count))
    for chosen, columns in same_size(groups, count):
        size = columns.shape[1]
        cells = values[:, columns]
        here = None if present is None else present[:, columns]
        nans = np.isnan(cells)
        if here is not None:
            nans &= here
        number = np.full((steps, len(chosen)), size) if here is None else here.sum(axis=2)
        low_nans = nans.sum(axis=2)
        if low_nans.any() or here is not None:
            cells = np.where(nans, -np.inf, cells)
            if here is not None:
                cells = np.where(here, cells, np.inf)
        cells = np.sort(cells, axis=2)
        rank = q[:, None] * (number - 1)
        floor = np.floor(np.where(np.isfinite(rank), rank, 0.0))
        low = np.clip(floor, 0, size - 1).astype(np.intp)
        high = np.clip(np.minimum(low + 1, number - 1), 0, size - 1)
        weight = rank - floor
        a = np.take_along_axis(cells, low[:, :, None], axis=2)[:, :, 0]
        b = np.take_along_axis(cells, high[:, :, None], axis=2)[:, :, 0]
        a = np.where(low < low_nans, np.nan, a)
        b = np.where(high < low_nans, np.nan, b)
        out[:, chosen] = a * (1 - weight) + b * weight
    wide = np.broadcast_to(q[:, None], out.shape)
    out = np.where(wide < 0, -np.inf, np.where(wide > 1, np.inf, out))
    return np.where(np.isnan(wide), np.nan, out)
