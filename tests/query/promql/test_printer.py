"""Expressions back to text, and as JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.query.promql.as_json import as_json
from otero.query.promql.ast import NumberLiteral, StringLiteral, VectorSelector
from otero.query.promql.parser import FEATURES, parse
from otero.query.promql.printer import MAX_LINE, format_expr, format_number, to_text

CANONICAL = {
    "sum(x)by(b,a)": "sum by (b, a) (x)",
    "sum without() (x)": "sum without () (x)",
    "TOPK(3,x)": "topk(3, x)",
    "a+on(x)group_left b": "a + on (x) group_left () b",
    "a*ignoring()b": "a * b",
    "a==bool 1e3": "a == bool 1000",
    "a and on() b": "a and on () b",
    "- -1": "1",
    "-(1)": "-(1)",
    "x{b='2',a=~`1`}@1.5 offset -90": 'x{a=~"1",b="2"} @ 1.500 offset -1m30s',
    '{"a.b"}': '{__name__="a.b"}',
    'x{"a b"="c"}': 'x{"a b"="c"}',
    "sum by('a b')(x)": 'sum by ("a b") (x)',
    "x[90s]@end()": "x[1m30s] @ end()",
    "x[1d:]": "x[1d:]",
    "x[36h:0.5]": "x[36h:500ms]",
    "x[5m]smoothed offset 1m": "x[5m] smoothed offset 1m",
    "x[-5m+2*(1h30m^1)]": "x[-5m + 2 * (1h30m ^ 1)]",
    "x offset -MIN_OF(step(),1s)": "x offset -min_of(step(), 1s)",
    "a+fill(0)b": "a + fill (0) b",
    "a+fill_right(1)b": "a + fill_right (1) b",
    "1h30m + x": "1h30m + x",
    "Inf-nan": "+Inf - NaN",
    "1e-7": "0.0000001",
    "'a\"\\n'": '"a\\"\\n"',
    "'\\xff'": '"\\xff"',
    "h </ 2": "h </ 2",
}


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_text(text: str) -> None:
    expr = parse(text, features=FEATURES)
    assert to_text(expr) == CANONICAL[text]
    again = parse(to_text(expr), features=FEATURES)
    assert to_text(again) == CANONICAL[text]
    if "{" not in text and "nan" not in text and "fill" not in text:
        assert again == expr


@given(st.floats(allow_nan=False))
def test_numbers_read_back_as_they_were(value: float) -> None:
    expr = parse(format_number(value))
    assert isinstance(expr, NumberLiteral)
    assert expr.value == value


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_strings_read_back_as_they_were(value: str) -> None:
    assert parse(to_text(StringLiteral(value))) == StringLiteral(value)


def test_short_expressions_stay_on_one_line() -> None:
    assert format_expr(parse("sum(rate(x[5m]))by(job)>1")) == "sum by (job) (rate(x[5m])) > 1"


def test_long_expressions_are_spread_over_lines() -> None:
    name = "a_metric_with_quite_a_long_name_that_fills_the_line"
    text = (
        f"sum by (job) (rate({name}{{code=~'5..'}}[5m])) / on (job) group_left () topk(3, {name}) > -(1 + 2)"
    )
    assert format_expr(parse(text)) == (
        '    sum by (job) (rate(a_metric_with_quite_a_long_name_that_fills_the_line{code=~"5.."}[5m]))\n'
        "  / on (job) group_left ()\n"
        "    topk(3, a_metric_with_quite_a_long_name_that_fills_the_line)\n"
        ">\n"
        "  -(1 + 2)"
    )


def test_calls_and_parentheses_break_too() -> None:
    long = "m" * (MAX_LINE - 3)
    assert format_expr(parse(f"round(({long} + 1), 0.1)")) == (
        f"round(\n  (\n      {long}\n    +\n      1\n  ),\n  0.1\n)"
    )
    assert format_expr(parse(f"topk(5, abs({long}))")) == f"topk(\n  5,\n  abs(\n    {long}\n  )\n)"


@pytest.mark.parametrize("text", CANONICAL)
def test_formatting_keeps_the_meaning(text: str) -> None:
    expr = parse(text, features=FEATURES)
    assert to_text(parse(format_expr(expr), features=FEATURES)) == to_text(expr)


def test_json_of_parse_query() -> None:
    assert as_json(parse('sum by (job) (rate(up{a!="b"}[5m] offset 1m)) > bool 2')) == {
        "type": "binaryExpr",
        "op": ">",
        "bool": True,
        "matching": None,
        "lhs": {
            "type": "aggregation",
            "op": "sum",
            "param": None,
            "grouping": ["job"],
            "without": False,
            "expr": {
                "type": "call",
                "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                "args": [
                    {
                        "type": "matrixSelector",
                        "name": "up",
                        "range": 300_000,
                        "offset": 60_000,
                        "matchers": [
                            {"name": "a", "value": "b", "type": "!="},
                            {"name": "__name__", "value": "up", "type": "="},
                        ],
                        "timestamp": None,
                        "startOrEnd": None,
                        "anchored": False,
                        "smoothed": False,
                    }
                ],
            },
        },
        "rhs": {"type": "numberLiteral", "val": "2"},
    }


def test_json_of_matching_and_subqueries() -> None:
    assert as_json(parse("a * on (x) group_right (y) b"))["matching"] == {
        "card": "one-to-many",
        "labels": ["x"],
        "on": True,
        "include": ["y"],
        "fillValues": {"lhs": None, "rhs": None},
    }
    assert as_json(parse("(-a)[5m:1m] @ start()")) == {
        "type": "subquery",
        "expr": {
            "type": "parenExpr",
            "expr": {"type": "unaryExpr", "op": "-", "expr": as_json(parse("a"))},
        },
        "range": 300_000,
        "step": 60_000,
        "offset": 0,
        "timestamp": None,
        "startOrEnd": "start",
    }
    assert as_json(StringLiteral("a\udcff")) == {"type": "stringLiteral", "val": "a\ufffd"}
    assert as_json(VectorSelector("", (), at=5))["timestamp"] == 5
