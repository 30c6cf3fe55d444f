"""Sums, means and extremes of groups against what exact arithmetic says."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otero.query.promql import aggregate, choose

shapes = st.tuples(st.integers(1, 4), st.integers(1, 30))
finite = st.floats(-1e300, 1e300) | st.integers(-5, 5).map(float) | st.sampled_from([1e100, -1e100, 0.1])


@st.composite
def grouped(draw: st.DrawFn, elements: st.SearchStrategy[float] = finite):
    shape = draw(shapes)
    values = draw(arrays(np.float64, shape, elements=elements))
    present = draw(st.none() | arrays(np.bool_, shape))
    raw = draw(arrays(np.int64, shape[1], elements=st.integers(0, 3)))
    _, groups = np.unique(raw, return_inverse=True)
    return values, present, groups.astype(np.intp), int(groups.max()) + 1


def members(values, present, groups, step: int, group: int) -> list[float]:
    return [
        float(values[step, at])
        for at in range(values.shape[1])
        if groups[at] == group and (present is None or present[step, at])
    ]


@given(grouped())
def test_a_sum_is_as_exact_as_compensated_summation(case) -> None:
    values, present, groups, count = case
    found = aggregate.total(values, present, groups, count)
    for step in range(values.shape[0]):
        for group in range(count):
            numbers = members(values, present, groups, step, group)
            exact = float(sum(map(Fraction, numbers), Fraction(0)))
            slack = 1e-28 * math.fsum(map(abs, numbers)) if numbers else 0.0
            assert math.isclose(found[step, group], exact, rel_tol=3e-16 * 4, abs_tol=slack + 1e-300)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([2.0, 8.0, 1e100, -1e100], 10.0),
        ([0.1] * 10, 1.0),
        ([math.inf, 1.0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, 1.0], math.nan),
        ([1e308, 1e308], math.inf),
    ],
)
def test_sums_of_hard_cases(numbers: list[float], expected: float) -> None:
    with np.errstate(all="ignore"):
        found = aggregate.total(np.array([numbers]), None, np.zeros(len(numbers), np.intp), 1)
    assert found[0, 0] == expected or (math.isnan(expected) and math.isnan(found[0, 0]))


def test_a_mean_whose_sum_overflows_is_found_all_the_same() -> None:
    big = 9.988465674311579e307
    with np.errstate(all="ignore"):
        found = aggregate.average(
            np.array([[big] * 4, [-big, -big, big, big]]), None, np.zeros(4, np.intp), 1
        )
    assert found.tolist() == [[big], [0.0]]


@given(grouped(finite | st.just(math.nan)))
def test_extremes_skip_nan_unless_there_is_nothing_else(case) -> None:
    values, present, groups, count = case
    low = aggregate.least(values, present, groups, count)
    high = aggregate.greatest(values, present, groups, count)
    for step in range(values.shape[0]):
        for group in range(count):
            numbers = [x for x in members(values, present, groups, step, group) if not math.isnan(x)]
            if numbers:
                assert (low[step, group], high[step, group]) == (min(numbers), max(numbers))
            else:
                assert math.isnan(low[step, group])


def test_extremes_of_one_large_group_among_many_small_ones() -> None:
    groups = np.array([0] * 100 + list(range(1, 20)), np.intp)
    values = np.arange(119.0)[None, :]
    assert aggregate.greatest(values, None, groups, 20).tolist() == [[99.0, *range(100, 119)]]


def test_variance_of_equal_values_is_exactly_zero() -> None:
    assert aggregate.variance(np.full((1, 3), 13.3), None, np.zeros(3, np.intp), 1)[0, 0] == 0.0


@given(grouped(st.integers(-3, 3).map(float) | st.just(math.nan)), st.lists(st.integers(0, 5), min_size=4))
def test_top_takes_the_largest_and_of_equal_ones_the_first(case, sizes: list[int]) -> None:
    values, present, groups, count = case
    k = np.array(sizes[: values.shape[0]], np.int64)
    keep = choose.top(k, values, present, groups, count)
    for step in range(values.shape[0]):
        for group in range(count):
            there = [
                at
                for at in range(values.shape[1])
                if groups[at] == group and (present is None or present[step, at])
            ]
            there.sort(key=lambda at: (math.isnan(values[step, at]), -np.nan_to_num(values[step, at])))
            assert set(there[: k[step]]) == {at for at in np.flatnonzero(keep[step]) if groups[at] == group}
