"""From selectors to columns: what a query reads, once, and how selectors look at it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.model.matchers import Matcher
from otero.model.samples import SampleBlock
from otero.query.promql import ast
from otero.query.promql.binary import concat
from otero.query.promql.naming import without_absent
from otero.query.promql.plan import Read, read_for, window_ends
from otero.query.promql.windows import Window, count_until, lookback, lookback_times, window
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
    """The samples of one query. Reads happen when they are first needed; each happens once."""

    def __init__(
        self,
        source: SampleSource,
        reads: Sequence[Read],
        repeated: frozenset[ast.Expr],
        lookback_ms: int,
        budget: Budget,
    ) -> None:
        self.lookback_ms = lookback_ms
        self.series = 0
        self.samples = 0
        self._source = source
        self._reads = reads
        self._repeated = repeated
        self._budget = budget
        self._blocks: dict[Read, list[SampleBlock]] = {}
        self._kept: dict[tuple[ast.Expr, Steps], StepMatrix | list[Window]] = {}

    def blocks(self, matchers: tuple[Matcher, ...], start_ms: int, end_ms: int) -> list[SampleBlock]:
        """The blocks for a selector that looks at [start_ms, end_ms]."""
        read = read_for(self._reads, matchers, start_ms, end_ms) or Read(matchers, start_ms, end_ms)
        blocks = self._blocks.get(read)
        if blocks is None:
            self._budget.check()
            blocks = self._source.select(read.matchers, read.start_ms, read.end_ms, self._budget)
            self._blocks[read] = blocks
            self.series += sum(block.series_count for block in blocks)
            self.samples += sum(block.values.size for block in blocks)
        return blocks

    def at_steps(self, node: ast.VectorSelector, steps: Steps) -> StepMatrix:
        """The newest sample within the lookback, of each series at each step."""
        kept = self._kept.get((node, steps)) if node in self._repeated else None
        if isinstance(kept, StepMatrix):
            return kept
        first, last = window_ends(node, steps)
        look = _smoothed if node.smoothed else lookback
        parts: list[StepMatrix] = []
        for block in self.blocks(node.matchers, first - self.lookback_ms + 1, last):
            values, present = look(block, ends(node, steps), self.lookback_ms)
            parts.append(without_absent(StepMatrix(block.labels, values, present)))
        out = joined(parts, steps)
        if node in self._repeated:
            self._kept[node, steps] = out
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

    def windows(self, node: ast.MatrixSelector, steps: Steps) -> list[Window]:
        """The windows of a range selector, block by block."""
        kept = self._kept.get((node, steps)) if node in self._repeated else None
        if isinstance(kept, list):
            return kept
        vector = node.vector
        first, last = window_ends(vector, steps)
        blocks = self.blocks(vector.matchers, first - node.range_ms + 1, last)
        looks = ends(vector, steps)
        out = [window(block, looks, node.range_ms) for block in blocks]
        if node in self._repeated:
            self._kept[node, steps] = out
        return out


def _smoothed(
    block: SampleBlock, ends_ms: NDArray[np.int64], lookback_ms: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """The value on the line between the samples around each moment; after the last one, that one."""
    view = window(block, ends_ms + lookback_ms, 2 * lookback_ms)
    if view.block.values.shape[0] == 0:
        return np.full(view.shape, np.nan), np.zeros(view.shape, np.bool_)
    after = np.clip(count_until(view.block.times_ms, ends_ms - 1), view.lo, view.hi)
    before = after - 1
    moment = ends_ms[:, None]
    has_after, has_before = after < view.hi, before >= view.lo
    exact = has_after & (view.times(after) == moment)
    line = has_after & has_before & ~exact
    earlier, later = view.times(before), view.times(after)
    share = np.where(line, (moment - earlier) / np.where(line, later - earlier, 1), np.where(exact, 1.0, 0.0))
    group = view.block.group
    first, second = view.rows(before), view.rows(after)
    between = first + (second - first) * share.take(group, axis=1)
    values = np.where(exact.take(group, axis=1), second, np.where(line.take(group, axis=1), between, first))
    return values, (exact | has_before).take(group, axis=1)


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
