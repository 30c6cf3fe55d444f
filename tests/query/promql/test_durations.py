"""Durations: notation and arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadQuery
from otero.query.promql.ast import MatrixSelector
from otero.query.promql.durations import bad_duration, format_duration, parse_duration, resolve
from otero.query.promql.parser import FEATURES, parse


@given(st.integers(0, 10**13))
def test_durations_read_back(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("0", 0), ("1ms", 1), ("1h30m", 5_400_000), ("1y2w3d4h5m6s7ms", 33_019_506_007), ("90s", 90_000)],
)
def test_notation(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "1", "1m1h", "1m1m", "1.5h", "-1m", "h", "1hs", " 1m"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None
    assert text in bad_duration(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [(36_000_000, "10h"), (129_600_000, "36h"), (86_400_000, "1d"), (604_800_000, "1w"), (-90_000, "-1m30s")],
)
def test_shortest_notation(text: int, ms: str) -> None:
    assert format_duration(text) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("5m + 1", 301_000),
        ("-5m + 35m", 1_800_000),
        ("2m * (10 + 5)", 1_800_000),
        ("1h / 2", 1_800_000),
        ("1h30m % 1h", 1_800_000),
        ("2 ^ 3 ^ 2", 512_000),
        ("-2 ^ 2 + 5", 1000),
        ("10 - 3 - 2", 5000),
        ("step() * 2", 30_000),
        ("range() + 1ms", 3_600_001),
        ("min_of(step(), 1s)", 1000),
        ("max_of(-(step()), 1s)", 1000),
    ],
)
def test_arithmetic(text: str, ms: int) -> None:
    expr = parse(f"x[{text}]", features=FEATURES)
    assert isinstance(expr, MatrixSelector)
    assert expr.range_expr is not None
    assert resolve(expr.range_expr, step_ms=15_000, range_ms=3_600_000) == ms


@pytest.mark.parametrize("text", ["1 / (1 - 1)", "1 % (2 - 2)", "10 ^ 10 ^ 10", "(0 - 1) ^ 0.5"])
def test_arithmetic_without_a_result(text: str) -> None:
    expr = parse(f"x[{text}]", features=FEATURES)
    assert isinstance(expr, MatrixSelector)
    assert expr.range_expr is not None
    with pytest.raises(BadQuery):
        resolve(expr.range_expr, step_ms=1000, range_ms=1000)
