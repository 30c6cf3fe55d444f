"""Groups and their times, beside a model that looks at every group at every step."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from otero.alerting.dispatch import Dispatcher, Flush
from otero.alerting.route import Route
from otero.model.alerts import Alert
from otero.model.decisions import Decision, DecisionKind, forget
from otero.model.matchers import Matcher, MatchOp

SECOND = 1000
START = 1_700_000_000_000
FOREVER = START * 2


def route(receiver: str = "all", *matchers: tuple[str, str], key: str = "{}", **settings: object) -> Route:
    options: dict[str, object] = {
        "group_by": ("alertname",), "group_wait_ms": 30 * SECOND, "group_interval_ms": 300 * SECOND,
    }  # fmt: skip
    matching = tuple(Matcher(name, MatchOp.EQUAL, value) for name, value in matchers)
    return Route(key=key, id=key, receiver=receiver, matchers=matching, **{**options, **settings})  # pyright: ignore[reportArgumentType]


def alert(
    name: str = "A", instance: str = "i", starts_ms: int = START, ends_ms: int = FOREVER
) -> tuple[int, Alert]:
    one = Alert({"alertname": name, "instance": instance}, {}, starts_ms, ends_ms)
    return one.fingerprint, one


def names(flush: Flush) -> list[str]:
    return [one.labels["instance"] for one in flush.alerts.values()]


def test_wait_then_interval() -> None:
    said: list[Decision] = []
    dispatcher = Dispatcher(route(), said.append)
    assert dispatcher.next_ms() is None
    dispatcher.insert([alert(instance="1")], START)
    dispatcher.insert([alert(instance="2")], START + 10 * SECOND)
    assert dispatcher.next_ms() == START + 30 * SECOND
    assert dispatcher.due(START + 30 * SECOND - 1) == []
    [flush] = dispatcher.due(START + 30 * SECOND)
    assert names(flush) == ["1", "2"]
    assert flush.group.key == '{}:{alertname="A"}'
    assert [one.ends_ms for one in flush.alerts.values()] == [0, 0]
    assert flush.deadline_ms == START + 330 * SECOND
    # Under way: nothing of the group is due, whatever comes in.
    dispatcher.insert([alert(instance="3")], START + 31 * SECOND)
    assert dispatcher.next_ms() is None
    assert dispatcher.done(flush, START + 40 * SECOND, told=True) is None
    assert dispatcher.next_ms() == START + 330 * SECOND
    [flush] = dispatcher.due(START + 330 * SECOND)
    assert names(flush) == ["1", "2", "3"]
    # One that takes longer than the interval is followed at once.
    dispatcher.done(flush, START + 700 * SECOND, told=False)
    assert dispatcher.next_ms() == START + 700 * SECOND
    assert [one.kind for one in said] == [
        DecisionKind.WAITING, DecisionKind.ROUTED, DecisionKind.ROUTED, DecisionKind.ROUTED,
    ]  # fmt: skip
    assert "waits 30s (group_wait)" in said[0].text
    assert "due at 2023-11-14 22:18:50 UTC (group_interval 5m)" in said[-1].text


def test_an_alert_that_fires_for_longer_does_not_wait() -> None:
    said: list[Decision] = []
    dispatcher = Dispatcher(route(), said.append)
    dispatcher.insert([alert()], START)
    dispatcher.insert([alert(instance="old", starts_ms=START - 31 * SECOND)], START + 5)
    assert dispatcher.next_ms() == START + 5
    assert len(dispatcher.due(START + 5)) == 1
    dispatcher.insert([alert("B", starts_ms=START - 31 * SECOND)], START + 6)
    assert dispatcher.next_ms() == START + 6
    assert "does not wait" in said[-2].text


def test_ended_alerts_leave_when_everybody_was_told() -> None:
    dispatcher = Dispatcher(route(), forget)
    ended = alert(instance="ended", ends_ms=START + 5)
    again = alert(instance="again", ends_ms=START + 5)
    dispatcher.insert([ended, again, alert(instance="fires")], START)
    [flush] = dispatcher.due(START + 30 * SECOND)
    dispatcher.done(flush, START + 31 * SECOND, told=False)
    [flush] = dispatcher.due(START + 330 * SECOND)
    assert names(flush) == ["again", "ended", "fires"]
    fires_again = alert(instance="again", starts_ms=START + 331 * SECOND)
    dispatcher.insert([fires_again], START + 331 * SECOND)
    dispatcher.done(flush, START + 332 * SECOND, told=True)
    assert dispatcher.groups_of(ended[0]) == []
    [group] = dispatcher.groups_of(again[0])
    assert [one.labels["instance"] for one in group.alerts.values()] == ["again", "fires"]


def test_a_group_without_alerts_is_gone() -> None:
    dispatcher = Dispatcher(route(), forget)
    dispatcher.insert([alert(ends_ms=START)], START)
    [flush] = dispatcher.due(START + 30 * SECOND)
    assert dispatcher.done(flush, START + 31 * SECOND, told=True) is flush.group
    assert dispatcher.groups == []
    assert dispatcher.next_ms() is None
    dispatcher.insert([alert(starts_ms=START + 40 * SECOND)], START + 40 * SECOND)
    assert dispatcher.next_ms() == START + 70 * SECOND


def tree(*children: Route, **settings: object) -> Route:
    return route("default", **settings, routes=list(children))


def test_routes_that_go_on_and_grouping_by_everything() -> None:
    said: list[Decision] = []
    dispatcher = Dispatcher(
        tree(
            route("first", ("alertname", "A"), key='{}/{alertname="A"}', continue_=True, group_by=()),
            route("second", ("instance", "1"), key='{}/{instance="1"}', group_by="..."),
        ),
        said.append,
    )
    dispatcher.insert([alert("A", "1"), alert("A", "2"), alert("B", "2")], START)
    assert {(group.route.receiver, group.key) for group in dispatcher.groups} == {
        ("first", '{}/{alertname="A"}:{}'),
        ("second", '{}/{instance="1"}:{alertname="A", instance="1"}'),
        ("default", '{}:{alertname="B"}'),
    }
    routed = [(one.labels["instance"], one.receiver) for one in said if one.kind is DecisionKind.ROUTED]
    assert routed == [("1", "first"), ("1", "second"), ("2", "first"), ("2", "default")]


def test_a_reload_disturbs_no_group_that_stays() -> None:
    said: list[Decision] = []
    page = route("page", ("alertname", "A"), key='{}/{alertname="A"}')
    dispatcher = Dispatcher(tree(page), said.append)
    alerts = [alert("A", "1"), alert("B", "2"), alert("C", "3", ends_ms=START + 1)]
    dispatcher.insert(alerts, START)
    flushes = {flush.group.alertname: flush for flush in dispatcher.due(START + 30 * SECOND)}
    for name in ("A", "C"):
        dispatcher.done(flushes[name], START + 30 * SECOND, told=True)
    said.clear()
    # The reload comes while B is told of, and moves A's route to another place and receiver B's group stays.
    other = route("page", ("alertname", "A"), key='{}/{alertname="A"}', group_interval_ms=60 * SECOND)
    gone = dispatcher.replace_route(
        tree(route("new", ("alertname", "B"), key='{}/{alertname="B"}', continue_=True), other),
        alerts,
        START + 40 * SECOND,
    )
    assert [group.alertname for group in gone] == ["B"]
    assert [(one.kind, one.receiver) for one in said] == [
        (DecisionKind.WAITING, "new"), (DecisionKind.ROUTED, "new"),
    ]  # fmt: skip
    assert dispatcher.done(flushes["B"], START + 41 * SECOND, told=True) is None
    assert dispatcher.next_ms() == START + 40 * SECOND  # B, whose alert began more than group_wait ago
    assert sorted((group.alertname, group.due_ms) for group in dispatcher.groups) == [
        ("A", START + 100 * SECOND), ("B", START + 40 * SECOND),
    ]  # fmt: skip
    assert dispatcher.groups_of(alerts[2][0]) == []


def test_a_reload_during_a_flush_waits_for_it() -> None:
    dispatcher = Dispatcher(route(), forget)
    dispatcher.insert([alert()], START)
    [flush] = dispatcher.due(START + 30 * SECOND)
    dispatcher.replace_route(route(), [alert()], START + 31 * SECOND)
    assert dispatcher.next_ms() is None
    dispatcher.done(flush, START + 32 * SECOND, told=True)
    assert dispatcher.next_ms() == START + 330 * SECOND


@dataclass
class Model:
    """Looks at every group each second; no heap, no indices."""

    wait: int
    interval: int
    alerts: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    flushed: set[str] = field(default_factory=set)

    def insert(self, group: str, instance: str, starts: int, ends: int, now: int) -> None:
        if group not in self.alerts:
            self.alerts[group] = {}
            self.due[group] = now + self.wait
        self.alerts[group][instance] = (starts, ends)
        if group not in self.flushed and starts + self.wait < now:
            self.due[group] = now

    def step(self, now: int) -> dict[str, dict[str, bool]]:
        flushes: dict[str, dict[str, bool]] = {}
        for group in [group for group, due in self.due.items() if due <= now]:
            held = self.alerts[group]
            flushes[group] = {instance: ends <= now for instance, (_, ends) in held.items()}
            self.due[group] = now + self.interval
            self.flushed.add(group)
            self.alerts[group] = {instance: span for instance, span in held.items() if span[1] > now}
            if not self.alerts[group]:
                del self.alerts[group], self.due[group]
                self.flushed.discard(group)
        return flushes


arrival = st.tuples(
    st.integers(0, 40),
    st.sampled_from("ABC"),
    st.sampled_from("123"),
    st.integers(-8, 0),
    st.integers(-2, 30),
)


@given(st.lists(arrival, max_size=40), st.integers(0, 5), st.integers(1, 7))
def test_as_the_model(arrivals: list[tuple[int, str, str, int, int]], wait: int, interval: int) -> None:
    dispatcher = Dispatcher(route(group_wait_ms=wait * SECOND, group_interval_ms=interval * SECOND), forget)
    model = Model(wait, interval)
    history: dict[str, list[int]] = {}
    for now in range(60):
        now_ms = START + now * SECOND
        for at, group, instance, before, lasts in arrivals:
            if at == now:
                dispatcher.insert(
                    [alert(group, instance, now_ms + before * SECOND, now_ms + lasts * SECOND)], now_ms
                )
                model.insert(group, instance, now + before, now + lasts, now)
        flushes = dispatcher.due(now_ms)
        got = {
            flush.group.alertname: {
                one.labels["instance"]: one.resolved_at(now_ms) for one in flush.alerts.values()
            }
            for flush in flushes
        }
        for flush in flushes:
            dispatcher.done(flush, now_ms, told=True)
            history.setdefault(flush.group.alertname, []).append(now)
        assert got == model.step(now)
    held = {group.alertname: set(group.alerts) for group in dispatcher.groups}
    assert {name: len(members) for name, members in held.items()} == {
        name: len(members) for name, members in model.alerts.items()
    }
    for times in history.values():
        assert all(later > earlier for earlier, later in pairwise(times))
