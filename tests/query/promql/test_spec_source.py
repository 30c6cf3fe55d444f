"""What `load` puts into memory."""

import numpy as np
import pytest

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.histograms import ResetHint, boxed_rows
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import SampleBlock
from otero.query.promql.spec_histograms import Histogram, from_columns
from otero.query.promql.spec_language import Load, read_commands
from otero.query.promql.spec_series import SpecError
from otero.query.promql.spec_source import MemorySource


def loaded(text: str, name: str) -> SampleBlock:
    source = MemorySource()
    for command in read_commands(text):
        assert isinstance(command, Load)
        source.load(command)
    budget = Budget(SystemClock(), timeout_s=10, max_samples=1000)
    (block,) = source.select([Matcher("__name__", MatchOp.EQUAL, name)], 0, 10**9, budget)
    return block


def cells(block: SampleBlock, series: int = 0) -> list[float | Histogram]:
    values = np.ascontiguousarray(block.values[:, series])
    out: list[float | Histogram] = []
    for row, value in zip(boxed_rows(values).tolist(), values.tolist(), strict=True):
        if row < 0:
            out.append(value)
        else:
            assert block.histograms is not None
            out.append(from_columns(block.histograms, row))
    return out


def hints(text: str) -> list[ResetHint | None]:
    return [cell.hint for cell in cells(loaded(f"load 1m\n h {text}", "h")) if isinstance(cell, Histogram)]


UNKNOWN, NOT_RESET, GAUGE = ResetHint.UNKNOWN, ResetHint.NOT_RESET, ResetHint.GAUGE


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{count:1}}+{{count:1}}x2", [UNKNOWN, NOT_RESET, NOT_RESET]),
        ("{{count:2}} {{count:1}} {{count:1}}", [UNKNOWN, UNKNOWN, NOT_RESET]),
        ("{{count:2}} 1 {{count:3}}", [UNKNOWN, UNKNOWN]),
        ("{{count:2}} stale {{count:3}}", [UNKNOWN, UNKNOWN]),
        ("{{count:2}} _ {{count:3}}", [UNKNOWN, NOT_RESET]),
        ("{{count:1 counter_reset_hint:gauge}}x1 {{count:1}}x1", [GAUGE, GAUGE, UNKNOWN, NOT_RESET]),
        ("{{count:1}} {{count:2 counter_reset_hint:reset}}", [UNKNOWN, UNKNOWN]),
        ("{{schema:1}} {{schema:0}}", [UNKNOWN, UNKNOWN]),
        ("{{count:3 buckets:[1 2]}} {{count:4 buckets:[1 1 2]}}", [UNKNOWN, UNKNOWN]),
        ("{{count:3 buckets:[1 0 2]}} {{count:4 offset:2 buckets:[3]}}", [UNKNOWN, UNKNOWN]),
        ("{{count:3 buckets:[0 3]}} {{count:4 offset:1 buckets:[4]}}", [UNKNOWN, NOT_RESET]),
    ],
)
def test_hints_are_those_of_a_storage(text: str, wanted: list[ResetHint]) -> None:
    assert hints(text) == wanted


def test_floats_and_histograms_share_a_series() -> None:
    first, second = cells(loaded("load 1m\n h 5 {{sum:1}}", "h"))
    assert first == 5.0
    assert isinstance(second, Histogram)
    assert second.sum == 1.0


CLASSIC = """
load_with_nhcb 1m
  h_bucket{le="1"} 1 2
  h_bucket{le="0.5"} 1 1
  h_bucket{le="+Inf"} 4 5
  h_bucket{le="odd"} 9 9
  h_sum 10 20
  h_count 4 _
"""


def test_classic_series_become_histograms_too() -> None:
    first, second = cells(loaded(CLASSIC, "h"))
    assert isinstance(first, Histogram)
    assert isinstance(second, Histogram)
    assert str(first.without_hint()) == "{{schema:-53 sum:10 count:4 custom_values:[0.5 1] buckets:[1 0 3]}}"
    assert str(second.without_hint()) == "{{schema:-53 sum:20 count:5 custom_values:[0.5 1] buckets:[1 1 3]}}"
    assert loaded(CLASSIC, "h_bucket").series_count == 4


def test_a_missing_last_bucket_comes_from_the_count() -> None:
    (histogram,) = cells(loaded('load_with_nhcb 1m\n h_bucket{le="1"} 1\n h_count 3', "h"))
    assert isinstance(histogram, Histogram)
    assert str(histogram.without_hint()) == "{{schema:-53 count:3 custom_values:[1] buckets:[1 2]}}"


def test_buckets_that_make_no_histogram_are_refused() -> None:
    with pytest.raises(SpecError, match='the buckets of "h" at 0 ms are no histogram'):
        loaded('load_with_nhcb 1m\n h_bucket{le="1"} 2\n h_bucket{le="+Inf"} 1', "h")
