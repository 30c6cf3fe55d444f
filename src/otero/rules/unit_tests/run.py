"""Runs unit tests of rules: the server's own rules and queries over samples in memory.

As promtool: all groups are evaluated at the file's evaluation interval, whatever their own; queries see the input
series up to the last evaluation; alerts are those of the last evaluation that is not after their time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import re2

from otero.clock import ManualClock, SystemClock
from otero.errors import BadConfig, OteroError
from otero.fields import Duration
from otero.ingest.intake import Intake
from otero.query.promql.engine import Engine
from otero.query.promql.spec_compare import rows_of
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import State
from otero.rules.config import LoadedFile, load_rule_files
from otero.rules.group import Group, Surroundings
from otero.rules.languages import PROMQL
from otero.rules.rule import RuleQueries
from otero.rules.unit_tests.compare import Differences, compare_alerts, compare_samples
from otero.rules.unit_tests.file import (
    AlertTest,
    ExprTest,
    UnitTest,
    UnitTestFile,
    read_unit_tests,
    tested_files,
)
from otero.rules.unit_tests.series import InputSeries
from otero.source import Node, Reader, locate, parse, read_file
from otero.storage.memory import MemoryStore

MAX_EVALUATIONS = 2_000_000
_TIMEOUT_S = 120.0
_QUERY_SAMPLES = 50_000_000

OnProgress = Callable[[str, float], None]
"""Is told a test's name and the share of it that is done."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that was not answered as expected: its line, its text with its time, and what differs."""

    line: int
    what: str
    differences: Differences


@dataclass(slots=True)
class TestReport:
    """The outcome of one test. Each question is counted once; a test without any counts as one. `notes` is what is no
    failure but should be known."""

    __test__ = False

    name: str
    line: int
    passed: int = 0
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(slots=True)
class FileReport:
    """The outcome of one file; `errors` when it cannot be used at all."""

    path: Path
    tests: list[TestReport] = field(default_factory=list)
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> int:
        return sum(test.passed for test in self.tests)

    @property
    def failed(self) -> int:
        return sum(len(test.failures) for test in self.tests) + bool(self.errors)


def run_file(
    path: Path,
    *,
    only: Sequence[str] = (),
    features: frozenset[str] = frozenset(),
    ignore_unknown: bool = False,
    on_progress: OnProgress = lambda _name, _share: None,
) -> FileReport:
    """Run the tests of a file; if `only` has regular expressions, those in whose name one of them is found.

    `ignore_unknown` lets rule files have fields that nobody knows. Raises BadConfig when the file cannot be opened.
    """
    report = FileReport(path)
    data = read_file(path)
    reader = Reader(str(path), path.absolute().parent)
    try:
        node = parse(data, str(path))
        content = read_unit_tests(node, reader)
        report.warnings = tuple(str(problem) for problem in reader.warnings)
        reader.check()
        assert content is not None  # noqa: S101 (else its problems were raised)
        patterns = [str(file) for file in tested_files(content.rule_files)]
        files = load_rule_files(patterns, features, ignore_unknown=ignore_unknown)
    except BadConfig as error:
        report.errors = tuple(str(problem) for problem in error.problems)
        return report
    wanted = [re2.compile(pattern) for pattern in only]
    for at, test in enumerate(content.tests):
        if wanted and not any(pattern.search(test.name) for pattern in wanted):
            continue
        run = _Run(content, test, files, features, node, at)
        report.tests.append(run.report)
        run.run(on_progress)
    return report


