"""From selectors to columns: what a query reads, once, and how selectors look at it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from otero.model.budget import Budget
from otero.model.histograms import ResetHint, box, boxed_rows, is_boxed
from otero.model.labels import LabelTable
from otero.model.matchers import Matcher
from otero.model.samples import SampleBlock
from otero.query.notes import Notes
from otero.query.promql import ast, doubts
from otero.query.promql.binary import concat
from otero.query.promql.functions.native_extended import smoothed_values
from otero.query.promql.naming import without_absent
from otero.query.promql.native.compare import resets_of_rows
from otero.query.promql.native.layout import stats_only
from otero.query.promql.plan import Plan, Read, read_for, window_ends
from otero.query.promql.windows import (
    Window,
    block_of,
    count_until,
    floats_of,
    lookback,
    lookback_starts,
    lookback_times,
    window,
)
from otero.query.series import StepMatrix, Steps


class SampleSource(Protocol):
    """Where samples come from: the metric store, or a table in memory."""

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        """Every series that matches and may have samples within [start_ms, end_ms], each in exactly one block.

        Blocks may hold samples outside of the range. The source charges the budget for what it has to load, and
        raises LimitExceeded, TimedOut or Cancelled as the budget says.
        """
        ...


class Samples:
    """The samples of one query. Reads happen when they are first needed; each happens once.

    Blocks come apart into series of floats and series that have native histograms among their samples, so that only the
    latter cost more. Range selectors see start timestamps only with `starts`.
    """

    def __init__(
        self,
        source: SampleSource,
        reads: Sequence[Read],
        plan: Plan,
        lookback_ms: int,
        budget: Budget,
        *,
        starts: bool,
    ) -> None:
        self.lookback_ms = lookback_ms
        self._starts = starts
        self.series = 0
        self.samples = 0
        self._source = source
        self._reads = reads
        self._plan = plan
        self._budget = budget
        self._blocks: dict[tuple[Read, bool], list[SampleBlock]] = {}
        self._kept: dict[tuple[ast.Expr, Steps, bool], StepMatrix | list[Window]] = {}

    def blocks(
        self, matchers: tuple[Matcher, ...], start_ms: int, end_ms: int, *, buckets: bool = True
    ) -> list[SampleBlock]:
        """The blocks for a selector that looks at [start_ms, end_ms]; without `buckets`, histograms have none."""
        read = read_for(self._reads, matchers, start_ms, end_ms) or Read(matchers, start_ms, end_ms)
        blocks = self._blocks.get((read, True))
        if blocks is None:
            self._budget.check()
            found = self._source.select(read.matchers, read.start_ms, read.end_ms, self._budget)
            self.series += sum(block.series_count for block in found)
            self.samples += sum(block.values.size for block in found)
            blocks = [part for block in found for _, part in floats_apart(block)]
            self._blocks[read, True] = blocks
        if buckets or all(block.histograms is None for block in blocks):
            return blocks
        bare = self._blocks.get((read, False))
        if bare is None:
            bare = [without_buckets(block, read.start_ms) for block in blocks]
            self._blocks[read, False] = bare
        return bare

    def _buckets(self, node: ast.VectorSelector) -> bool:
        return id(node) not in self._plan.unread_buckets

    def at_steps(self, node: ast.VectorSelector, steps: Steps, notes: Notes | None = None) -> StepMatrix:
        """The newest sample within the lookback, of each series at each step."""
        key = (node, steps, self._buckets(node))
        kept = self._kept.get(key) if node in self._plan.repeated else None
        if isinstance(kept, StepMatrix):
            return kept
        first, last = window_ends(node, steps)
        parts: list[StepMatrix] = []
        for block in self.blocks(node.matchers, first - self.lookback_ms + 1, last, buckets=key[2]):
            if node.smoothed and block.histograms is not None:
                parts.append(_smoothed_histograms(block, node, ends(node, steps), self.lookback_ms, notes))
                continue
            look = _smoothed if node.smoothed else lookback
            values, present = look(block, ends(node, steps), self.lookback_ms)
            parts.append(
                without_absent(StepMatrix(block.labels, values, present, histograms=block.histograms))
            )
        out = joined(parts, steps)
        if node in self._plan.repeated:
            self._kept[key] = out
        return out

    def times_at_steps(self, node: ast.VectorSelector, steps: Steps) -> StepMatrix:
        """The time, in seconds, of the sample that `at_steps` finds."""
        first, last = window_ends(node, steps)
        parts: list[StepMatrix] = []
        for block in self.blocks(node.matchers, first - self.lookback_ms + 1, last):
            looks = ends(node, steps)
            _, present = lookback(block, looks, self.lookback_ms)
            times = lookback_times(block, looks, self.lookback_ms) / 1000.0
            parts.append(without_absent(StepMatrix(block.labels, times, present)))
        return joined(parts, steps)

    def starts_at_steps(self, node: ast.VectorSelector, steps: Steps) -> StepMatrix:
        """The start timestamp, in seconds, of the sample that `at_steps` finds; 0 where it is not known."""
        first, last = window_ends(node, steps)
        parts: list[StepMatrix] = []
        for block in self.blocks(node.matchers, first - self.lookback_ms + 1, last):
            looks = ends(node, steps)
            _, present = lookback(block, looks, self.lookback_ms)
            starts = lookback_starts(block, looks, self.lookback_ms) / 1000.0
            parts.append(without_absent(StepMatrix(block.labels, starts, present)))
        return joined(parts, steps)

    def windows(self, node: ast.MatrixSelector, steps: Steps) -> list[Window]:
        """The windows of a range selector, block by block."""
        vector = node.vector
        key = (node, steps, self._buckets(vector))
        kept = self._kept.get(key) if node in self._plan.repeated else None
        if isinstance(kept, list):
            return kept
        first, last = window_ends(vector, steps)
        blocks = self.blocks(vector.matchers, first - node.range_ms + 1, last, buckets=key[2])
        if not self._starts:
            blocks = [
                replace(block, start_ms=None) if block.start_ms is not None else block for block in blocks
            ]
        looks = ends(vector, steps)
        out = [window(block, looks, node.range_ms) for block in blocks]
        if node in self._plan.repeated:
            self._kept[key] = out
        return out


def floats_apart(block: SampleBlock) -> list[tuple[NDArray[np.intp] | None, SampleBlock]]:
    """The series of a block that are floats throughout, and those that are not: series numbers (None: all), block."""
    if block.histograms is None:
        return [(None, block)]
    boxed = is_boxed(block.values).any(axis=0)
    if boxed.all():
        return [(None, block)]
    if not boxed.any():
        return [(None, replace(block, histograms=None))]
    floats, rest = np.flatnonzero(~boxed), np.flatnonzero(boxed)
    return [(floats, replace(block_of(block, floats), histograms=None)), (rest, block_of(block, rest))]


def without_buckets(block: SampleBlock, start_ms: int) -> SampleBlock:
    """The block with histograms that have no buckets. So counter resets are looked for now: a histogram that knows
    nothing of the one before it (not earlier than `start_ms`) is told."""
    if block.histograms is None:
        return block
    series, at = np.nonzero(is_boxed(block.values).T)
    rows = boxed_rows(block.values[at, series])
    bare = stats_only(block.histograms).take(rows)
    times = block.times_ms[at, block.group[series]]
    follows = np.zeros(len(rows), np.bool_)
    follows[1:] = (series[1:] == series[:-1]) & (times[:-1] >= start_ms)
    unsure = np.flatnonzero(follows & (bare.hint == ResetHint.UNKNOWN))
    reset = resets_of_rows(block.histograms, rows[unsure], rows[unsure - 1])
    hint = bare.hint.copy()
    hint[unsure] = np.where(reset, ResetHint.RESET, ResetHint.NOT_RESET)
    values = block.values.copy()
    values[at, series] = box(np.arange(len(rows)))
    return replace(block, values=values, histograms=replace(bare, hint=hint))


def _smoothed(
    block: SampleBlock, ends_ms: NDArray[np.int64], lookback_ms: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """The value on the line between the samples around each moment; after the last one, that one."""
    view = window(block, ends_ms + lookback_ms, 2 * lookback_ms)
    if view.block.values.shape[0] == 0:
        return np.full(view.shape, np.nan), np.zeros(view.shape, np.bool_)
    after, share = _ways(view, ends_ms)
    group = view.block.group
    first, second = view.rows(after - 1), view.rows(after)
    way = share.take(group, axis=1)
    between = first + (second - first) * way
    values = np.where(way == 1, second, np.where(way > 0, between, first))
    return values, ~np.isnan(way)


def _ways(view: Window, ends_ms: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The row of the sample at or after each moment, and how far the moment lies on the way to it [steps, G].

    0 where only the sample before counts, 1 at the sample itself, NaN where there is none in sight.
    """
    after = np.clip(count_until(view.block.times_ms, ends_ms - 1), view.lo, view.hi)
    before = after - 1
    moment = ends_ms[:, None]
    has_after, has_before = after < view.hi, before >= view.lo
    exact = has_after & (view.times(after) == moment)
    line = has_after & has_before & ~exact
    earlier, later = view.times(before), view.times(after)
    way = np.where(line, (moment - earlier) / np.where(line, later - earlier, 1), np.where(exact, 1.0, 0.0))
    return after, np.where(exact | has_before, way, np.nan)


