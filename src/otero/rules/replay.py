"""Alerting rules over stored history: when each alert would have been pending and firing.

An expression is asked in ranges of many steps at once, and the state machine runs over the columns that come
(`replay_firing`). Where a rule cannot be taken that way (its labels depend on the value, its group has a limit, its
expression asks for the edges of the query) it is evaluated step by step, as the server does it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from otero.errors import BadInput, ExecutionError, LimitExceeded, OteroError
from otero.model.budget import Budget
from otero.model.labels import LabelBytes, LabelTable, decode_labels, encode_labels
from otero.query.promql.engine import Engine
from otero.query.result import Matrix, Scalar, Vector
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import State, alert_labels
from otero.rules.config import RuleFile, RuleGroup
from otero.rules.group import Group, Surroundings
from otero.rules.languages import PROMQL
from otero.rules.replay_firing import spells_of
from otero.rules.replay_recordings import Recordings

MAX_STEPS = 1_000_000
MAX_SINGLE_STEPS = 50_000
"""Of rules that are evaluated step by step."""
MAX_TRUE = 50_000_000
"""Series times steps at which the expression of one rule is true."""
MAX_FAILED = 1_000

_CHUNK = 2_000

OnProgress = Callable[[int, int], None]
"""Is told steps that are done and steps in all."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert from pending to its end. Times are milliseconds; None where it did not fire, and where it goes on."""

    labels: Mapping[str, str]
    pending_ms: int
    firing_ms: int | None
    end_ms: int | None


@dataclass(slots=True)
class RuleReplay:
    """What became of one rule. `failed` counts the evaluations that gave an error, `error` is the first of them."""

    group: str
    alert: str
    expr: str
    for_ms: int
    keep_firing_for_ms: int
    step_ms: int
    steps: int = 0
    first_ms: int = 0
    last_ms: int = 0
    episodes: list[Episode] = field(default_factory=list)
    failed: int = 0
    error: str = ""
    step_by_step: bool = False
    recorded: tuple[str, ...] = ()
    """Recording rules of the file that were evaluated for it."""


def replay(
    file: RuleFile,
    engine: Engine,
    budget: Budget,
    start_ms: int,
    end_ms: int,
    around: Surroundings,
    *,
    alert: str = "",
    step_ms: int = 0,
    on_progress: OnProgress = lambda _done, _all: None,
) -> list[RuleReplay]:
    """Every alerting rule of a file, or those of one name, evaluated from one time to another at the interval of its
    group or every `step_ms`.

    Recording rules of the file that an alert reads are evaluated, too, so that it is the file that is tried, not what
    an earlier one has recorded; series of rules that are not in it are read as they are stored.

    Raises BadInput for times and names that make no sense, LimitExceeded, TimedOut and Cancelled.
    """
    if end_ms < start_ms:
        raise BadInput("the end of a replay must not be before its start")
    out: list[RuleReplay] = []
    for config in file.groups:
        for index, rule in enumerate(config.rules):
            if not rule.alert or (alert and rule.alert != alert):
                continue
            run = _Run(file, config, index, engine, budget, around, step_ms)
            out.append(run.over(start_ms, end_ms, on_progress))
    if alert and not out:
        raise BadInput(f"the file has no alert {alert}")
    return out