class _Run:
    """One test on its way."""

    def __init__(
        self,
        content: UnitTestFile,
        test: UnitTest,
        files: Sequence[LoadedFile],
        features: frozenset[str],
        node: Node,
        at: int,
    ) -> None:
        self._test = test
        self._node = node
        self._path = f"tests[{at}]"
        self._step_ms = int(content.evaluation_interval)
        self._start_ms = int(test.start_timestamp)
        self._interval_ms = int(test.interval) or self._step_ms
        self._close = _nearly if content.fuzzy_compare else _exactly
        self._clock = ManualClock(self._start_ms)
        store = MemoryStore(self._clock)
        self._intake = Intake(store)
        engine = Engine(store, default_step_ms=self._step_ms, features=features)
        self._queries = RuleQueries(
            {PROMQL: engine}, SystemClock(), timeout_s=_TIMEOUT_S, max_samples=_QUERY_SAMPLES
        )
        around = Surroundings(
            interval_ms=self._interval_ms,
            external_labels=dict(sorted(test.external_labels.items())),
            external_url=test.external_url,
            features=features,
        )
        order = {name: place for place, name in enumerate(content.group_eval_order)}
        groups = [
            Group(file.path, config, around, self._clock) for file in files for config in file.content.groups
        ]
        self._groups = sorted(groups, key=lambda group: order.get(group.name, 0))
        self.report = TestReport(test.name or f"test {at + 1}", self._line(""))

    def run(self, on_progress: OnProgress) -> None:
        began_s = SystemClock().monotonic_s()
        try:
            lines = [series.read() for series in self._test.input_series]
            self._evaluate_all(InputSeries(lines, self._start_ms, self._interval_ms), on_progress)
        except OteroError as error:
            self._fail("", "input series", str(error))
        self.report.seconds = SystemClock().monotonic_s() - began_s

    def _evaluate_all(self, series: InputSeries, on_progress: OnProgress) -> None:
        """Every evaluation, with the questions about alerts at their times, then the others. A rule that cannot be
        evaluated ends the test."""
        test, step_ms = self._test, self._step_ms
        if test.end_ms // step_ms > MAX_EVALUATIONS:
            self._fail("", "the test", f"more than {MAX_EVALUATIONS:,} evaluations: set evaluation_interval")
            return
        asked = sorted(enumerate(test.alert_rule_test), key=lambda pair: int(pair[1].eval_time))
        asked.reverse()
        for passed_ms in range(0, test.end_ms + 1, step_ms):
            time_ms = self._start_ms + passed_ms
            self._clock.advance(time_ms - self._clock.now_ms())
            series.write_until(time_ms, self._intake)
            if not self._evaluate(time_ms):
                return
            while asked and int(asked[-1][1].eval_time) < passed_ms + step_ms:
                index, question = asked.pop()
                self._check_alerts(question, f"alert_rule_test[{index}]")
            on_progress(self.report.name, passed_ms / max(test.end_ms, 1))
        for index, expression in enumerate(test.promql_expr_test):
            self._check_expr(expression, f"promql_expr_test[{index}]")
        if not test.alert_rule_test and not test.promql_expr_test:
            self.report.passed += 1

    def _evaluate(self, time_ms: int) -> bool:
        """Whether every rule could be evaluated."""
        good = True
        for group in self._groups:
            group.evaluate(time_ms, self._queries, self._intake)
            for rule in group.rules:
                if rule.health.error:
                    good = False
                    what = f'rule {rule.name} (group "{group.name}" of {group.file})'
                    passed = Duration(time_ms - self._start_ms)
                    self._fail("", f"{what}, evaluated at {passed}", rule.health.error)
        return good

    def _check_alerts(self, test: AlertTest, at: str) -> None:
        rules = [
            rule
            for group in self._groups
            for rule in group.rules
            if isinstance(rule, AlertingRule) and rule.name == test.alertname
        ]
        alerts = [alert for rule in rules for alert in rule.active.values()]
        firing = [
            (dict(alert.labels), dict(alert.annotations)) for alert in alerts if alert.state is State.FIRING
        ]
        expected = [
            ({**alert.exp_labels, "alertname": test.alertname}, dict(alert.exp_annotations))
            for alert in test.exp_alerts
        ]
        what = f"alert {test.alertname} at {test.eval_time}"
        why = ""
        if not rules:
            why = f"no rule file has an alert {test.alertname}"
            self.report.notes.append(f"{self._line(at)}: {what}: {why}")
        elif pending := sum(alert.state is State.PENDING for alert in alerts):
            why = f"pending, not firing yet: {pending}"
        found = compare_alerts(expected, firing)
        if why and len(firing) < len(expected):
            found = Differences((*found.findings, why), found.expected, found.got)
        self._judge(at, what, found)

    def _check_expr(self, test: ExprTest, at: str) -> None:
        what = f"{test.expr} at {test.eval_time}"
        try:
            vector = self._queries(test.expr, self._start_ms + int(test.eval_time))
        except OteroError as error:
            self._fail(at, what, str(error))
            return
        got = [(labels, points[0][1]) for labels, points in rows_of(vector)]
        self._judge(
            at, what, compare_samples([sample.read() for sample in test.exp_samples], got, self._close)
        )

    def _judge(self, at: str, what: str, found: Differences) -> None:
        if found:
            self.report.failures.append(Failure(self._line(at), what, found))
        else:
            self.report.passed += 1

    def _fail(self, at: str, what: str, reason: str) -> None:
        self._judge(at, what, Differences((reason,)))

    def _line(self, at: str) -> int:
        return locate(self._node, f"{self._path}.{at}" if at else self._path)[0]


def _exactly(wanted: float, got: float) -> bool:
    return wanted == got or (math.isnan(wanted) and math.isnan(got))


def _nearly(wanted: float, got: float) -> bool:
    """`fuzzy_compare`: equal, or the very next number that a float can be."""
    return (
        _exactly(wanted, got)
        or math.nextafter(wanted, math.inf) == got
        or math.nextafter(wanted, -math.inf) == got
    )
