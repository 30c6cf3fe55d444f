"""What Alertmanager's users count on, step by step: waiting, repeating, inhibition, silences, ends, routes, times."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from otero.alerting.matchers import parse_matchers
from otero.alerting.notification import DeliveryError
from otero.model.decisions import DecisionKind
from otero.model.silences import Silence
from otero.storage.state import State
from tests.alerting.clock import START_MS
from tests.alerting.world import Told, World, alert

HOUR = 3600
ONE = """
route: {receiver: hook, group_by: [alertname], group_wait: 30s, group_interval: 5m, repeat_interval: 4h}
receivers:
- name: hook
  webhook_configs: [{url: 'http://127.0.0.1/'}]
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    state = State.beside(tmp_path)
    worlds = [World(state)]
    yield worlds[0]
    await worlds[0].stop()
    state.close()


def told(at_s: float, firing: str, resolved: str, reason: str, receiver: str = "hook/webhook[0]") -> Told:
    return Told(at_s, receiver, firing, resolved, reason)


async def test_wait_interval_repeat_and_end(world: World) -> None:
    await world.start(ONE)
    await world.fire("1")
    await world.turn(10)
    await world.fire("2")
    await world.turn(20)
    assert world.told == [told(30, "1 2", "", "first notification")]
    await world.turn(60)
    await world.fire("3")
    await world.turn(240)
    assert world.told[1:] == [told(330, "1 2 3", "", "new alerts")]
    for _ in range(5):  # said again and again, as Prometheus does
        await world.turn(HOUR - 600)
        await world.fire("1", "2", "3")
    assert world.told[2:] == [told(330 + 4 * HOUR, "1 2 3", "", "repeat interval")]
    assert world.clock.now_ms() == START_MS + (330 + 5 * 3000) * 1000
    await world.resolve("1")
    await world.turn(300)
    assert world.told[3:] == [told(330 + 5 * 3000 + 300, "2 3", "1", "some resolved")]
    await world.resolve("2", "3")
    await world.turn(300)
    assert world.told[4:] == [told(330 + 5 * 3000 + 600, "", "2 3", "all resolved")]
    await world.turn(2 * HOUR)
    assert len(world.told) == 5
    assert world.alertmanager.alerts() == []
    assert world.alertmanager.groups() == []
    assert (
        world.kinds(DecisionKind.DEDUPLICATED) == [DecisionKind.DEDUPLICATED] * 2
    )  # once for each notification


async def test_an_alert_that_nobody_says_again_has_ended(world: World) -> None:
    await world.start(ONE)
    now_ms = world.clock.now_ms()
    await world.put([replace(alert("1", "A", now_ms, 0, {}), ends_ms=0)])
    await world.turn(30)
    await world.turn(300)
    assert world.told == [told(30, "1", "", "first notification"), told(330, "", "1", "all resolved")]
    assert "did not say it again" in world.text(DecisionKind.RESOLVED)
    assert world.kinds().index(DecisionKind.RESOLVED) < len(world.said) - 1


async def test_an_alert_that_fires_and_ends_before_anybody_heard_of_it(world: World) -> None:
    await world.start(ONE)
    await world.fire("1")
    await world.turn(5)
    await world.resolve("1")
    await world.turn(HOUR)
    assert world.told == []
    assert "Nothing to tell" in world.text(DecisionKind.DEDUPLICATED)


INHIBIT = (
    ONE
    + """
inhibit_rules:
- {source_matchers: ['alertname="NodeDown"'], target_matchers: ['alertname="A"'], equal: [node]}
"""
)


