"""An Alertmanager under a clock that is turned, whose receivers are lists."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.config import AlertmanagerConfig, read_alertmanager
from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.template import Templates
from otero.model.alerts import Alert
from otero.model.decisions import Decision, DecisionKind
from otero.source import Reader, parse_yaml
from otero.storage.state import State
from tests.alerting.clock import START_MS, TurnedClock, settle, without_threads


@dataclass(frozen=True)
class Told:
    """What a receiver got: when, in seconds since the start; the instances that fire and that have ended."""

    at_s: float
    receiver: str
    firing: str
    resolved: str
    reason: str


class World:
    """`told` is what receivers got, `said` every decision. `faults` has, by integration, what is raised next."""

    def __init__(self, state: State, clock: TurnedClock | None = None) -> None:
        self.state = state
        self.clock = clock or TurnedClock()
        self.told: list[Told] = []
        self.said: list[Decision] = []
        self.faults: dict[str, DeliveryError] = {}
        self.alertmanager = Alertmanager(
            state, self.clock, self.said.append, sleep=self.clock.sleep, random=lambda: 0.5,
            notifiers={
                f"{kind}_configs": SimpleNamespace(send=self._send)  # type: ignore[dict-item]
                for kind in ("webhook", "slack", "pagerduty", "email")
            },
        )  # fmt: skip

    async def start(self, yaml: str) -> "World":
        without_threads()
        await self.apply(yaml)
        await self.alertmanager.start()
        await settle()
        return self

    async def apply(self, yaml: str) -> None:
        await self.alertmanager.apply(configured(yaml), Templates.builtin())
        await settle()

    async def crash(self) -> "World":
        """Another Alertmanager on what is stored, after the tasks of this one have vanished."""
        me = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not me:
                task.cancel()
        await settle()
        self.clock = TurnedClock(self.clock.now_ms())
        again = World(self.state, self.clock)
        again.told = self.told
        return again

    async def fire(self, *instances: str, name: str = "A", **labels: str) -> None:
        """Alerts begin now, or are said again; they hold for an hour unless they are ended."""
        now_ms = self.clock.now_ms()
        await self.put([alert(one, name, now_ms, now_ms + 3_600_000, labels) for one in instances])

    async def resolve(self, *instances: str, name: str = "A", **labels: str) -> None:
        now_ms = self.clock.now_ms()
        await self.put([alert(one, name, now_ms, now_ms, labels) for one in instances])

    async def put(self, alerts: Sequence[Alert]) -> None:
        self.alertmanager.inbox.put(alerts)
        await settle()

    async def turn(self, seconds: float) -> None:
        await self.clock.turn(round(seconds * 1000))

    async def stop(self) -> None:
        await self.alertmanager.stop()

    def kinds(self, *wanted: DecisionKind) -> list[DecisionKind]:
        return [one.kind for one in self.said if not wanted or one.kind in wanted]

    def text(self, kind: DecisionKind) -> str:
        """Of the last decision of a kind."""
        return next(one.text for one in reversed(self.said) if one.kind is kind)

    async def _send(self, _config: Any, notification: Notification, _text: Any, _client: Any) -> None:
        place = f"{notification.receiver}/{notification.integration}"
        if place in self.faults:
            raise self.faults[place]
        self.told.append(
            Told(
                (self.clock.now_ms() - START_MS) / 1000,
                place,
                " ".join(one.labels["instance"] for one in notification.firing),
                " ".join(one.labels["instance"] for one in notification.resolved),
                notification.reason,
            )
        )


def alert(instance: str, name: str, starts_ms: int, ends_ms: int, labels: Mapping[str, str]) -> Alert:
    return Alert({"alertname": name, "instance": instance, **labels}, {}, starts_ms, ends_ms)


def configured(yaml: str) -> AlertmanagerConfig:
    reader = Reader()
    return read_alertmanager(parse_yaml(yaml), reader)
