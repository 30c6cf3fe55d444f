"""Group sums of native histograms against an obvious oracle: dictionaries and exact fractions, one histogram at a time."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.model.histograms import CUSTOM, Histograms, ResetHint, index_of
from otero.query.promql.native import arithmetic, layout
from tests.query.promql.native.one import bounds_at, buckets_of, many, one

numbers = st.integers(0, 20).map(float) | st.floats(0, 1e6)
hints = st.sampled_from(list(ResetHint))


@st.composite
def exponential(draw: st.DrawFn) -> Histograms:
    return one(
        draw(numbers),
        draw(st.floats(-1e6, 1e6)),
        draw(st.lists(numbers, max_size=5)),
        schema=draw(st.integers(-1, 3)),
        offset=draw(st.integers(-6, 4)),
        zero=draw(numbers),
        width=draw(st.sampled_from([0.0, 0.001, 0.25, 0.5, 1.3])),
        below=draw(st.lists(numbers, max_size=4)),
        below_offset=draw(st.integers(-6, 3)),
        hint=draw(hints),
    )


@st.composite
def custom(draw: st.DrawFn) -> Histograms:
    bounds = sorted(draw(st.sets(st.sampled_from([-1.0, 0.0, 1.0, 2.0, 5.0, 10.0]), max_size=4)))
    buckets = draw(st.lists(numbers, max_size=len(bounds) + 1))
    return one(draw(numbers), draw(st.floats(-1e6, 1e6)), buckets, bounds=bounds, hint=draw(hints))


class Plain:
    """One histogram as dictionaries: (side, index) -> exact count."""

    def __init__(self, h: Histograms, row: int) -> None:
        self.schema = int(h.schema[row])
        self.bounds = bounds_at(h, row)
        self.threshold = float(h.zero_threshold[row])
        self.zero, self.count, self.sum = (
            Fraction(float(column[row])) for column in (h.zero_count, h.count, h.sum)
        )
        self.buckets: dict[tuple[int, int], Fraction] = {}
        for bucket, value in buckets_of(h, row).items():
            index = int(index_of(np.array([bucket]))[0])
            self.buckets[1 if bucket > 0 else -1, index] = Fraction(value)

    def reach(self, index: int) -> tuple[float, float]:
        base = 2.0 ** (2.0**-self.schema)
        return base ** (index - 1), base**index

    def widen(self, threshold: float) -> float:
        """Absorb what begins below the threshold; answers the threshold that this needed."""
        for (_, index), value in self.buckets.items():
            low, high = self.reach(index)
            if value and low < threshold * (1 - 1e-12) and high > threshold * (1 + 1e-12):
                return high
        for key in list(self.buckets):
            if self.reach(key[1])[0] < threshold * (1 - 1e-12):
                self.zero += self.buckets.pop(key)
        self.threshold = threshold
        return threshold

    def coarsen(self, schema: int) -> None:
        out: dict[tuple[int, int], Fraction] = {}
        for (side, index), value in self.buckets.items():
            key = side, ((index - 1) >> (self.schema - schema)) + 1
            out[key] = out.get(key, Fraction(0)) + value
        self.buckets, self.schema = out, schema

    def move(self, bounds: tuple[float, ...]) -> None:
        assert self.bounds is not None
        out: dict[tuple[int, int], Fraction] = {}
        for (side, index), value in self.buckets.items():
            top = self.bounds[index] if index < len(self.bounds) else math.inf
            place = next((at for at, bound in enumerate(bounds) if bound >= top), len(bounds))
            out[side, place] = out.get((side, place), Fraction(0)) + value
        self.buckets, self.bounds = out, bounds


def oracle(parts: list[Plain], weights: list[float]) -> Plain:
    if parts[0].schema == CUSTOM:
        shared = set(parts[0].bounds or ())
        for part in parts:
            shared &= set(part.bounds or ())
        for part in parts:
            part.move(tuple(sorted(shared)))
    else:
        threshold = max(part.threshold for part in parts)
        while True:
            needed = threshold
            for part in parts:
                if part.threshold < threshold:
                    needed = max(needed, part.widen(threshold))
            if needed == threshold:
                break
            threshold = needed
        schema = min(part.schema for part in parts)
        for part in parts:
            part.coarsen(schema)
    out = parts[0]
    total: dict[tuple[int, int], Fraction] = {}
    for part, weight in zip(parts, weights, strict=True):
        for key, value in part.buckets.items():
            total[key] = total.get(key, Fraction(0)) + value * Fraction(weight)
    out.zero, out.count, out.sum = (
        sum((getattr(part, name) * Fraction(w) for part, w in zip(parts, weights, strict=True)), Fraction(0))
        for name in ("zero", "count", "sum")
    )
    out.buckets = total
    return out


def near(found: float, exact: Fraction, magnitude: float) -> bool:
    return abs(found - float(exact)) <= 1e-12 * magnitude + 1e-300


@given(st.data(), st.sampled_from(["exponential", "custom"]), st.booleans())
def test_group_sums_are_those_of_the_oracle(data: st.DataObject, kind: str, weighted: bool) -> None:
    element = exponential() if kind == "exponential" else custom()
    parts = data.draw(st.lists(element, min_size=1, max_size=6))
    raw = data.draw(st.lists(st.integers(0, 2), min_size=len(parts), max_size=len(parts)))
    _, groups = np.unique(raw, return_inverse=True)
    count = int(groups.max()) + 1
    weights = data.draw(
        st.lists(st.sampled_from([1.0, -1.0, 0.5, 3.0]), min_size=len(parts), max_size=len(parts))
    )
    if not weighted:
        weights = [1.0] * len(parts)
    h = many(*parts)
    out = arithmetic.group_sum(h, groups, count, np.array(weights) if weighted else None)
    assert not out.mixed.any()
    for group in range(count):
        rows = np.flatnonzero(groups == group).tolist()
        wanted = oracle([Plain(h, row) for row in rows], [weights[row] for row in rows])
        magnitude = 1e7 * len(rows)
        got = Plain(out.histograms, group)
        assert got.schema == wanted.schema
        assert got.bounds == wanted.bounds
        assert got.threshold == pytest.approx(wanted.threshold)
        for name in ("zero", "count", "sum"):
            assert near(float(getattr(got, name)), getattr(wanted, name), magnitude)
        for key in got.buckets.keys() | wanted.buckets.keys():
            assert near(float(got.buckets.get(key, 0)), wanted.buckets.get(key, Fraction(0)), magnitude)
        own = {int(h.hint[row]) for row in rows}
        assert bool(out.conflicting[group]) == (own >= {ResetHint.RESET, ResetHint.NOT_RESET})
        assert bool(out.reconciled[group]) == (len({bounds_at(h, row) for row in rows}) > 1)
        hint = out.histograms.hint[group]
        if ResetHint.GAUGE in own:
            assert hint == ResetHint.GAUGE
        else:
            assert hint == (own.pop() if len(own) == 1 else ResetHint.UNKNOWN)


@given(st.lists(exponential(), min_size=1, max_size=5))
def test_a_mean_is_the_sum_divided(parts: list[Histograms]) -> None:
    h, groups = many(*parts), np.zeros(len(parts), np.intp)
    mean = arithmetic.group_sum(h, groups, 1, mean=True).histograms
    sums = arithmetic.divide(arithmetic.group_sum(h, groups, 1).histograms, np.array([float(len(parts))]))
    assert buckets_of(mean) == pytest.approx(buckets_of(sums))
    assert mean.count[0] == pytest.approx(sums.count[0])


def test_sums_are_compensated() -> None:
    h = many(*(one(1, total, [total]) for total in (3.1, 1e100, 1.3, -1e100)))
    out = arithmetic.group_sum(h, np.zeros(4, np.intp), 1).histograms
    assert out.sum[0] == pytest.approx(4.4)
    assert list(buckets_of(out).values()) == pytest.approx([4.4])


def test_a_mean_survives_a_sum_that_overflows() -> None:
    h = many(*(one(count, 1, [count]) for count in (1.7976931348623157e308, 1e308)), one(), one())
    groups = np.zeros(4, np.intp)
    out = arithmetic.group_sum(h, groups, 1, mean=True).histograms
    assert out.count[0] == pytest.approx(6.99423283715579e307)
    assert list(buckets_of(out).values()) == pytest.approx([6.99423283715579e307])
    assert math.isinf(arithmetic.group_sum(h, groups, 1).histograms.count[0])


def test_what_cannot_be_added_is_told_and_left_out() -> None:
    h = many(one(3, 4, [1, 2]), one(1, 1, [1], bounds=[5.0]), one(2, 2, [2]))
    out = arithmetic.group_sum(h, np.array([0, 0, 1]), 2)
    assert out.mixed.tolist() == [True, False]
    assert buckets_of(out.histograms, 1) == buckets_of(h, 2)
    assert out.histograms.count.tolist() == [0, 2]


def test_bounds_that_differ_are_reduced_to_the_common_ones() -> None:
    few = one(15, 55, [1, 2, 5, 7], bounds=[2, 4, 6])
    more = one(450, 555, [10, 20, 30, 40, 50, 60, 70, 80, 90], bounds=[1, 2, 3, 4, 5, 6, 7, 8])
    out = arithmetic.subtract(more, few)
    assert out.reconciled.tolist() == [True]
    assert bounds_at(out.histograms) == (2, 4, 6)
    assert list(buckets_of(out.histograms).values()) == [29, 68, 105, 233]


def test_a_division_by_zero_leaves_no_buckets() -> None:
    out = arithmetic.divide(many(one(2, 1, [1, 1]), one(4, 2, [3, 1])), np.array([0.0, 2.0]))
    assert buckets_of(out, 0) == {}
    assert list(buckets_of(out, 1).values()) == [1.5, 0.5]
    assert out.count.tolist() == [math.inf, 2]


def test_negative_factors_make_gauges() -> None:
    out = arithmetic.scale(many(one(2, 1, [1, 1]), one(2, 1, [1, 1])), np.array([-1.0, 2.0]))
    assert out.hint.tolist() == [ResetHint.GAUGE, ResetHint.UNKNOWN]
    assert out.value.tolist() == [-1, -1, 2, 2]


def test_the_sparse_and_the_dense_way_agree() -> None:
    far = [one(3, 1, [1, 2, 0.1], schema=8, offset=at) for at in range(-400_000, 400_000, 80_000)]
    out = arithmetic.group_sum(many(*far, *far), np.zeros(20, np.intp), 1).histograms
    assert len(out.value) == 30
    assert out.value.tolist() == pytest.approx([2, 4, 0.2] * 10)
    assert (np.diff(out.bucket) > 0).all()
    mean = arithmetic.group_sum(many(*far, *far), np.zeros(20, np.intp), 1, mean=True).histograms
    assert mean.value.tolist() == pytest.approx([0.1, 0.2, 0.01] * 10)


def test_no_histograms_at_all() -> None:
    out = arithmetic.group_sum(Histograms.empty(), np.zeros(0, np.intp), 0)
    assert len(out.histograms) == 0
    assert len(layout.compact(Histograms.empty())) == 0


@given(
    st.lists(st.sampled_from([1e100, -1e100, 1e50, -1e50, 5.3, 1.0, 0.1, 2.0**-40]), min_size=1, max_size=12)
)
def test_sums_over_many_orders_of_magnitude(values: list[float]) -> None:
    exact = sum(map(Fraction, values))
    out = arithmetic.total(np.zeros(len(values), np.intp), np.array(values), 1)
    assert out[0] == pytest.approx(float(exact), rel=1e-12, abs=1e-300)


@given(st.lists(exponential() | custom(), min_size=2, max_size=6))
def test_differences_of_one_layout_are_those_of_all(parts: list[Histograms]) -> None:
    h = many(*parts, *(arithmetic.scale(part, np.array([3.0])) for part in parts))
    size = len(parts)
    left = np.concatenate([np.arange(size, 2 * size), np.arange(size)])
    right = np.concatenate([np.arange(size), np.roll(np.arange(size), 1)])
    pairs, found = arithmetic.subtract_alike(h, left, right)
    assert set(range(size)) <= set(pairs.tolist())
    wanted = arithmetic.subtract(h.take(left[pairs]), h.take(right[pairs])).histograms
    for row in range(len(pairs)):
        assert buckets_of(found, row) == pytest.approx(buckets_of(wanted, row))
    assert found.count.tolist() == pytest.approx(wanted.count.tolist())
    assert found.zero_count.tolist() == pytest.approx(wanted.zero_count.tolist())