def _smoothed_histograms(
    block: SampleBlock,
    node: ast.VectorSelector,
    ends_ms: NDArray[np.int64],
    lookback_ms: int,
    notes: Notes | None,
) -> StepMatrix:
    """The same for series with native histograms; nothing where floats and histograms are in sight together."""
    view = window(block, ends_ms + lookback_ms, 2 * lookback_ms)
    if view.block.values.shape[0] == 0:
        return StepMatrix(LabelTable(0, {}), np.empty((len(ends_ms), 0)))
    found = smoothed_values(view, *_ways(view, ends_ms))
    if notes is not None:
        place = (node.start, node.end)
        doubts.warn_of(notes, place, doubts.MIXED_TYPES, block.labels, found.mixed_types)
        doubts.warn_of(notes, place, doubts.MIXED_BUCKETS, block.labels, found.mixed_buckets)
    floats, shown = _smoothed(floats_of(view).source, ends_ms, lookback_ms)
    pure = np.zeros(view.shape, np.bool_) if shown is None else shown & found.floats
    values = np.where(pure, floats, found.values)
    return without_absent(StepMatrix(block.labels, values, pure | found.present, histograms=found.histograms))


def joined(parts: list[StepMatrix], steps: Steps) -> StepMatrix:
    """All blocks' series as one matrix; those present nowhere are gone already."""
    parts = [part for part in parts if part.series_count]
    if not parts:
        return StepMatrix(LabelTable(0, {}), np.empty((steps.count, 0)))
    return concat(parts)


def ends(node: ast.Subquery | ast.VectorSelector, steps: Steps) -> NDArray[np.int64]:
    """The times at which a selector or subquery looks, one for each step."""
    if isinstance(node.at, int):
        return np.full(steps.count, node.at - node.offset_ms, np.int64)
    return steps.times_ms() - node.offset_ms
