"""A replay in columns gives the episodes that evaluating group by group, step by step, gives."""

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from otero.clock import SystemClock
from otero.errors import BadInput, Cancelled, LimitExceeded
from otero.fields import Duration
from otero.model.budget import Budget
from otero.rules import replay as module
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import State
from otero.rules.config import Rule, RuleFile, RuleGroup
from otero.rules.group import Group, Surroundings
from otero.rules.replay import RuleReplay, replay
from tests.rules.memory import START_MS, MemoryStore

STEP = 15_000
AROUND = Surroundings(interval_ms=STEP)
Found = set[tuple[tuple[tuple[str, str], ...], int, int | None, int | None]]


def budget() -> Budget:
    return Budget(SystemClock(), timeout_s=60, max_samples=10_000_000)


def stored(values: dict[tuple[str, str], list[float | None]]) -> MemoryStore:
    store = MemoryStore()
    for at in range(max((len(column) for column in values.values()), default=0)):
        samples = [
            ({"__name__": name, "job": job}, column[at])
            for (name, job), column in values.items()
            if at < len(column) and column[at] is not None
        ]
        if samples:
            store.give(START_MS + at * STEP + 1000, *samples)  # pyright: ignore[reportArgumentType]
    return store


def of_replay(reports: list[RuleReplay]) -> Found:
    return {
        (tuple(sorted(episode.labels.items())), episode.pending_ms, episode.firing_ms, episode.end_ms)
        for report in reports
        for episode in report.episodes
    }


def of_groups(store: MemoryStore, file: RuleFile, times: list[int]) -> Found:
    """What the server does: every group at every time, its recording rules writing."""
    groups = [Group("", config, AROUND, store.clock) for config in file.groups]
    found: Found = set()
    begun: dict[Any, tuple[Any, int, int | None]] = {}
    for time_ms in times:
        for group in groups:
            group.evaluate(time_ms, store.queries, store.intake)
        now = {
            (rule, key): (tuple(sorted(alert.labels.items())), alert.active_ms, alert.fired_ms or None)
            for group in groups
            for rule in group.rules
            if isinstance(rule, AlertingRule)
            for key, alert in rule.active.items()
            if alert.state is not State.INACTIVE
        }
        for key, alert in begun.items():
            if key not in now or now[key][1] != alert[1]:
                found.add((*alert, time_ms))
        begun = now
    return found | {(*alert, None) for alert in begun.values()}


