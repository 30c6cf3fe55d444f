"""PromQL one sample at a time: slow, obvious, and the judge of the engine in property tests.

An instant vector is a list of `(labels, value)` in order. It covers what the tests generate, no more.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, NO_TIME, STALE, SampleBlock
from otero.query.promql import ast

Labels = dict[str, str]
Element = tuple[Labels, float]

LOOKBACK_MS = 300_000


class Refused(Exception):
    """The query has no answer on this data."""


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
    """A list of elements, a float, or for a range vector a list of `(labels, [(time, value)])`."""
    match expr:
        case ast.NumberLiteral():
            return expr.value
        case ast.Paren():
            return evaluate(expr.expr, time_ms, table)
        case ast.VectorSelector():
            return _lookback(expr, time_ms, table)
        case ast.MatrixSelector():
            return _range(expr, time_ms, table)
        case ast.Subquery():
            return _subquery(expr, time_ms, table)
        case ast.Unary():
            value = evaluate(expr.expr, time_ms, table)
            if expr.op == "+":
                return value
            if isinstance(value, float):
                return -value
            return distinct([(without_name(labels), -number) for labels, number in value])
        case ast.Aggregate():
            return _aggregate(expr, time_ms, table)
        case ast.Call():
            return _call(expr, time_ms, table)
        case ast.Binary():
            left, right = evaluate(expr.left, time_ms, table), evaluate(expr.right, time_ms, table)
            if isinstance(left, float) and isinstance(right, float):
                return _operate(expr.op, left, right)[1]
            if isinstance(left, float) or isinstance(right, float):
                return _with_scalar(expr, left, right)
            if expr.op in ast.SET_OPERATORS:
                return _sets(expr, left, right)
            return _matched(expr, left, right)
    raise NotImplementedError(type(expr))


def _moment(node, time_ms: int) -> int:
    return (time_ms if node.at is None else node.at) - node.offset_ms


def _lookback(node: ast.VectorSelector, time_ms: int, table: Table) -> list[Element]:
    end = _moment(node, time_ms)
    out: list[Element] = []
    for series in table.series:
        if fits(series.labels, node.matchers):
            seen = [time for time in series.samples if end - LOOKBACK_MS < time <= end]
            if seen and (value := series.samples[max(seen)]) is not None:
                out.append((series.labels, value))
    return out


def _range(node: ast.MatrixSelector, time_ms: int, table: Table):
    end = _moment(node.vector, time_ms)
    out = []
    for series in table.series:
        if fits(series.labels, node.vector.matchers):
            seen = sorted(time for time in series.samples if end - node.range_ms < time <= end)
            points = [(time, value) for time in seen if (value := series.samples[time]) is not None]
            if points:
                out.append((series.labels, points))
    return out


def _subquery(node: ast.Subquery, time_ms: int, table: Table):
    end = _moment(node, time_ms)
    start = (end - node.range_ms) // node.step_ms * node.step_ms + node.step_ms
    out: dict[tuple, tuple[Labels, list[tuple[int, float]]]] = {}
    for step in range(start, end + 1, node.step_ms):
        value = evaluate(node.expr, step, table)
        for labels, number in value:
            out.setdefault(key(labels), (labels, []))[1].append((step, number))
    return list(out.values())


_OVER_TIME = {
    "sum_over_time": math.fsum,
    "count_over_time": lambda values: float(len(values)),
    "last_over_time": lambda values: values[-1],
    "max_over_time": lambda values: _best(values, max),
}


def _call(node: ast.Call, time_ms: int, table: Table):
    if node.name == "time":
        return time_ms / 1000
    if node.name == "vector":
        return [({}, evaluate(node.args[0], time_ms, table))]
    if node.name == "scalar":
        value = evaluate(node.args[0], time_ms, table)
        return value[0][1] if len(value) == 1 else math.nan
    if node.name == "absent":
        value = evaluate(node.args[0], time_ms, table)
        return [] if value else [({}, 1.0)]
    points = evaluate(node.args[0], time_ms, table)
    keep = node.name == "last_over_time"
    return distinct(
        [
            (labels if keep else without_name(labels), _OVER_TIME[node.name]([value for _, value in samples]))
            for labels, samples in points
        ]
    )


def _aggregate(node: ast.Aggregate, time_ms: int, table: Table) -> list[Element]:
    param = None if node.param is None else evaluate(node.param, time_ms, table)
    groups: dict[tuple, tuple[Labels, list[Element]]] = {}
    for labels, value in evaluate(node.expr, time_ms, table):
        if node.without:
            kept = {n: v for n, v in labels.items() if n != "__name__" and n not in node.grouping}
        else:
            kept = {n: v for n, v in labels.items() if n in node.grouping}
        groups.setdefault(key(kept), (kept, []))[1].append((labels, value))
    out: list[Element] = []
    for kept, elements in groups.values():
        values = [value for _, value in elements]
        if node.op in (ast.AggregateOp.TOPK, ast.AggregateOp.BOTTOMK):
            sign = -1 if node.op is ast.AggregateOp.TOPK else 1
            ranked = sorted(
                elements,
                key=lambda element: (
                    math.isnan(element[1]),
                    0 if math.isnan(element[1]) else sign * element[1],
                ),
            )
            out += ranked[: max(int(param), 0)]
        else:
            out.append((kept, _reduced(node.op, values, param)))
    return out


def _reduced(op: ast.AggregateOp, values: list[float], param: float | None) -> float:
    mean = sum(values) / len(values)
    match op:
        case ast.AggregateOp.SUM:
            return math.fsum(values)
        case ast.AggregateOp.AVG:
            return math.fsum(values) / len(values)
        case ast.AggregateOp.COUNT:
            return float(len(values))
        case ast.AggregateOp.GROUP:
            return 1.0
        case ast.AggregateOp.MIN:
            return _best(values, min)
        case ast.AggregateOp.MAX:
            return _best(values, max)
        case ast.AggregateOp.STDVAR:
            return math.fsum((value - mean) ** 2 for value in values) / len(values)
        case ast.AggregateOp.QUANTILE:
            assert param is not None
            ranked = sorted(
                values, key=lambda value: (not math.isnan(value), 0 if math.isnan(value) else value)
            )
            rank = param * (len(ranked) - 1)
            low, high = int(rank), min(int(rank) + 1, len(ranked) - 1)
            return ranked[low] * (1 - (rank - low)) + ranked[high] * (rank - low)
    raise NotImplementedError(op)


def _best(values: list[float], choose) -> float:
    real = [value for value in values if not math.isnan(value)]
    return choose(real) if real else math.nan


def _operate(op: ast.BinaryOp, a: float, b: float) -> tuple[bool, float]:
    """Whether the element stays in a comparison without `bool`, and the value (of a comparison 0 or 1)."""
    match op:
        case ast.BinaryOp.ADD:
            return True, a + b
        case ast.BinaryOp.SUB:
            return True, a - b
        case ast.BinaryOp.MUL:
            return True, a * b
        case ast.BinaryOp.DIV:
            return True, a / b
        case ast.BinaryOp.GT:
            return a > b, float(a > b)
        case ast.BinaryOp.LE:
            return a <= b, float(a <= b)
        case ast.BinaryOp.NE:
            return a != b, float(a != b)
    raise NotImplementedError(op)


def _with_scalar(expr: ast.Binary, left, right) -> list[Element]:
    out: list[Element] = []
    swapped = isinstance(left, float)
    for labels, value in right if swapped else left:
        keep, number = _operate(expr.op, left if swapped else value, value if swapped else right)
        if expr.op not in ast.COMPARISONS or expr.return_bool:
            out.append((without_name(labels), number))
        elif keep:
            out.append((labels, value))
    return distinct(out)


def _signature(labels: Labels, matching: ast.VectorMatching) -> tuple:
    if matching.on:
        return key({n: v for n, v in labels.items() if n in matching.labels})
    return key({n: v for n, v in labels.items() if n != "__name__" and n not in matching.labels})


def _sets(expr: ast.Binary, left: list[Element], right: list[Element]) -> list[Element]:
    matching = expr.matching
    assert matching is not None
    on_left = {_signature(labels, matching) for labels, _ in left}
    on_right = {_signature(labels, matching) for labels, _ in right}
    if expr.op is ast.BinaryOp.AND:
        return [element for element in left if _signature(element[0], matching) in on_right]
    if expr.op is ast.BinaryOp.UNLESS:
        return [element for element in left if _signature(element[0], matching) not in on_right]
    return distinct(left + [element for element in right if _signature(element[0], matching) not in on_left])


def _matched(expr: ast.Binary, left: list[Element], right: list[Element]) -> list[Element]:
    matching = expr.matching
    assert matching is not None
    swapped = matching.card is ast.Cardinality.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    if not many or not one:
        return []
    by_signature: dict[tuple, Element] = {}
    for element in one:
        signature = _signature(element[0], matching)
        if signature in by_signature:
            raise Refused("duplicate series on the one side")
        by_signature[signature] = element
    met: set[tuple] = set()
    out: list[Element] = []
    for labels, value in many:
        signature = _signature(labels, matching)
        if signature not in by_signature:
            continue
        other_labels, other = by_signature[signature]
        a, b = (other, value) if swapped else (value, other)
        keep, number = _operate(expr.op, a, b)
        result = dict(labels)
        if expr.op not in ast.COMPARISONS or expr.return_bool:
            result.pop("__name__", None)
        if matching.card is ast.Cardinality.ONE_TO_ONE:
            result = {
                n: v
                for n, v in result.items()
                if (n in matching.labels if matching.on else n not in matching.labels)
            }
        for name in matching.include:
            result.pop(name, None)
            if name in other_labels:
                result[name] = other_labels[name]
        mark = signature if matching.card is ast.Cardinality.ONE_TO_ONE else (signature, key(result))
        if mark in met:
            raise Refused("multiple matches")
        met.add(mark)
        if expr.op not in ast.COMPARISONS or expr.return_bool:
            out.append((result, number))
        elif keep:
            out.append((result, a))
    return distinct(out)


def without_name(labels: Labels) -> Labels:
    return {name: value for name, value in labels.items() if name != "__name__"}


def key(labels: Labels) -> tuple:
    return tuple(sorted(labels.items()))


def distinct(elements: list[Element]) -> list[Element]:
    if len({key(labels) for labels, _ in elements}) < len(elements):
        raise Refused("same labelset")
    return elements
