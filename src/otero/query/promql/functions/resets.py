"""Where counters start again, and the functions that count such events: resets and changes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, boxed_rows
from otero.query.promql.functions.args import Args, RangeResult, modifier, nothing
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.extended import from_anchor
from otero.query.promql.native.compare import changes_of_rows, resets_of_rows
from otero.query.promql.windows import Window

FEW = 4
"""Up to so many applications of events per cell of the result, events are applied one by one, else row by row."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Rows at which something happened between a sample and the one before it, within the rows of a window.

    Applied to windows that hold both samples, in the order of time.
    """

    window: Window
    first_row: int
    happened: NDArray[np.bool_]  # [rows - 1, S]: between row first_row + i and the next
    rows: NDArray[np.intp]  # the later row of each event, ascending, when events are few
    series: NDArray[np.intp]
    begin: NDArray[np.intp]  # the steps whose windows hold the event
    end: NDArray[np.intp]
    many: bool

    def add_to(self, result: NDArray[np.float64], tile: slice) -> None:
        """Add the value before each event to the windows [k, S] of a tile of steps."""
        self._apply(result, tile, counting=False)

    def count(self, tile: slice) -> NDArray[np.float64]:
        """[k, S]: how many events the windows hold."""
        out = np.zeros((tile.stop - tile.start, self.window.block.series_count))
        self._apply(out, tile, counting=True)
        return out

    def _apply(self, result: NDArray[np.float64], tile: slice, *, counting: bool) -> None:
        values = self.window.block.values
        if self.many:
            lo = self.window.lo[tile]
            hi = self.window.hi[tile]
            for row in range(max(int(lo.min()) + 1, self.first_row + 1), int(hi.max())):
                inside = self.window.spread((lo < row) & (row < hi))
                where = inside & self.happened[row - 1 - self.first_row]
                np.add(result, 1.0 if counting else values[row - 1], out=result, where=where)
            return
        if len(self.rows) == 0:
            return
        touched = np.flatnonzero((self.begin < tile.stop) & (self.end > tile.start))
        if len(touched) == 0:
            return
        begin = np.maximum(self.begin[touched], tile.start) - tile.start
        lengths = np.minimum(self.end[touched], tile.stop) - tile.start - begin
        again = np.repeat(np.arange(len(touched)), lengths)
        step = begin[again] + np.arange(len(again)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        cell = step * result.shape[1] + self.series[touched][again]
        amount = 1.0 if counting else values[self.rows[touched] - 1, self.series[touched]][again]
        np.add.at(result.reshape(-1), cell, amount)


@dataclass(frozen=True, slots=True, eq=False)
class Happened:
    """cells bool [rows - 1, S]: whether something happened between row first_row + i and the next."""

    first_row: int
    cells: NDArray[np.bool_]

    def at(self, rows: NDArray[np.intp], series: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether it happened between the sample before and this one, for single samples."""
        return self.cells[rows - 1 - self.first_row, series]

    def number(
        self, lo: NDArray[np.intp], hi: NDArray[np.intp], series: NDArray[np.intp]
    ) -> NDArray[np.int64]:
        """How often it happened in single windows of rows lo to hi - 1."""
        before = np.zeros((self.cells.shape[0] + 1, self.cells.shape[1]), np.int64)
        np.cumsum(self.cells, axis=0, out=before[1:])
        low = lo - self.first_row
        return before[np.maximum(hi - 1 - self.first_row, low), series] - before[low, series]


def find(window: Window) -> Events:
    """Where a counter fell, or began anew by its start timestamp."""
    found = find_happened(window)
    return _events(window, found.first_row, found.cells)


def find_happened(window: Window) -> Happened:
    """The same, sample by sample. A change between float and native histogram counts as well."""
    values = window.block.values
    first, last = int(window.lo.min()), int(window.hi.max())
    part = values[first:last]
    happened = part[1:] < part[:-1]
    if window.block.histograms is not None:
        _add_histograms(happened, part, window.block.histograms, resets_of_rows)
    starts = window.block.start_ms
    if starts is not None and len(part) > 1:
        times = window.block.times_ms[first:last].take(window.block.group, axis=1)
        happened |= _restarts(starts[first : last - 1], times[:-1], starts[first + 1 : last], times[1:])
    return Happened(first, happened)


