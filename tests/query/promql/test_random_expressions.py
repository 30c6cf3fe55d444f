"""The engine against the reference evaluator, over random data and random expressions of nearly the whole language."""

import math

from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from otero.clock import ManualClock
from otero.errors import ExecutionError
from otero.model.budget import Budget
from otero.query.promql.engine import Engine
from otero.query.promql.parser import parse
from otero.query.result import Matrix, Scalar, Vector
from tests.query.promql import reference
from tests.query.promql.expressions import FEATURES, LAST, STEP_MS, tables, vectors
from tests.query.promql.reference import Element, Table

Vectors = list[list[Element]]


def engine_of(table: Table) -> Engine:
    return Engine(table, features=FEATURES)


def budget() -> Budget:
    return Budget(ManualClock(), timeout_s=60, max_samples=10_000_000)


def found_instant(table: Table, text: str, time_ms: int) -> list[Element] | None:
    """The engine's answer; None when it refuses."""
    try:
        value = engine_of(table).instant(text, time_ms, budget()).value
    except ExecutionError as error:
        note(str(error))
        return None
    if isinstance(value, Scalar):
        return [({}, float(value.values[0]))]
    assert isinstance(value, Vector)
    return list(zip(value.labels.rows(), value.values.tolist(), strict=True))


def found_range(table: Table, text: str, times: list[int]) -> Vectors | None:
    try:
        value = engine_of(table).range(text, times[0], times[-1], times[1] - times[0], budget()).value
    except ExecutionError as error:
        note(str(error))
        return None
    assert isinstance(value, Matrix)
    rows = value.series.labels.rows()
    assert rows == sorted(rows, key=reference.key)
    mask = value.series.present_mask()
    assert mask.any(axis=0).all()
    return [
        [(labels, float(value.series.values[step, at])) for at, labels in enumerate(rows) if mask[step, at]]
        for step in range(len(times))
    ]


def wanted_instant(table: Table, text: str, time_ms: int) -> list[Element] | None:
    """The reference's answer; None when it refuses. Discards the example where rounding decides."""
    try:
        return reference.evaluate(parse(text, features=FEATURES), time_ms, table)
    except reference.Refused as error:
        note(str(error))
        return None
    except reference.Unsure:
        assume(False)


def wanted_range(table: Table, text: str, times: list[int]) -> Vectors | None:
    try:
        return reference.evaluate_range(parse(text, features=FEATURES), times, table)
    except reference.Refused as error:
        note(str(error))
        return None
    except reference.Unsure:
        assume(False)


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def assert_equal(found: list[Element] | None, wanted: list[Element] | None) -> None:
    assert (found is None) == (wanted is None), (found, wanted)
    if found is None or wanted is None:
        return
    got = {reference.key(labels): value for labels, value in found}
    want = {reference.key(labels): value for labels, value in wanted}
    assert len(got) == len(found)
    assert got.keys() == want.keys()
    for labels, value in want.items():
        assert same(got[labels], value), (labels, got[labels], value)


@settings(deadline=None)
@given(tables(), vectors(3), st.integers(-2, LAST + 8))
def test_instant_queries(table: Table, text: str, at: int) -> None:
    time_ms = at * STEP_MS
    assert_equal(found_instant(table, text, time_ms), wanted_instant(table, text, time_ms))


@settings(deadline=None)
@given(tables(), vectors(3), st.sampled_from([STEP_MS, 50_000, 3 * STEP_MS]))
def test_range_queries(table: Table, text: str, step_ms: int) -> None:
    times = list(range(2 * STEP_MS, LAST * STEP_MS + 1, step_ms))
    found, wanted = found_range(table, text, times), wanted_range(table, text, times)
    assert (found is None) == (wanted is None), (found, wanted)
    for time, got, want in zip(times, found or (), wanted or (), strict=found is not None):
        note(f"at {time}")
        assert_equal(got, want)
