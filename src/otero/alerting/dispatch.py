"""Groups of alerts, and when each is to be told of: a pure state machine, times come in as arguments.

    insert(alerts, now)            alerts enter the groups of their routes
    due(now) -> flushes            the groups whose time has come, with what they hold
    done(flush, …)                 what was told of; ended alerts leave their group

Rules: Alertmanager's dispatch package. A group's first flush comes group_wait after its first alert, at once when an
alert has been firing for longer; each later one group_interval after the one before. A flush that takes longer holds up
the next one of its group, never another group's.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from otero.alerting import metrics
from otero.alerting.route import Route, group_key, group_labels
from otero.model.alerts import ALERT_NAME, Alert
from otero.model.decisions import Decision, DecisionKind, Record
from otero.model.times import span, when

MIN_TIME_LIMIT_MS = 10_000
"""A flush has the group interval to end, but never less than this."""


@dataclass(slots=True, eq=False)
class Group:
    """Alerts of one route with the same group labels.

    due_ms   when it is flushed next.
    busy     a flush is under way; the next one waits for it.
    flushed  whether there was one.
    """

    route: Route
    labels: Mapping[str, str]
    key: str
    due_ms: int
    alerts: dict[int, Alert] = field(default_factory=dict)
    busy: bool = False
    flushed: bool = False

    @property
    def alertname(self) -> str:
        """That of the group labels, else of one of its alerts, "" when they differ."""
        if ALERT_NAME in self.labels:
            return self.labels[ALERT_NAME]
        names = {alert.name for alert in self.alerts.values()}
        return names.pop() if len(names) == 1 else ""

    def decision(self, now_ms: int, kind: DecisionKind, text: str, **detail: object) -> Decision:
        """A decision about the group."""
        return Decision(
            now_ms, kind, self.alertname, labels=self.labels, group_key=self.key, receiver=self.route.receiver,
            text=text, detail=detail,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Flush:
    """A group at the moment at which it is told of.

    alerts       by fingerprint, in the order in which they are shown; those that fire have no end, so that none ends
                 on its way through the pipeline.
    deadline_ms  when whatever tries to tell of it gives up.
    """

    group: Group
    route: Route
    alerts: Mapping[int, Alert]
    now_ms: int
    deadline_ms: int


class Dispatcher:
    """All groups. Not safe for threads."""

    def __init__(self, route: Route, record: Record) -> None:
        self.route = route
        self._record = record
        self._groups: dict[tuple[str, str], Group] = {}
        self._before: dict[tuple[str, str], Group] = {}
        self._heap: list[tuple[int, int, Group]] = []
        self._places = count()
        self._where: dict[int, list[Group]] = {}
        self._under_way: dict[Flush, Mapping[int, Alert]] = {}

    @property
    def groups(self) -> list[Group]:
        return list(self._groups.values())

    def groups_of(self, fingerprint: int) -> list[Group]:
        """The groups that hold an alert; empty before it was routed, and after its end was told."""
        return self._where.get(fingerprint, [])

    def insert(self, alerts: Iterable[tuple[int, Alert]], now_ms: int) -> None:
        """Put alerts, new or said again, into the groups of their routes."""
        for fingerprint, alert in alerts:
            for route in self.route.match(alert.labels):
                group = self._group(route, alert, now_ms)
                is_new = fingerprint not in group.alerts
                group.alerts[fingerprint] = alert
                if not group.flushed and alert.starts_ms + route.group_wait_ms < now_ms < group.due_ms:
                    self._schedule(group, now_ms)
                if is_new:
                    self._enter(group, fingerprint, alert, now_ms)
        metrics.GROUPS.set(len(self._groups))

    def next_ms(self) -> int | None:
        """When the next group is due; None when none is waiting."""
        while self._heap and not self._holds(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> list[Flush]:
        """The groups whose time has come; each must be given back by `done`."""
        flushes: list[Flush] = []
        while (next_ms := self.next_ms()) is not None and next_ms <= now_ms:
            group = heapq.heappop(self._heap)[2]
            route = group.route
            group.busy = group.flushed = True
            group.due_ms = now_ms + route.group_interval_ms
            flush = Flush(
                group,
                route,
                _shown(group.alerts, now_ms),
                now_ms,
                now_ms + max(route.group_interval_ms, MIN_TIME_LIMIT_MS),
            )
            self._under_way[flush] = dict(group.alerts)
            flushes.append(flush)
        return flushes

    def done(self, flush: Flush, now_ms: int, *, told: bool) -> Group | None:
        """A flush is over. When everybody was told, or nobody was to be, its ended alerts leave the group, those that
        changed meanwhile excepted; a group without alerts is dropped and returned."""
        group = flush.group
        before = self._under_way.pop(flush)
        group.busy = False
        if self._groups.get((group.route.id, group.key)) is not group:
            return None
        if told:
            for fingerprint, alert in before.items():
                if alert.resolved_at(flush.now_ms) and group.alerts.get(fingerprint) is alert:
                    del group.alerts[fingerprint]
                    self._leave(group, fingerprint)
        if not group.alerts:
            del self._groups[group.route.id, group.key]
            metrics.GROUPS.set(len(self._groups))
            return group
        self._schedule(group, max(group.due_ms, now_ms))
        return None

    def replace_route(self, route: Route, alerts: Iterable[tuple[int, Alert]], now_ms: int) -> list[Group]:
        """Another tree of routes: all alerts are routed anew. A group of the same key and receiver goes on where it
        was; returns those that are no more."""
        where = self._where
        self._before = {(group.key, group.route.receiver): group for group in self._groups.values()}
        # Alerts enter again below; what a group had before tells whether one is new to it.
        members = {group: group.alerts for group in self._before.values()}
        self.route, self._groups, self._heap, self._where = route, {}, [], {}
        for group in self._before.values():
            group.alerts = {}
        for fingerprint, alert in alerts:
            if fingerprint not in where and alert.resolved_at(now_ms):
                continue  # everybody knows of its end
            for node in route.match(alert.labels):
                group = self._group(node, alert, now_ms)
                group.alerts[fingerprint] = alert
                if fingerprint in members.get(group, {}):
                    self._where.setdefault(fingerprint, []).append(group)
                else:
                    self._enter(group, fingerprint, alert, now_ms)
        gone = list(self._before.values())
        self._before = {}
        metrics.GROUPS.set(len(self._groups))
        return gone

    def _group(self, route: Route, alert: Alert, now_ms: int) -> Group:
        labels = group_labels(route, alert.labels)
        key = group_key(route, labels)
        group = self._groups.get((route.id, key))
        if group is not None:
            return group
        group = self._before.pop((key, route.receiver), None)
        if group is not None:
            group.route = route
            wait_ms = route.group_interval_ms if group.flushed else route.group_wait_ms
            group.due_ms = min(group.due_ms, now_ms + wait_ms)
            if not group.busy:
                self._schedule(group, group.due_ms)
        else:
            due_ms = now_ms + route.group_wait_ms
            text = f"A new group. Its first notification waits {span(route.group_wait_ms)} (group_wait) for more alerts."
            if alert.starts_ms + route.group_wait_ms < now_ms:
                due_ms = now_ms
                text = (
                    f"A new group. Its first notification does not wait, since the alert began more than"
                    f" {span(route.group_wait_ms)} (group_wait) ago, at {when(alert.starts_ms)}."
                )
            group = Group(route, labels, key, due_ms)
            decision = group.decision(now_ms, DecisionKind.WAITING, text, due_ms=due_ms)
            self._record(replace(decision, alertname=labels.get(ALERT_NAME, alert.name)))
            self._schedule(group, due_ms)
        self._groups[route.id, key] = group
        return group

    def _enter(self, group: Group, fingerprint: int, alert: Alert, now_ms: int) -> None:
        self._where.setdefault(fingerprint, []).append(group)
        route = group.route
        text = f"Takes route {route.key} to {route.receiver}, group {group.key}"
        if group.flushed:
            text += (
                f", whose next notification is due at {when(max(group.due_ms, now_ms))}"
                f" (group_interval {span(route.group_interval_ms)})"
            )
        self._record(
            Decision(
                now_ms, DecisionKind.ROUTED, alert.name, fingerprint=fingerprint, labels=alert.labels,
                group_key=group.key, receiver=route.receiver, text=f"{text}.",
                detail={"route": route.id, "due_ms": group.due_ms},
            )
        )  # fmt: skip

    def _leave(self, group: Group, fingerprint: int) -> None:
        groups = self._where.get(fingerprint, [])
        if group in groups:
            groups.remove(group)
        if not groups:
            self._where.pop(fingerprint, None)

    def _schedule(self, group: Group, due_ms: int) -> None:
        group.due_ms = due_ms
        heapq.heappush(self._heap, (due_ms, next(self._places), group))

    def _holds(self, entry: tuple[int, int, Group]) -> bool:
        """Whether an entry of the heap is not overtaken by a later one of its group."""
        due_ms, _, group = entry
        return (
            not group.busy
            and group.due_ms == due_ms
            and self._groups.get((group.route.id, group.key)) is group
        )


def _shown(alerts: Mapping[int, Alert], now_ms: int) -> dict[int, Alert]:
    shown = sorted(alerts.items(), key=_order)
    return {
        fingerprint: alert if alert.resolved_at(now_ms) else replace(alert, ends_ms=0)
        for fingerprint, alert in shown
    }


def _order(item: tuple[int, Alert]) -> tuple[object, ...]:
    """By job, then instance (those without at the end), then labels: fewer first, then by name and value."""
    labels = item[1].labels
    job, instance = labels.get("job"), labels.get("instance")
    return job is None, job or "", instance is None, instance or "", len(labels), *labels.items()
