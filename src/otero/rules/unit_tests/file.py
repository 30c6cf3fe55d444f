"""Files of rule unit tests, in promtool's format.

https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

import glob
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from otero.errors import BadField, BadInput
from otero.fields import Duration, FilePath
from otero.query.promql.parser import parse as parse_promql
from otero.query.promql.spec_histograms import Histogram
from otero.query.promql.spec_series import SeriesLine, SpecError, read_series
from otero.source import Node, Reader


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class StartTime(int):
    """A time in milliseconds since the epoch, written as Unix seconds or as RFC 3339."""

    @classmethod
    def parse(cls, value: object) -> Self:
        text = str(value)
        try:
            seconds = float(text)
            if math.isfinite(seconds):
                return cls(round(seconds * 1000))
        except ValueError:
            pass
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            raise BadField(f'cannot read the time "{text[:40]}": write Unix seconds or RFC 3339') from None
        return cls(round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000))


class GivenSeries(_Part, frozen=True, kw_only=True):
    """A series and its samples in the series notation of PromQL's tests."""

    series: str = ""
    values: str = ""

    def __post_init__(self) -> None:
        self.read()

    def read(self) -> SeriesLine:
        """Labels and samples. Raises BadField."""
        try:
            return read_series(f"{self.series.strip()} {' '.join(self.values.split())}".rstrip())
        except SpecError as error:
            raise BadField(str(error), "series") from None


class ExpectedAlert(_Part, frozen=True, kw_only=True):
    """A firing alert; `alertname` need not be among its labels."""

    exp_labels: dict[str, str] = {}
    exp_annotations: dict[str, str] = {}


class AlertTest(_Part, frozen=True, kw_only=True):
    """The alerts of one name that fire at a time, all of them."""

    eval_time: Duration = Duration(0)
    alertname: str = ""
    exp_alerts: tuple[ExpectedAlert, ...] = ()

    def __post_init__(self) -> None:
        if not self.alertname:
            raise BadField("an alert_rule_test needs the name of its alert", "alertname")


class ExpectedSample(_Part, frozen=True, kw_only=True):
    """An element of the result: a number, or a native histogram."""

    labels: str = ""
    value: float = 0.0
    histogram: str = ""

    def __post_init__(self) -> None:
        self.read()

    def read(self) -> tuple[dict[str, str], float | Histogram]:
        """Labels and value. Raises BadField."""
        try:
            line = read_series(self.labels.strip())
        except SpecError as error:
            raise BadField(str(error), "labels") from None
        if line.items:
            raise BadField(f'expected labels alone, found "{self.labels}"', "labels")
        return line.labels, self._histogram() if self.histogram else self.value

    def _histogram(self) -> Histogram:
        try:
            items = read_series("{} " + self.histogram.strip()).items
        except SpecError as error:
            raise BadField(str(error), "histogram") from None
        if len(items) != 1 or not isinstance(items[0], Histogram):
            raise BadField(
                f'expected one histogram such as "{{{{count:2 sum:3 buckets:[2]}}}}", found "{self.histogram}"',
                "histogram",
            )
        return items[0]


class ExprTest(_Part, frozen=True, kw_only=True):
    """An expression and what it gives at a time."""

    expr: str = ""
    eval_time: Duration = Duration(0)
    exp_samples: tuple[ExpectedSample, ...] = ()


class UnitTest(_Part, frozen=True, kw_only=True):
    """Input series, and what rules and queries make of them. `interval` 0 is the file's evaluation interval."""

    name: str = ""
    interval: Duration = Duration(0)
    input_series: tuple[GivenSeries, ...] = ()
    alert_rule_test: tuple[AlertTest, ...] = ()
    promql_expr_test: tuple[ExprTest, ...] = ()
    external_labels: dict[str, str] = {}
    external_url: str = ""
    start_timestamp: StartTime = StartTime(0)

    @property
    def end_ms(self) -> int:
        """How far after its start the last question is asked."""
        return max(
            (int(test.eval_time) for test in (*self.alert_rule_test, *self.promql_expr_test)), default=0
        )


class UnitTestFile(_Part, frozen=True, kw_only=True):
    """The content of one file. Paths of rule files are absolute after reading."""

    rule_files: tuple[FilePath, ...] = ()
    evaluation_interval: Duration = Duration(60_000)
    group_eval_order: tuple[str, ...] = ()
    fuzzy_compare: bool = False
    tests: tuple[UnitTest, ...] = ()

    def __post_init__(self) -> None:
        if not self.evaluation_interval:  # as promtool: 0 is as if it were not there
            msgspec.structs.force_setattr(self, "evaluation_interval", Duration(60_000))
        for index, name in enumerate(self.group_eval_order):
            if name in self.group_eval_order[:index]:
                raise BadField(
                    f"group name repeated in evaluation order: {name}", f"group_eval_order[{index}]"
                )


def read_unit_tests(node: Node, reader: Reader) -> UnitTestFile | None:
    """The content of a file; its problems are noted in `reader`, and None stands for one without a shape."""
    content = reader.read(node, UnitTestFile)
    if not isinstance(content, UnitTestFile):
        return None
    for index, pattern in enumerate(content.rule_files):
        if not tested_files([pattern]):
            reader.warn(f'no file matches "{pattern}"', node, "", f"rule_files[{index}]")
    return content


def check_expressions(content: UnitTestFile, node: Node, reader: Reader, features: frozenset[str]) -> None:
    """Notes the expressions that cannot be read: of them only their own test fails."""
    for at, test in enumerate(content.tests):
        for index, asked in enumerate(test.promql_expr_test):
            try:
                parse_promql(asked.expr, features=features)
            except BadInput as error:
                where = f"tests[{at}].promql_expr_test[{index}].expr"
                reader.problem(f"could not parse expression: {error}", node, "", where)


def tested_files(patterns: Sequence[str]) -> list[Path]:
    """The files that the patterns name, sorted for each; `*`, `?` and `[…]` may stand in any part of a path."""
    found: list[Path] = []
    for pattern in patterns:
        found += sorted(map(Path, glob.glob(pattern, include_hidden=True)))  # noqa: PTH207 — a pattern of its own
    return list(dict.fromkeys(found))
