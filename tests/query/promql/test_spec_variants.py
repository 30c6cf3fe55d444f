"""Queries pinned to a time."""

import pytest

from otero.query.promql.spec_variants import pinned


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a + b offset 1m", "a @ 60.000 + b @ 60.000 offset 1m"),
        ("sum by (x) (rate(a[5m]))", "sum by (x) (rate(a[5m] @ 60.000))"),
        ("max_over_time((a @ 5 * b)[5m:])", "max_over_time((a @ 5.000 * b)[5m:] @ 60.000)"),
        ("1 + 2", "1 + 2"),
    ],
)
def test_selectors_get_the_time_where_they_have_none(text: str, wanted: str) -> None:
    assert pinned(text, 60_000) == (wanted, (-600_000, 0, 12_000, 600_000))


@pytest.mark.parametrize(
    "text", ["time()", "hour(a)", "a * timestamp(a)", "predict_linear(a[5m], 5)", "a @ start()"]
)
def test_what_depends_on_the_evaluation_is_left_out(text: str) -> None:
    assert pinned(text, 60_000) is None
