"""Alerting rules as a pure state machine: inactive, pending, firing, and resolved for a while.

    advance(active, found, now_ms, …) -> active        what an evaluation makes of the alerts
    due(active, now_ms, …) -> (to send, active)        who is told now

Rules: Prometheus' rules/alerting.go. An alert that stopped stays known for 15 minutes, so that whoever did not hear of
its end is told again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from otero.errors import ExecutionError
from otero.model.alerts import ALERT_NAME, Alert
from otero.model.labels import METRIC_NAME, LabelBytes, encode_labels

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"
STATE_LABEL = "alertstate"

RESOLVED_RETENTION_MS = 15 * 60_000
RESEND_DELAY_MS = 60_000
FOR_GRACE_PERIOD_MS = 600_000


class State(StrEnum):
    """Of an alert and, as the worst of its alerts, of a rule; a rule is unknown until its first evaluation."""

    UNKNOWN = "unknown"
    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """One alert of a rule. Times are milliseconds, 0 where it did not happen.

    labels      sorted, with `alertname`, without external labels.
    value       of the expression when it was last true.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float
    state: State = State.PENDING
    active_ms: int = 0
    fired_ms: int = 0
    resolved_ms: int = 0
    keep_firing_ms: int = 0
    last_sent_ms: int = 0
    valid_until_ms: int = 0


Active = Mapping[LabelBytes, ActiveAlert]
"""The alerts of one rule by their labels, resolved ones that are still kept included."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a rule says of time: `for` and `keep_firing_for`; `limit` is the group's, 0 for none."""

    for_ms: int = 0
    keep_firing_for_ms: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """An element of the expression's result that is an alert: labels and annotations are complete."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    value: float = 0.0


def alert_labels(element: Mapping[str, str], rule: Mapping[str, str], alert: str) -> dict[str, str]:
    """The labels of an alert: those of the element, those of the rule over them, the alert's name over all."""
    merged = {**element, **rule, ALERT_NAME: alert}
    merged.pop(METRIC_NAME, None)
    return {name: merged[name] for name in sorted(merged) if merged[name]}


def advance(
    active: Active, found: Sequence[Found], now_ms: int, timing: Timing
) -> dict[LabelBytes, ActiveAlert]:
    """The alerts after an evaluation. Raises ExecutionError when two elements are the same alert and when there are
    more alerts than the limit: after the latter the rule starts from none, as the caller must see to."""
    current: dict[LabelBytes, Found] = {}
    for one in found:
        key = encode_labels(one.labels)
        if key in current:
            raise ExecutionError("vector contains metrics with the same labelset after applying alert labels")
        current[key] = one
    after: dict[LabelBytes, ActiveAlert] = {}
    count = 0
    for key, alert in active.items():
        if key not in current:
            alert = _absent(alert, now_ms, timing)
            if alert is None:
                continue
            after[key] = alert
            count += alert.state is not State.INACTIVE
    for key, one in current.items():
        alert = active.get(key)
        if alert is None or alert.state is State.INACTIVE:
            alert = ActiveAlert(one.labels, one.annotations, one.value, active_ms=now_ms)
        else:
            alert = replace(alert, value=one.value, annotations=one.annotations, keep_firing_ms=0)
        after[key] = _fires(alert, now_ms, timing)
        count += 1
    if timing.limit and count > timing.limit:
        raise LimitReached(f"exceeded limit of {timing.limit} with {count} alerts")
    return after


class LimitReached(ExecutionError):
    """A rule that gives more than its group allows."""


def _absent(alert: ActiveAlert, now_ms: int, timing: Timing) -> ActiveAlert | None:
    """An alert whose expression is not true now; None when it is forgotten."""
    if alert.state is State.PENDING:
        return None
    if alert.state is State.INACTIVE:
        return None if now_ms - alert.resolved_ms > RESOLVED_RETENTION_MS else alert
    if timing.keep_firing_for_ms:
        since_ms = alert.keep_firing_ms or now_ms
        if now_ms - since_ms < timing.keep_firing_for_ms:
            return replace(alert, keep_firing_ms=since_ms)
        alert = replace(alert, keep_firing_ms=since_ms)
    return replace(alert, state=State.INACTIVE, resolved_ms=now_ms)


