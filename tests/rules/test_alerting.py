"""The state machine of alerts, step by step, and random histories against an obvious reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import ExecutionError
from otero.model.labels import LabelBytes, encode_labels
from otero.rules.alerting import (
    FOR_GRACE_PERIOD_MS,
    RESEND_DELAY_MS,
    Active,
    ActiveAlert,
    Found,
    LimitReached,
    State,
    Timing,
    advance,
    alert_labels,
    due,
    restored,
    series_of,
    state_of,
    to_send,
)

MINUTE = 60_000
ONE = {"alertname": "A", "instance": "1"}
TWO = {"alertname": "A", "instance": "2"}


def states(active: Active) -> dict[str, State]:
    return {alert.labels["instance"]: alert.state for alert in active.values()}


def test_an_alert_is_pending_for_its_time_then_fires_then_resolves_and_is_forgotten() -> None:
    timing = Timing(for_ms=2 * MINUTE)
    active: Active = {}
    seen: list[State] = []
    for minute in range(4):
        active = advance(active, [Found(ONE)], minute * MINUTE, timing)
        seen.append(state_of(active))
    assert seen == [State.PENDING, State.PENDING, State.FIRING, State.FIRING]
    [alert] = active.values()
    assert (alert.active_ms, alert.fired_ms) == (0, 2 * MINUTE)

    active = advance(active, [], 4 * MINUTE, timing)
    [alert] = active.values()
    assert (alert.state, alert.resolved_ms) == (State.INACTIVE, 4 * MINUTE)
    assert advance(active, [], 19 * MINUTE, timing)
    assert not advance(active, [], 19 * MINUTE + 1, timing)


def test_a_pending_alert_that_stops_leaves_nothing() -> None:
    timing = Timing(for_ms=MINUTE)
    assert advance(advance({}, [Found(ONE)], 0, timing), [], 1, timing) == {}


def test_one_that_comes_back_begins_anew() -> None:
    active = advance({}, [Found(ONE)], 1000, Timing())
    active = advance(active, [], 2000, Timing())
    [alert] = advance(active, [Found(ONE)], 3000, Timing(for_ms=MINUTE)).values()
    assert (alert.state, alert.active_ms, alert.resolved_ms) == (State.PENDING, 3000, 0)


def test_it_keeps_firing_for_a_while() -> None:
    timing = Timing(keep_firing_for_ms=2 * MINUTE)
    active = advance({}, [Found(ONE, value=5)], 0, timing)
    active = advance(active, [], MINUTE, timing)
    [alert] = active.values()
    assert (alert.state, alert.keep_firing_ms, alert.value) == (State.FIRING, MINUTE, 5)
    back = advance(active, [Found(ONE, value=6)], 2 * MINUTE, timing)
    [alert] = back.values()
    assert (alert.keep_firing_ms, alert.value) == (0, 6)
    assert state_of(advance(active, [], 2 * MINUTE, timing)) is State.FIRING
    assert state_of(advance(active, [], 3 * MINUTE, timing)) is State.INACTIVE


def test_the_same_alert_twice_is_an_error_and_so_are_too_many() -> None:
    with pytest.raises(ExecutionError, match="same labelset after applying alert labels"):
        advance({}, [Found(ONE), Found(dict(ONE))], 0, Timing())
    with pytest.raises(LimitReached, match="exceeded limit of 1 with 2 alerts"):
        advance({}, [Found(ONE), Found(TWO)], 0, Timing(limit=1))
    firing = advance({}, [Found(ONE)], 0, Timing())
    resolved = advance(firing, [], 1, Timing())
    assert len(advance(resolved, [Found(TWO)], 2, Timing(limit=1))) == 2  # a resolved one does not count


def test_labels_of_rule_and_alert_win_and_empty_ones_go() -> None:
    element = {"__name__": "up", "alertname": "x", "job": "a", "zone": "b"}
    assert alert_labels(element, {"job": "", "severity": "page"}, "A") == {
        "alertname": "A", "severity": "page", "zone": "b",
    }  # fmt: skip


def test_who_is_told_and_how_often() -> None:
    pending = advance({}, [Found(ONE)], 0, Timing(for_ms=1))
    assert due(pending, 0, MINUTE)[0] == []
    active: Active = advance(pending, [Found(ONE)], 1_000_000, Timing(for_ms=1))
    sent, active = due(active, 1_000_000, 15_000)
    assert [alert.valid_until_ms for alert in sent] == [1_000_000 + 4 * RESEND_DELAY_MS]
    assert due(active, 1_000_000 + RESEND_DELAY_MS, 15_000)[0] == []
    sent, active = due(active, 1_000_001 + RESEND_DELAY_MS, 5 * MINUTE)
    assert [alert.valid_until_ms for alert in sent] == [1_000_001 + RESEND_DELAY_MS + 20 * MINUTE]
    active = advance(active, [], 1_000_002 + RESEND_DELAY_MS, Timing())
    sent, active = due(active, 1_000_002 + RESEND_DELAY_MS, MINUTE)
    [told] = [to_send(alert, {"cluster": "c", "instance": "no"}, "http://x/graph") for alert in sent]
    assert told.labels == {**ONE, "cluster": "c"}
    assert (told.starts_ms, told.ends_ms) == (1_000_000, 1_000_002 + RESEND_DELAY_MS)
    assert due(active, 1_000_003 + RESEND_DELAY_MS, MINUTE)[0] == []


def test_series_of_alerts() -> None:
    active = advance({}, [Found(ONE)], 12_345, Timing(for_ms=MINUTE))
    assert series_of(active) == [
        ({"__name__": "ALERTS", **ONE, "alertstate": "pending"}, 1.0),
        ({"__name__": "ALERTS_FOR_STATE", **ONE}, 12.0),
    ]
    assert series_of(advance(advance({}, [Found(ONE)], 0, Timing()), [], 1, Timing())) == []


@pytest.mark.parametrize(
    ("since_s", "down_s", "now_s", "for_s", "wanted_s"),
    [
        (0, 3000, 3300, 1800, 0),  # it had fired: its next evaluation lets it fire again
        (1000, 2000, 2300, 1800, 1300),  # 800 s were left: the outage does not count
        (1000, 2000, 2300, 1500, 2300 + 600 - 1500),  # 500 s were left: at least the grace period
    ],
)
def test_pending_goes_on_after_a_restart(
    since_s: int, down_s: int, now_s: int, for_s: int, wanted_s: int
) -> None:
    assert FOR_GRACE_PERIOD_MS == 600_000
    active = advance({}, [Found(ONE), Found(TWO)], now_s * 1000, Timing(for_ms=for_s * 1000))
    seen = {encode_labels(ONE): (down_s * 1000, float(since_s))}
    after = restored(active, seen, now_s * 1000, for_s * 1000)
    assert [alert.active_ms for alert in after.values()] == [wanted_s * 1000, now_s * 1000]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), max_size=40),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_random_histories(steps: list[tuple[int, bool, bool]], for_min: int, keep_min: int) -> None:
    """Of each alert: since when was it true without a break, since when not, and did it fire."""
    timing = Timing(for_min * MINUTE, keep_min * MINUTE)
    active: Active = {}
    now = 0
    true_since: dict[LabelBytes, int] = {}
    false_since: dict[LabelBytes, int] = {}
    firing: set[LabelBytes] = set()
    for gap, *present in steps:
        now += gap * MINUTE
        found = [Found(labels) for labels, here in zip((ONE, TWO), present, strict=True) if here]
        active = advance(active, found, now, timing)
        for labels, here in zip((ONE, TWO), present, strict=True):
            key = encode_labels(labels)
            if here:
                true_since.setdefault(key, now)
                false_since.pop(key, None)
                if now - true_since[key] >= timing.for_ms:
                    firing.add(key)
            elif key in true_since:
                since = false_since.setdefault(key, now)
                if key not in firing or now - since >= timing.keep_firing_for_ms:
                    firing.discard(key)
                    del true_since[key], false_since[key]
            alert: ActiveAlert | None = active.get(key)
            state = State.INACTIVE if alert is None else alert.state
            wanted = State.FIRING if key in firing else State.PENDING if key in true_since else State.INACTIVE
            assert state is wanted
