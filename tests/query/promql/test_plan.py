"""The decisions of the plan, read off the plan."""

import pytest

from otero.errors import BadQuery
from otero.query.promql import ast
from otero.query.promql.parser import FEATURES, parse
from otero.query.promql.plan import Edges, depends_on_edges, hints, make_plan, subquery_grid
from otero.query.series import Steps

MINUTE = 60_000
EDGES = Edges(600_000, 1_200_000, MINUTE)


def planned(text: str):
    return make_plan(parse(text, features=FEATURES), EDGES)


def constant_texts(text: str) -> set[str]:
    plan = planned(text)
    return {text[node.start : node.end] for node in ast.walk(plan.expr) if id(node) in plan.constant}


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("m @ 10", {"m @ 10"}),
        ("sum(m @ 10) + 1", {"sum(m @ 10) + 1"}),
        ("m + (n @ 10)", {"(n @ 10)"}),
        ("rate(m[5m] @ end())", {"rate(m[5m] @ end())"}),
        ("rate(m[5m])", set()),
        ("m + 1", set()),
        ("timestamp(m @ 10)", {"m @ 10"}),
        ("sum_over_time(m[5m:1m] @ 10)", {"sum_over_time(m[5m:1m] @ 10)"}),
        ("sum_over_time((m @ 10)[5m:1m])", {"(m @ 10)"}),
        ("minute(m @ 10) * 2", {"m @ 10"}),
        ("info(m @ 10)", {"info(m @ 10)"}),
    ],
)
def test_topmost_parts_that_do_not_change_from_step_to_step(text: str, constant: set[str]) -> None:
    assert constant_texts(text) == constant


def reads(text: str) -> list[tuple[str, int, int]]:
    steps = Steps.between(600_000, 1_200_000, MINUTE)
    found = hints(planned(text).expr, steps, 5 * MINUTE, MINUTE)
    return [(read.matchers[0].value, read.start_ms, read.end_ms) for read in found]


def test_each_selector_reads_what_its_windows_cover() -> None:
    assert reads("m") == [("m", 300_001, 1_200_000)]
    assert reads("rate(m[10m] offset 1m)") == [("m", -59_999, 1_140_000)]
    assert reads("m @ 0") == [("m", -299_999, 0)]
    assert reads("rate(m[5m] smoothed)") == [("m", 1, 1_500_000)]
    assert reads("sum_over_time(m[10m:2m])") == [("m", -179_999, 1_200_000)]
    assert reads("1 + time()") == []


def test_selectors_with_equal_matchers_share_a_read_only_when_their_ranges_touch() -> None:
    assert reads("rate(m[5m]) / m") == [("m", 300_001, 1_200_000)]
    assert reads("m - m offset 1h") == [("m", -3_299_999, -2_400_000), ("m", 300_001, 1_200_000)]


def test_info_reads_its_second_selector_by_itself() -> None:
    assert reads('info(m, {k="v"})') == [("m", 300_001, 1_200_000)]


def test_repeated_selectors_are_known() -> None:
    assert {type(node) for node in planned("m / m + rate(n[1m]) * rate(n[1m])").repeated} == {
        ast.VectorSelector,
        ast.MatrixSelector,
    }
    assert planned("m / m offset 1m").repeated == frozenset()


@pytest.mark.parametrize(
    "text", ["m @ start()", "m @ end()", "m[step()]", "m offset range()", "m[5m:step()]"]
)
def test_what_depends_on_the_querys_times(text: str) -> None:
    assert depends_on_edges(parse(text, features=FEATURES))
    assert not depends_on_edges(planned(text).expr)


def test_a_range_that_comes_out_empty_is_refused() -> None:
    with pytest.raises(BadQuery, match="greater than 0"):
        planned("rate(m[range() - 1h])")


@pytest.mark.parametrize(
    ("at_ms", "first", "count"),
    [(600_000, 360_000, 5), (630_000, 360_000, 5), (0, -240_000, 5), (-1, -300_000, 5)],
)
def test_steps_of_a_subquery_lie_on_multiples_of_its_step(at_ms: int, first: int, count: int) -> None:
    node = planned("m[5m:1m]").expr
    assert isinstance(node, ast.Subquery)
    assert subquery_grid(node, Steps.at(at_ms), MINUTE) == Steps(first, MINUTE, count)


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("histogram_count(sum(rate(x[5m])))", ["x"]),
        ("histogram_sum(x)", ["x"]),
        ("sum(rate(x[5m]))", []),
        ("histogram_quantile(0.9, x)", []),
        ("histogram_count(x unless y)", []),
        ("histogram_count(x) / histogram_quantile(0.5, x)", ["x"]),
        ("histogram_count(increase(x[10m:1m]))", []),
        ("histogram_count(rate(x[5m] anchored))", []),
    ],
)
def test_buckets_that_nobody_reads(text: str, unread: list[str]) -> None:
    plan = planned(text)
    names = [
        node.name
        for node in ast.walk(plan.expr)
        if isinstance(node, ast.VectorSelector) and id(node) in plan.unread_buckets
    ]
    assert names == unread
