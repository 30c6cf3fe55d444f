"""The trim operators, on the cases of Prometheus' own tests and on what must hold for any."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.model.histograms import Histograms
from otero.query.promql.native.trim import trim
from tests.query.promql.native.one import buckets_of, one

INF = math.inf
PLAIN = one(34, 123.75, [2, 4, 8, 16], zero=1, width=0.001, below=[1, 2])
FINE = one(28, 12.8286080906, [1, 2, 4, 7, 3], schema=2, zero=1, width=0.001, below=[1, 5, 3, 1])
POSITIVE = one(12, 8.0210678118654755, [10], zero=2, width=0.5)
NEGATIVE = one(12, -8.0210678118654755, below=[10], zero=2, width=0.5)
ZERO = one(5, 0, zero=5, width=0.1)
CUSTOM = one(15, 172.5, [1, 6, 4, 3, 1], bounds=[5, 10, 15, 20])
BELOW = one(15, 172.5, [2, 1, 6, 4, 3, 1], bounds=[-10, 5, 10, 15, 20])
SINGLE = one(100, 100, [100], bounds=[])
AT_ZERO = one(101, 33, [1, 100], bounds=[0])
AT_FIVE = one(101, 33, [1, 100], bounds=[5])
AT_MINUS_FIVE = one(101, 33, [1, 100], bounds=[-5])

CASES = [
    (PLAIN, ">/", -INF, PLAIN),
    (PLAIN, "</", INF, PLAIN),
    (PLAIN, ">/", INF, one(width=0.001)),
    (PLAIN, "</", -INF, one(width=0.001)),
    (PLAIN, ">/", 0, one(30.5, 120.20840280171308, [2, 4, 8, 16], zero=0.5, width=0.001)),
    (PLAIN, "</", 0, one(3.5, -3.53578390593273768, zero=0.5, width=0.001, below=[1, 2])),
    (PLAIN, "</", 1.4142135624, one(8, 0.2570938865989847, [2, 2], zero=1, width=0.001, below=[1, 2])),
    (PLAIN, ">/", 1.4142135624, one(26, 116.50067065070982, [0, 2, 8, 16], width=0.001)),
    (PLAIN, "</", 2, one(10, 3.5355339059327373, [2, 4], zero=1, width=0.001, below=[1, 2])),
    (PLAIN, ">/", -1, one(32, 119.50104602052653, [2, 4, 8, 16], zero=1, width=0.001, below=[1])),
    (PLAIN, "</", -1, one(2, -2.8284271247461903, width=0.001, below=[2], below_offset=1)),
    (
        FINE,
        "</",
        1.13,
        one(
            13.410582181123704,
            -9.385798726068233,
            [1, 1.410582181123704],
            schema=2,
            zero=1,
            width=0.001,
            below=[1, 5, 3, 1],
        ),
    ),
    (
        FINE,
        ">/",
        1.13,
        one(
            14.589417818876296,
            22.168126492693734,
            [0.589417818876296, 4, 7, 3],
            schema=2,
            offset=1,
            width=0.001,
        ),
    ),
    (
        FINE,
        ">/",
        -1.3,
        one(
            25.54213947904476,
            16.29588491217537,
            [1, 2, 4, 7, 3],
            schema=2,
            zero=1,
            width=0.001,
            below=[1, 5, 1.54213947904476],
        ),
    ),
    (
        FINE,
        "</",
        -1.3,
        one(
            2.45786052095524,
            -3.5189307983595066,
            schema=2,
            width=0.001,
            below=[1.45786052095524, 1],
            below_offset=2,
        ),
    ),
    (POSITIVE, ">/", 0.5, one(10, 7.0710678118654755, [10], width=0.5)),
    (POSITIVE, ">/", 0.1, one(11.6, 7.551067811865476, [10], zero=1.6, width=0.5)),
    (POSITIVE, ">/", 0, POSITIVE),
    (POSITIVE, "</", 0.5, one(2, 0.5, zero=2, width=0.5)),
    (POSITIVE, "</", 0.1, one(0.4, 0.02, zero=0.4, width=0.5)),
    (POSITIVE, "</", 0, one(width=0.5)),
    (NEGATIVE, "</", -0.5, one(10, -7.0710678118654755, width=0.5, below=[10])),
    (NEGATIVE, "</", -0.1, one(11.6, -7.551067811865476, zero=1.6, width=0.5, below=[10])),
    (NEGATIVE, "</", 0, NEGATIVE),
    (NEGATIVE, ">/", -0.5, one(2, -0.5, zero=2, width=0.5)),
    (NEGATIVE, ">/", 0, one(width=0.5)),
    (ZERO, ">/", 0.1, one(width=0.1)),
    (ZERO, "</", 0.1, ZERO),
    (ZERO, ">/", 0.05, one(1.25, 0.09375, zero=1.25, width=0.1)),
    (ZERO, "</", 0.05, one(3.75, -0.09375, zero=3.75, width=0.1)),
    (ZERO, "</", -0.1, one(width=0.1)),
    (ZERO, ">/", -0.1, ZERO),
    (CUSTOM, "</", 15, one(11, 97.5, [1, 6, 4], bounds=[5, 10, 15, 20])),
    (CUSTOM, ">/", 15, one(4, 72.5, [3, 1], offset=3, bounds=[5, 10, 15, 20])),
    (CUSTOM, "</", 13, one(9.4, 75.1, [1, 6, 2.4], bounds=[5, 10, 15, 20])),
    (CUSTOM, ">/", 13, one(5.6, 94.9, [1.6, 3, 1], offset=2, bounds=[5, 10, 15, 20])),
    (CUSTOM, "</", 50, one(14, 150.0, [1, 6, 4, 3], bounds=[5, 10, 15, 20])),
    (CUSTOM, "</", -INF, one(bounds=[5, 10, 15, 20])),
    (CUSTOM, ">/", INF, one(bounds=[5, 10, 15, 20])),
    (CUSTOM, "</", INF, CUSTOM),
    (CUSTOM, ">/", -INF, CUSTOM),
    (CUSTOM, ">/", 0, CUSTOM),
    (CUSTOM, "</", 0, one(bounds=[5, 10, 15, 20])),
    (BELOW, "</", 2, one(2.8, -23.2, [2, 0.8], bounds=[-10, 5, 10, 15, 20])),
    (BELOW, "</", -4, one(2.4, -22.8, [2, 0.4], bounds=[-10, 5, 10, 15, 20])),
    (BELOW, "</", -15, one(2, -30, [2], bounds=[-10, 5, 10, 15, 20])),
    (SINGLE, "</", 10, one(bounds=[])),
    (SINGLE, ">/", 10, one(bounds=[])),
    (SINGLE, "</", INF, SINGLE),
    (SINGLE, ">/", -INF, SINGLE),
    (SINGLE, ">/", INF, one(bounds=[])),
    (SINGLE, "</", -INF, one(bounds=[])),
    (AT_ZERO, "</", 10, one(1, 0, [1], bounds=[0])),
    (AT_ZERO, "</", 0, one(1, 0, [1], bounds=[0])),
    (AT_ZERO, "</", -10, one(1, -10, [1], bounds=[0])),
    (AT_ZERO, ">/", -10, one(100, 0, [0, 100], bounds=[0])),
    (AT_ZERO, ">/", 0, one(100, 0, [0, 100], bounds=[0])),
    (AT_ZERO, ">/", 10, one(100, 1000, [0, 100], bounds=[0])),
    (AT_FIVE, "</", 10, one(1, 2.5, [1], bounds=[5])),
    (AT_FIVE, "</", 2, one(0.4, 0.4, [0.4], bounds=[5])),
    (AT_FIVE, "</", 0, one(bounds=[5])),
    (AT_FIVE, "</", -10, one(bounds=[5])),
    (AT_FIVE, ">/", -10, one(100, 500, [0, 100], bounds=[5])),
    (AT_FIVE, ">/", 0, AT_FIVE),
    (AT_FIVE, ">/", 2, one(100.6, 502.1, [0.6, 100], bounds=[5])),
    (AT_FIVE, ">/", 10, one(100, 1000, [0, 100], bounds=[5])),
    (AT_MINUS_FIVE, "</", 10, one(1, -5, [1], bounds=[-5])),
    (AT_MINUS_FIVE, "</", -10, one(1, -10, [1], bounds=[-5])),
    (AT_MINUS_FIVE, ">/", -10, one(100, -500, [0, 100], bounds=[-5])),
    (AT_MINUS_FIVE, ">/", -2, one(100, -200, [0, 100], bounds=[-5])),
    (AT_MINUS_FIVE, ">/", 10, one(100, 1000, [0, 100], bounds=[-5])),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_cases_of_prometheus(number: int) -> None:
    given_h, operator, at, wanted = CASES[number]
    out = trim(given_h, np.array([float(at)]), upper=operator == "</")
    assert out.count[0] == pytest.approx(wanted.count[0], rel=1e-9)
    assert out.sum[0] == pytest.approx(wanted.sum[0], rel=1e-9)
    assert out.zero_count[0] == pytest.approx(wanted.zero_count[0], rel=1e-9)
    assert buckets_of(out) == pytest.approx(buckets_of(wanted), rel=1e-9)


def test_rows_are_cut_each_at_its_own_value() -> None:
    rows = Histograms.concat([PLAIN, CUSTOM, FINE])
    out = trim(rows, np.array([2.0, 13.0, 1.13]), upper=True)
    assert out.count.tolist() == pytest.approx([10, 9.4, 13.410582181123704])


@given(st.floats(-20, 20), st.sampled_from([PLAIN, FINE, POSITIVE, NEGATIVE, ZERO]))
def test_both_sides_are_the_whole(at: float, h: Histograms) -> None:
    limit = np.array([at])
    below, above = trim(h, limit, upper=True), trim(h, limit, upper=False)
    assert below.count[0] + above.count[0] == pytest.approx(h.count[0])
