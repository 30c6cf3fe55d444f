"""The rules of one group: evaluated in stages, written through the intake, the ends of series marked."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xxhash
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import OteroError
from otero.ingest.intake import Intake
from otero.model.alerts import Alert
from otero.model.decisions import Record, forget
from otero.model.labels import LabelBytes, encode_labels
from otero.model.metrics import MetricBatch
from otero.model.samples import STALE
from otero.query.promql.boxes import united
from otero.rules.alert_rule import AlertingRule, SeenStates
from otero.rules.config import USUAL_TIMING, AlertTiming, RuleGroup
from otero.rules.recording import RecordingRule
from otero.rules.rule import Health, Query, Written
from otero.rules.stages import Rule, stages

_log = logging.getLogger(__name__)

DOOR = "rules"
_NANOSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What groups take from the server: the values that they do not give themselves, and what alerts are told with."""

    interval_ms: int = 60_000
    query_offset_ms: int = 0
    external_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    features: frozenset[str] = frozenset()
    timing: AlertTiming = USUAL_TIMING


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the API and the metrics show of a group's last evaluation, and its counts since the start."""

    time_ms: int = 0
    seconds: float = 0.0
    rule_seconds: float = 0.0
    samples: int = 0
    iterations: int = 0
    missed: int = 0
    evaluations: int = 0
    failures: int = 0
    seconds_in_all: float = 0.0
    rule_seconds_in_all: float = 0.0
    restore_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Series:
    """The series that a rule wrote last, and their references in an epoch of the registry."""

    keys: list[LabelBytes] = field(default_factory=list[LabelBytes])
    refs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    epoch: int = -1


