"""The engine's promises beside the values: errors, notes, limits, order, what is read and how often."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from otero.clock import ManualClock
from otero.errors import BadQuery, Cancelled, ExecutionError, LimitExceeded, TimedOut
from otero.model.budget import Budget
from otero.model.matchers import Matcher
from otero.model.samples import SampleBlock
from otero.query.notes import render_note
from otero.query.promql.engine import DELAYED_NAME_REMOVAL, Engine
from otero.query.result import Matrix, RawMatrix, Scalar, String, Vector
from tests.query.promql.reference import Series, Table

MINUTE = 60_000


class Counting(Table):
    """A table that remembers what it was asked."""

    def __init__(self, series: list[Series]) -> None:
        super().__init__(series)
        self.asked: list[tuple[str, int, int]] = []

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        self.asked.append((matchers[0].value, start_ms, end_ms))
        return super().select(matchers, start_ms, end_ms, budget)


def series(name: str, *values: float | None, **labels: str) -> Series:
    return Series({"__name__": name, **labels}, {at * MINUTE: value for at, value in enumerate(values)})


@pytest.fixture
def table() -> Counting:
    return Counting(
        [
            series("m", 1, 2, 3, 4, 5, 6, a="2"),
            series("m", 10, 20, 30, 40, 50, 60, a="10"),
            series("m", 7, 7, 7, 7, 7, 7, b="1"),
            series("gone", 1, 2, None, a="1"),
        ]
    )


def budget(**changes: float) -> Budget:
    limits = {"timeout_s": 10.0, "max_samples": 10_000, **changes}
    return Budget(ManualClock(), timeout_s=limits["timeout_s"], max_samples=int(limits["max_samples"]))


def test_types_of_instant_answers(table: Counting) -> None:
    engine = Engine(table)
    scalar = engine.instant("1 + 1", 60_000, budget()).value
    assert isinstance(scalar, Scalar)
    assert scalar.values.tolist() == [2.0]
    assert engine.instant('"text"', 0, budget()).value == String(0, "text")
    vector = engine.instant("m", 60_000, budget()).value
    assert isinstance(vector, Vector)
    assert (vector.time_ms, vector.values.tolist()) == (60_000, [2.0, 20.0, 7.0])


def test_a_range_selector_answers_samples_with_their_times(table: Counting) -> None:
    value = Engine(table).instant('{__name__=~"m|gone", a!=""}[150s]', 2 * MINUTE, budget()).value
    assert isinstance(value, RawMatrix)
    assert value.labels.column("a").texts() == ["2", "10", "1"]
    assert value.offsets.tolist() == [0, 3, 6, 8]
    assert value.times_ms.tolist() == [0, 60_000, 120_000] * 2 + [0, 60_000]
    assert value.values.tolist() == [1, 2, 3, 10, 20, 30, 1, 2]


def test_a_subquery_answers_its_steps(table: Counting) -> None:
    value = Engine(table).instant('(m{a="2"} * 2)[2m:1m]', 2 * MINUTE + 1, budget()).value
    assert isinstance(value, RawMatrix)
    assert value.labels.rows() == [{"a": "2"}]
    assert (value.times_ms.tolist(), value.values.tolist()) == ([60_000, 120_000], [4.0, 6.0])


def test_series_of_a_range_query_come_in_the_order_of_their_labels(table: Counting) -> None:
    value = Engine(table).range("-m or gone", 0, MINUTE, MINUTE, budget()).value
    assert isinstance(value, Matrix)
    assert value.series.labels.rows() == [{"__name__": "gone", "a": "1"}, {"a": "10"}, {"a": "2"}, {"b": "1"}]


def test_topk_of_an_instant_query_is_in_order(table: Counting) -> None:
    value = Engine(table).instant("topk(2, m)", 0, budget()).value
    assert isinstance(value, Vector)
    assert value.values.tolist() == [10.0, 7.0]


def test_one_read_serves_equal_selectors(table: Counting) -> None:
    Engine(table).range("sum(rate(m[2m])) / sum(rate(m[2m])) + count(m) + m", 0, 2 * MINUTE, MINUTE, budget())
    assert table.asked == [("m", -299_999, 120_000)]


def test_nothing_is_read_for_a_query_without_selectors(table: Counting) -> None:
    Engine(table).range("vector(time()) > 3", 0, MINUTE, MINUTE, budget())
    assert table.asked == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('-{__name__=~"m|n", a="1"}', "vector cannot contain metrics with the same labelset"),
        ("topk(NaN, m)", "Parameter value is NaN"),
        ("topk(1e30, m)", "Scalar value 1e+30 overflows int64"),
        (
            "m + on () m",
            "found duplicate series for the match group {} on the right hand-side of the operation",
        ),
    ],
)
def test_errors_of_evaluation(text: str, message: str) -> None:
    table = Table([series("m", 1, a="1"), series("m", 2, a="2"), series("n", 1, a="1")])
    with pytest.raises(ExecutionError) as caught:
        Engine(table).instant(text, 0, budget())
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m[5m]", 'invalid expression type "range vector" for range query, must be Scalar or instant Vector'),
        ('"x"', 'invalid expression type "string" for range query, must be Scalar or instant Vector'),
    ],
)
def test_range_queries_want_instant_vectors_or_scalars(table: Counting, text: str, message: str) -> None:
    with pytest.raises(BadQuery) as caught:
        Engine(table).range(text, 0, MINUTE, MINUTE, budget())
    assert str(caught.value) == message


def test_a_query_stops_at_its_limits(table: Counting) -> None:
    engine = Engine(table)
    with pytest.raises(LimitExceeded):
        engine.range("m + m", 0, 100 * MINUTE, MINUTE, budget(max_samples=200))
    cancelled = budget()
    cancelled.cancel()
    with pytest.raises(Cancelled):
        engine.instant("m", 0, cancelled)
    clock = ManualClock()
    late = Budget(clock, timeout_s=1, max_samples=1000)
    clock.advance(2000)
    with pytest.raises(TimedOut):
        engine.instant("m", 0, late)


def test_what_is_held_is_let_go_when_it_is_no_longer_needed(table: Counting) -> None:
    held = budget()
    Engine(table).range("sum(m + m + m)", 0, 9 * MINUTE, MINUTE, held)
    assert held.samples == 10
    assert held.peak_samples < 150


def test_notes_carry_their_place(table: Counting) -> None:
    text = "1 +\n  rate(m[2m])"
    notes = Engine(table).instant(text, 2 * MINUTE, budget()).notes
    assert [render_note(note, text) for note in notes] == [
        'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "m" (2:8)'
    ]


def test_names_go_late_only_when_asked(table: Counting) -> None:
    text = "sum by (__name__) (-m)"
    early = Engine(table).instant(text, 0, budget()).value
    late = Engine(table, features={DELAYED_NAME_REMOVAL}).instant(text, 0, budget()).value
    assert isinstance(early, Vector)
    assert isinstance(late, Vector)
    assert early.labels.rows() == late.labels.rows() == [{}]
    text = "count(count by (__name__) (-{a!=''}))"
    counts = [
        engine.instant(text, 0, budget()).value
        for engine in (Engine(table), Engine(table, features={DELAYED_NAME_REMOVAL}))
    ]
    assert [value.values.tolist() for value in counts if isinstance(value, Vector)] == [[1.0], [2.0]]


def test_the_lookback_of_a_call_overrides_the_engines(table: Counting) -> None:
    engine = Engine(table)
    at_ms = 5 * MINUTE + 30_000
    for lookback_ms, count in ((None, 3), (30_000, 0), (30_001, 3)):
        value = engine.instant("m", at_ms, budget(), lookback_ms).value
        assert isinstance(value, Vector)
        assert len(value.values) == count


def test_an_answer_without_series_is_empty_and_not_an_error(table: Counting) -> None:
    engine = Engine(table)
    for text in ("nope", "sum(nope)", "nope + nope", "rate(nope[1m])", "topk(1, nope)", "quantile(0.5, nope)",
                 "nope and m", "count_values('v', nope)", "nope[5m]", "nope[5m:1m]"):  # fmt: skip
        value = engine.instant(text, 0, budget()).value
        assert isinstance(value, (Vector, RawMatrix))
        assert value.labels.size == 0
    value = engine.range("nope * on (a) group_left (b) m", 0, MINUTE, MINUTE, budget()).value
    assert isinstance(value, Matrix)
    assert value.series.values.shape == (2, 0)


def test_scalar_of_several_series_is_nan(table: Counting) -> None:
    value = Engine(table).instant("scalar(m)", 0, budget()).value
    assert isinstance(value, Scalar)
    assert math.isnan(value.values[0])


class Fixed:
    """Hands out the same blocks whatever it is asked."""

    def __init__(self, blocks: list[SampleBlock]) -> None:
        self.blocks = blocks

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        return self.blocks


def test_a_sources_blocks_are_not_changed(table: Counting) -> None:
    blocks = Table(table.series).select((), 0, 0, budget())
    kept = [block.values.copy() for block in blocks]
    for text in (
        "-sum by (a) (m * 2) + on (a) group_right () rate(m[2m]) > bool 1",
        "stddev(-topk(2, m)) + quantile(0.5, m)",
        "sum_over_time(m[3m]) - sum(m @ 60)",
    ):
        Engine(Fixed(blocks)).range(text, 0, 3 * MINUTE, MINUTE, budget())
    for block, before in zip(blocks, kept, strict=True):
        assert np.array_equal(block.values.view(np.uint64), before.view(np.uint64))


@pytest.mark.parametrize(
    "query",
    [
        "rate(x_total[2m])",
        "increase(x_total[2m] offset 1m)",
        "deriv(x_total[5m])",
        "predict_linear(x_total[5m], time() / 1000)",
        "stddev_over_time(x_total[3m])",
        "quantile_over_time(0.5, x_total[3m])",
        "max_over_time(x_total[10m])",
        "changes(x_total[2m])",
        "timestamp(x_total)",
    ],
)
def test_a_range_query_far_beyond_the_samples_agrees_with_instant_queries(query: str) -> None:
    random = np.random.default_rng(7)
    source = Table(
        [
            Series(
                {"__name__": "x_total", "i": str(i)},
                {2_000_000 + 15_000 * k + 1000 * (i % 3): float(random.integers(0, 50)) for k in range(40)},
            )
            for i in range(24)
        ]
    )
    engine, last_ms = Engine(source), 5_000_000
    found = engine.range(query, 15_000, last_ms, 30_000, budget()).value
    assert isinstance(found, Matrix)
    present = found.series.present_mask()
    for step, time_ms in enumerate(found.steps.times_ms().tolist()):
        once = engine.instant(query, time_ms, budget()).value
        assert isinstance(once, Vector)
        at = np.flatnonzero(present[step])
        order = np.argsort([row["i"] for row in once.labels.rows()]) if once.labels.size else np.zeros(0, int)
        assert found.series.labels.take(at).rows() == once.labels.take(order).rows()
        assert np.array_equal(found.series.values[step, at], once.values[order], equal_nan=True)
