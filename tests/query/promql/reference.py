"""PromQL one series and one step at a time: slow, obvious, and the judge of the engine in property tests.

An instant vector is a list of `(labels, value)`, a range vector a list of `(labels, [(time, value)])`, a scalar a float.
Everything about floats but `info`, `limit_ratio`, `anchored`, `smoothed` and the order of results.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, NO_TIME, STALE, SampleBlock
from otero.query.promql import ast
from tests.query.promql import reference_functions as functions
from tests.query.promql.reference_functions import Element, Labels, Refused, key, without_name

__all__ = ["Element", "Query", "Refused", "Series", "Table", "Unsure", "evaluate", "evaluate_range", "key"]

LOOKBACK_MS = 300_000
Unsure = functions.Unsure


@dataclass
class Series:
    """Samples by time; `None` is a staleness marker."""

    labels: Labels
    samples: dict[int, float | None] = field(default_factory=dict)


class Table:
    """A source of samples for the engine and for the reference. Series of one `block` number share a block."""

    def __init__(
        self, series: list[Series], blocks: list[int] | None = None, *, ragged: bool = False
    ) -> None:
        self.blocks = blocks or [0] * len(series)
        order = sorted(range(len(series)), key=lambda index: self.blocks[index])
        self.series = [series[index] for index in order]
        self.blocks = [self.blocks[index] for index in order]
        self.ragged = ragged

    def __repr__(self) -> str:
        rows = "\n".join(
            f"  {block} {series.labels} {dict(sorted(series.samples.items()))}"
            for series, block in zip(self.series, self.blocks, strict=True)
        )
        return f"Table(ragged={self.ragged}\n{rows})"

    def select(self, matchers, start_ms, end_ms, budget):
        budget.check()
        chosen: dict[int, list[Series]] = {}
        for series, block in zip(self.series, self.blocks, strict=True):
            if fits(series.labels, matchers):
                chosen.setdefault(block, []).append(series)
        return [_block(members, self.ragged) for members in chosen.values()]


def _block(members: list[Series], ragged: bool) -> SampleBlock:
    columns = (
        [sorted(series.samples) for series in members]
        if ragged
        else [sorted({time for series in members for time in series.samples})]
    )
    height = max(len(column) for column in columns)
    times = np.full((height, len(columns)), NO_TIME, np.int64)
    values = np.full((height, len(members)), ABSENT)
    for at, column in enumerate(columns):
        times[: len(column), at] = column
    for at, series in enumerate(members):
        for row, time in enumerate(columns[at if ragged else 0]):
            if time in series.samples:
                value = series.samples[time]
                values[row, at] = STALE if value is None else value
    group = np.arange(len(members)) if ragged else np.zeros(len(members), np.intp)
    return SampleBlock(LabelTable.of([series.labels for series in members]), times, group, values)


def fits(labels: Labels, matchers) -> bool:
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def evaluate(expr: ast.Expr, time_ms: int, table: Table) -> Any:
    """The answer of an instant query. Raises Refused, and Unsure where rounding decides about the answer."""
    return Query(table, time_ms, time_ms).value(expr, time_ms)


def evaluate_range(expr: ast.Expr, times: list[int], table: Table) -> list[Any]:
    """The answers of a range query, one per step."""
    query = Query(table, times[0], times[-1])
    query.refuse_shared_names(expr, times)
    return [query.value(expr, time) for time in times]


class Query:
    """One query over a table; `start_ms` and `end_ms` are what `@ start()` and `@ end()` mean."""

    def __init__(self, table: Table, start_ms: int, end_ms: int) -> None:
        self._table = table
        self._edges = {ast.AtEdge.START: start_ms, ast.AtEdge.END: end_ms}

    def value(self, expr: ast.Expr, time_ms: int) -> Any:
        match expr:
            case ast.NumberLiteral() | ast.StringLiteral():
                return expr.value
            case ast.Paren():
                return self.value(expr.expr, time_ms)
            case ast.VectorSelector():
                return [(labels, value) for labels, _, value in self._newest(expr, time_ms)]
            case ast.MatrixSelector():
                return self._range(expr, time_ms)
            case ast.Subquery():
                return self._subquery(expr, time_ms)
            case ast.Unary():
                value = self.value(expr.expr, time_ms)
                if expr.op == "+":
                    return value
                if isinstance(value, float):
                    return -value
                return functions.distinct([(without_name(labels), -number) for labels, number in value])
            case ast.Aggregate():
                param = None if expr.param is None else self.value(expr.param, time_ms)
                return functions.aggregate(expr, self.value(expr.expr, time_ms), param)
            case ast.Call():
                return self._call(expr, time_ms)
            case ast.Binary():
                left, right = self.value(expr.left, time_ms), self.value(expr.right, time_ms)
                return functions.binary(expr, left, right)

    def _moment(self, node: ast.VectorSelector | ast.Subquery, time_ms: int) -> int:
        at = self._edges[node.at] if isinstance(node.at, ast.AtEdge) else node.at
        return (time_ms if at is None else at) - node.offset_ms

    def _newest(self, node: ast.VectorSelector, time_ms: int) -> list[tuple[Labels, int, float]]:
        """Labels, time and value of the newest sample of each series, unless it says that the series has ended."""
        end = self._moment(node, time_ms)
        out: list[tuple[Labels, int, float]] = []
        for series in self._table.series:
            if fits(series.labels, node.matchers):
                seen = [time for time in series.samples if end - LOOKBACK_MS < time <= end]
                if seen and (value := series.samples[max(seen)]) is not None:
                    out.append((series.labels, max(seen), value))
        return out

    def _range(self, node: ast.MatrixSelector, time_ms: int) -> list[functions.Window]:
        end = self._moment(node.vector, time_ms)
        out: list[functions.Window] = []
        for series in self._table.series:
            if fits(series.labels, node.vector.matchers):
                seen = sorted(time for time in series.samples if end - node.range_ms < time <= end)
                points = [(time, value) for time in seen if (value := series.samples[time]) is not None]
                if points:
                    out.append((series.labels, points))
        return out

    def _subquery(self, node: ast.Subquery, time_ms: int) -> list[functions.Window]:
        end = self._moment(node, time_ms)
        times = self._inner_times(node, end, end)
        self.refuse_shared_names(node.expr, times)
        out: dict[tuple, functions.Window] = {}
        for step in times:
            value = self.value(node.expr, step)
            for labels, number in [({}, value)] if isinstance(value, float) else value:
                out.setdefault(key(labels), (labels, []))[1].append((step, number))
        for _, points in out.values():
            functions.refuse_close_neighbours(points)
        return list(out.values())

    @staticmethod
    def _inner_times(node: ast.Subquery, first_end: int, last_end: int) -> list[int]:
        """The multiples of the step, after the start of the first window."""
        step = node.step_ms or 60_000
        start = (first_end - node.range_ms) // step * step + step
        return list(range(start, last_end + 1, step))

    def refuse_shared_names(self, expr: ast.Expr, times: list[int]) -> None:
        """Range functions drop names over all steps at once: series that differ by name only are refused, whether or
        not they meet at a step. Raises Refused. What the steps themselves say is `value`'s business."""
        for node in ast.children(expr):
            if isinstance(expr, ast.Subquery):
                if times:
                    ends = [self._moment(expr, time) for time in times]
                    self.refuse_shared_names(node, self._inner_times(expr, min(ends), max(ends)))
            else:
                self.refuse_shared_names(node, times)
        if not isinstance(expr, ast.Call) or expr.name in functions.KEEP_NAME | {"absent_over_time"}:
            return
        if not any(isinstance(arg, (ast.MatrixSelector, ast.Subquery)) for arg in expr.args):
            return
        inputs: dict[tuple, set[tuple]] = {}
        for time in times:
            for labels, _ in self._over_windows(expr, time):
                inputs.setdefault(key(without_name(labels)), set()).add(key(labels))
        if any(len(names) > 1 for names in inputs.values()):
            raise Refused("same labelset")

    def _over_windows(self, expr: ast.Call, time_ms: int) -> list[Element]:
        selector = next(arg for arg in expr.args if isinstance(arg, (ast.MatrixSelector, ast.Subquery)))
        place = selector.vector if isinstance(selector, ast.MatrixSelector) else selector
        return functions.over_windows(
            expr, self._arguments(expr, time_ms), time_ms, self._moment(place, time_ms)
        )

    def _arguments(self, expr: ast.Call, time_ms: int) -> list[Any]:
        return [self.value(arg, time_ms) for arg in expr.args]

    def _call(self, expr: ast.Call, time_ms: int) -> Any:
        if expr.name == "time":
            return time_ms / 1000
        if expr.name == "timestamp":
            arg = expr.args[0]
            if isinstance(arg, ast.VectorSelector):
                stamped = [(without_name(labels), at / 1000) for labels, at, _ in self._newest(arg, time_ms)]
            else:
                stamped = [(without_name(labels), time_ms / 1000) for labels, _ in self.value(arg, time_ms)]
            return functions.distinct(stamped)
        if expr.name in ("absent", "absent_over_time"):
            found = self.value(expr.args[0], time_ms)
            return [] if found else [(functions.absent_labels(expr.args[0]), 1.0)]
        if any(isinstance(arg, (ast.MatrixSelector, ast.Subquery)) for arg in expr.args):
            out = self._over_windows(expr, time_ms)
            keep = expr.name in functions.KEEP_NAME
            return functions.distinct(
                [(labels if keep else without_name(labels), value) for labels, value in out]
            )
        return functions.instant(expr.name, self._arguments(expr, time_ms), time_ms)
