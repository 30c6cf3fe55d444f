"""Equality of native histograms, and counters that began anew."""

import math
from dataclasses import replace

import numpy as np
import pytest

from otero.model.histograms import Histograms, ResetHint
from otero.query.promql.native.compare import counter_reset, equal
from otero.query.promql.native.text import describe
from tests.query.promql.native.one import many, one

PLAIN = one(4, 5, [1, 2, 1], zero=1, width=0.001)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (PLAIN, True),
        (replace(PLAIN, hint=np.array([ResetHint.GAUGE], np.uint8)), True),
        (one(4, 5, [1, 2, 1, 0], zero=1, width=0.001), False),
        (one(4, 5, [1, 2, 2], zero=1, width=0.001), False),
        (one(4, 5, [1, 2, 1], offset=1, zero=1, width=0.001), False),
        (one(4, 5, [1, 2, 1], schema=1, zero=1, width=0.001), False),
        (one(4, 6, [1, 2, 1], zero=1, width=0.001), False),
        (one(5, 5, [1, 2, 1], zero=1, width=0.001), False),
        (one(4, 5, [1, 2, 1], zero=1, width=0.002), False),
    ],
)
def test_equality(other: Histograms, same: bool) -> None:
    assert equal(PLAIN, other).tolist() == [same]


def test_equality_row_by_row() -> None:
    a = many(PLAIN, one(1, math.nan, [1], bounds=[5, 10]), one(1, 1, [1], bounds=[5]), PLAIN)
    b = many(one(), one(1, math.nan, [1], bounds=[5, 10]), one(1, 1, [1], bounds=[5, 10]), PLAIN)
    assert equal(a, b).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("before", "now", "reset"),
    [
        (PLAIN, PLAIN, False),
        (one(4, 5, [1, 2, 1]), one(3, 5, [1, 2, 1]), True),
        (one(4, 5, [1, 2, 1]), one(9, 5, [1, 1, 9]), True),
        (one(4, 5, [1, 2, 1]), one(9, 5, [1, 2]), True),
        (one(4, 5, [1, 2, 0]), one(9, 5, [1, 2]), False),
        (one(4, 5, below=[1, 2]), one(9, 5, below=[1, 1]), True),
        (one(4, 5, [1]), one(9, 5, [1], schema=1), True),
        (one(4, 5, [1, 2], schema=1, offset=1), one(9, 5, [3], offset=1), False),
        (one(4, 5, [1, 2], schema=1, offset=1), one(9, 5, [2], offset=1), True),
        (one(4, 5, [1], zero=2, width=0.1), one(9, 5, [1], zero=2, width=0.01), True),
        (one(4, 5, [1, 1], zero=2, width=0.1), one(9, 5, [0, 1], zero=3, width=1), False),
        (one(4, 5, [1, 1], zero=2, width=0.1), one(9, 5, [0, 1], zero=2, width=1), True),
        (one(4, 5, [1, 1], zero=2, width=0.1), one(9, 5, [0, 1], zero=5, width=0.7), True),
        (one(4, 5, [1]), one(9, 5, [9], bounds=[5]), True),
        (one(9, 5, [1], bounds=[5]), one(9, 5, [9]), True),
        (one(4, 5, [1, 2], bounds=[5]), one(4, 5, [1, 2], bounds=[5]), False),
        (one(4, 5, [1, 2], bounds=[5]), one(4, 5, [0, 4], bounds=[5]), True),
        (
            one(15, 55, [1, 2, 5, 7], bounds=[2, 4, 6]),
            one(15, 56, [1, 0, 1, 5, 8], bounds=[2, 3, 4, 6]),
            True,
        ),
        (
            one(15, 55, [1, 2, 5, 7], bounds=[2, 4, 6]),
            one(15, 56, [1, 1, 1, 5, 8], bounds=[2, 3, 4, 6]),
            False,
        ),
    ],
)
def test_counters_that_began_anew(before: Histograms, now: Histograms, reset: bool) -> None:
    assert counter_reset(now, before).tolist() == [reset]


def test_the_hint_decides_where_it_knows() -> None:
    low, high = one(3, 5, [1]), one(9, 5, [5])
    now = many(
        replace(low, hint=np.array([ResetHint.NOT_RESET], np.uint8)),
        replace(high, hint=np.array([ResetHint.RESET], np.uint8)),
        replace(low, hint=np.array([ResetHint.GAUGE], np.uint8)),
    )
    assert counter_reset(now, many(high, low, high)).tolist() == [False, True, True]


def test_descriptions() -> None:
    h = many(
        one(4, 5.5, [1, 0, 2], zero=1, width=0.001, below=[3]),
        one(3, 1, [1, 2], bounds=[5, 10]),
        one(0, 0),
        one(2, 0, zero=2, width=0.5),
    )
    assert describe(h) == [
        "{count:4, sum:5.5, [-1,-0.5):3, [-0.001,0.001]:1, (0.5,1]:1, (2,4]:2}",
        "{count:3, sum:1, [-Inf,5]:1, (5,10]:2}",
        "{count:0, sum:0}",
        "{count:2, sum:0, [-0.5,0.5]:2}",
    ]