def _fires(alert: ActiveAlert, now_ms: int, timing: Timing) -> ActiveAlert:
    if alert.state is State.PENDING and now_ms - alert.active_ms >= timing.for_ms:
        return replace(alert, state=State.FIRING, fired_ms=now_ms)
    return alert


def state_of(active: Active) -> State:
    """The worst state of a rule's alerts."""
    states = {alert.state for alert in active.values()}
    return next((state for state in (State.FIRING, State.PENDING) if state in states), State.INACTIVE)


def due(
    active: Active, now_ms: int, interval_ms: int, resend_delay_ms: int = RESEND_DELAY_MS
) -> tuple[list[ActiveAlert], dict[LabelBytes, ActiveAlert]]:
    """The alerts that are to be sent now, and all of them with that noted.

    A firing alert is sent again after the delay and is valid for four rounds, so that two failures do not end it; a
    resolved one likewise for as long as it is kept.
    """
    sent: list[ActiveAlert] = []
    after = dict(active)
    for key, alert in active.items():
        if alert.state is State.PENDING:
            continue
        if alert.resolved_ms > alert.last_sent_ms or alert.last_sent_ms + resend_delay_ms < now_ms:
            valid_until_ms = now_ms + 4 * max(resend_delay_ms, interval_ms)
            after[key] = replace(alert, last_sent_ms=now_ms, valid_until_ms=valid_until_ms)
            sent.append(after[key])
    return sent, after


def to_send(alert: ActiveAlert, external_labels: Mapping[str, str], generator_url: str) -> Alert:
    """The alert as others are told of it: with the external labels that it does not have itself."""
    labels = {**external_labels, **alert.labels}
    return Alert(
        labels={name: labels[name] for name in sorted(labels) if labels[name]},
        annotations=dict(alert.annotations),
        starts_ms=alert.fired_ms,
        ends_ms=alert.resolved_ms or alert.valid_until_ms,
        generator_url=generator_url,
        updated_ms=alert.last_sent_ms,
    )


def series_of(active: Active) -> list[tuple[dict[str, str], float]]:
    """The samples of ALERTS and ALERTS_FOR_STATE of the alerts that are pending or firing."""
    samples: list[tuple[dict[str, str], float]] = []
    for alert in active.values():
        if alert.state is State.INACTIVE:
            continue
        state = {METRIC_NAME: ALERTS, **alert.labels, STATE_LABEL: str(alert.state)}
        samples.append((state, 1.0))
        samples.append(({METRIC_NAME: ALERTS_FOR_STATE, **alert.labels}, float(alert.active_ms // 1000)))
    return samples


def restored(
    active: Active,
    seen: Mapping[LabelBytes, tuple[int, float]],
    now_ms: int,
    for_ms: int,
    grace_ms: int = FOR_GRACE_PERIOD_MS,
) -> Active:
    """Alerts that were pending before a restart continue to count.

    `seen` has, by the alert's labels, time and value of the last sample of ALERTS_FOR_STATE within the outage
    tolerance, staleness markers left out. The time of the outage does not count as pending, and at least the grace
    period passes before anything fires.
    """
    after: dict[LabelBytes, ActiveAlert] = dict(active)
    for key, alert in active.items():
        if key not in seen:
            continue
        down_ms, value = seen[key]
        since_ms = int(value) * 1000
        remaining_ms = for_ms - (down_ms - since_ms)
        if remaining_ms <= 0:  # it was firing: its next evaluation lets it fire again
            pass
        elif remaining_ms < grace_ms:
            since_ms = now_ms + grace_ms - for_ms
        else:
            since_ms += now_ms - down_ms
        after[key] = replace(alert, active_ms=since_ms)
    return after