async def test_inhibited_as_long_as_the_source_fires(world: World) -> None:
    await world.start(INHIBIT)
    await world.fire("src", name="NodeDown", node="a")
    await world.fire("1", node="a")
    await world.fire("2", node="b")
    await world.turn(30)
    assert [(one.firing, one.reason) for one in world.told] == [
        ("src", "first notification"), ("2", "first notification"),
    ]  # fmt: skip
    [status] = [one for one in world.alertmanager.alerts() if one.alert.labels["instance"] == "1"]
    assert status.state == "suppressed"
    assert len(status.inhibited_by) == 1
    assert 'NodeDown{instance="src", node="a"}' in world.text(DecisionKind.INHIBITED)
    await world.turn(600)
    assert world.kinds(DecisionKind.INHIBITED) == [DecisionKind.INHIBITED]
    await world.resolve("src", name="NodeDown", node="a")
    await world.turn(300)
    assert [(one.firing, one.resolved, one.reason) for one in world.told[2:]] == [
        ("", "src", "all resolved"), ("1 2", "", "new alerts"),
    ]  # fmt: skip
    assert world.kinds(DecisionKind.UNINHIBITED) == [DecisionKind.UNINHIBITED]


async def test_silenced_until_the_silence_ends(world: World) -> None:
    await world.start(ONE)
    now_ms = world.clock.now_ms()
    matchers = parse_matchers('instance=~"1|2"').matchers
    silence = world.alertmanager.silences.create(
        Silence(matchers, now_ms, now_ms + 600_000, "ann", "disk is being changed")
    )
    await world.fire("1", "3")
    await world.turn(30)
    assert world.told == [told(30, "3", "", "first notification")]
    assert world.text(DecisionKind.SILENCED) == (
        f"Held back by silence {silence} of ann until 2023-11-14 22:23:20 UTC"
        ' ({instance=~"1|2"}, "disk is being changed").'
    )
    [first, _] = sorted(world.alertmanager.alerts(), key=lambda one: one.alert.labels["instance"])
    assert (first.state, first.silenced_by) == ("suppressed", (silence,))
    await world.turn(300)
    assert len(world.told) == 1
    await world.turn(300)
    assert world.told[1:] == [told(630, "1 3", "", "new alerts")]
    assert world.kinds(DecisionKind.SILENCED, DecisionKind.UNSILENCED) == [
        DecisionKind.SILENCED, DecisionKind.UNSILENCED,
    ]  # fmt: skip


async def test_who_was_told_that_it_fires_is_told_of_its_end_though_silenced(world: World) -> None:
    await world.start(ONE)
    await world.fire("1", "2")
    await world.turn(30)
    assert world.told == [told(30, "1 2", "", "first notification")]
    now_ms = world.clock.now_ms()
    matchers = parse_matchers('instance=~"1|3"').matchers
    world.alertmanager.silences.create(Silence(matchers, now_ms, now_ms + 3_600_000))
    await world.fire("3", "4")
    await world.turn(300)
    assert world.told[1:] == [told(330, "2 4", "", "new alerts")], "1 and 3 are held back"
    world = await world.crash()
    await world.start(ONE)
    await world.resolve("1", "3")
    await world.turn(300)
    assert [(one.firing, one.resolved, one.reason) for one in world.told[2:]] == [
        ("2 4", "1", "some resolved")
    ]
    assert "the end of 1 although held back" in world.text(DecisionKind.DELIVERED)
    await world.stop()


async def test_inhibited_alerts_end_for_those_who_know_them(world: World) -> None:
    await world.start(INHIBIT)
    await world.fire("1", node="a")
    await world.turn(30)
    await world.fire("src", name="NodeDown", node="a")
    await world.fire("2", node="a")
    await world.turn(300)
    assert [one.firing for one in world.told] == ["1", "src"]
    await world.resolve("1", node="a")
    await world.resolve("2", node="a")
    await world.turn(300)
    assert [(one.firing, one.resolved, one.reason) for one in world.told[2:]] == [("", "1", "all resolved")]
    await world.turn(600)
    assert len(world.told) == 3
    assert [group.key for group in world.alertmanager.groups()] == ['{}:{alertname="NodeDown"}']


