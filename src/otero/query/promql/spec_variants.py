"""The same question asked otherwise: with `@`, which must give the same answer whenever it is asked."""

from dataclasses import replace

from otero.query.promql.ast import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    walk,
)
from otero.query.promql.parser import FEATURES, parse
from otero.query.promql.printer import to_text

EVALUATION_TIME_FUNCTIONS = frozenset(
    [
        "days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute", "month", "year",
        "predict_linear", "time", "timestamp", "start_timestamp", "start", "end", "step", "range",
    ]
)  # fmt: skip
"""Functions whose result may depend on when they are evaluated although their argument does not."""


def asks_for_range(text: str) -> bool:
    """Whether the answer depends on the range and the step of the query."""
    return any(f"{name}()" in text.lower() for name in ("start", "end", "range", "step"))


def pinned(text: str, time_ms: int) -> tuple[str, tuple[int, ...]] | None:
    """The query with `@ time_ms` on every selector that has none, and other times at which to ask it.

    None when the answer would depend on the time of the evaluation all the same.
    """
    expr = parse(text, features=FEATURES)
    calls = {node.name for node in walk(expr) if isinstance(node, Call)}
    if calls & EVALUATION_TIME_FUNCTIONS or asks_for_range(text):
        return None
    times = (-10 * time_ms, 0, time_ms // 5, 10 * time_ms) if time_ms else (-1000, 1000)
    return to_text(_pin(expr, time_ms)), times


def _pin(expr: Expr, time_ms: int) -> Expr:
    match expr:
        case VectorSelector() | Subquery():
            return expr if expr.at is not None else replace(expr, at=time_ms)
        case MatrixSelector(vector=vector):
            return expr if vector.at is not None else replace(expr, vector=replace(vector, at=time_ms))
        case Unary() | Paren():
            return replace(expr, expr=_pin(expr.expr, time_ms))
        case Binary():
            return replace(expr, left=_pin(expr.left, time_ms), right=_pin(expr.right, time_ms))
        case Aggregate():
            param = None if expr.param is None else _pin(expr.param, time_ms)
            return replace(expr, expr=_pin(expr.expr, time_ms), param=param)
        case Call():
            return replace(expr, args=tuple(_pin(arg, time_ms) for arg in expr.args))
        case NumberLiteral() | StringLiteral():
            return expr
