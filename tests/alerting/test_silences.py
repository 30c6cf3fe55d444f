"""Silences are made, changed, ended, kept and forgotten as Alertmanager does."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.alerting.matchers import matches, parse_matchers
from otero.alerting.silences import RETENTION_MS, Silences, _Index
from otero.clock import ManualClock
from otero.errors import BadInput, NotFound
from otero.model.silences import Silence, SilenceState
from otero.storage.silences import SilenceTable
from otero.storage.state import State

HOUR = 3_600_000


class World:
    def __init__(self, state: State, clock: ManualClock | None = None) -> None:
        ids = count(1)
        self.clock = clock or ManualClock()
        self.silences = Silences(SilenceTable(state), self.clock, new_id=lambda: f"id-{next(ids)}")

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()

    def make(self, text: str = "alertname=A", start: int = 0, end: int = HOUR, id_: str = "") -> str:
        return self.silences.create(self.silence(text, start, end, id_))

    def silence(self, text: str, start: int, end: int, id_: str = "") -> Silence:
        return Silence(
            parse_matchers(text).matchers, self.now_ms + start, self.now_ms + end, "ann", "works", id_
        )

    def ids(self, **labels: str) -> list[str]:
        return [silence.id for silence in self.silences.silencing(labels, self.now_ms)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    state = State.beside(tmp_path)
    yield World(state)
    state.close()


def test_pending_active_expired(world: World) -> None:
    world.make(start=1000, end=2000)
    assert world.ids(alertname="A") == []
    world.clock.advance(1000)
    assert world.ids(alertname="A") == ["id-1"]
    assert world.ids(alertname="B") == []
    world.clock.advance(999)
    assert world.ids(alertname="A") == ["id-1"]
    world.clock.advance(1)
    assert world.ids(alertname="A") == []
    assert world.silences.get("id-1").state(world.now_ms) is SilenceState.EXPIRED


def test_a_start_in_the_past_or_none_is_now(world: World) -> None:
    world.make(start=-5000)
    assert world.silences.get("id-1").starts_ms == world.now_ms
    world.silences.create(replace(world.silence("a=1", 0, HOUR), starts_ms=0))
    assert world.silences.get("id-2").starts_ms == world.now_ms


def test_a_change_that_leaves_the_past_keeps_the_id(world: World) -> None:
    world.make(end=HOUR)
    world.clock.advance(HOUR // 2)
    changed = replace(world.silences.get("id-1"), ends_ms=world.now_ms + HOUR, comment="longer")
    assert world.silences.create(changed) == "id-1"
    assert world.silences.get("id-1") == replace(changed, updated_ms=world.now_ms)


def test_a_change_of_the_past_ends_it_and_makes_another(world: World) -> None:
    world.make()
    world.clock.advance(HOUR // 2)
    before = world.silences.get("id-1")
    assert world.silences.create(replace(before, matchers=parse_matchers("alertname=B").matchers)) == "id-2"
    assert world.silences.get("id-1").state(world.now_ms) is SilenceState.EXPIRED
    assert world.ids(alertname="B") == ["id-2"]
    assert world.ids(alertname="A") == []
    # One that has ended is not made active again, but another one is.
    assert world.silences.create(replace(before, ends_ms=world.now_ms + HOUR)) == "id-3"


def test_a_pending_one_may_move_but_not_into_the_past(world: World) -> None:
    world.make(start=HOUR, end=2 * HOUR)
    pending = world.silences.get("id-1")
    assert world.silences.create(replace(pending, starts_ms=world.now_ms + 5)) == "id-1"
    world.silences.expire("id-1")
    expired = world.silences.get("id-1")
    assert (expired.starts_ms, expired.ends_ms) == (world.now_ms, world.now_ms)
    world.silences.expire("id-1")


@pytest.mark.parametrize(
    ("text", "start", "end", "reason"),
    [
        ("", 0, HOUR, "at least one matcher required"),
        ('a=""', 0, HOUR, "must not match the empty string"),
        ('a=~".*"', 0, HOUR, "must not match the empty string"),
        ("a=1", HOUR, 0, "end time must not be before start time"),
        ("a=1", -HOUR, -1000, "would end before now"),
    ],
)
def test_what_makes_no_sense(world: World, text: str, start: int, end: int, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        world.make(text, start, end)
    assert world.silences.list() == []


def test_a_matcher_that_denies_is_enough(world: World) -> None:
    assert world.make('a!="1"') == "id-1"
    assert world.ids(b="2") == ["id-1"]


def test_unknown_ones(world: World) -> None:
    with pytest.raises(NotFound):
        world.make(id_="other")
    with pytest.raises(NotFound):
        world.silences.expire("other")
    with pytest.raises(NotFound):
        world.silences.get("other")


def test_kept_through_a_restart_and_forgotten_in_time(tmp_path: Path) -> None:
    state = State.beside(tmp_path)
    world = World(state)
    world.make('{"ünï"=~"a|b", x!="1"}', end=HOUR)
    world.make("a=1", end=2 * HOUR)
    again = World(state, world.clock)
    assert again.silences.list() == world.silences.list()
    world.clock.advance(HOUR + RETENTION_MS - 1)
    assert again.silences.sweep() == 0
    world.clock.advance(1)
    assert again.silences.sweep() == 1
    assert [silence.id for silence in World(state, world.clock).silences.list()] == ["id-2"]
    state.close()


matcher = st.sampled_from(["a=1", "a=2", "b=1", 'a=~"1|2"', "a!=1", 'b=""', "c=1", 'c!~"2"'])
labels = st.fixed_dictionaries({}, optional={name: st.sampled_from("12") for name in "abc"})


@given(st.lists(st.lists(matcher, min_size=1, max_size=3), max_size=6), labels)
def test_the_index_finds_what_a_loop_does(texts: list[list[str]], alert: dict[str, str]) -> None:
    silences = [
        Silence(parse_matchers(",".join(text)).matchers, 0, 1, id=str(number))
        for number, text in enumerate(texts)
    ]
    found = _Index(silences).matching(alert)
    assert found == [silence for silence in silences if matches(silence.matchers, alert)]
