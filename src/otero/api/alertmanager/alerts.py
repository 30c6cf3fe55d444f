"""Alerts and their groups: `/api/v2/alerts` and `/api/v2/alerts/groups`."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.matchers import matches
from otero.alerting.status import AlertStatus, GroupStatus
from otero.api.alertmanager.json_values import (
    decode,
    filters,
    flag,
    read_time,
    receiver_filter,
    require_json,
)
from otero.api.body import read_body
from otero.api.problem import WrongShape
from otero.clock import Clock
from otero.errors import BadInput
from otero.fields import valid_label_name
from otero.model.alerts import Alert
from otero.model.times import rfc3339_ms
from otero.telemetry import rejected

MAX_BODY = 32 << 20
_DOOR = "alertmanager"
_URI = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:|/)[^\x00-\x1f\x7f]*")


class _PostedAlert(msgspec.Struct, frozen=True):
    """An alert as a sender says it; unknown keys are ignored."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    starts_at: str | None = msgspec.field(default=None, name="startsAt")
    ends_at: str | None = msgspec.field(default=None, name="endsAt")
    generator_url: str | None = msgspec.field(default=None, name="generatorURL")


class AlertRoutes:
    """Handlers. Rules, statuses and JSON are those of Alertmanager's API v2."""

    def __init__(self, alertmanager: Alertmanager, clock: Clock) -> None:
        self._alertmanager = alertmanager
        self._clock = clock

    async def get(self, request: Request) -> Response:
        """The alerts that fire."""
        wanted = _wanted(request)
        receiver = receiver_filter(request)
        found = [
            status
            for status in self._alertmanager.alerts()
            if wanted(status) and (receiver is None or any(map(receiver.match, status.receivers)))
        ]
        return await _answer([_alert_json(status) for status in found])

    async def groups(self, request: Request) -> Response:
        """The groups of alerts that fire."""
        wanted = _wanted(request)
        receiver = receiver_filter(request)
        muted = flag(request, "muted")
        found: list[Mapping[str, Any]] = []
        for group in self._alertmanager.groups():
            if (group.muted_by and not muted) or (
                receiver is not None and not receiver.match(group.receiver)
            ):
                continue
            if alerts := [_seen_by(status, receiver) for status in group.alerts if wanted(status)]:
                found.append(_group_json(group, alerts))
        return await _answer(found)

    async def post(self, request: Request) -> Response:
        """Takes alerts in. Those that are valid are taken even when others beside them are not, and the answer is 400."""
        require_json(request)
        body = await read_body(request, MAX_BODY)
        faults = await asyncio.to_thread(self._take, body)
        if faults:
            rejected(_DOOR, "bad_alert", len(faults))
            raise BadInput("; ".join(faults[:100]))
        return Response()

    def _take(self, body: bytes) -> Sequence[str]:
        """What is wrong with alerts that were not taken."""
        try:
            posted = decode(body, list[_PostedAlert], "alerts") or []
            for index, alert in enumerate(posted):
                _check_shape(alert, index)
        except WrongShape:
            rejected(_DOOR, "bad_body")
            raise
        now_ms = self._clock.now_ms()
        timeout_ms = self._alertmanager.config.global_.resolve_timeout
        alerts: list[Alert] = []
        faults: list[str] = []
        for each in posted:
            alert = _alert(each)
            fault = _fault(alert, now_ms, timeout_ms)
            if fault:
                faults.append(fault)
            else:
                alerts.append(alert)
        if alerts:
            self._alertmanager.inbox.put(alerts)
        return faults


def _check_shape(alert: _PostedAlert, index: int) -> None:
    if alert.labels is None:
        raise WrongShape(f"{index}.labels in body is required")
    url = alert.generator_url
    if url and _URI.fullmatch(url) is None:
        raise WrongShape(f'{index}.generatorURL in body must be of type uri: "{url[:200]}"', code=601)
    for text in (alert.starts_at, alert.ends_at):
        try:
            read_time(text or "")
        except ValueError as error:
            raise WrongShape(f"parsing alerts body failed, because {error}", status=400, code=400) from None


def _alert(posted: _PostedAlert) -> Alert:
    labels, annotations = posted.labels or {}, posted.annotations or {}
    return Alert(
        labels={name: labels[name] for name in sorted(labels) if labels[name]},
        annotations=dict(sorted(annotations.items())),
        starts_ms=read_time(posted.starts_at or ""),
        ends_ms=read_time(posted.ends_at or ""),
        generator_url=posted.generator_url or "",
    )


def _fault(alert: Alert, now_ms: int, timeout_ms: int) -> str:
    """Why Alertmanager would not take the alert; "" when it would."""
    starts_ms = alert.starts_ms or alert.ends_ms or now_ms
    if (alert.ends_ms or now_ms + timeout_ms) < starts_ms:
        return "start time must be before end time"
    for what, names in (("label set", alert.labels), ("annotations", alert.annotations)):
        for name in names:
            if not valid_label_name(name):
                return f'invalid {what}: invalid name "{name}"'
    return "" if alert.labels else "at least one label pair required"


def _wanted(request: Request) -> Callable[[AlertStatus], bool]:
    """Which alerts the parameters of a request let through. Raises BadInput."""
    matchers = filters(request)
    active, unprocessed = flag(request, "active"), flag(request, "unprocessed")
    silenced, inhibited = flag(request, "silenced"), flag(request, "inhibited")

    def wanted(status: AlertStatus) -> bool:
        if (status.state == "active" and not active) or (status.state == "unprocessed" and not unprocessed):
            return False
        if (status.silenced_by and not silenced) or (status.inhibited_by and not inhibited):
            return False
        return matches(matchers, status.alert.labels)

    return wanted


def _seen_by(status: AlertStatus, receiver: Any) -> AlertStatus:
    """Among groups, the receivers of an alert are those asked for, by name."""
    return replace(
        status,
        receivers=tuple(
            sorted(name for name in status.receivers if receiver is None or receiver.match(name))
        ),
    )


def _alert_json(status: AlertStatus, muted_by: Sequence[str] = ()) -> Mapping[str, Any]:
    alert = status.alert
    return {
        "annotations": dict(alert.annotations),
        "endsAt": rfc3339_ms(alert.ends_ms),
        "fingerprint": f"{status.fingerprint:016x}",
        "receivers": [{"name": name} for name in status.receivers],
        "startsAt": rfc3339_ms(alert.starts_ms),
        "status": {
            "inhibitedBy": list(status.inhibited_by),
            "mutedBy": list(muted_by),
            "silencedBy": list(status.silenced_by),
            "state": "suppressed" if muted_by else status.state,
        },
        "updatedAt": rfc3339_ms(alert.updated_ms),
        **({"generatorURL": alert.generator_url} if alert.generator_url else {}),
        "labels": dict(alert.labels),
    }


def _group_json(group: GroupStatus, alerts: Iterable[AlertStatus]) -> Mapping[str, Any]:
    muted_by = (group.muted_by,) if group.muted_by else ()
    return {
        "alerts": [_alert_json(status, muted_by) for status in alerts],
        "labels": dict(group.labels),
        "receiver": {"name": group.receiver},
    }


async def _answer(values: Sequence[Mapping[str, Any]]) -> Response:
    body = await asyncio.to_thread(orjson.dumps, values)
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})
