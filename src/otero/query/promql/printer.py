"""Expressions back to text: on one line, or spread over lines as Prometheus' /api/v1/format_query does it."""

import math
import re
from decimal import Decimal

from otero.model.labels import METRIC_NAME
from otero.model.matchers import Matcher, MatchOp
from otero.query.promql.ast import (
    Aggregate,
    At,
    AtEdge,
    Binary,
    Call,
    Cardinality,
    DurationBinary,
    DurationCall,
    DurationExpr,
    DurationParen,
    DurationUnary,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from otero.query.promql.durations import format_duration
from otero.query.syntax import quote

MAX_LINE = 100
"""Bytes beyond which an expression is spread over lines."""

_PLAIN_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def to_text(expr: Expr) -> str:
    """The canonical text on one line; parsing it gives an equal tree (matchers in sorted order)."""
    match expr:
        case NumberLiteral():
            return format_duration_literal(expr) if expr.duration else format_number(expr.value)
        case StringLiteral():
            return quote(expr.value)
        case VectorSelector():
            return (
                _selector(expr) + _at(expr.at) + _extended(expr) + _offset(expr.offset_ms, expr.offset_expr)
            )
        case MatrixSelector(vector=vector):
            length = _duration(expr.range_ms, expr.range_expr)
            suffix = _extended(vector) + _at(vector.at) + _offset(vector.offset_ms, vector.offset_expr)
            return f"{_selector(vector)}[{length}]{suffix}"
        case Subquery():
            return to_text(expr.expr) + _subquery_suffix(expr)
        case Unary():
            return expr.op + to_text(expr.expr)
        case Binary():
            return f"{to_text(expr.left)} {_operator(expr)} {to_text(expr.right)}"
        case Aggregate():
            param = "" if expr.param is None else to_text(expr.param) + ", "
            return f"{_aggregation(expr)}({param}{to_text(expr.expr)})"
        case Call():
            return f"{expr.name}({', '.join(map(to_text, expr.args))})"
        case Paren():
            return f"({to_text(expr.expr)})"


def format_expr(expr: Expr) -> str:
    """The text with line breaks and indentation where it does not fit into MAX_LINE."""
    return _pretty(expr, 0)


def _pretty(expr: Expr, level: int) -> str:
    indent = "  " * level
    if isinstance(expr, Unary):
        return indent + expr.op + _pretty(expr.expr, level).strip()
    text = to_text(expr)
    if isinstance(expr, Subquery):
        # A subquery that fits is not indented: so does Prometheus.
        return text if _fits(text) else _pretty(expr.expr, level) + _subquery_suffix(expr)
    if _fits(text):
        return indent + text
    match expr:
        case Aggregate():
            param = "" if expr.param is None else _pretty(expr.param, level + 1) + ",\n"
            return f"{indent}{_aggregation(expr)}(\n{param}{_pretty(expr.expr, level + 1)}\n{indent})"
        case Binary():
            left, right = _pretty(expr.left, level + 1), _pretty(expr.right, level + 1)
            return f"{left}\n{indent}{_operator(expr)}\n{right}"
        case Call(args=args) if args:
            inner = ",\n".join(_pretty(arg, level + 1) for arg in args)
            return f"{indent}{expr.name}(\n{inner}\n{indent})"
        case Paren():
            return f"{indent}(\n{_pretty(expr.expr, level + 1)}\n{indent})"
        case _:
            return indent + text


def _fits(text: str) -> bool:
    return len(text.encode("utf-8", "surrogateescape")) <= MAX_LINE


def format_number(value: float) -> str:
    """The shortest decimal notation without an exponent that reads back as the same number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_duration_literal(literal: NumberLiteral) -> str:
    """A duration literal in units; as a number of seconds where milliseconds do not suffice."""
    ms = literal.value * 1000
    if not math.isfinite(ms) or ms != round(ms):
        return format_number(literal.value)
    return format_duration(round(ms))


def _label(name: str) -> str:
    return name if _PLAIN_LABEL.fullmatch(name) else quote(name)


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(map(_label, names))


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.name)}{matcher.op}{quote(matcher.value)}"


def _selector(expr: VectorSelector) -> str:
    shown = [
        _matcher(matcher)
        for matcher in expr.matchers
        if not (
            expr.name
            and matcher.name == METRIC_NAME
            and matcher.op is MatchOp.EQUAL
            and matcher.value == expr.name
        )
    ]
    if not shown and expr.name:
        return expr.name
    return f"{expr.name}{{{','.join(sorted(shown))}}}"


def _at(at: At | None) -> str:
    if at is None:
        return ""
    if isinstance(at, AtEdge):
        return f" @ {at}()"
    seconds, ms = divmod(abs(at), 1000)
    return f" @ {'-' if at < 0 else ''}{seconds}.{ms:03d}"


def _extended(expr: VectorSelector) -> str:
    if expr.anchored:
        return " anchored"
    return " smoothed" if expr.smoothed else ""


def _offset(offset_ms: int, expr: DurationExpr | None) -> str:
    if expr is not None:
        return f" offset {duration_text(expr)}"
    return f" offset {format_duration(offset_ms)}" if offset_ms else ""


def _duration(ms: int, expr: DurationExpr | None) -> str:
    return format_duration(ms) if expr is None else duration_text(expr)


def duration_text(expr: DurationExpr) -> str:
    """A duration expression as text."""
    match expr:
        case NumberLiteral():
            return to_text(expr)
        case DurationParen():
            return f"({duration_text(expr.expr)})"
        case DurationUnary():
            return expr.op + duration_text(expr.expr)
        case DurationCall():
            return f"{expr.name}({', '.join(map(duration_text, expr.args))})"
        case DurationBinary():
            return f"{duration_text(expr.left)} {expr.op} {duration_text(expr.right)}"


def _subquery_suffix(expr: Subquery) -> str:
    step = ""
    if expr.step_ms or expr.step_expr is not None:
        step = _duration(expr.step_ms, expr.step_expr)
    length = _duration(expr.range_ms, expr.range_expr)
    return f"[{length}:{step}]{_at(expr.at)}{_offset(expr.offset_ms, expr.offset_expr)}"


def _aggregation(expr: Aggregate) -> str:
    if expr.without:
        return f"{expr.op} without ({_labels(expr.grouping)}) "
    return f"{expr.op} by ({_labels(expr.grouping)}) " if expr.grouping else str(expr.op)


def _operator(expr: Binary) -> str:
    """The operator with everything that stands between the operands."""
    out = str(expr.op) + (" bool" if expr.return_bool else "")
    matching = expr.matching
    if matching is None:
        return out
    grouped = matching.card in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)
    if matching.labels or matching.on or grouped:
        out += f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if grouped:
        side = "left" if matching.card is Cardinality.MANY_TO_ONE else "right"
        out += f" group_{side} ({_labels(matching.include)})"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and right is not None and repr(left) == repr(right):
        return f"{out} fill ({format_number(left)})"
    if left is not None:
        out += f" fill_left ({format_number(left)})"
    if right is not None:
        out += f" fill_right ({format_number(right)})"
    return out
