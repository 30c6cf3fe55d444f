"""The engine against the reference, over random small data and expressions."""

import math

from hypothesis import given
from hypothesis import strategies as st

from otero.clock import ManualClock
from otero.errors import ExecutionError
from otero.model.budget import Budget
from otero.query.promql.engine import Engine
from otero.query.promql.parser import parse
from otero.query.result import Matrix, Scalar, Vector
from tests.query.promql import reference
from tests.query.promql.reference import Series, Table

STEP_MS = 60_000
LAST = 20

values = st.one_of(
    st.integers(-3, 3).map(float), st.sampled_from([0.1, 0.25, 1e9, -7.5, math.inf, math.nan]), st.none()
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    keys = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["m", "n"]), st.sampled_from(["a", "b", ""]), st.sampled_from(["x", "y", ""])
            ),
            min_size=1,
            max_size=8,
            unique=True,
        )
    )
    series = []
    for name, a, b in keys:
        labels = {k: v for k, v in (("__name__", name), ("a", a), ("b", b)) if v}
        times = draw(st.lists(st.integers(0, LAST), min_size=1, max_size=8, unique=True))
        phase = draw(st.sampled_from([0, 0, 7_000]))
        series.append(Series(labels, {time * STEP_MS + phase: draw(values) for time in times}))
    blocks = draw(st.lists(st.integers(0, 2), min_size=len(series), max_size=len(series)))
    return Table(series, blocks, ragged=draw(st.booleans()))


selectors = st.builds(
    lambda name, where, offset: name + where + offset,
    st.sampled_from(["m", "n", '{__name__=~"m|n"}']),
    st.sampled_from(["", "", '{a="a"}', '{b!="x"}', '{a=~"a|b"}']),
    st.sampled_from(["", "", " offset 2m", " offset -3m", " @ 420", " @ 600 offset 1m"]),
).filter(lambda text: not text.startswith("{") or text.count("{") == 1)
groupings = st.sampled_from(["", " by (a)", " by (b)", " without (a)", " by (a, b)", " by (__name__)"])


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(
            lambda op, by, expr: f"{op}{by} ({expr})",
            st.sampled_from(["sum", "avg", "count", "min", "max", "group", "stdvar"]),
            groupings,
            inner,
        ),
        st.builds(
            lambda op, by, expr: f"{op[0]}{by} ({op[1]}, {expr})",
            st.sampled_from([("topk", "2"), ("bottomk", "1"), ("quantile", "0.3"), ("topk", "time() / 300")]),
            groupings,
            inner,
        ),
        st.builds(
            lambda a, op, how, b: f"({a}) {op} {how} ({b})",
            inner,
            st.sampled_from(["+", "*", "-", ">", "<= bool", "!="]),
            st.sampled_from(
                [
                    "",
                    "on (a)",
                    "ignoring (b)",
                    "on (a) group_left ()",
                    "on (a) group_left (b)",
                    "on (b) group_right (a)",
                ]
            ),
            inner,
        ),
        st.builds(
            lambda a, op, how, b: f"({a}) {op} {how} ({b})",
            inner,
            st.sampled_from(["and", "or", "unless"]),
            st.sampled_from(["", "on (a)", "ignoring (a)", "on ()"]),
            inner,
        ),
        st.builds(
            lambda expr, op, number: f"({expr}) {op} {number}",
            inner,
            st.sampled_from(["+", ">", "> bool", "!="]),
            st.sampled_from(["1", "0.5", "time()", "scalar(m)"]),
        ),
        st.builds(lambda expr: f"1 <= ({expr})", inner),
        st.builds(lambda expr: f"-({expr})", inner),
        st.builds(
            lambda name, expr: f"{name}(({expr})[5m:90s])",
            st.sampled_from(["sum_over_time", "count_over_time", "last_over_time"]),
            inner,
        ),
    )


range_functions = st.builds(
    lambda name, selector: f"{name}({selector})",
    st.sampled_from(["sum_over_time", "count_over_time", "last_over_time", "max_over_time"]),
    st.sampled_from(["m[3m]", "m[5m] offset 1m", 'n{a="a"}[2m]', "m[4m] @ 540", '{__name__=~"m|n"}[3m]']),
)
expressions = st.recursive(st.one_of(selectors, range_functions), _deeper, max_leaves=4)


def budget() -> Budget:
    return Budget(ManualClock(), timeout_s=60, max_samples=1_000_000)


def expected(text: str, time_ms: int, table: Table) -> list[reference.Element] | None:
    """What the reference answers; None when it refuses."""
    try:
        out = reference.evaluate(parse(text), time_ms, table)
    except reference.Refused:
        return None
    return [({}, out)] if isinstance(out, float) else out


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6)


def assert_equal(found: list[reference.Element], wanted: list[reference.Element], about: object) -> None:
    got = {reference.key(labels): value for labels, value in found}
    want = {reference.key(labels): value for labels, value in wanted}
    assert len(got) == len(found), about
    assert got.keys() == want.keys(), about
    for labels, value in want.items():
        assert same(got[labels], value), (about, labels, got[labels], value)


def instant(engine: Engine, text: str, time_ms: int) -> list[reference.Element] | None:
    try:
        value = engine.instant(text, time_ms, budget()).value
    except ExecutionError:
        return None
    if isinstance(value, Scalar):
        return [({}, float(value.values[0]))]
    assert isinstance(value, Vector)
    return list(zip(value.labels.rows(), value.values.tolist(), strict=True))


@given(tables(), expressions, st.integers(-2, LAST + 8))
def test_an_instant_query_answers_what_the_reference_answers(table: Table, text: str, at: int) -> None:
    time_ms = at * STEP_MS
    found = instant(Engine(table), text, time_ms)
    wanted = expected(text, time_ms, table)
    if wanted is None or found is None:
        assert found is None, (text, wanted)
        # The reference does not look at steps of subqueries that the engine refuses as a whole.
        assert wanted is None or "_over_time((" in text, (text, wanted)
    else:
        assert_equal(found, wanted, text)


@given(tables(), expressions, st.sampled_from([STEP_MS, 50_000, 3 * STEP_MS]))
def test_a_range_query_equals_instant_queries_at_its_steps(table: Table, text: str, step_ms: int) -> None:
    engine = Engine(table)
    start_ms, end_ms = 2 * STEP_MS, LAST * STEP_MS
    wanted = {time: instant(engine, text, time) for time in range(start_ms, end_ms + 1, step_ms)}
    try:
        value = engine.range(text, start_ms, end_ms, step_ms, budget()).value
    except ExecutionError:
        # Series that become equal without their names are refused by range functions even when they never meet.
        assert None in wanted.values() or "__name__" in text, text
        return
    assert isinstance(value, Matrix)
    rows = value.series.labels.rows()
    assert rows == sorted(rows, key=reference.key)
    mask = value.series.present_mask()
    assert mask.any(axis=0).all()
    for step, (time, elements) in enumerate(wanted.items()):
        assert elements is not None, (text, time)
        found = [
            (labels, float(value.series.values[step, at])) for at, labels in enumerate(rows) if mask[step, at]
        ]
        assert_equal(found, elements, (text, time))
