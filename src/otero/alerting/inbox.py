"""The inbox: the one door for alerts, and all alerts that are not done with.

Rules: Alertmanager's types.Alert.Merge and provider/mem. Unlike there, alerts outlive a restart (ADR 14): what `put` has
returned for is stored. A row is written when something of an alert changed that a restart must know, not each time that
a sender says again that it still fires.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from otero.alerting import metrics
from otero.clock import Clock
from otero.errors import LimitExceeded
from otero.model.alerts import Alert
from otero.model.decisions import Decision, DecisionKind, Record
from otero.model.times import when
from otero.storage.alerts import AlertTable, StoredAlert

RESOLVE_TIMEOUT_MS = 5 * 60_000
MAX_ALERTS = 200_000

Accepted = Sequence[tuple[int, Alert]]
"""Alerts with their fingerprints, as they are after merging."""


class Inbox:
    """Takes alerts in. `put` is safe for many threads; `on_accepted` is called by it, under a lock, in order.

    resolve_timeout_ms   when an alert ends whose sender did not say.
    """

    def __init__(
        self,
        table: AlertTable,
        clock: Clock,
        record: Record,
        *,
        on_accepted: Callable[[Accepted], None] = lambda _accepted: None,
        max_alerts: int = MAX_ALERTS,
    ) -> None:
        self.resolve_timeout_ms = RESOLVE_TIMEOUT_MS
        self.on_accepted = on_accepted
        self._table = table
        self._clock = clock
        self._record = record
        self._max_alerts = max_alerts
        self._lock = threading.Lock()
        self._stored = table.load()
        self._restored = {number: stored.alert for number, stored in self._stored.items()}
        self._alerts: dict[int, Alert] = dict(self._restored)
        self._firing = {number for number, stored in self._stored.items() if stored.firing}
        self.next_end_ms: int | None = None

    def resume(self) -> Accepted:
        """Begin where the server before ended: its alerts. Who fired then has the resolve timeout, from now on, to say
        so again."""
        with self._lock:
            until_ms = self._clock.now_ms() + self.resolve_timeout_ms
            for number, alert in self._restored.items():
                if self._alerts.get(number) is alert and number in self._firing:
                    self._alerts[number] = replace(alert, ends_ms=max(alert.ends_ms, until_ms))
            self._restored = {}
            self.next_end_ms = self._soonest_end()
            return list(self._alerts.items())

    def put(self, alerts: Sequence[Alert]) -> None:
        """Take alerts in: merged with what is known of them, stored, handed on. Blocks for a commit when there is
        something to store.

        An alert without a start starts now (or at its end); one without an end ends after the resolve timeout; labels
        without a value are dropped. Raises LimitExceeded when there would be too many alerts and Unavailable when they
        cannot be stored: then none of them was taken.
        """
        with self._lock:
            now_ms = self._clock.now_ms()
            accepted: dict[int, Alert] = {}
            for alert in alerts:
                alert = _complete(alert, now_ms, self.resolve_timeout_ms)
                number = alert.fingerprint
                known = accepted.get(number) or self._alerts.get(number)
                accepted[number] = alert if known is None else _merged(known, alert, now_ms)
            self._check_room(sum(number not in self._alerts for number in accepted))
            self._store(
                (number, StoredAlert(alert, not alert.resolved_at(now_ms)))
                for number, alert in accepted.items()
            )
            self._alerts.update(accepted)
            for number, alert in accepted.items():
                self._note(number, alert, now_ms)
            resolved = sum(alert.resolved_at(now_ms) for alert in accepted.values())
            metrics.RECEIVED.labels("resolved").inc(resolved)
            metrics.RECEIVED.labels("firing").inc(len(accepted) - resolved)
            self.on_accepted(list(accepted.items()))

    def get(self, number: int) -> Alert | None:
        """The alert with that fingerprint."""
        return self._alerts.get(number)

    def all(self) -> Accepted:
        """Every alert, ended ones included as long as somebody is to be told."""
        # One step for the interpreter, so without the lock, which may wait for the disk.
        return list(self._alerts.items())

    def is_due(self, now_ms: int) -> bool:
        """Whether `sweep` has to look: an alert may have ended that it has not seen."""
        return self.next_end_ms is not None and self.next_end_ms <= now_ms

    def sweep(self, now_ms: int) -> None:
        """Take note of alerts that have ended because nobody said them again. Blocks for a commit.

        Nobody may be told of such an end before: a restart would not know it and let the alert fire on.
        """
        with self._lock:
            ended = [number for number in self._firing if self._alerts[number].resolved_at(now_ms)]
            self._store((number, StoredAlert(self._alerts[number], firing=False)) for number in ended)
            for number in ended:
                self._firing.discard(number)
                self._say_resolved(number, self._alerts[number], now_ms)
            self.next_end_ms = self._soonest_end()

    def forget(self, done: Accepted) -> list[int]:
        """Drop ended alerts of which everybody knows, unless they were said again since; the fingerprints of those
        dropped. Blocks for a commit."""
        with self._lock:
            gone = [
                number
                for number, alert in done
                if self._alerts.get(number) is alert and number not in self._firing
            ]
            self._table.delete(gone)
            for number in gone:
                del self._alerts[number]
                self._stored.pop(number, None)
            return gone

    def _check_room(self, more: int) -> None:
        if len(self._alerts) + more > self._max_alerts:
            raise LimitExceeded(
                f"{len(self._alerts)} alerts are known and at most {self._max_alerts} are kept: {more} new ones are"
                " refused, together with what came with them"
            )

    def _store(self, alerts: Iterable[tuple[int, StoredAlert]]) -> None:
        changed = [(number, now) for number, now in alerts if _differs(self._stored.get(number), now)]
        if changed:
            self._table.write(changed)
            self._stored.update(changed)

    def _note(self, number: int, alert: Alert, now_ms: int) -> None:
        """Record what an alert that came in has changed."""
        was_firing = number in self._firing
        if not alert.resolved_at(now_ms):
            if self.next_end_ms is None or alert.ends_ms < self.next_end_ms:
                self.next_end_ms = alert.ends_ms
            if not was_firing:
                self._firing.add(number)
                text = f"Came in firing, since {when(alert.starts_ms)}."
                self._say(DecisionKind.RECEIVED, number, alert, now_ms, text)
        elif was_firing:
            self._firing.discard(number)
            self._say_resolved(number, alert, now_ms)

    def _say_resolved(self, number: int, alert: Alert, now_ms: int) -> None:
        if alert.updated_ms < alert.ends_ms:
            silent = "its sender did not say it again" if alert.timeout else "it was said to hold until then"
            text = f"Ended at {when(alert.ends_ms)}: {silent} (last said {when(alert.updated_ms)})."
        else:
            text = f"Ended at {when(alert.ends_ms)}, as its sender said."
        self._say(DecisionKind.RESOLVED, number, alert, now_ms, text)

    def _say(self, kind: DecisionKind, number: int, alert: Alert, now_ms: int, text: str) -> None:
        detail = {
            "starts_ms": alert.starts_ms,
            "ends_ms": alert.ends_ms,
            "generator_url": alert.generator_url,
        }
        self._record(
            Decision(
                now_ms,
                kind,
                alert.name,
                fingerprint=number,
                labels=alert.labels,
                text=text,
                detail=detail,
            )
        )

    def _soonest_end(self) -> int | None:
        return min((self._alerts[number].ends_ms for number in self._firing), default=None)


def _complete(alert: Alert, now_ms: int, resolve_timeout_ms: int) -> Alert:
    labels = {name: alert.labels[name] for name in sorted(alert.labels) if alert.labels[name]}
    starts_ms = alert.starts_ms or alert.ends_ms or now_ms
    timeout = not alert.ends_ms
    ends_ms = now_ms + resolve_timeout_ms if timeout else alert.ends_ms
    return Alert(labels, alert.annotations, starts_ms, ends_ms, alert.generator_url, now_ms, timeout)


def _merged(known: Alert, alert: Alert, now_ms: int) -> Alert:
    """What is known of an alert, and what was said of it now, as one; when both speak of the same spell of firing."""
    overlaps = (
        known.starts_ms < alert.ends_ms < known.ends_ms or known.starts_ms < alert.starts_ms < known.ends_ms
    )
    if not overlaps:
        return alert
    ends_ms = alert.ends_ms
    if known.ends_ms > alert.ends_ms and (
        known.resolved_at(now_ms) if alert.resolved_at(now_ms) else not known.timeout
    ):
        ends_ms = known.ends_ms
    return replace(alert, starts_ms=min(known.starts_ms, alert.starts_ms), ends_ms=ends_ms)


def _differs(before: StoredAlert | None, now: StoredAlert) -> bool:
    """Whether a restart must know the change; it need not know that a firing alert was said again."""
    if before is None or before.firing != now.firing:
        return True
    old, new = before.alert, now.alert
    return (not now.firing and old.ends_ms != new.ends_ms) or (
        (old.starts_ms, old.annotations, old.generator_url)
        != (new.starts_ms, new.annotations, new.generator_url)
    )
