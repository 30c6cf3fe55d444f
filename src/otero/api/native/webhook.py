"""`/webhook`: notifications of other Alertmanagers, and of Grafana, come in as alerts."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from otero.api.context import ApiContext
from otero.api.native.openapi import Endpoint
from otero.errors import BadInput, Unavailable
from otero.model.alerts import Alert

MAX_BODY_BYTES = 32 << 20
HOLD_MS = 24 * 3_600_000
"""How long a firing alert holds that nobody says again: senders repeat theirs after hours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class WebhookAlert(msgspec.Struct, rename="camel"):
    """An alert as Alertmanager's webhooks have it. A firing one has no end, or an `endsAt` of year 1."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: _Time = _EPOCH
    ends_at: _Time = _EPOCH
    generator_url: str = msgspec.field(default="", name="generatorURL")


class Webhook(msgspec.Struct):
    """The body of Alertmanager's webhooks, version 4, and of Grafana's. What else stands in it is not looked at."""

    alerts: list[WebhookAlert]


class WebhookTaken(msgspec.Struct):
    """How many alerts were taken in and are stored."""

    firing: int
    resolved: int


class WebhookEndpoints:
    """`/webhook`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def endpoints(self) -> tuple[Endpoint, ...]:
        summary = "Take in the alerts of an Alertmanager's or Grafana's webhook"
        return (
            Endpoint(
                "POST", "/webhook", summary, self.take_alerts, WebhookTaken, Webhook, max_bytes=MAX_BODY_BYTES
            ),
        )

    async def take_alerts(self, body: Webhook, _path: dict[str, str]) -> WebhookTaken:
        if not self._context.lifecycle.ready:
            raise Unavailable("Otero is starting: it reads back what it has stored", retry_after_s=1)
        now_ms = self._context.clock.now_ms()
        alerts = [_alert(alert, f"alerts[{index}]", now_ms) for index, alert in enumerate(body.alerts)]
        await asyncio.to_thread(self._context.alertmanager.inbox.put, alerts)
        firing = sum(alert.status == "firing" for alert in body.alerts)
        return WebhookTaken(firing, len(alerts) - firing)


def _alert(given: WebhookAlert, at: str, now_ms: int) -> Alert:
    if not any(given.labels.values()):
        raise BadInput(f"{at} has no labels: an alert is known by them")
    if "" in given.labels:
        raise BadInput(f"{at} has a label without a name")
    starts_ms, ends_ms = _milliseconds(given.starts_at), _milliseconds(given.ends_at)
    if given.status == "firing":
        ends_ms = ends_ms if ends_ms > now_ms else now_ms + HOLD_MS
    elif not 0 < ends_ms <= now_ms:
        ends_ms = now_ms
    if starts_ms > ends_ms:
        raise BadInput(f"{at} ends before it starts")
    return Alert(
        labels=dict(sorted(given.labels.items())),
        annotations=dict(sorted(given.annotations.items())),
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        generator_url=given.generator_url,
    )


def _milliseconds(time: datetime) -> int:
    """0 for what is not after 1970: Go's zero time among it."""
    return max((time - _EPOCH) // timedelta(milliseconds=1), 0)
