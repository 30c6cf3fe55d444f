"""Functions of instant vectors, through the engine's view of them: label sets, values, presence and notes."""

import calendar
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.clock import ManualClock
from otero.errors import ExecutionError
from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.query.notes import Notes
from otero.query.promql import ast
from otero.query.promql.functions import (
    ENGINE_FUNCTIONS,
    INSTANT_FUNCTIONS,
    KEEPS_NAME,
    RANGE_FUNCTIONS,
    classic,
)
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.numbers import label_number, parse_float
from otero.query.promql.functions.signatures import SIGNATURES
from otero.query.series import StepMatrix, Steps


def call(name: str, *args: StepMatrix | float | str, steps: Steps | None = None) -> tuple[StepMatrix, Notes]:
    steps = steps or Steps(
        0, 60_000, max((a.step_count for a in args if isinstance(a, StepMatrix)), default=1)
    )
    notes = Notes()
    node = ast.Call(name, tuple(ast.NumberLiteral(0.0) for _ in args))
    budget = Budget(ManualClock(), timeout_s=60, max_samples=1 << 30)
    context = Context(steps, steps.times_ms(), notes, node, budget, 300_000)
    given = [np.full(steps.count, a) if isinstance(a, (int, float)) else a for a in args]
    out = INSTANT_FUNCTIONS[name](given, context)
    assert isinstance(out, StepMatrix)
    return out, notes


def vector(*series: tuple[dict[str, str], float]) -> StepMatrix:
    return StepMatrix(
        LabelTable.of([labels for labels, _ in series]), np.array([[value for _, value in series]])
    )


def buckets(counts: dict[str, float], **labels: str) -> StepMatrix:
    return vector(*(({**labels, "le": bound}, count) for bound, count in counts.items()))


def test_every_function_has_one_kernel() -> None:
    tables = [set(RANGE_FUNCTIONS), set(INSTANT_FUNCTIONS), set(ENGINE_FUNCTIONS)]
    assert set.union(*tables) == set(SIGNATURES)
    assert sum(map(len, tables)) == len(SIGNATURES)
    assert set(RANGE_FUNCTIONS) >= KEEPS_NAME


def test_functions_of_values_drop_the_name() -> None:
    out, _ = call("abs", vector(({"__name__": "m", "a": "1"}, -2.0)))
    assert (out.labels.rows(), out.values.tolist()) == ([{"a": "1"}], [[2.0]])


def test_rounding_takes_halves_up_and_any_unit() -> None:
    assert call("round", vector(({}, -0.5)))[0].values.tolist() == [[0.0]]
    assert call("round", vector(({}, 17.0)), 5.0)[0].values.tolist() == [[15.0]]


def test_clamping_between_crossed_bounds_answers_nothing() -> None:
    assert call("clamp", vector(({}, 3.0)), 0.0, 2.0)[0].values.tolist() == [[2.0]]
    crossed, _ = call("clamp", vector(({}, 3.0)), 2.0, 1.0)
    assert crossed.present is not None
    assert not crossed.present.any()


