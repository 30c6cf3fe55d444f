"""The recording rules that a replayed alert stands on, evaluated into memory over the stored history."""

from collections.abc import Sequence

import numpy as np

from otero.clock import ManualClock
from otero.ingest.intake import Intake
from otero.model.budget import Budget
from otero.model.labels import METRIC_NAME, LabelColumn
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import MetricBatch
from otero.model.samples import STALE, SampleBlock
from otero.query.promql.boxes import united
from otero.query.promql.engine import Engine
from otero.query.promql.selectors import SampleSource
from otero.query.result import Matrix
from otero.rules.config import Rule, RuleFile, RuleGroup
from otero.rules.group import Surroundings
from otero.rules.languages import LANGUAGES, PROMQL
from otero.rules.rule import label_bytes
from otero.storage.memory import MemoryStore

MAX_BYTES = 1 << 29
_CHUNK = 2_000
_DOOR = "replay"


class Recordings:
    """Of one file. `names` are those that were evaluated."""

    def __init__(self, file: RuleFile, around: Surroundings, engine: Engine, budget: Budget) -> None:
        self._around = around
        self._engine = engine
        self._budget = budget
        self._rules = [
            (group, rule, LANGUAGES[PROMQL](rule.expr, around.features).selectors)
            for group in file.groups
            for rule in group.rules
            if rule.record and (rule.language or group.language) == PROMQL
        ]
        self.names: tuple[str, ...] = ()

    def around(self, text: str, start_ms: int, end_ms: int) -> Engine:
        """An engine that sees the results of the rules that a query may read, from the times it may look at.

        A rule that reads its own results, or is read by a rule that it reads, is left to what is stored.
        """
        selectors = LANGUAGES[PROMQL](text, self._around.features).selectors
        order: dict[int, int] = {}
        self._need(selectors, start_ms - self._engine.reach_ms(text), (), order)
        if not order:
            return self._engine
        clock = ManualClock(0)
        store = MemoryStore(clock, max_bytes=MAX_BYTES)
        names = frozenset(self._rules[at][1].record for at in order)
        engine = self._engine.over(lambda source: _Overlay(source, store, names))
        for at, from_ms in order.items():
            group, rule, _ = self._rules[at]
            self._record(group, rule, engine, Intake(store), from_ms, end_ms)
        self.names = tuple(sorted(names))
        return engine

    def _need(
        self,
        selectors: Sequence[Sequence[Matcher]],
        from_ms: int,
        readers: tuple[int, ...],
        order: dict[int, int],
    ) -> None:
        """Enter what is read, what it reads before it; `order` has where each must begin."""
        for at, (_, rule, reads) in enumerate(self._rules):
            if at in readers or not any(_may_read(matchers, rule.record) for matchers in selectors):
                continue
            begin_ms = min(from_ms, order.get(at, from_ms))
            self._need(reads, begin_ms - self._engine.reach_ms(rule.expr), (*readers, at), order)
            order.pop(at, None)
            order[at] = begin_ms

    def _record(
        self, group: RuleGroup, rule: Rule, engine: Engine, intake: Intake, from_ms: int, end_ms: int
    ) -> None:
        step_ms = int(group.interval or self._around.interval_ms)
        offset = self._around.query_offset_ms if group.query_offset is None else int(group.query_offset)
        labels = {**group.labels, **rule.labels, METRIC_NAME: rule.record}
        before: np.ndarray = np.zeros(0, np.int64)
        first_ms = from_ms // step_ms * step_ms
        for low_ms in range(first_ms, end_ms + 1, _CHUNK * step_ms):
            high_ms = min(low_ms + (_CHUNK - 1) * step_ms, end_ms)
            value = engine.range(
                rule.expr, low_ms - offset, high_ms - offset, step_ms, self._budget.part()
            ).value
            assert isinstance(value, Matrix)  # noqa: S101 (what ranges give)
            matrix, table = value.series, value.series.labels
            for name, text in labels.items():
                table = table.with_column(name, LabelColumn.constant(text, table.size))
            refs = intake.resolve(label_bytes(table), _DOOR)
            present = matrix.present_mask()
            shapes: dict[bytes, np.ndarray] = {}
            for row, time_ms in enumerate(range(low_ms, high_ms + 1, step_ms)):
                if row % 256 == 0:
                    self._budget.check()
                here = present[row]
                now = shapes.setdefault(here.tobytes(), refs[here])
                values, owned = united([matrix.values[row, here]], [matrix.histograms])
                if len(now):
                    times = np.full(len(now), time_ms - offset)
                    intake.write_metrics(MetricBatch(now, times, values[0], histograms=owned), _DOOR)
                if now is not before:
                    gone = np.setdiff1d(before, now)
                    if len(gone):
                        ends = np.full(len(gone), STALE)
                        intake.write_metrics(
                            MetricBatch(gone, np.full(len(gone), time_ms - offset), ends), _DOOR
                        )
                    before = now


class _Overlay:
    """Stored samples, but those of the given metrics from memory."""

    def __init__(self, stored: SampleSource, memory: MemoryStore, names: frozenset[str]) -> None:
        self._stored = stored
        self._memory = memory
        self._names = names

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        read = [name for name in self._names if _may_read(matchers, name)]
        if not read:
            return self._stored.select(matchers, start_ms, end_ms, budget)
        blocks = self._memory.select(matchers, start_ms, end_ms, budget)
        if any(matcher.name == METRIC_NAME and matcher.op is MatchOp.EQUAL for matcher in matchers):
            return blocks
        others = [*matchers, *(Matcher(METRIC_NAME, MatchOp.NOT_EQUAL, name) for name in read)]
        return [*self._stored.select(others, start_ms, end_ms, budget), *blocks]


def _may_read(matchers: Sequence[Matcher], name: str) -> bool:
    return all(matcher.matches(name) for matcher in matchers if matcher.name == METRIC_NAME)
