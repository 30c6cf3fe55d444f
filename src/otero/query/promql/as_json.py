"""The syntax tree as /api/v1/parse_query shows it."""

from typing import Any

from otero.model.matchers import Matcher
from otero.query.promql.ast import (
    Aggregate,
    At,
    AtEdge,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from otero.query.promql.functions.signatures import SIGNATURES
from otero.query.promql.printer import format_number


def as_json(expr: Expr) -> dict[str, Any]:
    """Plain dicts and lists, with Prometheus' keys. Durations and timestamps are milliseconds.

    Like there, a duration that is computed at run time shows as 0.
    """
    match expr:
        case NumberLiteral():
            return {"type": "numberLiteral", "val": format_number(expr.value)}
        case StringLiteral():
            # Bytes that are no UTF-8 cannot travel in JSON.
            text = expr.value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            return {"type": "stringLiteral", "val": text}
        case VectorSelector():
            return {"type": "vectorSelector", **_selector(expr)}
        case MatrixSelector():
            return {"type": "matrixSelector", **_selector(expr.vector), "range": expr.range_ms}
        case Subquery():
            return {
                "type": "subquery",
                "expr": as_json(expr.expr),
                "range": expr.range_ms,
                "offset": expr.offset_ms,
                "step": expr.step_ms,
                **_at(expr.at),
            }
        case Unary():
            return {"type": "unaryExpr", "op": expr.op, "expr": as_json(expr.expr)}
        case Paren():
            return {"type": "parenExpr", "expr": as_json(expr.expr)}
        case Binary():
            return {
                "type": "binaryExpr",
                "op": str(expr.op),
                "lhs": as_json(expr.left),
                "rhs": as_json(expr.right),
                "matching": _matching(expr.matching),
                "bool": expr.return_bool,
            }
        case Aggregate():
            return {
                "type": "aggregation",
                "op": str(expr.op),
                "expr": as_json(expr.expr),
                "param": None if expr.param is None else as_json(expr.param),
                "grouping": list(expr.grouping),
                "without": expr.without,
            }
        case Call():
            return {"type": "call", "func": _function(expr.name), "args": [as_json(arg) for arg in expr.args]}


def _selector(expr: VectorSelector) -> dict[str, Any]:
    return {
        "name": expr.name,
        "offset": expr.offset_ms,
        "matchers": [_matcher(matcher) for matcher in expr.matchers],
        **_at(expr.at),
        "anchored": expr.anchored,
        "smoothed": expr.smoothed,
    }


def _matcher(matcher: Matcher) -> dict[str, str]:
    return {"name": matcher.name, "value": matcher.value, "type": str(matcher.op)}


def _at(at: At | None) -> dict[str, Any]:
    edge = isinstance(at, AtEdge)
    return {"timestamp": None if edge else at, "startOrEnd": str(at) if edge else None}


def _matching(matching: VectorMatching | None) -> dict[str, Any] | None:
    if matching is None:
        return None
    return {
        "card": str(matching.card),
        "labels": list(matching.labels),
        "on": matching.on,
        "include": list(matching.include),
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    }


def _function(name: str) -> dict[str, Any]:
    signature = SIGNATURES[name]
    return {
        "name": name,
        "argTypes": [str(kind) for kind in signature.args],
        "variadic": signature.variadic,
        "returnType": str(signature.returns),
    }
