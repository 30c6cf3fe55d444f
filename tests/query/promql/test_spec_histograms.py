"""Histogram literals of the test language: reading, stepping, comparing, columns and back."""

import math

import pytest

from otero.model.histograms import CUSTOM, ResetHint
from otero.query.promql.spec_compare import almost_equal
from otero.query.promql.spec_histograms import (
    Histogram,
    HistogramError,
    agree,
    as_columns,
    from_columns,
    read_histogram,
)
from otero.query.promql.spec_series import SpecError, read_series

FULL = (
    "schema:1 sum:-3.5 count:22 z_bucket:2 z_bucket_w:0.001 offset:-1 buckets:[5 10 7]"
    " n_offset:2 n_buckets:[1] counter_reset_hint:gauge"
)


def test_every_key_is_read() -> None:
    assert read_histogram(FULL) == Histogram(
        schema=1,
        sum=-3.5,
        count=22.0,
        zero_threshold=0.001,
        zero_count=2.0,
        positive={-1: 5.0, 0: 10.0, 1: 7.0},
        negative={2: 1.0},
        hint=ResetHint.GAUGE,
    )
    assert read_histogram("  schema:-53 custom_values:[-1 +Inf] buckets:[1 NaN]  ").bounds == (-1.0, math.inf)
    assert read_histogram(" ") == Histogram()


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        "",
        "sum:1",
        "schema:-53 count:3 custom_values:[1 2.5] buckets:[1 2]",
        "offset:-3 buckets:[1 0 2]",
    ],
)
def test_a_histogram_is_shown_as_a_literal_that_reads_back(text: str) -> None:
    histogram = read_histogram(text)
    shown = str(histogram)
    assert agree(histogram, read_histogram(shown[2:-2]), almost_equal)
    assert str(read_histogram(shown[2:-2])) == shown


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sum:1 sum:2", 'key "sum" is twice'),
        ("total:1", 'unknown key "total"'),
        ("sum:[1]", "sum of a histogram must be a number"),
        ("buckets:1", "must be a list like"),
        ("buckets:[1 x]", 'must be a number, not "x"'),
        ("schema:1.5", "small whole number"),
        ("schema:9", "none of -4 to 8"),
        ("counter_reset_hint:maybe", "none of unknown, reset, not_reset, gauge"),
        ("sum 1", 'expected "key:value"'),
    ],
)
def test_what_is_wrong_is_said(text: str, complaint: str) -> None:
    with pytest.raises(HistogramError, match=complaint):
        read_histogram(text)
    with pytest.raises(SpecError, match=complaint):
        read_series(f"h {{{{{text}}}}}")


def test_repetitions_and_steps() -> None:
    items = read_series(
        "h {{sum:1}}x2 {{sum:1 buckets:[1]}}+{{sum:2 offset:1 buckets:[3]}}x2 {{sum:9}}-{{sum:4}}x1"
    ).items
    assert [item.sum for item in items if isinstance(item, Histogram)] == [1, 1, 1, 1, 3, 5, 9, 5]
    last = items[5]
    assert isinstance(last, Histogram)
    assert last.positive == {0: 1.0, 1: 6.0}


def test_a_step_of_higher_resolution_is_merged_into_coarser_buckets() -> None:
    after = read_series("h {{schema:-1 buckets:[1] offset:1}}+{{schema:0 buckets:[2 2] offset:1}}x1").items[1]
    assert isinstance(after, Histogram)
    assert (after.schema, after.positive) == (-1, {1: 5.0})
    with pytest.raises(SpecError, match="cannot merge from schema 0 to 1"):
        read_series("h {{schema:1}}+{{schema:0}}x1")


def test_histograms_agree_but_for_rounding_and_empty_buckets() -> None:
    one = read_histogram("sum:1 count:3 buckets:[1 0 2]")
    assert agree(one, read_histogram("sum:1.0000001 count:3 buckets:[1 0 2 0] n_buckets:[0]"), almost_equal)
    for other in (
        "sum:1.1 count:3 buckets:[1 0 2]",
        "sum:1 count:4 buckets:[1 0 2]",
        "sum:1 count:3 buckets:[1 0 3]",
        "sum:1 count:3 buckets:[1 2]",
        "sum:1 count:3 n_buckets:[1 0 2]",
        "sum:1 count:3 buckets:[1 0 2] offset:1",
        "sum:1 count:3 buckets:[1 0 2] schema:1",
        "sum:1 count:3 buckets:[1 0 2] z_bucket:1",
        "sum:1 count:3 buckets:[1 0 2] z_bucket_w:0.1",
        "sum:1 count:3 buckets:[1 1e-300 2]",
    ):
        assert not agree(one, read_histogram(other), almost_equal), other
    custom = read_histogram("schema:-53 custom_values:[1 2] buckets:[1]")
    assert not agree(custom, read_histogram("schema:-53 custom_values:[1 3] buckets:[1]"), almost_equal)


def test_hints_are_compared_only_where_they_are_asked_for() -> None:
    gauge = read_histogram("counter_reset_hint:gauge")
    assert agree(read_histogram(""), gauge, almost_equal)
    assert not agree(read_histogram("counter_reset_hint:not_reset"), gauge, almost_equal)
    assert agree(read_histogram("counter_reset_hint:unknown"), read_histogram(""), almost_equal)


def test_columns_and_back() -> None:
    histograms = [
        read_histogram(text)
        for text in (
            FULL,
            "counter_reset_hint:unknown",
            "schema:-53 count:3 custom_values:[1 2] buckets:[1 2] counter_reset_hint:reset",
        )
    ]
    columns = as_columns(histograms)
    assert [from_columns(columns, row) for row in range(3)] == histograms
    assert columns.bounds.tolist() == [-1, -1, 0]
    assert columns.schema.tolist() == [1, 0, CUSTOM]
    assert columns.bucket[:4].tolist() == sorted(columns.bucket[:4].tolist())
