"""The recent window of all series in memory.

Samples come in as rows of an open grid, are sealed into compressed frames, and what fits neither goes to a side log that
overrides both. The head holds every sample that the engine does not have yet, whatever its time, and drops only what is
flushed; when it holds more bytes than it may, its window shrinks.
"""

import math
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import Conflict
from otero.model.budget import Budget
from otero.model.histograms import Histograms, boxed_rows, is_boxed
from otero.model.labels import LabelTable
from otero.model.matchers import Matcher
from otero.model.metrics import MetricBatch
from otero.model.samples import ABSENT_BITS, NAN_BITS, NO_TIME, STALE_BITS, SampleBlock, bits
from otero.storage.assemble import Piece, assemble
from otero.storage.blocks import build_columns
from otero.storage.chunks import Frame, Layout, as_slice, chunk_count, seal
from otero.storage.cohorts import Cohorts
from otero.storage.grid import NEVER, POOL_COLUMNS, ROWS, OpenGrid
from otero.storage.histogram_heap import HeapView, HistogramHeap, unboxed
from otero.storage.openrows import copy_open
from otero.storage.registry import SeriesRegistry
from otero.storage.sidelog import SideLog, SideRows
from otero.storage.startlog import StartLog

HOUR_MS = 3_600_000
_MIN_STRIP = 8
"""Series that must come together for the first time to be taken for a target."""
_MAX_PIECES = 3
_LOAD_ROWS = 120
_KEPT_LAYOUTS = 256
_IDLE_MS = 15 * 60_000


@dataclass(frozen=True, slots=True, eq=False)
class HeadSelection:
    """What the head has of some series.

    blocks            each series in exactly one block; may hold more than the range asked for, late samples included.
    block_refs        the references of each block's series.
    complete_from_ms  at and after this time the head holds every sample that was ever accepted.
    """

    blocks: list[SampleBlock]
    block_refs: list[NDArray[np.int64]]
    complete_from_ms: int


@dataclass(frozen=True, slots=True)
class HeadStatus:
    """Numbers of the head. Times are NO_TIME and -NO_TIME when it is empty."""

    series: int
    samples: int
    bytes: int
    chunks: int
    frames: int
    strips: int
    side_rows: int
    first_ms: int
    last_ms: int
    window_ms: int
    complete_from_ms: int
    appended: int
    out_of_order: int
    late: int
    dropped_markers: int


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """One strip's share of a batch that comes again and again."""

    strip: int
    source: slice | NDArray[np.intp]
    columns: slice | NDArray[np.intp]
    whole: bool
    """Whether it covers the whole strip."""
    refs: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    refs: "weakref.ref[NDArray[np.int64]]"
    cuts: tuple[_Cut, ...] | None
    """None: seen once. Empty: never to be written in rows."""
    runs: int = 1
    """Each series comes so many times, one after the other."""


