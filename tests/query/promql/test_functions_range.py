"""Every kernel over ranges against a scalar model, to the last bit, on blocks of all shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.clock import ManualClock
from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, STALE, STALE_BITS, SampleBlock, bits
from otero.query.notes import Notes
from otero.query.promql import ast
from otero.query.promql.functions import RANGE_FUNCTIONS
from otero.query.promql.functions.context import Context
from otero.query.promql.windows import lookback, lookback_times, window
from otero.query.series import Steps
from tests.query.promql import range_reference

ARGS = {
    "quantile_over_time": (range_reference.Q,),
    "predict_linear": (range_reference.AHEAD_S,),
    "double_exponential_smoothing": (0.4, 0.7),
}


def context_of(name: str, steps: Steps) -> Context:
    budget = Budget(ManualClock(), timeout_s=60, max_samples=1 << 30)
    return Context(steps, steps.times_ms(), Notes(), ast.Call(name, ()), budget, 300_000)


ODD = np.array([0.0, 0.1, np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 1e-300, 3.0, -2.0])
GAPS_MS = np.array([1, 15_000, 15_003, 60_000])


@st.composite
def blocks(draw: st.DrawFn) -> SampleBlock:
    """Blocks of every shape; the cells come from a seed, which is much faster than drawing each."""
    height, series = draw(st.integers(1, 14)), draw(st.integers(1, 5))
    columns = draw(st.sampled_from([1, series, max(1, series // 2)]))
    kind = draw(st.sampled_from(["integers", "counts", "fractions", "odd"]))
    clean = draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    shape = (height, series)
    match kind:
        case "integers":
            values = random.integers(-3, 20, shape).astype(np.float64)
        case "counts":
            values = np.cumsum(random.integers(0, 9, shape), axis=0).astype(np.float64)
            values = np.where(random.random(shape) < 0.1, 0.0, values)
        case "fractions":
            values = random.normal(0.0, 10.0 ** random.integers(-3, 9), shape)
        case _:
            values = ODD[random.integers(0, len(ODD), shape)]
    times = np.cumsum(GAPS_MS[random.integers(0, len(GAPS_MS), (height, columns))], axis=0)
    times += random.integers(0, 30_000)
    group = np.arange(series) % columns
    if not clean:
        mark = random.random(shape)
        values = np.where(mark < 0.1, STALE, np.where(mark < 0.25, ABSENT, values))
        short = int(random.integers(0, height + 1))
        times[height - short :, -1] = NO_TIME
        values[height - short :, group == columns - 1] = ABSENT
    labels = LabelTable.of([{"n": str(index)} for index in range(series)])
    return SampleBlock(labels, times, group.astype(np.intp), values, clean)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Steps, int]:
    steps = Steps(
        draw(st.integers(0, 200_000)), draw(st.sampled_from([1, 15_000, 47_000])), draw(st.integers(1, 9))
    )
    return steps, draw(st.sampled_from([1, 20_000, 60_000, 300_000]))


def in_window(block: SampleBlock, series: int, end: int, width: int) -> range_reference.Samples:
    times = block.times_ms[:, block.group[series]]
    payload = bits(block.values[:, series].copy())
    return [
        (int(times[row]), float(block.values[row, series]))
        for row in range(len(times))
        if end - width < times[row] <= end and payload[row] not in (STALE_BITS, ABSENT_BITS)
    ]


def same(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and np.isnan(b))


@pytest.mark.parametrize("name", sorted(RANGE_FUNCTIONS))
@given(block=blocks(), grid=grids())
def test_range_function_equals_its_scalar_model(
    name: str, block: SampleBlock, grid: tuple[Steps, int]
) -> None:
    steps, width = grid
    ends = steps.times_ms()
    args = [np.full(steps.count, value) for value in ARGS.get(name, ())]
    values, present = RANGE_FUNCTIONS[name](window(block, ends, width), args, context_of(name, steps))
    assert values.shape == (steps.count, block.series_count)
    with np.errstate(all="ignore"):
        for step, end in enumerate(ends.tolist()):
            for series in range(block.series_count):
                found = in_window(block, series, end, width)
                try:
                    expected = range_reference.KERNELS[name](found, end, width)
                except (ZeroDivisionError, OverflowError, ValueError):
                    continue  # Python raises where floats have an answer; the finite cases are what counts here
                shown = present is None or bool(present[step, series])
                assert shown == (expected is not None)
                if expected is not None:
                    assert same(values[step, series], expected), (found, values[step, series], expected)


def test_every_range_function_has_a_model() -> None:
    assert set(range_reference.KERNELS) == set(RANGE_FUNCTIONS)


@given(block=blocks(), grid=grids())
def test_lookback_answers_the_newest_sample_unless_it_is_stale(
    block: SampleBlock, grid: tuple[Steps, int]
) -> None:
    steps, width = grid
    ends = steps.times_ms()
    values, present = lookback(block, ends, width)
    times = lookback_times(block, ends, width)
    for step, end in enumerate(ends.tolist()):
        for series in range(block.series_count):
            moments = block.times_ms[:, block.group[series]]
            payload = bits(block.values[:, series].copy())
            rows = [
                row
                for row in range(len(moments))
                if end - width < moments[row] <= end and payload[row] != ABSENT_BITS
            ]
            expected = bool(rows) and payload[rows[-1]] != STALE_BITS
            assert (present is None or bool(present[step, series])) == expected
            if expected:
                assert same(values[step, series], block.values[rows[-1], series])
                assert times[step, series] == moments[rows[-1]]


def test_markers_in_a_clean_block_are_not_looked_for() -> None:
    block = SampleBlock(
        LabelTable(1, {}), np.array([[1_000], [2_000]]), np.zeros(1, np.intp), np.array([[1.0], [2.0]]), True
    )
    found = window(block, np.array([2_000]), 10_000)
    assert found.block is block
    assert found.sizes.tolist() == [[2]]


def test_a_window_leaves_out_its_start_and_holds_its_end() -> None:
    block = SampleBlock(
        LabelTable(1, {}),
        np.array([[1_000], [2_000], [3_000]]),
        np.zeros(1, np.intp),
        np.array([[1.0], [2.0], [3.0]]),
        True,
    )
    found = window(block, np.array([3_000]), 2_000)
    assert (found.lo.tolist(), found.hi.tolist()) == ([[1]], [[3]])


def test_series_with_equal_gaps_share_a_column() -> None:
    values = np.array([[1.0, 1.0, 1.0], [ABSENT, ABSENT, 2.0], [3.0, 3.0, 3.0]])
    block = SampleBlock(
        LabelTable(3, {}), np.array([[1_000], [2_000], [3_000]]), np.zeros(3, np.intp), values
    )
    found = window(block, np.array([3_000]), 10_000)
    assert found.block.times_ms.shape[1] == 2
    assert found.sizes[:, found.block.group].tolist() == [[2, 2, 3]]


@pytest.mark.parametrize("name", sorted(RANGE_FUNCTIONS))
def test_a_block_without_samples_answers_nothing(name: str) -> None:
    block = SampleBlock(
        LabelTable(2, {}), np.zeros((0, 1), np.int64), np.zeros(2, np.intp), np.zeros((0, 2)), True
    )
    steps = Steps(0, 1_000, 3)
    args = [np.full(3, value) for value in ARGS.get(name, ())]
    _, present = RANGE_FUNCTIONS[name](window(block, steps.times_ms(), 1_000), args, context_of(name, steps))
    assert present is not None
    assert not present.any()