class _Run:
    """One rule on its way through the steps."""

    def __init__(
        self,
        file: RuleFile,
        config: RuleGroup,
        index: int,
        engine: Engine,
        budget: Budget,
        around: Surroundings,
        step_ms: int,
    ) -> None:
        rule = replace(config.rules[index], annotations={})
        self._group = Group("", replace(config, rules=(rule,)), around, _NoClock())
        [self._rule] = (one for one in self._group.rules if isinstance(one, AlertingRule))
        self._is_given = step_ms > 0
        self._step_ms = step_ms or self._group.interval_ms
        self._offset_ms = self._group.query_offset_ms
        self._limit = config.limit
        self._file, self._engine, self._budget, self._around = file, engine, budget, around
        self._report = RuleReplay(
            config.name,
            rule.alert,
            self._rule.query,
            int(rule.for_),
            int(rule.keep_firing_for),
            self._step_ms,
        )

    def over(self, start_ms: int, end_ms: int, on_progress: OnProgress) -> RuleReplay:
        report, step_ms = self._report, self._step_ms
        first_ms = start_ms if self._is_given else self._group.slot_ms(start_ms + step_ms - 1)
        count = max((end_ms - first_ms) // step_ms + 1, 0)
        if count > MAX_STEPS:
            raise LimitExceeded(
                f"{count:,} evaluations of {report.alert}, at most {MAX_STEPS:,}: take a shorter time or a longer step"
            )
        report.steps, report.first_ms, report.last_ms = count, first_ms, first_ms + (count - 1) * step_ms
        if not count:
            return report
        recordings = Recordings(self._file, self._around, self._engine, self._budget)
        engine = recordings.around(self._rule.query, first_ms - self._offset_ms, report.last_ms)
        report.recorded = recordings.names
        if self._rule.language != PROMQL:
            raise BadInput(f"rules in {self._rule.language} cannot be replayed")
        times_ms = first_ms + np.arange(count, dtype=np.int64) * step_ms
        if self._limit or not self._rule.expression.is_timeless or _depends_on_value(self._rule.labels):
            self._step_by_step(engine, times_ms, on_progress)
        else:
            try:
                self._in_columns(engine, times_ms, on_progress)
            except _TooManyFail as error:
                report.failed, report.error = count, str(error)
        report.episodes.sort(key=lambda episode: episode.pending_ms)
        return report

    # -- columns ---------------------------------------------------------------------------------------------------

    def _in_columns(self, engine: Engine, times_ms: NDArray[np.int64], on_progress: OnProgress) -> None:
        true: dict[LabelBytes, list[NDArray[np.int64]]] = {}
        good = np.ones(len(times_ms), np.bool_)
        cells = 0
        for low in range(0, len(times_ms), _CHUNK):
            high = min(low + _CHUNK, len(times_ms))
            for at, answer in self._ranges(engine, times_ms, low, high, good):
                keys, present = self._alerts(answer)
                twice = _twice(keys, present)
                if twice.any():
                    self._fails(good, at + np.flatnonzero(twice), _SAME_LABELS)
                for key, column in zip(keys, present.T, strict=True):
                    places = np.flatnonzero(column) + at
                    cells += len(places)
                    true.setdefault(key, []).append(places)
            if cells > MAX_TRUE:
                raise LimitExceeded(
                    f"{self._report.alert} is true for more than {MAX_TRUE:,} series and steps: take a shorter time"
                )
            on_progress(high, len(times_ms))
        kept = times_ms[good]
        for key, places in true.items():
            is_true = np.zeros(len(times_ms), np.bool_)
            is_true[np.concatenate(places)] = True
            spells = spells_of(kept, is_true[good], self._report.for_ms, self._report.keep_firing_for_ms)
            labels = decode_labels(key)
            known: list[int | None] = [*kept.tolist(), None]
            self._report.episodes += [
                Episode(labels, int(kept[pending]), known[firing], known[end])
                for pending, firing, end in zip(
                    spells.pending.tolist(), spells.firing.tolist(), spells.end.tolist(), strict=True
                )
            ]

    def _ranges(
        self, engine: Engine, times_ms: NDArray[np.int64], low: int, high: int, good: NDArray[np.bool_]
    ) -> list[tuple[int, Matrix]]:
        """The answers for steps low to high; a range that fails is halved until the failing steps are found."""
        text = self._rule.config.expr
        start_ms, end_ms = int(times_ms[low]) - self._offset_ms, int(times_ms[high - 1]) - self._offset_ms
        try:
            value = engine.range(text, start_ms, end_ms, self._step_ms, self._budget.part()).value
        except ExecutionError as error:
            if high - low == 1:
                self._fails(good, np.array([low]), str(error))
                return []
            middle = (low + high) // 2
            return [
                *self._ranges(engine, times_ms, low, middle, good),
                *self._ranges(engine, times_ms, middle, high, good),
            ]
        assert isinstance(value, Matrix)  # noqa: S101 (what ranges give)
        return [(low, value)]

    def _fails(self, good: NDArray[np.bool_], places: NDArray[np.int64], reason: str) -> None:
        """An evaluation that fails changes nothing: as if there were no such step."""
        good[places] = False
        report = self._report
        report.failed += len(places)
        report.error = report.error or reason
        if report.failed > MAX_FAILED:
            raise _TooManyFail(reason)

    def _alerts(self, answer: Matrix) -> tuple[list[LabelBytes], NDArray[np.bool_]]:
        keys = [
            encode_labels(alert_labels(element, self._rule.own_labels(element), self._rule.name))
            for element in answer.series.labels.rows()
        ]
        return keys, answer.series.present_mask()

    # -- step by step ----------------------------------------------------------------------------------------------

    def _step_by_step(self, engine: Engine, times_ms: NDArray[np.int64], on_progress: OnProgress) -> None:
        report, rule = self._report, self._rule
        report.step_by_step = True
        if len(times_ms) > MAX_SINGLE_STEPS:
            raise LimitExceeded(
                f"{report.alert} must be evaluated step by step, {len(times_ms):,} times, at most"
                f" {MAX_SINGLE_STEPS:,}: take a shorter time or a longer step"
            )

        def ask(text: str, time_ms: int, language: str = PROMQL) -> Vector:
            del language
            value = engine.instant(text, time_ms, self._budget.part()).value
            if isinstance(value, Scalar):
                return Vector(LabelTable(1, {}), time_ms, value.values)
            if not isinstance(value, Vector):
                raise ExecutionError("rule result is not a vector or scalar")
            return value

        begun: dict[LabelBytes, tuple[int, int | None]] = {}
        for at, time_ms in enumerate(times_ms.tolist()):
            try:
                rule.evaluate(time_ms, ask, self._limit, offset_ms=self._offset_ms)
            except ExecutionError as error:
                report.failed += 1
                report.error = report.error or str(error)
            now = {
                key: (alert.active_ms, alert.fired_ms or None)
                for key, alert in rule.active.items()
                if alert.state is not State.INACTIVE
            }
            for key, (pending_ms, firing_ms) in list(begun.items()):
                if key not in now or now[key][0] != pending_ms:
                    report.episodes.append(Episode(decode_labels(key), pending_ms, firing_ms, time_ms))
            begun = now
            if at % 100 == 0:
                on_progress(at, len(times_ms))
        report.episodes += [Episode(decode_labels(key), *times, None) for key, times in begun.items()]


_SAME_LABELS = "vector contains metrics with the same labelset after applying alert labels"


class _TooManyFail(OteroError):
    """So many evaluations fail that the others say nothing."""


class _NoClock:
    """Of groups that are not evaluated as such."""

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0


def _depends_on_value(labels: Mapping[str, str]) -> bool:
    """Whether the labels of an alert may differ from step to step of the same series."""
    return any(
        "{{" in text and any(word in text for word in ("alue", "query", "now")) for text in labels.values()
    )


def _twice(keys: Sequence[LabelBytes], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The steps at which two elements are the same alert."""
    if len(set(keys)) == len(keys):
        return np.zeros(len(present), np.bool_)
    numbers: dict[LabelBytes, int] = {}
    column = [numbers.setdefault(key, len(numbers)) for key in keys]
    counts = np.zeros((len(present), len(numbers)), np.int32)
    for at, number in enumerate(column):
        counts[:, number] += present[:, at]
    return np.logical_or.reduce(counts > 1, axis=1)