@given(st.integers(-62_000_000_000, 250_000_000_000))
def test_parts_of_dates_equal_the_calendar(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    expected = {
        "minute": moment.minute,
        "hour": moment.hour,
        "day_of_week": (moment.weekday() + 1) % 7,
        "day_of_month": moment.day,
        "day_of_year": moment.timetuple().tm_yday,
        "days_in_month": calendar.monthrange(moment.year, moment.month)[1],
        "month": moment.month,
        "year": moment.year,
    }
    for name, value in expected.items():
        assert call(name, vector(({}, float(seconds))))[0].values[0, 0] == value, name


def test_dates_without_an_argument_are_those_of_the_steps() -> None:
    out, _ = call("minute", steps=Steps(0, 60_000, 3))
    assert (out.labels.rows(), out.values[:, 0].tolist()) == ([{}], [0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("pattern", "template", "expected"),
    [
        ("(.*)-(.*)", "$2-$1", "b-a"),
        ("(?P<x>a)-.*", "${x}c", "ac"),
        ("(a)-.*", "$1c", ""),
        ("a-b", "$$1 $9 $", "$1  $"),
        ("b", "never", "old"),
        ("(z)?a-b", "<$1>", "<>"),
    ],
)
def test_label_replace_expands_as_go_does(pattern: str, template: str, expected: str) -> None:
    out, _ = call("label_replace", vector(({"s": "a-b", "d": "old"}, 1.0)), "d", template, "s", pattern)
    assert out.labels.row(0).get("d", "") == expected


def test_label_replace_refuses_patterns_and_names_that_are_none() -> None:
    with pytest.raises(ExecutionError, match=r"invalid regular expression in label_replace\(\): \("):
        call("label_replace", vector(({}, 1.0)), "d", "", "s", "(")
    with pytest.raises(ExecutionError, match="invalid destination label name"):
        call("label_replace", vector(({}, 1.0)), "", "", "s", ".*")


def test_label_join_puts_values_together() -> None:
    given = vector(({"a": "1", "b": "2"}, 1.0), ({"a": "1"}, 2.0))
    out, _ = call("label_join", given, "d", "-", "b", "a", "b")
    assert out.labels.column("d").texts() == ["2-1-2", "-1-"]
    assert call("label_join", given, "a", "-")[0].labels.column("a").texts() == ["", ""]


def test_sorting_puts_nan_last_both_ways() -> None:
    given = vector(({"n": "a"}, 2.0), ({"n": "b"}, math.nan), ({"n": "c"}, 1.0))
    assert call("sort", given)[0].labels.column("n").texts() == ["c", "a", "b"]
    assert call("sort_desc", given)[0].labels.column("n").texts() == ["a", "c", "b"]


def test_sorting_by_label_is_natural() -> None:
    given = vector(*(({"n": name}, 0.0) for name in ("cpu10", "cpu9", "cpu1", "cpu", "5")))
    assert call("sort_by_label", given, "n")[0].labels.column("n").texts() == [
        "5",
        "cpu",
        "cpu1",
        "cpu9",
        "cpu10",
    ]
    assert call("sort_by_label_desc", given, "n")[0].labels.column("n").texts()[0] == "cpu10"


def test_sorting_a_range_query_is_doubted() -> None:
    given = StepMatrix(LabelTable.of([{}]), np.zeros((2, 1)))
    out, notes = call("sort", given)
    assert out is given
    assert [note.text for note in notes.all()] == [
        "sort is ineffective for range queries since results are always ordered by labels"
    ]


def scalar_quantile(q: float, counts: dict[float, float]) -> float:
    """One histogram, by the rules of Prometheus' documentation."""
    bounds = sorted(counts)
    if bounds[-1] != math.inf or len(bounds) < 2:
        return math.nan
    values: list[float] = []
    for bound in bounds:
        now = counts[bound]
        if values and now != values[-1]:
            before = values[-1]
            small = before != 0 and now != 0 and abs(now - before) / (abs(now) + abs(before)) < 1e-12
            if small or now < before:
                now = before
        values.append(now)
    total = values[-1]
    if total == 0:
        return math.nan
    rank = q * total
    place = next((i for i, value in enumerate(values[:-1]) if value >= rank), len(bounds) - 1)
    if place == len(bounds) - 1:
        return bounds[-2]
    if place == 0:
        return bounds[0] if bounds[0] <= 0 else bounds[0] * (rank / values[0]) if values[0] else math.nan
    share = (rank - values[place - 1]) / (values[place] - values[place - 1])
    return bounds[place - 1] + (bounds[place] - bounds[place - 1]) * share


@given(
    st.floats(0, 1),
    st.dictionaries(
        st.sampled_from([-1.0, 0.0, 0.1, 0.5, 1.0, 10.0, math.inf]),
        st.integers(0, 30).map(float) | st.sampled_from([10.0, 10.0 + 1e-12]),
        min_size=1,
    ),
)
def test_histogram_quantile_equals_its_scalar_model(q: float, counts: dict[float, float]) -> None:
    texts = {label_number(bound): count for bound, count in counts.items()}
    found = call("histogram_quantile", q, buckets(texts))[0].values[0, 0]
    expected = scalar_quantile(q, counts)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_histogram_quantile_tells_what_it_repaired() -> None:
    given = buckets({"0.1": 2.0, "1": 1.0, "10": 5.0, "+Inf": 4.0}, job="a")
    _, notes = call("histogram_quantile", 0.5, given)
    assert [note.text for note in notes.all()] == [
        f"{classic.NOT_MONOTONIC}, from buckets 1 to +Inf, with a max diff of 1, over 1 samples"
        " from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00Z"
    ]


def test_histogram_quantile_passes_over_series_without_a_readable_bound() -> None:
    given = vector(({"__name__": "m", "le": "x"}, 1.0), ({"le": "1"}, 1.0), ({"le": "+Inf"}, 1.0))
    out, notes = call("histogram_quantile", 1.5, given)
    assert out.values.tolist() == [[math.inf]]
    assert [note.text for note in notes.all()] == [
        "quantile value should be between 0 and 1, got 1.5",
        'bucket label "le" is missing or has a malformed value of "x" for metric name "m"',
    ]


def test_bounds_that_are_equal_numbers_are_one_bucket() -> None:
    given = buckets({"1": 1.0, "1.0": 1.0, "+Inf": 4.0})
    assert call("histogram_quantile", 0.25, given)[0].values.tolist() == [[0.5]]


def test_histograms_whose_buckets_come_and_go() -> None:
    labels = LabelTable.of([{"le": "1"}, {"le": "2"}, {"le": "+Inf"}])
    values = np.array([[2.0, 4.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    present = np.array([[True, True, True], [True, False, True], [False, False, False]])
    out, _ = call("histogram_quantile", 0.75, StepMatrix(labels, values, present))
    assert out.values[:2, 0].tolist() == [1.5, 1.0]
    assert out.present is not None
    assert out.present[:, 0].tolist() == [True, True, False]


def test_histogram_quantiles_tell_quantiles_apart_by_a_label() -> None:
    given = buckets({"1": 2.0, "+Inf": 2.0})
    out, _ = call("histogram_quantiles", given, "q", 0.5, 1.0)
    assert out.labels.column("q").texts() == ["0.5", "1.0"]
    assert out.values.tolist() == [[0.5, 1.0]]


@pytest.mark.parametrize(
    ("low", "high", "share"),
    [
        (0, 1, 0.25),
        (0.5, 1.5, 0.375),
        (-9, -1, 0),
        (1, 1, 0),
        (2, 9, 0),
        (2, math.inf, 0.25),
        (-math.inf, math.inf, 1),
    ],
)
def test_histogram_fraction_interpolates_within_buckets(low: float, high: float, share: float) -> None:
    given = buckets({"1": 1.0, "2": 3.0, "+Inf": 4.0})
    assert call("histogram_fraction", low, high, given)[0].values.tolist() == [[share]]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e0", 1.0), (".5", 0.5), ("+Inf", math.inf), ("-inf", -math.inf), ("0x1p-1", 0.5), ("1_0", None), (" 1", None),
     ("", None), ("1e999", None), ("+nan", None), ("٣", None)],
)  # fmt: skip
def test_numbers_are_read_as_go_reads_them(text: str, number: float | None) -> None:
    assert parse_float(text) == number