TIMES = """
route:
  receiver: hook
  group_wait: 30s
  group_interval: 5m
  routes:
  - {matchers: [team="night"], mute_time_intervals: [office]}
  - {matchers: [team="day"], active_time_intervals: [office]}
receivers:
- name: hook
  webhook_configs: [{url: 'http://127.0.0.1/'}]
time_intervals:
- name: office
  time_intervals: [{times: [{start_time: '22:20', end_time: '22:30'}]}]
"""


async def test_muted_and_active_times(world: World) -> None:
    await world.start(TIMES)  # at 22:13:20
    await world.fire("d", team="day")
    await world.turn(390)
    assert "outside the time intervals in which the route is active (office)" in world.text(
        DecisionKind.MUTED_BY_TIME
    )
    await world.fire("n", team="night")
    await world.turn(60)
    assert "within the time interval office, which mutes the route" in world.text(DecisionKind.MUTED_BY_TIME)
    assert [group.muted_by for group in world.alertmanager.groups() if "night" in group.key] == ["office"]
    await world.turn(1200)
    assert [(one.at_s, one.firing) for one in world.told] == [(630, "d"), (1020, "n")]
    assert world.kinds(DecisionKind.MUTED_BY_TIME, DecisionKind.ACTIVE_AGAIN) == [
        DecisionKind.MUTED_BY_TIME, DecisionKind.MUTED_BY_TIME, DecisionKind.ACTIVE_AGAIN, DecisionKind.ACTIVE_AGAIN,
        DecisionKind.MUTED_BY_TIME,
    ]  # fmt: skip


SEVERAL = """
route:
  receiver: default
  group_wait: 0s
  group_interval: 5m
  routes:
  - {matchers: [severity="page"], receiver: oncall, continue: true}
  - {matchers: [severity=~"page|warning"], receiver: chat}
receivers:
- name: default
  webhook_configs: [{url: 'http://127.0.0.1/'}]
- name: oncall
  pagerduty_configs: [{routing_key: k}]
  slack_configs: [{channel: c, api_url: 'http://127.0.0.1/', send_resolved: false}]
- name: chat
  slack_configs: [{channel: c, api_url: 'http://127.0.0.1/', send_resolved: true}]
"""


async def test_routes_that_go_on_and_integrations_on_their_own(world: World) -> None:
    await world.start(SEVERAL)
    world.faults["oncall/pagerduty[0]"] = DeliveryError("answered 400", retry=False, status=400)
    await world.fire("1", severity="page")
    await world.fire("2")
    await world.turn(1)
    assert sorted((one.receiver, one.firing) for one in world.told) == [
        ("chat/slack[0]", "1"), ("default/webhook[0]", "2"), ("oncall/slack[0]", "1"),
    ]  # fmt: skip
    [status] = [one for one in world.alertmanager.alerts() if one.alert.labels["instance"] == "1"]
    assert status.receivers == ("oncall", "chat")
    world.told.clear()
    del world.faults["oncall/pagerduty[0]"]
    await world.turn(300)
    # The one that failed is told now; the other one of the receiver knows.
    assert [(one.receiver, one.firing) for one in world.told] == [("oncall/pagerduty[0]", "1")]
    world.told.clear()
    await world.resolve("1", severity="page")
    await world.turn(300)
    assert sorted((one.receiver, one.resolved) for one in world.told) == [
        ("chat/slack[0]", "1"), ("oncall/pagerduty[0]", "1"),
    ]  # fmt: skip
    assert world.kinds(DecisionKind.ATTEMPT_FAILED, DecisionKind.GIVEN_UP) == [
        DecisionKind.ATTEMPT_FAILED, DecisionKind.GIVEN_UP,
    ]  # fmt: skip
    delivered = [
        one for one in world.said if one.kind is DecisionKind.DELIVERED and one.integration == "pagerduty[0]"
    ]
    assert "after failures since" in delivered[0].text
    assert "send_resolved of slack[0] is false" in world.text(DecisionKind.DEDUPLICATED)