class Group:
    """One group. `evaluate` and `restore` run in one thread at a time; any thread may read.

    `is_restored` is False for a group of a server that has just started: see `AlertingRule`.
    """

    def __init__(
        self,
        file: str,
        config: RuleGroup,
        around: Surroundings,
        clock: Clock,
        *,
        is_restored: bool = True,
        record: Record = forget,
    ) -> None:
        self.file = file
        self.config = config
        self.around = around
        self.interval_ms = int(config.interval or around.interval_ms)
        offset = config.query_offset
        self.query_offset_ms = around.query_offset_ms if offset is None else int(offset)
        self.rules: list[Rule] = [
            AlertingRule(
                rule,
                config.labels,
                around.external_labels,
                around.external_url,
                around.features,
                is_restored=is_restored,
                record=record,
                language=config.language,
                timing=around.timing,
            )
            if rule.alert
            else RecordingRule(rule, config.labels, around.features, language=config.language)
            for rule in config.rules
        ]
        self.is_restored = is_restored
        self.last = Evaluated()
        self._clock = clock
        self._stages = stages(self.rules)
        self._series = [_Series() for _ in self.rules]
        self._ended: set[LabelBytes] = set()

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def key(self) -> tuple[str, str]:
        """File and name: what a group is known by."""
        return self.file, self.config.name

    def slot_ms(self, now_ms: int) -> int:
        """The last of this group's evaluation times that is not after now: groups of one interval are spread over it
        by a hash of file and name, so that they do not all come at once."""
        interval_ns = self.interval_ms * _NANOSECONDS
        spread = xxhash.xxh64_intdigest(encode_labels({"file": self.file, "name": self.name})) % interval_ns
        spread_ms = spread // _NANOSECONDS
        return (now_ms - spread_ms) // self.interval_ms * self.interval_ms + spread_ms

    def take_over(self, before: "Group") -> None:
        """Go on where a group of the configuration before has stopped: alerts and series of the rules that are the
        same by name and labels; the series of the others end at the next evaluation."""
        known: dict[tuple[str, str], list[int]] = {}
        for at, rule in enumerate(before.rules):
            known.setdefault(_identity(rule), []).append(at)
        self._ended |= before._ended
        for at, rule in enumerate(self.rules):
            found = known.get(_identity(rule))
            if not found:
                continue
            earlier = found.pop(0)
            old = before.rules[earlier]
            self._series[at] = before._series[earlier]
            if isinstance(rule, AlertingRule) and isinstance(old, AlertingRule):
                rule.active, rule.is_restored = old.active, old.is_restored
            rule.health = old.health
        for left in known.values():
            for at in left:
                self._ended.update(before._series[at].keys)
                _record_removal(before.rules[at], self._clock.now_ms())
        self.last = before.last

    def removed(self) -> None:
        """Record that its alerts are gone: it is in no configuration any more."""
        for rule in self.rules:
            _record_removal(rule, self._clock.now_ms())

    def keys(self) -> set[LabelBytes]:
        """The series that it wrote last and has not ended."""
        return self._ended.union(*(series.keys for series in self._series))

    # -- evaluating ------------------------------------------------------------------------------------------------

    def evaluate(self, time_ms: int, query: Query, intake: Intake, missed: int = 0) -> list[Alert]:
        """Every rule at one time; the alerts that are to be sent. What fails is told by the rules' health."""
        start_s = self._clock.monotonic_s()
        samples = failures = 0
        rule_seconds = 0.0
        alerts: list[Alert] = []
        for stage in self._stages:
            written: dict[int, Written] = {}
            for at in stage:
                rule = self.rules[at]
                began_s, began_ms = self._clock.monotonic_s(), self._clock.now_ms()
                error = self._evaluate(at, time_ms, query, written)
                seconds = self._clock.monotonic_s() - began_s
                rule_seconds += seconds
                failures += bool(error)
                before, rule.health = rule.health, Health("err" if error else "ok", error, seconds, began_ms)
                if isinstance(rule, AlertingRule):
                    if error and error != before.error:
                        rule.decisions.failed(error, time_ms)
                    alerts += rule.send(time_ms, self.interval_ms)
            try:
                samples += self._write(written, time_ms - self.query_offset_ms, intake)
            except OteroError as error:
                failures += len(written)
                for at in written:
                    self.rules[at].health = replace(self.rules[at].health, state="err", error=str(error))
                _log.warning(
                    "results of rules were not stored",
                    extra={"group": self.name, "file": self.file, "reason": str(error)},
                )
        seconds = self._clock.monotonic_s() - start_s
        last = self.last
        self.last = Evaluated(
            time_ms=time_ms,
            seconds=seconds,
            rule_seconds=rule_seconds,
            samples=samples,
            iterations=last.iterations + 1 + missed,
            missed=last.missed + missed,
            evaluations=last.evaluations + len(self.rules),
            failures=last.failures + failures,
            seconds_in_all=last.seconds_in_all + seconds,
            rule_seconds_in_all=last.rule_seconds_in_all + rule_seconds,
            restore_seconds=last.restore_seconds,
        )
        return alerts

    def restore(self, now_ms: int, seen: SeenStates) -> None:
        """Let the alerting rules go on where the server before has stopped."""
        start_s = self._clock.monotonic_s()
        for rule in self.rules:
            if isinstance(rule, AlertingRule):
                try:
                    rule.restore(now_ms, seen)
                except OteroError as error:
                    rule.is_restored = True
                    _log.warning(
                        "the state of an alert was not restored",
                        extra={"alert": rule.name, "reason": str(error)},
                    )
        self.is_restored = True
        self.last = replace(self.last, restore_seconds=self._clock.monotonic_s() - start_s)

    def _evaluate(self, at: int, time_ms: int, query: Query, written: dict[int, Written]) -> str:
        """The error of one rule, empty when its result is in `written`."""
        rule = self.rules[at]
        try:
            if isinstance(rule, AlertingRule):
                result = rule.evaluate(time_ms, query, self.config.limit, offset_ms=self.query_offset_ms)
            else:
                result = rule.evaluate(time_ms - self.query_offset_ms, query, self.config.limit)
        except OteroError as error:
            _warn_of(self, rule, str(error))
            return str(error)
        except Exception:  # a fault of one rule must not stop the others
            _log.exception("a rule failed", extra={"group": self.name, "file": self.file, "rule": rule.name})
            return "internal error; the log has it"
        written[at] = result
        return ""

    # -- writing ---------------------------------------------------------------------------------------------------

    def _write(self, written: Mapping[int, Written], time_ms: int, intake: Intake) -> int:
        """Store the results of a stage, and the ends of series that are in them no more; the number of samples."""
        refs: list[NDArray[np.int64]] = []
        values: list[NDArray[np.float64]] = []
        before = [self._series[at].keys for at in written]
        gone = set(self._ended)
        for at, result in written.items():
            series = self._series[at]
            if series.keys != result.keys:
                gone.update(series.keys)
        if gone:
            gone.difference_update(*(result.keys for result in written.values()))
            ended = list(gone)
            refs.append(intake.resolve(ended, DOOR))
            values.append(np.full(len(ended), STALE))
        for at, result in written.items():
            refs.append(self._resolved(at, result.keys, intake))
            values.append(result.values)
        if not sum(map(len, refs)):
            return 0
        owners = [None] * (len(values) - len(written)) + [result.histograms for result in written.values()]
        columns, histograms = united(values, owners)
        all_refs, column = np.concatenate(refs), np.concatenate(columns)
        known = all_refs >= 0
        if not known.all():
            all_refs, column = all_refs[known], column[known]
        try:
            intake.write_metrics(
                MetricBatch(all_refs, np.full(len(all_refs), time_ms), column, histograms=histograms), DOOR
            )
        except OteroError:
            for at, keys in zip(written, before, strict=True):  # what was not written has not begun
                self._series[at] = _Series(keys)
            raise
        self._ended.clear()
        return sum(len(result.keys) for result in written.values())

    def _resolved(self, at: int, keys: Sequence[LabelBytes], intake: Intake) -> NDArray[np.int64]:
        series = self._series[at]
        epoch = intake.epoch
        if series.keys != keys or series.epoch != epoch or not len(series.refs):
            self._series[at] = series = _Series(list(keys), intake.resolve(keys, DOOR), epoch)
        return series.refs


def end_series(keys: Sequence[LabelBytes], time_ms: int, intake: Intake) -> None:
    """Mark series as ended. Raises what the intake raises."""
    refs = intake.resolve(keys, DOOR)
    refs = refs[refs >= 0]
    if len(refs):
        batch = MetricBatch(refs, np.full(len(refs), time_ms), np.full(len(refs), STALE))
        intake.write_metrics(batch, DOOR)


def _identity(rule: Rule) -> tuple[str, str]:
    return rule.name, encode_labels(rule.labels).hex()


def _record_removal(rule: Rule, now_ms: int) -> None:
    if isinstance(rule, AlertingRule):
        rule.decisions.dropped(rule.active, now_ms, "Its rule is no longer configured.")


def _warn_of(group: Group, rule: Rule, reason: str) -> None:
    """Once per change of the reason, not at every evaluation."""
    if rule.health.error != reason:
        _log.warning(
            "a rule cannot be evaluated",
            extra={"group": group.name, "file": group.file, "rule": rule.name, "reason": reason},
        )
