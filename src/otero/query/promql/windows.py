"""Which samples each evaluation step sees.

A window is half-open, `end - range < t <= end`. Its bounds are found once per timestamp column, not per series. Series
with cells that are no samples (ABSENT, and STALE where the marker does not count) get columns of their own from which
those cells are gone: so every row between the bounds is a sample, and no kernel needs to look for gaps.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import is_boxed
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, STALE_BITS, SampleBlock, bits

Cell = TypeVar("Cell", bound=np.generic)

_SHORT_RUN = 8

TILE = 1 << 14
"""Cells of a tile: a handful of temporaries of this size fits the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Samples of a block within one range before each step.

    block  the samples, without cells that are none: its columns may differ from those of the block that was asked about.
    lo, hi intp [steps, G]: the samples of timestamp column g at step k are rows lo[k, g] to hi[k, g] - 1.
    source the block that was asked about, for functions that look beyond the range.
    own    intp: series that have columns of their own because of gaps; None when no series does.
    """

    block: SampleBlock
    ends_ms: NDArray[np.int64]
    range_ms: int
    lo: NDArray[np.intp]
    hi: NDArray[np.intp]
    source: SampleBlock
    own: NDArray[np.intp] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and series, the shape of a kernel's result."""
        return self.lo.shape[0], self.block.series_count

    @property
    def sizes(self) -> NDArray[np.intp]:
        """[steps, G]: the number of samples in each window."""
        return self.hi - self.lo

    def spread(self, columns: NDArray[Cell]) -> NDArray[Cell]:
        """[steps, G] per timestamp column to [steps, S] per series (or, for one column, an array that broadcasts)."""
        return columns if columns.shape[1] == 1 else columns.take(self.block.group, axis=1)

    def shortened(self) -> "Window":
        """The same over only those rows of the block that are in any window; nothing is known beyond the range."""
        if self.lo.size == 0:
            return self
        first, last = int(self.lo.min()), int(self.hi.max())
        block = self.block
        if last - first >= block.values.shape[0]:
            return self
        part = replace(
            block,
            times_ms=block.times_ms[first:last],
            values=block.values[first:last],
            start_ms=None if block.start_ms is None else block.start_ms[first:last],
        )
        return Window(part, self.ends_ms, self.range_ms, self.lo - first, self.hi - first, part)

    def at_least(self, count: int) -> NDArray[np.bool_] | None:
        """`present` of a function that needs so many samples; None when every window has them."""
        enough = self.sizes >= count
        if enough.all():
            return None
        return np.ascontiguousarray(np.broadcast_to(self.spread(enough), self.shape)).astype(np.bool_)

    def tiles(self) -> Iterator[slice]:
        """Runs of steps that are worked on together."""
        steps, series = self.shape
        height = max(1, TILE // max(series, 1))
        for start in range(0, steps, height):
            yield slice(start, min(start + height, steps))

    def parts(self) -> list[tuple[NDArray[np.intp], "Window"]]:
        """Series without and with gaps apart, when there are both: windows of a part lie close together, and kernels
        are much faster where they do. Parts know nothing beyond the range."""
        if self.own is None or len(self.own) == self.block.series_count:
            return []
        rest = np.ones(self.block.series_count, np.bool_)
        rest[self.own] = False
        return [(series, self.take(series)) for series in (np.flatnonzero(rest), self.own)]

    def take(self, series: NDArray[np.intp]) -> "Window":
        """Only some series; nothing is known beyond the range."""
        part = block_of(self.block, series, clean=True)
        columns = np.unique(self.block.group[series])
        lo, hi = self.lo.take(columns, axis=1), self.hi.take(columns, axis=1)
        return Window(part, self.ends_ms, self.range_ms, lo, hi, part)

    def rows(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Values at one row per step and timestamp column [k, G], as [k, S]; rows outside the block are moved into it."""
        return pick(self.block.values, rows, self.block.group)

    def times(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """Timestamps [k, G] at one row per step and timestamp column."""
        times = self.block.times_ms
        rows = np.clip(rows, 0, times.shape[0] - 1)
        return times[rows, np.arange(times.shape[1])]

    def gather(
        self, steps: NDArray[np.intp], series: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """The samples of single windows: values [L, n], padded with NaN behind their ends, and the n sizes."""
        column = self.block.group[series]
        low = self.lo[steps, column]
        sizes = self.hi[steps, column] - low
        offsets = np.arange(int(sizes.max(initial=0)))[:, None]
        rows = np.minimum(low + offsets, self.block.values.shape[0] - 1)
        values = self.block.values[rows, series]
        values[offsets >= sizes] = np.nan
        return values, sizes


def block_of(block: SampleBlock, series: NDArray[np.intp], *, clean: bool = False) -> SampleBlock:
    """Only some series of a block, in the order given, with the timestamp columns that they use."""
    columns, group = np.unique(block.group[series], return_inverse=True)
    starts = block.start_ms
    return SampleBlock(
        block.labels.take(series),
        block.times_ms.take(columns, axis=1),
        group.astype(np.intp, copy=False),
        block.values.take(series, axis=1),
        clean or block.clean,
        None if starts is None else starts.take(series, axis=1),
        block.histograms,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Series that lie side by side and share a timestamp column, as those of one target do: `group` names the column of
    each run of `length` series."""

    length: int
    group: NDArray[np.intp]

    @staticmethod
    def of(group: NDArray[np.intp]) -> "Runs | None":
        """None when runs are too short to be worth it."""
        edges = np.flatnonzero(group[1:] != group[:-1]) + 1
        length = math.gcd(len(group), *edges.tolist()) if len(edges) < len(group) // _SHORT_RUN else 0
        return Runs(length, group[::length]) if length >= _SHORT_RUN else None

    def pick(self, values: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """As `pick`, of contiguous values, as [k, runs, length]: every run is one copy."""
        height, series = values.shape
        count = series // self.length
        index = np.clip(rows, 0, height - 1).take(self.group, axis=1)
        index *= count
        index += np.arange(count)
        return values.reshape(height * count, self.length).take(index, axis=0)

    def spread(self, columns: NDArray[Cell]) -> NDArray[Cell]:
        """[k, G] per timestamp column as [k, runs, 1]."""
        return columns.take(self.group, axis=1)[:, :, None]


def pick(values: NDArray[np.float64], rows: NDArray[np.intp], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """values[rows[k, group[s]], s] as [k, S]; rows outside the array are moved into it."""
    height, series = values.shape
    if rows.shape[1] == 1:
        return values.take(rows[:, 0], axis=0, mode="clip")
    low = rows.min(axis=1)
    spread = int((rows.max(axis=1) - low).max(initial=0))
    if spread <= 1:
        out = values.take(low, axis=0, mode="clip")
        if spread:
            following = (rows > low[:, None]).take(group, axis=1)
            np.copyto(out, values.take(low + 1, axis=0, mode="clip"), where=following)
        return out
    index = np.clip(rows, 0, height - 1).take(group, axis=1)
    index *= series
    index += np.arange(series)
    return values.reshape(-1).take(index)


def window(block: SampleBlock, ends_ms: NDArray[np.int64], range_ms: int) -> Window:
    """The windows that end at each of `ends_ms` (ascending). Staleness markers are no samples."""
    lo, hi = _bounds(block.times_ms, ends_ms, range_ms)
    return _dense(Window(block, ends_ms, range_ms, lo, hi, block), markers_count=False)


def lookback(
    block: SampleBlock, ends_ms: NDArray[np.int64], lookback_ms: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """What an instant selector sees: the newest sample with `end - lookback < t <= end`, none if it is STALE.

    Returns values [steps, S] and present [steps, S], None when everything is present.
    """
    found = _newest(block, ends_ms, lookback_ms)
    if found.block.values.shape[0] == 0:
        return np.full(found.shape, np.nan), np.zeros(found.shape, np.bool_)
    values = found.rows(found.hi - 1)
    present = found.at_least(1)
    if not block.clean:
        stale = bits(values) == STALE_BITS
        if stale.any():
            present = ~stale if present is None else present & ~stale
    return values, present


def lookback_times(block: SampleBlock, ends_ms: NDArray[np.int64], lookback_ms: int) -> NDArray[np.int64]:
    """Timestamps [steps, S] of the samples that `lookback` answers; meaningless where it has none."""
    found = _newest(block, ends_ms, lookback_ms)
    if found.block.values.shape[0] == 0:
        return np.zeros(found.shape, np.int64)
    times = found.times(found.hi - 1)
    return times.take(found.block.group, axis=1)


def lookback_starts(block: SampleBlock, ends_ms: NDArray[np.int64], lookback_ms: int) -> NDArray[np.int64]:
    """Start timestamps [steps, S] of the samples that `lookback` answers, 0 where unknown."""
    found = _newest(block, ends_ms, lookback_ms)
    starts = found.block.start_ms
    if starts is None or found.block.values.shape[0] == 0:
        return np.zeros(found.shape, np.int64)
    rows = np.clip(found.hi - 1, 0, starts.shape[0] - 1).take(found.block.group, axis=1)
    return starts[rows, np.arange(starts.shape[1])]


def count_until(times_ms: NDArray[np.int64], at_ms: NDArray[np.int64]) -> NDArray[np.intp]:
    """intp [steps, G]: how many timestamps of each column are not after each moment."""
    columns = times_ms.shape[1]
    if columns == 1:
        return np.searchsorted(times_ms[:, 0], at_ms, "right")[:, None]
    if len(at_ms) <= 2 and columns > 8:
        return np.stack([np.count_nonzero(times_ms <= at, axis=0) for at in at_ms]).astype(np.intp)
    out = np.empty((columns, len(at_ms)), np.intp)
    for column, times in enumerate(np.ascontiguousarray(times_ms.T)):
        out[column] = times.searchsorted(at_ms, "right")
    return np.ascontiguousarray(out.T)


def _bounds(
    times_ms: NDArray[np.int64], ends_ms: NDArray[np.int64], range_ms: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of every window, looked up together."""
    both = count_until(times_ms, np.concatenate([ends_ms - range_ms, ends_ms]))
    return both[: len(ends_ms)], both[len(ends_ms) :]


def _newest(block: SampleBlock, ends_ms: NDArray[np.int64], lookback_ms: int) -> Window:
    lo, hi = _bounds(block.times_ms, ends_ms, lookback_ms)
    return _dense(Window(block, ends_ms, lookback_ms, lo, hi, block), markers_count=True)


def floats_of(found: Window) -> Window:
    """The same window over floats only, where native histograms are among the samples."""

    def masked(block: SampleBlock) -> SampleBlock:
        values = np.where(is_boxed(block.values), ABSENT, block.values)
        return replace(block, values=values, clean=False, histograms=None)

    if found.block.histograms is None:
        return found
    source = masked(found.source)
    return _dense(replace(found, block=masked(found.block), source=source, own=None), markers_count=False)


def _dense(found: Window, *, markers_count: bool) -> Window:
    """The same window over columns without cells that are no samples."""
    block = found.block
    if block.clean or found.lo.size == 0 or block.series_count == 0:
        return found
    first, last = int(found.lo.min()), int(found.hi.max())
    values = block.values[first:last]
    with np.errstate(invalid="ignore", over="ignore"):
        suspects = np.flatnonzero(np.isnan(np.add.reduce(values, axis=0)))
    if len(suspects) == 0:
        return found
    payload = bits(np.ascontiguousarray(values.take(suspects, axis=1)))
    no_sample = payload == ABSENT_BITS
    if not markers_count:
        no_sample |= payload == STALE_BITS
    dirty = no_sample.any(axis=0)
    if not dirty.any():
        return found
    return _without(found, first, last, suspects[dirty], no_sample[:, dirty])


def _without(
    found: Window, first: int, last: int, series: NDArray[np.intp], no_sample: NDArray[np.bool_]
) -> Window:
    """Give `series` columns of their own that lack the cells of `no_sample`; series with equal gaps share one."""
    block = found.block
    packed = np.packbits(no_sample, axis=0).T
    key = np.concatenate([block.group[series].astype(np.int64)[:, None].view(np.uint8), packed], axis=1)
    whole = np.ascontiguousarray(key).view(np.dtype((np.void, key.shape[1]))).ravel()
    _, example, share = np.unique(whole, return_index=True, return_inverse=True)
    gone = no_sample[:, example]
    order = np.argsort(gone, axis=0, kind="stable")
    times = np.take_along_axis(block.times_ms[first:last][:, block.group[series[example]]], order, axis=0)
    times[np.arange(last - first)[:, None] >= np.count_nonzero(~gone, axis=0)] = NO_TIME
    own_order = order[:, share]

    def compact(cells: NDArray[Cell]) -> NDArray[Cell]:
        out = cells[first:last].copy()
        out[:, series] = np.take_along_axis(out[:, series], own_order, axis=0)
        return out

    group = block.group.copy()
    group[series] = block.times_ms.shape[1] + share
    dense = SampleBlock(
        block.labels,
        np.concatenate([block.times_ms[first:last], times], axis=1),
        group,
        compact(block.values),
        True,
        None if block.start_ms is None else compact(block.start_ms),
        block.histograms,
    )
    return Window(
        dense,
        found.ends_ms,
        found.range_ms,
        np.concatenate([found.lo - first, count_until(times, found.ends_ms - found.range_ms)], axis=1),
        np.concatenate([found.hi - first, count_until(times, found.ends_ms)], axis=1),
        found.source,
        series,
    )