async def test_nothing_is_told_twice_because_of_a_restart(world: World) -> None:
    await world.start(ONE)
    await world.fire("1")
    await world.turn(30)
    await world.fire("2")
    await world.turn(10)
    again = await (await world.crash()).start(ONE)
    await again.turn(120)
    await again.resolve("1")
    await again.turn(600)
    assert [(one.firing, one.resolved) for one in again.told] == [("1", ""), ("1 2", ""), ("2", "1")]
    third = await (await again.crash()).start(ONE)
    await third.turn(600)
    assert len(third.told) == 3
    # Nobody says 2 again, and the time that it was said to hold passes.
    await third.turn(HOUR)
    assert [(one.firing, one.resolved) for one in third.told[3:]] == [("", "2")]
    await third.stop()


async def test_an_end_that_nobody_was_told_is_told_after_a_restart(world: World) -> None:
    await world.start(ONE)
    await world.fire("1")
    await world.turn(30)
    await world.resolve("1")
    await world.turn(60)
    again = await (await world.crash()).start(ONE)
    await again.turn(300)
    assert [(one.firing, one.resolved) for one in again.told] == [("1", ""), ("", "1")]
    await again.turn(60)
    assert again.alertmanager.inbox.all() == []
    await again.stop()


async def test_nothing_is_told_twice_because_of_a_reload(world: World) -> None:
    await world.start(ONE)
    await world.fire("1")
    await world.turn(30)
    for _ in range(3):
        await world.apply(ONE.replace("4h", "5h"))
        await world.turn(60)
    assert len(world.told) == 1
    await world.apply(ONE.replace("hook,", "other,").replace("name: hook", "name: other"))
    await world.turn(1)
    assert [(one.receiver, one.reason) for one in world.told] == [
        ("hook/webhook[0]", "first notification"), ("other/webhook[0]", "first notification"),
    ]  # fmt: skip


async def test_a_stop_gives_up_what_would_be_repeated(world: World) -> None:
    await world.start(ONE)
    world.faults["hook/webhook[0]"] = DeliveryError("answered 503", retry=True, status=503)
    await world.fire("1")
    await world.turn(40)
    await world.stop()
    assert "Otero stops" in world.text(DecisionKind.GIVEN_UP)


async def test_many_at_once_none_lost_none_doubled(world: World) -> None:
    await world.start(ONE.replace("[alertname]", "[group]"))
    now_ms = world.clock.now_ms()
    given = [
        alert(str(number), "A", now_ms, now_ms + 3_600_000, {"group": str(number % 500)})
        for number in range(10_000)
    ]
    await world.put(given[:5000])
    await world.put(given[5000:])
    await world.turn(31)
    assert len(world.told) == 500
    instances = [instance for one in world.told for instance in one.firing.split()]
    assert sorted(instances, key=int) == [str(number) for number in range(10_000)]
    await world.put(given)
    await world.turn(600)
    assert len(world.told) == 500
    again = await (await world.crash()).start(ONE.replace("[alertname]", "[group]"))
    await again.turn(600)
    assert len(again.told) == 500
    await again.stop()


def counted(world: World) -> dict[str, dict[str, float]]:
    return {
        family.name: {sample.labels["state"]: sample.value for sample in family.samples if sample.value}
        for family in world.alertmanager.collect()
    }


async def test_alerts_and_silences_are_counted_by_state(world: World) -> None:
    await world.start("{route: {receiver: hook, group_wait: 10s}, receivers: [{name: hook}]}")
    now_ms = world.clock.now_ms()
    silence = Silence(parse_matchers("instance=b").matchers, now_ms, now_ms + 60_000)
    world.alertmanager.silences.create(silence)
    await world.fire("a", "b")
    await world.turn(11)
    assert counted(world) == {
        "alertmanager_alerts": {"active": 1, "suppressed": 1},
        "alertmanager_silences": {"active": 1},
    }
    await world.turn(61)
    await world.resolve("a")
    assert counted(world)["alertmanager_silences"] == {"expired": 1}
    assert sum(counted(world)["alertmanager_alerts"].values()) == 1