COLUMN = st.lists(st.sampled_from([None, 0.0, 1.0, 2.0, 5.0]), min_size=20, max_size=40)
EXPRESSIONS = [
    "x > 1", "sum by (job) (x) == 0", "x > on (job) y", "rate(x[1m]) > 0", "absent(x)", "x + on () y > 2",
    "recorded > 1", "max_over_time(recorded[1m]) > 2", "twice > 3", "x > 1 and on () y", "(x > 1) or (y > 1)",
    'label_replace(x > 0, "job", "same", "", "")',
]  # fmt: skip


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(
    values=st.dictionaries(
        st.sampled_from([("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")]), COLUMN, min_size=1
    ),
    alerts=st.lists(
        st.tuples(
            st.sampled_from(EXPRESSIONS),
            st.sampled_from([0, STEP, 40_000]),
            st.sampled_from([0, STEP, 50_000]),
            st.sampled_from(["page", "{{ $labels.job }}", "{{ $value }}"]),
        ),
        min_size=1,
        max_size=3,
    ),
    limit=st.sampled_from([0, 0, 0, 1]),
    chunk=st.sampled_from([3, 7, 2000]),
)
def test_columns_and_steps_agree(
    values: dict[tuple[str, str], list[float | None]],
    alerts: list[tuple[str, int, int, str]],
    limit: int,
    chunk: int,
) -> None:
    recording = RuleGroup(
        name="r",
        rules=(
            Rule(record="recorded", expr="max by (job) (x)", labels={"by": "rule"}),
            Rule(record="twice", expr="recorded * 2"),
        ),
    )
    alerting = RuleGroup(
        name="a",
        limit=limit,
        rules=tuple(
            Rule(
                alert=f"A{at}", expr=expr, for_=Duration(for_ms), keep_firing_for=Duration(keep_ms), labels={"s": label}
            )
            for at, (expr, for_ms, keep_ms, label) in enumerate(alerts)
        ),
    )  # fmt: skip
    file = RuleFile(groups=(recording, alerting))
    first = START_MS - START_MS % STEP
    times = [first + at * STEP for at in range(45)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        patch.setattr("otero.rules.replay_recordings._CHUNK", chunk)
        reports = replay(file, stored(values).engine, budget(), times[0], times[-1], AROUND, step_ms=STEP)
        slots = replay(file, stored(values).engine, budget(), times[0], times[-1], AROUND)
    assert all(report.steps in (44, 45) for report in slots)
    assert of_replay(reports) == of_groups(stored(values), file, times)


def replayed(rule: Rule, store: MemoryStore, **options: Any) -> RuleReplay:
    file = RuleFile(groups=(RuleGroup(name="g", rules=(rule,)),))
    [report] = replay(
        file, store.engine, budget(), START_MS, START_MS + 40 * STEP, AROUND, step_ms=STEP, **options
    )
    return report


def test_evaluations_that_fail_are_found_and_change_nothing() -> None:
    store = stored({("x", "a"): [5.0] * 40, ("y", "a"): [1.0] * 40, ("y", "b"): [None] * 20 + [1.0] * 2})
    store.give(START_MS + 23 * STEP, ({"__name__": "y", "job": "b"}, float("nan")))
    report = replayed(Rule(alert="A", expr="x > on () group_left () (y * 1)"), store)
    assert 0 < report.failed < 40
    assert "many-to-many" in report.error
    assert [(episode.firing_ms is not None, episode.end_ms) for episode in report.episodes] == [(True, None)]


def test_a_rule_that_always_fails_says_so() -> None:
    store = stored({("x", "a"): [5.0] * 41, ("x", "b"): [1.0] * 41})
    report = replayed(Rule(alert="A", expr="x + on () x"), store)
    assert (report.episodes, bool(report.error)) == ([], True)
    assert report.failed >= 39


def test_the_recorded_of_the_file_win_over_what_is_stored() -> None:
    store = stored({("x", "a"): [5.0] * 41})
    for at in range(40):
        store.give(START_MS + at * STEP, ({"__name__": "r", "job": "a"}, 0.0))
    rules = (Rule(record="r", expr="x"), Rule(alert="A", expr="r > 1"))
    with_file = RuleFile(groups=(RuleGroup(name="g", rules=rules),))
    without = RuleFile(groups=(RuleGroup(name="g", rules=rules[1:]),))
    end = START_MS + 40 * STEP
    [report] = replay(with_file, store.engine, budget(), START_MS, end, AROUND)
    assert (len(report.episodes), report.recorded) == (1, ("r",))
    [report] = replay(without, store.engine, budget(), START_MS, end, AROUND)
    assert (report.episodes, report.recorded) == ([], ())


def test_bounds_and_cancelling() -> None:
    store = stored({("x", "a"): [5.0] * 3})
    file = RuleFile(groups=(RuleGroup(name="g", rules=(Rule(alert="A", expr="x"),)),))
    with pytest.raises(LimitExceeded, match="longer step"):
        replay(file, store.engine, budget(), 0, START_MS, AROUND)
    with pytest.raises(BadInput, match="no alert B"):
        replay(file, store.engine, budget(), START_MS, START_MS + STEP, AROUND, alert="B")
    with pytest.raises(BadInput, match="before its start"):
        replay(file, store.engine, budget(), START_MS, 0, AROUND)
    cancelled = budget()
    cancelled.cancel()
    with pytest.raises(Cancelled):
        replay(file, store.engine, cancelled, START_MS, START_MS + 40 * STEP, AROUND)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    replayed(
        Rule(alert="A", expr="x"),
        stored({("x", "a"): [5.0] * 3}),
        on_progress=lambda done, all_: seen.append((done, all_)),
    )
    assert seen == [(41, 41)]
