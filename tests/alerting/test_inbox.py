"""Alerts come in, are merged, end, and outlive a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.alerting.inbox import Accepted, Inbox, _merged
from otero.clock import ManualClock
from otero.errors import LimitExceeded
from otero.model.alerts import Alert
from otero.model.decisions import Decision, DecisionKind
from otero.storage.alerts import AlertTable
from otero.storage.state import State

MINUTE = 60_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State.beside(tmp_path)
    yield state
    state.close()


class World:
    def __init__(self, state: State, clock: ManualClock | None = None, max_alerts: int = 100) -> None:
        self.clock = clock or ManualClock()
        self.said: list[Decision] = []
        self.accepted: list[Accepted] = []
        self.table = AlertTable(state)
        self.inbox = Inbox(
            self.table, self.clock, self.said.append, on_accepted=self.accepted.append, max_alerts=max_alerts
        )

    @property
    def kinds(self) -> list[DecisionKind]:
        return [decision.kind for decision in self.said]

    def alert(self, name: str = "A") -> Alert:
        return next(alert for _, alert in self.inbox.all() if alert.name == name)


def alert(name: str = "A", starts_ms: int = 0, ends_ms: int = 0, **annotations: str) -> Alert:
    return Alert({"alertname": name, "job": "j"}, annotations, starts_ms, ends_ms)


def test_what_an_alert_does_not_say(state: State) -> None:
    world = World(state)
    now_ms = world.clock.now_ms()
    world.inbox.put([Alert({"job": "j", "alertname": "A", "none": ""}), alert("B", ends_ms=now_ms - 5)])
    first, second = world.alert(), world.alert("B")
    assert list(first.labels.items()) == [("alertname", "A"), ("job", "j")]
    assert (first.starts_ms, first.ends_ms, first.timeout) == (now_ms, now_ms + 5 * MINUTE, True)
    assert (second.starts_ms, second.ends_ms, second.timeout) == (now_ms - 5, now_ms - 5, False)
    # Nobody was told that B fires, so its end is no news.
    assert world.kinds == [DecisionKind.RECEIVED]


def test_said_again_and_ended(state: State) -> None:
    world = World(state)
    start_ms = world.clock.now_ms()
    world.inbox.put([alert()])
    world.clock.advance(4 * MINUTE)
    world.inbox.put([alert(starts_ms=start_ms + 1)])
    assert world.alert().starts_ms == start_ms
    assert world.alert().ends_ms == start_ms + 9 * MINUTE
    world.clock.advance(5 * MINUTE - 1)
    world.inbox.sweep(world.clock.now_ms())
    assert not world.inbox.is_due(world.clock.now_ms())
    assert world.kinds == [DecisionKind.RECEIVED]
    world.clock.advance(1)
    assert world.inbox.is_due(world.clock.now_ms())
    world.inbox.sweep(world.clock.now_ms())
    assert not world.inbox.is_due(world.clock.now_ms())
    assert world.kinds == [DecisionKind.RECEIVED, DecisionKind.RESOLVED]
    assert "did not say it again" in world.said[-1].text
    world.inbox.put([alert(starts_ms=world.clock.now_ms())])
    assert world.alert().starts_ms == world.clock.now_ms()  # another spell
    world.clock.advance(1000)
    world.inbox.put([alert(starts_ms=start_ms, ends_ms=world.clock.now_ms())])
    assert world.kinds[2:] == [DecisionKind.RECEIVED, DecisionKind.RESOLVED]
    assert "as its sender said" in world.said[-1].text


def test_one_call_may_say_an_alert_twice(state: State) -> None:
    world = World(state)
    now_ms = world.clock.now_ms()
    world.inbox.put([alert(starts_ms=now_ms - 10), alert(starts_ms=now_ms - 5)])
    [accepted] = world.accepted
    assert len(accepted) == 1
    assert world.alert().starts_ms == now_ms - 10


def test_only_what_changed_is_written(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(state)
    written: list[int] = []
    write = world.table.write
    monkeypatch.setattr(world.table, "write", lambda rows: (written.append(len(rows)), write(rows)))
    world.inbox.put([alert("A"), alert("B")])
    world.clock.advance(MINUTE)
    world.inbox.put([alert("A"), alert("B", note="new")])
    world.clock.advance(MINUTE)
    world.inbox.put([alert("A"), alert("B", note="new")])
    assert written == [2, 1]


def test_a_restart_gives_senders_time_to_say_what_fires(state: State) -> None:
    world = World(state)
    world.inbox.put([alert("Fires"), alert("Forgotten"), alert("Ended")])
    world.clock.advance(MINUTE)
    world.inbox.put([alert("Ended", ends_ms=world.clock.now_ms())])
    ended = world.alert("Ended")
    world.clock.advance(24 * 60 * MINUTE)
    again = World(state, world.clock)
    loaded = dict(again.inbox.resume())
    assert {alert.name for alert in loaded.values()} == {"Fires", "Forgotten", "Ended"}
    assert again.alert("Ended") == ended
    assert again.alert("Fires").ends_ms == world.clock.now_ms() + 5 * MINUTE
    assert again.said == []
    again.clock.advance(4 * MINUTE)
    again.inbox.put([alert("Fires")])
    assert again.said == []
    again.clock.advance(MINUTE)
    again.inbox.sweep(again.clock.now_ms())
    assert [(one.alertname, one.kind) for one in again.said] == [("Forgotten", DecisionKind.RESOLVED)]


def test_an_end_by_silence_is_known_after_a_restart(state: State) -> None:
    world = World(state)
    world.inbox.put([alert()])
    world.clock.advance(5 * MINUTE)
    world.inbox.sweep(world.clock.now_ms())
    again = World(state, world.clock)
    again.inbox.resume()
    assert again.alert().resolved_at(world.clock.now_ms())


def test_forgotten_when_everybody_knows_unless_said_again(state: State) -> None:
    world = World(state)
    for name in ("A", "B"):
        world.inbox.put([alert(name)])
    world.clock.advance(1000)
    world.inbox.put([alert(name, ends_ms=world.clock.now_ms()) for name in ("A", "B")])
    done = world.inbox.all()
    world.clock.advance(1000)
    world.inbox.put([alert("B")])
    gone = world.inbox.forget(done)
    assert gone == [alert("A").fingerprint]
    assert [alert.name for _, alert in world.inbox.all()] == ["B"]
    assert [stored.alert.name for stored in world.table.load().values()] == ["B"]


def test_too_many_are_refused_and_none_of_them_taken(state: State) -> None:
    world = World(state, max_alerts=2)
    world.inbox.put([alert("A")])
    with pytest.raises(LimitExceeded, match="at most 2"):
        world.inbox.put([alert("B"), alert("C")])
    world.inbox.put([alert("A"), alert("B")])
    assert {stored.alert.name for stored in world.table.load().values()} == {"A", "B"}


times = st.integers(1, 20)


@given(times, times, times, times, times, st.booleans())
def test_merging_never_shortens_what_was_said_to_hold(
    start: int, length: int, start2: int, length2: int, now_ms: int, timeout: bool
) -> None:
    known = Alert({"alertname": "A"}, {"a": "old"}, start, start + length, timeout=timeout)
    new = Alert({"alertname": "A"}, {"a": "new"}, start2, start2 + length2, updated_ms=now_ms)
    merged = _merged(known, new, now_ms)
    assert merged.annotations == new.annotations
    assert merged.starts_ms in (new.starts_ms, min(known.starts_ms, new.starts_ms))
    if new.resolved_at(now_ms) and not known.resolved_at(now_ms):
        assert merged.resolved_at(now_ms)  # who says that it ended is heard
    if not new.resolved_at(now_ms):
        assert merged.ends_ms >= new.ends_ms
