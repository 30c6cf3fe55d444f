"""Quantiles, fractions and variance of native histograms against a walk over the buckets of one histogram."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.model.histograms import CUSTOM, Histograms
from otero.query.promql.native import quantiles
from otero.query.promql.native.quantiles import fraction, quantile, variance
from otero.query.promql.spec_histograms import Histogram, as_columns, read_histogram

Bucket = tuple[float, float, float]
"""Lower bound, upper bound, count."""


def walk(h: Histogram) -> list[Bucket]:
    """All buckets, ascending; the zero bucket has what others overlap with it."""
    if h.schema == CUSTOM:
        bounds = [-math.inf, *h.bounds, math.inf]
        return [(bounds[i], bounds[i + 1], count) for i, count in sorted(h.positive.items())]
    base = 2.0 ** (2.0**-h.schema)
    out: list[Bucket] = []
    for index in sorted(h.negative, reverse=True):
        lower, upper = -(base**index), -(base ** (index - 1))
        out.append((lower, min(upper, -h.zero_threshold), h.negative[index]))
    if h.zero_count > 0:
        out.append((-h.zero_threshold, h.zero_threshold, h.zero_count))
    for index in sorted(h.positive):
        lower, upper = base ** (index - 1), base**index
        out.append((max(lower, h.zero_threshold), upper, h.positive[index]))
    return out


def clipped(h: Histogram, lower: float, upper: float) -> tuple[float, float]:
    """A bucket around zero ends at zero where the histogram has nothing on that side."""
    if h.positive and not h.negative:
        return 0.0, upper
    if h.negative and not h.positive:
        return lower, 0.0
    return lower, upper


def slow_quantile(q: float, h: Histogram) -> tuple[float, str]:
    if math.isnan(q) or h.count == 0:
        return (math.nan if 0 <= q <= 1 or math.isnan(q) else math.copysign(math.inf, q)), ""
    if q < 0 or q > 1:
        return math.copysign(math.inf, q), ""
    nan = math.isnan(h.sum)
    forward = nan or q < 0.5
    buckets = iter(walk(h) if forward else walk(h)[::-1])
    rank = (q if forward else 1 - q) * h.count
    seen, bucket = 0.0, (0.0, 0.0, 0.0)
    for bucket in buckets:
        seen += bucket[2]
        if bucket[2] and seen >= rank:
            break
    lower, upper, inside = bucket
    if h.schema == CUSTOM:
        if lower == -math.inf:
            if upper <= 0:
                return upper, ""
            lower = 0.0
        elif upper == math.inf:
            return lower, ""
    elif lower < 0 < upper:
        lower, upper = clipped(h, lower, upper)
    seen = min(seen, h.count)
    if seen < rank:
        return (math.nan, "lost") if nan else (upper, "")
    told = "skewed" if nan and seen + sum(count for _, _, count in buckets) < h.count else ""
    rest = rank - (seen - inside) if forward else seen - rank
    if inside == 0:
        return math.nan, told
    share = rest / inside
    if h.schema == CUSTOM or lower <= 0 <= upper:
        return lower + (upper - lower) * share, told
    if lower > 0:
        return lower * (upper / lower) ** share, told
    return -(abs(upper) * (lower / upper) ** (1 - share)), told


def slow_rank(h: Histogram, value: float, counted: float) -> float:
    below = 0.0
    for lower, upper, inside in walk(h):
        around = lower <= 0 <= upper
        if around:
            lower, upper = clipped(h, lower, upper)
        if lower >= value:
            return min(below, counted)
        if upper > value:
            if h.schema == CUSTOM or around:
                more = inside * (value - lower) / (upper - lower) if lower > -math.inf else inside
            elif value > 0:
                more = inside * math.log(value / lower) / math.log(upper / lower)
            else:
                more = inside * (1 - math.log(value / upper) / math.log(lower / upper))
            return min(below + more, counted)
        below += inside
    return counted


def slow_fraction(lower: float, upper: float, h: Histogram) -> float:
    if h.count == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    counted = sum(count for _, _, count in walk(h)) if math.isnan(h.sum) else h.count
    return (slow_rank(h, upper, counted) - slow_rank(h, lower, counted)) / h.count


def slow_variance(h: Histogram) -> float:
    if h.count == 0:
        return math.nan
    out = 0.0
    for lower, upper, inside in walk(h):
        if inside == 0:
            continue
        if h.schema == CUSTOM:
            middle = (lower + upper) / 2
        elif lower <= 0 <= upper:
            middle = 0.0
        else:
            middle = math.copysign(math.sqrt(lower * upper), upper)
        out += inside * (middle - h.sum / h.count) ** 2
    return out / h.count


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    counts = st.dictionaries(st.integers(-3, 6), st.integers(0, 5).map(float), max_size=6)
    custom = draw(st.booleans())
    bounds = tuple(sorted(draw(st.sets(st.integers(-4, 8), max_size=4)))) if custom else ()
    if custom:
        positive = {i: c for i, c in draw(counts).items() if 0 <= i <= len(bounds)}
        negative: dict[int, float] = {}
        zero = 0.0
    else:
        positive, negative = draw(counts), draw(counts)
        zero = float(draw(st.integers(0, 3)))
    held = sum(positive.values()) + sum(negative.values()) + zero
    unseen = draw(st.integers(0, 3))
    return Histogram(
        schema=CUSTOM if custom else draw(st.integers(-1, 2)),
        sum=math.nan if unseen else float(draw(st.integers(-20, 20))),
        count=held + unseen,
        zero_count=zero,
        zero_threshold=0.0 if custom else draw(st.sampled_from([0.0, 0.25, 1.5])),
        positive=positive,
        negative=negative,
        bounds=tuple(map(float, bounds)),
    )


MANY = st.lists(histograms(), min_size=1, max_size=6)
NUMBERS = st.sampled_from(
    [-math.inf, -4.0, -1.0, -0.3, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.7, 2.0, 7.0, math.inf, math.nan]
)


def same(got: float, wanted: float) -> bool:
    return (math.isnan(got) and math.isnan(wanted)) or got == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.fixture(params=[1 << 19, 4], ids=["together", "in small tables"], autouse=True)
def _table_size(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "_CELLS", request.param)
        yield


def columns(many: list[Histogram]) -> Histograms:
    return as_columns(many)


@given(MANY, st.data())
def test_quantiles_are_those_of_a_walk(many: list[Histogram], data: st.DataObject) -> None:
    q = data.draw(st.lists(NUMBERS, min_size=len(many), max_size=len(many)))
    found = quantile(columns(many), np.array(q))
    for row, h in enumerate(many):
        value, told = slow_quantile(q[row], h)
        assert same(found.values[row], value), (str(h), q[row], found.values[row], value)
        assert (bool(found.lost[row]), bool(found.skewed[row])) == (told == "lost", told == "skewed"), (
            str(h),
            q[row],
        )


@given(MANY, st.data())
def test_fractions_are_those_of_a_walk(many: list[Histogram], data: st.DataObject) -> None:
    numbers = st.lists(NUMBERS, min_size=len(many), max_size=len(many))
    lower, upper = data.draw(numbers), data.draw(numbers)
    values, narrowed = fraction(columns(many), np.array(lower), np.array(upper))
    for row, h in enumerate(many):
        wanted = slow_fraction(lower[row], upper[row], h)
        assert same(values[row], wanted), (str(h), lower[row], upper[row], values[row], wanted)
        held = sum(count for _, _, count in walk(h))
        asked = h.count != 0 and lower[row] < upper[row]
        assert bool(narrowed[row]) == (asked and math.isnan(h.sum) and held < h.count)


@given(MANY)
def test_variances_are_those_of_a_walk(many: list[Histogram]) -> None:
    found = variance(columns(many))
    for row, h in enumerate(many):
        assert same(found[row], slow_variance(h)), (str(h), found[row], slow_variance(h))


def ask(text: str, q: float) -> float:
    return float(quantile(as_columns([read_histogram(text)]), np.array([q])).values[0])


def test_known_quantiles() -> None:
    assert ask("count:4 sum:5 buckets:[1 2 1]", 0.5) == pytest.approx(math.sqrt(2))
    assert ask("schema:-53 count:4 custom_values:[2 6] buckets:[0 4]", 0.25) == 3.0
    assert ask("schema:-53 count:4 custom_values:[2 6] buckets:[0 0 4]", 0.5) == 6.0
    assert ask("count:2 z_bucket:2 z_bucket_w:0.5", 0.5) == 0.0
    assert ask("count:3 z_bucket:2 z_bucket_w:0.5 buckets:[1]", 0.0) == 0.0
    assert math.isnan(ask("", 0.5))
    assert ask("", 1.5) == math.inf


def test_no_rows_at_all() -> None:
    nothing = Histograms.empty()
    assert quantile(nothing, np.zeros(0)).values.shape == (0,)
    assert fraction(nothing, np.zeros(0), np.zeros(0))[0].shape == (0,)
    assert variance(nothing).shape == (0,)
