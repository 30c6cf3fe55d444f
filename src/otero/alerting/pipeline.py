"""From a flush to its notifications: what is held back, what a receiver knows already, what is sent.

    inhibited ─▶ outside the active times, within the muted ones ─▶ silenced ─▶ each integration on its own:
    known already? ─▶ send, again if need be ─▶ notification log

Rules: Alertmanager's notify package; its order is kept, since it shows: within a muted time no silence is looked for.
Unlike there, who was told that an alert fires is told of its end, whatever holds the alert back by then: no page stays
open because of a silence.
Every decision is recorded when it differs from the one before.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from otero.alerting import metrics
from otero.alerting.channel import Channel, GivenUp
from otero.alerting.dispatch import Flush, Group
from otero.alerting.inbox import Inbox
from otero.alerting.inhibit import Inhibitor
from otero.alerting.matchers import matchers_text
from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notification_log import NotificationLog, reason_to_notify
from otero.alerting.silences import Silences
from otero.alerting.time_intervals import TimeInterval
from otero.clock import Clock
from otero.model.alerts import Alert
from otero.model.decisions import Decision, DecisionKind, Record
from otero.model.times import span, when
from otero.storage.notification_log import LogKey

_MAX_NAMED = 200
"""Fingerprints that a decision about a group names."""


class Said:
    """What was recorded last, so that only changes are. Kept over reloads."""

    def __init__(self) -> None:
        self.inhibited: dict[int, tuple[int, ...]] = {}
        self.silenced: dict[int, tuple[str, ...]] = {}
        self.muted: dict[tuple[str, str], str] = {}
        self.known: dict[LogKey, tuple[int, str]] = {}
        self.failing: dict[LogKey, tuple[int, str]] = {}

    def forget(self, fingerprints: Iterable[int]) -> None:
        """Drop what was said of alerts that are gone."""
        for fingerprint in fingerprints:
            self.inhibited.pop(fingerprint, None)
            self.silenced.pop(fingerprint, None)

    def forget_group(self, group: Group) -> None:
        """Drop what was said of a group that is gone."""
        receiver = group.route.receiver
        self.muted.pop((group.key, receiver), None)
        for said in (self.known, self.failing):
            for key in [key for key in said if (key.group_key, key.receiver) == (group.key, receiver)]:
                del said[key]


class Pipeline:
    """What one configuration makes of flushes. Lives in one event loop.

    channels   by receiver, in the order of its integrations.
    intervals  time intervals by name.
    """

    def __init__(
        self,
        channels: Mapping[str, Sequence[Channel]],
        inhibitor: Inhibitor,
        intervals: Mapping[str, Sequence[TimeInterval]],
        *,
        silences: Silences,
        inbox: Inbox,
        log: NotificationLog,
        clock: Clock,
        record: Record,
        said: Said,
        external_url: str = "",
    ) -> None:
        self.inhibitor = inhibitor
        self._channels = channels
        self._intervals = intervals
        self._silences = silences
        self._inbox = inbox
        self._log = log
        self._clock = clock
        self._record = record
        self._said = said
        self._external_url = external_url

    async def run(self, flush: Flush) -> bool:
        """Tell of a group. Whether everybody knows now what they are to know: false when an integration failed."""
        passed = self._passed(flush)
        held = {number: alert for number, alert in flush.alerts.items() if number not in passed}
        channels = self._channels.get(flush.route.receiver, ())
        if not channels or not (passed or any(alert.resolved_at(flush.now_ms) for alert in held.values())):
            return True
        if len(channels) == 1:
            return await self._tell(channels[0], flush, passed, held)
        return all(await asyncio.gather(*(self._tell(channel, flush, passed, held) for channel in channels)))

    def _passed(self, flush: Flush) -> Mapping[int, Alert]:
        """The alerts that nothing holds back."""
        alerts = self._not_inhibited(flush, flush.alerts)
        if not alerts or self._muted(flush, len(alerts)):
            return {}
        return self._not_silenced(flush, alerts)

    def muted_by(self, group: Group, now_ms: int) -> str:
        """The time interval that mutes a group's route now; "" when none does."""
        return self._muting(group.route.active_time_intervals, group.route.mute_time_intervals, now_ms)[0]

    def _not_inhibited(self, flush: Flush, alerts: Mapping[int, Alert]) -> Mapping[int, Alert]:
        passed: dict[int, Alert] = {}
        said = self._said.inhibited
        for fingerprint, alert in alerts.items():
            sources = tuple(self.inhibitor.inhibiting(alert.labels, flush.now_ms))
            if not sources:
                passed[fingerprint] = alert
                if said.pop(fingerprint, None):
                    text = "Inhibited no more: no alert fires that inhibits it."
                    self._say(flush, DecisionKind.UNINHIBITED, text, fingerprint, alert)
                continue
            metrics.SUPPRESSED.labels("inhibition").inc()
            if said.get(fingerprint) != sources:
                said[fingerprint] = sources
                self._say(
                    flush, DecisionKind.INHIBITED, f"Held back: inhibited by {self._named(sources)}.", fingerprint, alert,
                    inhibited_by=[f"{source:016x}" for source in sources],
                )  # fmt: skip
        return passed

    def _named(self, fingerprints: Sequence[int]) -> str:
        named: list[str] = []
        for fingerprint in fingerprints:
            alert = self._inbox.get(fingerprint)
            if alert is None:
                named.append(f"alert {fingerprint:016x}")
                continue
            others = ", ".join(
                f'{name}="{value}"' for name, value in alert.labels.items() if name != "alertname"
            )
            named.append(f"{alert.name}{{{others}}}, which fires since {when(alert.starts_ms)}")
        return "; ".join(named)

    def _muted(self, flush: Flush, size: int) -> bool:
        group, route = flush.group, flush.route
        interval, kind = self._muting(route.active_time_intervals, route.mute_time_intervals, flush.now_ms)
        key = (group.key, route.receiver)
        if not kind:
            if self._said.muted.pop(key, ""):
                self._record(
                    group.decision(
                        flush.now_ms, DecisionKind.ACTIVE_AGAIN, "The route is no longer muted by time."
                    )
                )
            return False
        metrics.SUPPRESSED.labels(kind).inc(size)
        if self._said.muted.get(key) != f"{kind} {interval}":
            self._said.muted[key] = f"{kind} {interval}"
            text = (
                f"Held back: it is within the time interval {interval}, which mutes the route."
                if kind == "mute_time_interval"
                else f"Held back: it is outside the time intervals in which the route is active ({interval})."
            )
            self._record(group.decision(flush.now_ms, DecisionKind.MUTED_BY_TIME, text, interval=interval))
        return True

    def _muting(self, active: Sequence[str], mute: Sequence[str], now_ms: int) -> tuple[str, str]:
        """What mutes a route, and by which of its two lists; empty texts when nothing does."""
        if active and not any(self._within(name, now_ms) for name in active):
            return ", ".join(active), "active_time_interval"
        found = next((name for name in mute if self._within(name, now_ms)), "")
        return found, "mute_time_interval" if found else ""

    def _within(self, name: str, now_ms: int) -> bool:
        return any(interval.contains(now_ms) for interval in self._intervals[name])

    def _not_silenced(self, flush: Flush, alerts: Mapping[int, Alert]) -> Mapping[int, Alert]:
        passed: dict[int, Alert] = {}
        said = self._said.silenced
        for fingerprint, alert in alerts.items():
            silences = self._silences.silencing(alert.labels, flush.now_ms)
            if not silences:
                passed[fingerprint] = alert
                if said.pop(fingerprint, None):
                    text = "Silenced no more: no silence that matches it is active."
                    self._say(flush, DecisionKind.UNSILENCED, text, fingerprint, alert)
                continue
            metrics.SUPPRESSED.labels("silence").inc()
            ids = tuple(silence.id for silence in silences)
            if said.get(fingerprint) != ids:
                said[fingerprint] = ids
                text = "; ".join(
                    f"silence {one.id} of {one.created_by or 'nobody named'} until {when(one.ends_ms)}"
                    f' ({matchers_text(one.matchers)}, "{one.comment}")'
                    for one in silences
                )
                self._say(
                    flush,
                    DecisionKind.SILENCED,
                    f"Held back by {text}.",
                    fingerprint,
                    alert,
                    silenced_by=list(ids),
                )
        return passed

    async def _tell(
        self, channel: Channel, flush: Flush, passed: Mapping[int, Alert], held: Mapping[int, Alert]
    ) -> bool:
        route, key = flush.route, LogKey(flush.group.key, channel.receiver, channel.name)
        entry = self._log.entry(key)
        known = held.keys() & entry.fires if entry else set[int]()
        ended = {number for number in known if held[number].resolved_at(flush.now_ms)}
        alerts = {
            number: alert for number, alert in flush.alerts.items() if number in passed or number in ended
        }
        if not alerts:
            return True
        firing = {number for number, alert in alerts.items() if not alert.resolved_at(flush.now_ms)}
        resolved = alerts.keys() - firing
        reason = reason_to_notify(
            entry,
            firing,
            resolved,
            flush.now_ms,
            repeat_interval_ms=route.repeat_interval_ms,
            send_resolved=channel.send_resolved,
        )
        if not reason:
            self._say_known(flush, key, firing)
            return True
        if channel.send_resolved or firing:
            shown = [alert for number, alert in alerts.items() if channel.send_resolved or number in firing]
            if not await self._deliver(channel, flush, key, reason, shown):
                return False
            told = resolved if channel.send_resolved else set[int]()
            self._say_delivered(flush, key, reason, firing, told, len(ended & told))
        else:
            text = f"Not told that all have ended: send_resolved of {key.integration} is false."
            self._say_group(flush, DecisionKind.DEDUPLICATED, key, text, reason="send_resolved")
            self._said.failing.pop(key, None)
        await self._log.told(
            key, firing, resolved, flush.now_ms, held=known - ended,
            repeat_interval_ms=max(route.repeat_interval_ms, route.group_interval_ms),
        )  # fmt: skip
        return True

    async def _deliver(
        self, channel: Channel, flush: Flush, key: LogKey, reason: str, alerts: Sequence[Alert]
    ) -> bool:
        notification = Notification(
            receiver=channel.receiver,
            integration=channel.name,
            group_key=flush.group.key,
            group_labels=flush.group.labels,
            alerts=alerts,
            now_ms=flush.now_ms,
            external_url=self._external_url,
            reason=reason,
        )

        def on_failure(attempt: int, error: DeliveryError, outcome: str) -> None:
            if self._is_new_fault(key, str(error)):
                self._say_group(
                    flush, DecisionKind.ATTEMPT_FAILED, key, f"Attempt {attempt} failed: {error}; {outcome}.",
                    attempt=attempt, status=error.status, error=str(error),
                )  # fmt: skip

        try:
            await channel.deliver(notification, flush.deadline_ms, on_failure)
        except GivenUp as error:
            if self._is_new_fault(key, f"given up: {error.cause}"):
                self._say_group(
                    flush, DecisionKind.GIVEN_UP, key,
                    f"Given up: {error}. Tried again with the next flush of the group, at {when(flush.group.due_ms)}.",
                    attempts=error.attempts, status=error.status, reason=error.reason,
                )  # fmt: skip
            return False
        return True

    def _is_new_fault(self, key: LogKey, fault: str) -> bool:
        """Whether a group has not failed in this way since it last got through."""
        since_ms, faults = self._said.failing.get(key, (self._clock.now_ms(), ""))
        if f"\n{fault}\n" in faults:
            return False
        self._said.failing[key] = (since_ms, f"{faults}\n{fault}\n"[-4000:])
        return True

    def _say_known(self, flush: Flush, key: LogKey, firing: set[int]) -> None:
        entry = self._log.entry(key)
        if entry is None:
            if firing != set() or self._said.known.get(key) == (0, ""):
                return
            self._said.known[key] = (0, "")
            text = "Nothing to tell: all alerts have ended, and nobody was told that they fired."
            self._say_group(flush, DecisionKind.DEDUPLICATED, key, text)
            return
        if self._said.known.get(key) == (entry.notified_ms, ""):
            return
        self._said.known[key] = (entry.notified_ms, "")
        repeat_ms = entry.notified_ms + flush.route.repeat_interval_ms
        text = (
            f"Not told again: nothing is new since the notification of {when(entry.notified_ms)}; it is repeated from"
            f" {when(repeat_ms)} on (repeat_interval {span(flush.route.repeat_interval_ms)})."
        )
        self._say_group(
            flush, DecisionKind.DEDUPLICATED, key, text, notified_ms=entry.notified_ms, repeat_ms=repeat_ms
        )

    def _say_delivered(
        self, flush: Flush, key: LogKey, reason: str, firing: set[int], resolved: set[int], held: int
    ) -> None:
        now_ms = self._clock.now_ms()
        parts = [f"{len(firing)} firing"] if firing else []
        parts += [f"{len(resolved)} resolved"] if resolved else []
        text = f"Delivered: {' and '.join(parts)} ({reason})"
        if held:
            text += f", the end of {held} although held back: it was told that they fired"
        if (failing := self._said.failing.pop(key, None)) is not None:
            text += f", after failures since {when(failing[0])}"
        self._say_group(
            flush, DecisionKind.DELIVERED, key, f"{text}.", now_ms,
            reason=reason, firing=len(firing), resolved=len(resolved), took_ms=now_ms - flush.now_ms,
            alerts=[f"{number:016x}" for number in [*firing, *resolved][:_MAX_NAMED]],
        )  # fmt: skip

    def _say(
        self, flush: Flush, kind: DecisionKind, text: str, fingerprint: int, alert: Alert, **detail: object
    ) -> None:
        self._record(
            Decision(
                flush.now_ms, kind, alert.name, fingerprint=fingerprint, labels=alert.labels,
                group_key=flush.group.key, receiver=flush.route.receiver, text=text, detail=detail,
            )
        )  # fmt: skip

    def _say_group(
        self,
        flush: Flush,
        kind: DecisionKind,
        key: LogKey,
        text: str,
        now_ms: int | None = None,
        **detail: object,
    ) -> None:
        self._record(
            Decision(
                self._clock.now_ms() if now_ms is None else now_ms, kind, flush.group.alertname,
                labels=flush.group.labels, group_key=key.group_key, receiver=key.receiver,
                integration=key.integration, text=text, detail=detail,
            )
        )  # fmt: skip