def _add_histograms(
    happened: NDArray[np.bool_],
    values: NDArray[np.float64],
    h: Histograms,
    event: Callable[[Histograms, NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
) -> None:
    """Decide where a native histogram is one of two neighbours; `event` decides about pairs of rows."""
    which = boxed_rows(values)
    now, before = which[1:], which[:-1]
    np.copyto(happened, True, where=(now >= 0) != (before >= 0))
    row, series = np.nonzero((now >= 0) & (before >= 0))
    if len(row):
        happened[row, series] = event(h, now[row, series], before[row, series])


def overlapping(window: Window) -> NDArray[np.intp]:
    """Series of which a window holds a sample that began before the one before it, yet not when that one began."""
    starts = window.block.start_ms
    first, last = int(window.lo.min()), int(window.hi.max())
    if starts is None or last - first < 2:
        return np.zeros(0, np.intp)
    before = window.block.times_ms[first : last - 1].take(window.block.group, axis=1)
    begun, begun_before = starts[first + 1 : last], starts[first : last - 1]
    events = _events(window, first, (begun != 0) & (begun < before) & (begun != begun_before))
    owners = np.flatnonzero(events.happened.any(axis=0)) if events.many else events.series
    return np.unique(owners)


def find_changes(window: Window) -> Events:
    """Where a value differs from the one before; NaN equals NaN."""
    first, last = int(window.lo.min()), int(window.hi.max())
    part = window.block.values[first:last]
    happened = part[1:] != part[:-1]
    not_numbers = np.isnan(part)
    if not_numbers.any():
        happened &= ~(not_numbers[1:] & not_numbers[:-1])
    if window.block.histograms is not None:
        _add_histograms(happened, part, window.block.histograms, changes_of_rows)
    return _events(window, first, happened)


def _events(window: Window, first: int, happened: NDArray[np.bool_]) -> Events:
    none = np.zeros(0, np.intp)
    total = int(np.count_nonzero(happened))
    if total == 0:
        return Events(window, first, happened, none, none, none, none, False)
    steps, series = window.shape
    height = happened.shape[0]
    per_event = float(window.sizes.sum()) / max(window.sizes.size, 1) * steps / max(height, 1)
    if total * per_event > FEW * steps * series or total > 2_000_000:
        return Events(window, first, happened, none, none, none, none, True)
    rows, owners = np.divmod(np.flatnonzero(happened), series)  # the flat search is ten times faster
    rows += first + 1
    column = window.block.group[owners]
    begin = np.empty(len(rows), np.intp)
    end = np.empty(len(rows), np.intp)
    if window.lo.shape[1] == 1:
        begin[:] = np.searchsorted(window.hi[:, 0], rows, "right")
        end[:] = np.searchsorted(window.lo[:, 0], rows, "left")
    else:
        order = np.argsort(column, kind="stable")
        edges = np.searchsorted(column[order], np.arange(window.lo.shape[1] + 1))
        for g in np.flatnonzero(edges[1:] > edges[:-1]):
            mine = order[edges[g] : edges[g + 1]]
            begin[mine] = np.searchsorted(window.hi[:, g], rows[mine], "right")
            end[mine] = np.searchsorted(window.lo[:, g], rows[mine], "left")
    held = end > begin
    return Events(window, first, happened, rows[held], owners[held], begin[held], end[held], False)


def _restarts(
    before_start: NDArray[np.int64],
    before: NDArray[np.int64],
    start: NDArray[np.int64],
    now: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether a start timestamp says that the counter began anew since the previous sample.

    A start at the previous sample itself is one of deltas, unless the previous start is unknown or not before its own
    sample: then the counter began at an unknown time.
    """
    usable = (start != 0) & (start < now)
    deltas = (start == before) & (before_start != 0) & (before_start < before)
    return usable & ((start > before) | deltas)


def restarted(window: Window, starts: NDArray[np.int64], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """[k, S]: `_restarts` at one row per step and timestamp column [k, G]."""
    group = window.block.group
    series = np.arange(window.block.series_count)
    height = starts.shape[0]
    later = np.clip(rows, 0, height - 1).take(group, axis=1)
    earlier = np.clip(rows - 1, 0, height - 1).take(group, axis=1)
    return _restarts(
        starts[earlier, series],
        window.times(rows - 1).take(group, axis=1),
        starts[later, series],
        window.times(rows).take(group, axis=1),
    )


def resets(window: Window, args: Args, context: Context) -> RangeResult:
    """How often a counter began anew."""
    return _count(window, context, changes=False)


def changes(window: Window, args: Args, context: Context) -> RangeResult:
    """How often a value changed."""
    return _count(window, context, changes=True)


def _count(window: Window, context: Context, *, changes: bool) -> RangeResult:
    if window.block.values.size == 0 or window.lo.size == 0:
        return nothing(window)
    present = window.at_least(1)
    if modifier(context.call) is not None:
        window, present = from_anchor(window, context)
    events = find_changes(window) if changes else find(window)
    out = np.empty(window.shape)
    for tile in window.tiles():
        out[tile] = events.count(tile)
    return out, present