class Head:
    """One writer, many readers.

    max_bytes      what samples may take; beyond it flushed frames go, oldest first.
    min_window_ms  a shorter window is worth a warning; nothing else depends on it.
    max_window_ms  older samples go when they are flushed.
    complete_from_ms  where completeness begins at first; by default everything, which is right for an empty engine.
    """

    def __init__(
        self,
        registry: SeriesRegistry,
        clock: Clock,
        *,
        max_bytes: int,
        min_window_ms: int = 2 * HOUR_MS,
        max_window_ms: int = 24 * HOUR_MS,
        complete_from_ms: int = NEVER,
    ) -> None:
        self.registry = registry
        self.max_bytes = max_bytes
        self.min_window_ms = min_window_ms
        self.max_window_ms = max_window_ms
        self.complete_from_ms = complete_from_ms
        self.position = 0
        self.flushed_position = 0
        self.appended = 0
        self.out_of_order = 0
        self.late = 0
        self.dropped_markers = 0
        self._clock = clock
        self._lock = threading.RLock()
        self._grid = OpenGrid()
        self._frames: tuple[Frame, ...] = ()
        self._side = SideLog()
        self._starts = StartLog()
        self._heap = HistogramHeap()
        self._newest_ms: NDArray[np.int64] = np.full(1024, NEVER, np.int64)
        self._plans: dict[int, _Plan] = {}
        self._cohorts = Cohorts()
        self._evicted_ms = NEVER
        self._last_seen_ms: NDArray[np.int64] = np.zeros(0, np.int64)
        self._changed_ms: NDArray[np.int64] = np.zeros(0, np.int64)
        """By strip: its newest row at the last eviction, and when it got that at the earliest."""
        self._layouts: dict[tuple[int, ...], Layout] = {}
        """What was sealed last, by strips, so that frames that follow each other share their layout."""

    # -- writing -------------------------------------------------------------------------------------------------

    def admit(self, batch: MetricBatch) -> MetricBatch:
        """The batch without staleness markers of series that have a sample at or after the marker's time.

        Usually the very batch. Rows with the reference -1 are left out. Call it before the journal, so that a replay
        needs no such rule. A value with the bits of ABSENT becomes an ordinary NaN, and so does a boxed one that stands
        for no histogram of the batch.
        """
        plan = self._plans.get(id(batch.refs))
        if (plan is None or plan.cuts is None) and len(batch.refs) and int(batch.refs.min()) < 0:
            batch = batch.keep(batch.refs >= 0)
        values = batch.values
        with np.errstate(all="ignore"):
            if not math.isnan(np.dot(values, values)):
                return batch
        raw = bits(np.ascontiguousarray(values))
        odd = (raw == ABSENT_BITS) | _unknown_boxes(values, batch.histograms)
        if odd.any():
            raw = np.where(odd, NAN_BITS, raw)
            values = raw.view(np.float64)
        stale = raw == STALE_BITS
        keep: NDArray[np.bool_] | None = None
        if stale.any():
            with self._lock:
                self._reserve()
                newest = self._newest(batch.refs)
            drop = stale & (newest >= batch.times_ms)
            if not stale.all():
                drop |= _has_later_in_batch(batch, stale)
            if drop.any():
                self.dropped_markers += int(np.count_nonzero(drop))
                keep = ~drop
        if keep is None:
            return batch if values is batch.values else replace(batch, values=values)
        return replace(batch, values=values).keep(keep)

    def append(self, batch: MetricBatch, position: int = 0) -> None:
        """Take samples in; `position` is where the journal has them and never falls.

        Raises Conflict when a reference was forgotten in the meantime: resolve the labels again.
        """
        size = len(batch.refs)
        if not size:
            return
        with self._lock:
            self.position = max(self.position, position)
            if batch.histograms is not None:
                batch = self._heap.take_in(batch, self.position)
            times = batch.times_ms
            time_ms = int(times[0])
            uniform = times.strides == (0,) or bool((times == time_ms).all())
            plan = self._plans.get(id(batch.refs))
            if plan is not None and plan.refs() is batch.refs:
                if plan.cuts is None or (uniform and not plan.cuts):
                    plan = self._make_plan(batch.refs) if uniform else self._make_loose_plan(batch.refs)
                if plan is not None and plan.cuts and self._append_rows(batch, plan.cuts, plan.runs):
                    self.appended += size
                    return
            else:
                self._remember(batch.refs)
            self._reserve()
            self._scatter(batch)
            self.appended += size

    def _append_rows(self, batch: MetricBatch, cuts: tuple[_Cut, ...], runs: int) -> bool:
        """The fast path: whole rows of strips. False when the samples do not follow on, or not all at one time."""
        grid = self._grid
        times, values = batch.times_ms.reshape(-1, runs), batch.values.reshape(-1, runs)
        moments: list[list[int]] = []
        for cut in cuts:
            own = times[cut.source]
            first: list[int] = own[0].tolist()
            if first[0] < self.complete_from_ms or first[0] <= grid.last_ms[cut.strip]:
                return False
            if (own != own[0]).any() or any(late <= early for early, late in pairwise(first)):
                return False
            moments.append(first)
        for cut, times_ms in zip(cuts, moments, strict=True):
            strip, own_values = cut.strip, values[cut.source]
            for at, time_ms in enumerate(times_ms):
                if grid.rows[strip] == ROWS:
                    self._make_room(strip)
                row = int(grid.rows[strip])
                grid.pools[int(grid.pool_of[strip])].values[row, cut.columns] = own_values[:, at]
                grid.times_ms[row, strip] = time_ms
                grid.last_ms[strip] = time_ms
                grid.rows[strip] = row + 1
            if cut.whole:
                grid.full_ms[strip] = times_ms[-1]
            else:
                self._newest_ms[cut.refs] = times_ms[-1]
        if batch.start_ms is not None or self._starts:
            self._starts.note(batch.refs, batch.times_ms, batch.start_ms, self.registry.bound)
        return True

    def _remember(self, refs: NDArray[np.int64]) -> None:
        key = id(refs)
        plans = self._plans

        def gone(reference: "weakref.ref[NDArray[np.int64]]") -> None:
            plan = plans.get(key)
            if plan is not None and plan.refs is reference:
                del plans[key]

        plans[key] = _Plan(weakref.ref(refs, gone), None)

    def _make_loose_plan(self, refs: NDArray[np.int64]) -> _Plan:
        """How a batch of several targets, or of several samples of each series, lies in the strips that are there."""
        self._reserve()
        grid = self._grid
        known = self._plans[id(refs)]
        runs = int(np.argmax(refs != refs[0])) or len(refs)
        cuts: list[_Cut] = []
        if len(refs) % runs == 0 and (refs.reshape(-1, runs) == refs[::runs, None]).all():
            series = refs[::runs]
            strips = grid.strip_of[series]
            distinct = np.unique(strips)
            worth = len(refs) >= _MIN_STRIP * len(distinct) and len(np.unique(series)) == len(series)
            if worth and distinct[0] >= 0:
                cuts = self._cuts(series, strips, distinct)
        # Strips that do not exist yet are opened by what comes; then it is worth another look.
        plan = _Plan(known.refs, tuple(cuts) if cuts or int(grid.strip_of[refs].min()) >= 0 else None, runs)
        self._plans[id(refs)] = plan
        return plan

    def _make_plan(self, refs: NDArray[np.int64]) -> _Plan | None:
        """How a batch of these series lies in strips; None when it cannot be written in rows."""
        self._reserve()
        grid = self._grid
        if int(refs.min()) < 0 or len(np.unique(refs)) != len(refs):
            return None
        strips = grid.strip_of[refs]
        distinct = np.unique(strips)
        covered = sum(len(grid.members[strip]) for strip in distinct.tolist() if strip >= 0)
        if np.count_nonzero(distinct >= 0) > _MAX_PIECES or covered > len(refs) * 1.5 + 16:
            for strip in distinct.tolist():
                if strip >= 0:
                    self._retire(strip)
            strips = grid.strip_of[refs]
            distinct = np.unique(strips)
        if distinct[0] < 0:
            self._require_known(refs[strips < 0])
            self._open_strip(refs[strips < 0])
            strips = grid.strip_of[refs]
            distinct = np.unique(strips)
        known = self._plans[id(refs)]
        plan = self._plans[id(refs)] = _Plan(known.refs, tuple(self._cuts(refs, strips, distinct)))
        return plan

    def _cuts(
        self, refs: NDArray[np.int64], strips: NDArray[np.int32], distinct: NDArray[np.int32]
    ) -> list[_Cut]:
        grid = self._grid
        cuts: list[_Cut] = []
        for strip in distinct.tolist():
            source = np.flatnonzero(strips == strip)
            columns = grid.column_of[refs[source]].astype(np.intp)
            whole = len(source) == len(grid.members[strip])
            cuts.append(_Cut(strip, as_slice(source), as_slice(columns), whole, refs[source]))
        return cuts

    def require_known(self, refs: NDArray[np.int64]) -> None:
        """Raises Conflict when one of the series was forgotten; to be asked before the journal."""
        with self._lock:
            self._reserve()
            lone = refs[self._grid.strip_of[refs] < 0]
        if len(lone):
            self._require_known(lone)

    def _require_known(self, refs: NDArray[np.int64]) -> None:
        if not self.registry.alive(refs):
            raise Conflict(
                "series were forgotten because they had no samples for long; resolve their labels again"
            )

    def _open_strip(self, refs: NDArray[np.int64]) -> int:
        return self._grid.open(refs, int(self._newest_ms[refs].max()))

    def _retire(self, strip: int) -> None:
        """Seal what a strip holds and dissolve it."""
        grid = self._grid
        if grid.rows[strip]:
            self._seal([strip])
        members = grid.members[strip]
        self._newest_ms[members] = self._newest(members)
        self._cohorts.forget(strip, len(members))
        grid.release(strip)
        # A strip of this number may soon have other members.
        self._layouts = {key: layout for key, layout in self._layouts.items() if strip not in key}
        for key, plan in list(self._plans.items()):
            if plan.cuts is not None and any(cut.strip == strip for cut in plan.cuts):
                self._plans[key] = _Plan(plan.refs, None)

    def _newest(self, refs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The newest time of each series."""
        strips = self._grid.strip_of[refs]
        in_rows = np.where(strips >= 0, self._grid.full_ms[strips], NEVER)
        return np.maximum(self._newest_ms[refs], in_rows)

    def _reserve(self) -> None:
        bound = self.registry.bound
        size = len(self._newest_ms)
        if bound > size:
            newest = np.full(max(bound, size * 3 // 2), NEVER, np.int64)
            newest[:size] = self._newest_ms
            self._newest_ms = newest
        self._grid.reserve(bound)

    def _scatter(self, batch: MetricBatch) -> None:
        """The general path: samples of any series at any times."""
        starts = batch.start_ms if batch.start_ms is not None else np.zeros(len(batch.refs), np.int64)
        rows = SideRows(
            batch.refs,
            batch.times_ms,
            batch.values,
            starts,
            np.full(len(batch.refs), self.position, np.int64),
        )
        lone = rows.refs[self._grid.strip_of[rows.refs] < 0]
        if len(lone):
            self._require_known(lone)
        late = rows.times_ms < self.complete_from_ms
        if late.any():
            self.late += int(np.count_nonzero(late))
            self._put_aside(rows.take(late))
            rows = rows.take(~late)
        loose = self._grid.strip_of[rows.refs] < 0
        if loose.any():
            self._open_for(rows.take(loose))
            loose = self._grid.strip_of[rows.refs] < 0
            if loose.any():
                self._put_aside(rows.take(loose))
                rows = rows.take(~loose)
        while len(rows):
            rows = self._write_cells(rows)

    def _open_for(self, rows: SideRows) -> None:
        """Strips for series that came together for the first time."""
        order = np.argsort(rows.times_ms, kind="stable")
        times = rows.times_ms[order]
        edges = np.flatnonzero(np.concatenate([[True], times[1:] != times[:-1], [True]]))
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if high - low < _MIN_STRIP:
                continue
            refs = rows.refs[order[low:high]]
            refs = refs[self._grid.strip_of[refs] < 0]
            _, first = np.unique(refs, return_index=True)
            if len(first) >= _MIN_STRIP:
                self._open_strip(refs[np.sort(first)])

    def _put_aside(self, rows: SideRows) -> None:
        np.maximum.at(self._newest_ms, rows.refs, rows.times_ms)
        self._side.append(rows)

    def _write_cells(self, rows: SideRows) -> SideRows:
        """Write samples of series that have strips; returns those that found no row left, after making room."""
        grid = self._grid
        order = np.argsort(rows.times_ms, kind="stable")
        order = order[np.argsort(grid.strip_of[rows.refs[order]], kind="stable")]
        rows = rows.take(order)
        strips = grid.strip_of[rows.refs]
        times = rows.times_ms
        new_pair = np.concatenate([[True], (strips[1:] != strips[:-1]) | (times[1:] != times[:-1])])
        pair_of = np.cumsum(new_pair) - 1
        heads = np.flatnonzero(new_pair)
        strip, time = strips[heads], times[heads]
        used = grid.rows[strip]
        opens = time > grid.last_ms[strip]
        again = ~opens & (used > 0) & (grid.times_ms[used - 1, strip] == time)
        first_of_strip = np.concatenate([[True], strip[1:] != strip[:-1]])
        opened = np.cumsum(opens)
        before = np.maximum.accumulate(np.where(first_of_strip, opened - opens, 0))
        row = np.where(opens, used + (opened - before) - 1, used - 1)
        fits = opens & (row < ROWS)
        waits = (opens & ~fits)[pair_of]
        grid.times_ms[row[fits], strip[fits]] = time[fits]
        # Pairs are in order of time, so the last assignment of each strip is its newest.
        grid.last_ms[strip[fits]] = time[fits]
        grid.rows[strip[fits]] = row[fits] + 1

        writable = (fits | again)[pair_of]
        cell_row, columns = row[pair_of], grid.column_of[rows.refs]
        pools = grid.pool_of[strips]
        aside = ~writable & ~waits
        for number in np.unique(pools[writable]).tolist():
            at = np.flatnonzero(writable & (pools == number))
            values = grid.pools[number].values
            taken = bits(values)[cell_row[at], columns[at]] != ABSENT_BITS
            if taken.any():
                aside[at[taken]] = True
                at = at[~taken]
            values[cell_row[at], columns[at]] = rows.values[at]
        written = np.flatnonzero(writable & ~aside)
        if len(written):
            refs, own_times = rows.refs[written], times[written]
            # Ascending within a series, and the last assignment wins.
            self._newest_ms[refs] = np.maximum(self._newest_ms[refs], own_times)
            if self._starts or rows.start_ms.any():
                self._note_starts(refs, own_times, rows.start_ms[written])
        if aside.any():
            self.out_of_order += int(np.count_nonzero(aside))
            self._put_aside(rows.take(aside))
        if not waits.any():
            return rows.take(np.zeros(0, np.intp))
        for full in np.unique(strip[opens & ~fits]).tolist():
            if grid.rows[full] == ROWS:
                self._make_room(full)
        return rows.take(waits)

    def _note_starts(
        self, refs: NDArray[np.int64], times_ms: NDArray[np.int64], start_ms: NDArray[np.int64]
    ) -> None:
        self._starts.note(refs, times_ms, start_ms, self.registry.bound)

    # -- sealing and forgetting ----------------------------------------------------------------------------------

    def _make_room(self, strip: int) -> None:
        """Seal a full strip, and with it those that are sealed together from then on."""
        self._seal(self._cohorts.together(self._grid, strip))

    def _seal(self, strips: Sequence[int]) -> None:
        grid = self._grid
        key = tuple(strips)
        layout = self._layouts.pop(key, None)
        if layout is None:
            refs = np.concatenate([grid.members[s] for s in strips])
            group = np.repeat(np.arange(len(strips)), [len(grid.members[s]) for s in strips])
            order = np.lexsort((group, self.registry.metric_codes(refs)))
            layout = Layout(refs[order], group[order].astype(np.int32))
        self._layouts[key] = layout
        if len(self._layouts) > _KEPT_LAYOUTS:
            del self._layouts[next(iter(self._layouts))]
        height = int(grid.rows[list(strips)].max())
        times_ms = grid.times_ms[:height, list(strips)]
        frame = seal(layout, times_ms, grid.values_of(layout.refs, slice(0, height)), self.position)
        self._frames = (*self._frames, frame)
        for strip in strips:
            grid.clear_rows(strip)

    def flushed(self, position: int) -> None:
        """Everything up to this journal position is in the engine."""
        with self._lock:
            self.flushed_position = max(self.flushed_position, position)

    def evict(self, now_ms: int | None = None) -> int:
        """Drop what is flushed and older than the window or beyond `max_bytes`; forget series that have no sample left.

        Call it every few seconds. Returns the number of series that were forgotten.
        """
        now_ms = self._clock.now_ms() if now_ms is None else now_ms
        with self._lock:
            self._reserve()
            self._retire_idle(now_ms)
            oldest_ms = now_ms - self.max_window_ms
            kept = [f for f in self._frames if f.last_ms >= oldest_ms or f.position > self.flushed_position]
            complete_from_ms = self.complete_from_ms
            dropped = len(kept) != len(self._frames)
            if dropped or oldest_ms > complete_from_ms:
                complete_from_ms = max(complete_from_ms, oldest_ms)
            surplus = self.nbytes - self.max_bytes - _frame_bytes(self._frames) + _frame_bytes(kept)
            histogram_bytes = self._heap.row_bytes
            for frame in sorted(kept, key=lambda f: f.last_ms):
                if surplus <= 0:
                    break
                if frame.position <= self.flushed_position:
                    kept.remove(frame)
                    dropped = True
                    surplus -= frame.nbytes + int(frame.boxes * histogram_bytes)
                    complete_from_ms = max(complete_from_ms, frame.last_ms + 1)
            self.complete_from_ms = complete_from_ms
            self._frames = tuple(kept)
            side = self._side.rows()
            if len(side):
                # A row that overrides a sample must stay as long as that sample: without it the old value is back.
                covered_ms = self._oldest_held_ms()
                keep = (side.times_ms >= covered_ms) | (side.position > self.flushed_position)
                if not keep.all():
                    dropped = True
                    self._side.keep(keep)
            if self._heap:
                self._heap.free(self._oldest_held_ms(), self.flushed_position)
            return self._forget_empty() if dropped else 0

    def _oldest_held_ms(self) -> int:
        """No frame and no open row has a sample before this time, nor is the head complete before it."""
        grid = self._grid
        live = np.array([s for pool in grid.pools.values() for s in pool.strips], np.intp)
        live = live[grid.rows[live] > 0]
        opened_ms = int(grid.times_ms[0, live].min(initial=NO_TIME))
        return min(self.complete_from_ms, opened_ms, min((f.first_ms for f in self._frames), default=NO_TIME))

    def _retire_idle(self, now_ms: int) -> None:
        """Dissolve strips that got no row for long, by the clock: samples may be of the past."""
        grid = self._grid
        size = len(grid.rows)
        if len(self._last_seen_ms) < size:
            more = np.full(size - len(self._last_seen_ms), NEVER, np.int64)
            self._last_seen_ms = np.concatenate([self._last_seen_ms, more])
            self._changed_ms = np.concatenate([self._changed_ms, more])
        changed = grid.last_ms != self._last_seen_ms
        self._changed_ms[changed] = np.maximum(grid.last_ms[changed], self._evicted_ms)
        self._last_seen_ms = grid.last_ms.copy()
        self._evicted_ms = now_ms
        live = np.array([s for pool in grid.pools.values() for s in pool.strips], np.intp)
        idle: list[int] = live[self._changed_ms[live] < now_ms - _IDLE_MS].tolist()
        held = [strip for strip in idle if grid.rows[strip]]
        widths = np.cumsum([len(grid.members[strip]) for strip in held])
        for number in range(int(widths[-1]) // POOL_COLUMNS + 1 if held else 0):
            together = [
                s for s, width in zip(held, widths.tolist(), strict=True) if width // POOL_COLUMNS == number
            ]
            if together:
                self._seal(together)
        for strip in idle:
            self._retire(strip)

    def _forget_empty(self) -> int:
        bound = self.registry.bound
        held = self._held(bound)
        if self._starts:
            side = self._side.rows()
            oldest_ms = min(self._oldest_held_ms(), int(side.times_ms.min(initial=NO_TIME)))
            self._starts.prune(oldest_ms, held)
        # A series that never had a sample was resolved a moment ago and waits for its first.
        empty = np.flatnonzero(~held & (self._newest_ms[:bound] != NEVER))
        if not len(empty):
            return 0
        self._newest_ms[empty] = NEVER
        return self.registry.forget(empty)

    def _held(self, bound: int) -> NDArray[np.bool_]:
        held = self._grid.strip_of[:bound] >= 0
        for layout in {id(f.layout): f.layout for f in self._frames}.values():
            held[layout.refs] = True
        held[self._side.rows().refs] = True
        return held

    # -- start ---------------------------------------------------------------------------------------------------

    def load(
        self,
        refs: NDArray[np.int64],
        times_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        start_ms: NDArray[np.int64] | None = None,
        *,
        histograms: Histograms | None = None,
        complete_from_ms: int | None = None,
    ) -> None:
        """Take in what the engine has, before the first append; may be called several times, with disjoint series.

        Rows of N samples, quickest when sorted by reference and time. `complete_from_ms`: from when on the engine's
        samples are all loaded, once the last call is made.
        """
        with self._lock:
            self._reserve()
            if histograms is not None:
                values = self._heap.add(values, times_ms, histograms, self.flushed_position)
            for c in build_columns(refs.astype(np.intp), times_ms, values, start_ms):
                self._load_columns(c.series, c.times_ms, c.group, c.values)
            if len(refs):
                np.maximum.at(self._newest_ms, refs, times_ms)
                if start_ms is not None and start_ms.any():
                    order = np.lexsort((times_ms, refs))
                    self._note_starts(refs[order], times_ms[order], start_ms[order])
            if complete_from_ms is not None:
                self.complete_from_ms = complete_from_ms

    def _load_columns(
        self,
        refs: NDArray[np.intp],
        times_ms: NDArray[np.int64],
        group: NDArray[np.intp],
        values: NDArray[np.float64],
    ) -> None:
        order = np.lexsort((group, self.registry.metric_codes(refs)))
        frames: list[Frame] = []
        for left in range(0, len(refs), POOL_COLUMNS):
            columns = order[left : left + POOL_COLUMNS]
            used, own = np.unique(group[columns], return_inverse=True)
            whole = Layout(refs[columns].astype(np.int64), own.astype(np.int32))
            for top in range(0, len(times_ms), _LOAD_ROWS):
                times = times_ms[top : top + _LOAD_ROWS, used]
                part = values[top : top + _LOAD_ROWS].take(columns, axis=1)
                layout = whole
                filled = times[0] != NO_TIME
                if not filled.all():
                    inside = np.flatnonzero(filled[own])
                    if not len(inside):
                        continue
                    some, group_inside = np.unique(own[inside], return_inverse=True)
                    layout = Layout(whole.refs[inside], group_inside.astype(np.int32))
                    times, part = times[:, some], part[:, inside]
                frames.append(seal(layout, np.ascontiguousarray(times), part, self.flushed_position))
        self._frames = (*self._frames, *frames)

    # -- reading -------------------------------------------------------------------------------------------------

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> HeadSelection:
        """Samples of the series that satisfy every matcher, from `start_ms` to `end_ms` (both included) or more.

        Raises LimitExceeded, TimedOut or Cancelled by the budget.
        """
        refs, labels = self.registry.select_table(matchers)
        return self.read(refs, labels, start_ms, end_ms, budget)

    def read(
        self, refs: NDArray[np.int64], labels: LabelTable, start_ms: int, end_ms: int, budget: Budget
    ) -> HeadSelection:
        """As `select`, for series that are known already: `labels` are those of `refs`."""
        budget.check()
        with self._lock:
            self._reserve()
            complete_from_ms = self.complete_from_ms
            frames = [f for f in self._frames if f.first_ms <= end_ms and f.last_ms >= start_ms]
            opened = copy_open(self._grid, refs, start_ms, end_ms)
            side = self._side.rows()
            starts = self._starts.entries() if self._starts else None
            heap = self._heap.view() if self._heap else None
        if starts is not None and not len(starts[0]):
            starts = None
        if len(side):
            side = side.take(np.flatnonzero((side.times_ms >= start_ms) & (side.times_ms <= end_ms)))
            side = side.take(np.flatnonzero(np.isin(side.refs, refs)))
        pieces: list[Piece] = [*frames] if opened is None else [*frames, opened]
        blocks, block_refs = assemble(refs, labels, pieces, side, starts, (start_ms, end_ms), budget)
        if heap is not None:
            blocks = [block if block.clean else _with_histograms(block, heap, budget) for block in blocks]
        return HeadSelection(blocks, block_refs, complete_from_ms)

    # -- numbers -------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Memory of samples, without the registry."""
        return (
            self._grid.nbytes
            + _frame_bytes(self._frames)
            + self._side.nbytes
            + self._starts.nbytes
            + self._heap.nbytes
            + self._newest_ms.nbytes
        )

    @property
    def window_ms(self) -> int:
        """How far back the head is complete, at most `max_window_ms`."""
        return min(max(self._clock.now_ms() - self.complete_from_ms, 0), self.max_window_ms)

    def status(self) -> HeadStatus:
        """Numbers for /metrics and the status page."""
        with self._lock:
            grid = self._grid
            live = np.array([s for pool in grid.pools.values() for s in pool.strips], np.intp)
            live = live[grid.rows[live] > 0]
            side = self._side.rows()
            bounds = [(f.first_ms, f.last_ms) for f in self._frames]
            bounds += zip(grid.times_ms[0, live].tolist(), grid.last_ms[live].tolist(), strict=True)
            if len(side):
                bounds.append((int(side.times_ms.min()), int(side.times_ms.max())))
            open_samples = int(sum(int(grid.rows[s]) * len(grid.members[s]) for s in live.tolist()))
            return HeadStatus(
                series=int(np.count_nonzero(self._held(self.registry.bound))) if self._ready() else 0,
                samples=sum(f.samples for f in self._frames) + open_samples + len(side),
                bytes=self.nbytes,
                chunks=chunk_count(self._frames),
                frames=len(self._frames),
                strips=sum(len(pool.strips) for pool in grid.pools.values()),
                side_rows=len(side),
                first_ms=min((low for low, _ in bounds), default=NO_TIME),
                last_ms=max((high for _, high in bounds), default=-NO_TIME),
                window_ms=self.window_ms,
                complete_from_ms=self.complete_from_ms,
                appended=self.appended,
                out_of_order=self.out_of_order,
                late=self.late,
                dropped_markers=self.dropped_markers,
            )

    def _ready(self) -> bool:
        self._reserve()
        return True


def _unknown_boxes(values: NDArray[np.float64], histograms: Histograms | None) -> NDArray[np.bool_]:
    if histograms is None:
        return is_boxed(values)
    return boxed_rows(values) >= len(histograms)


def _with_histograms(block: SampleBlock, heap: HeapView, budget: Budget) -> SampleBlock:
    values, histograms = unboxed(block.values, heap)
    if histograms is None:
        return block
    budget.charge(len(histograms.bucket))
    return replace(block, values=values, histograms=histograms)


def _has_later_in_batch(batch: MetricBatch, stale: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Markers whose series has an ordinary sample at or after their time in the same batch."""
    out = np.zeros(len(stale), np.bool_)
    samples = np.flatnonzero(~stale)
    markers = np.flatnonzero(stale)
    markers = markers[np.isin(batch.refs[markers], batch.refs[samples])]
    for marker in markers.tolist():
        same = samples[batch.refs[samples] == batch.refs[marker]]
        out[marker] = bool((batch.times_ms[same] >= batch.times_ms[marker]).any())
    return out


def _frame_bytes(frames: Sequence[Frame]) -> int:
    layouts = {id(f.layout): f.layout.nbytes for f in frames}
    return sum(f.nbytes for f in frames) + sum(layouts.values())
