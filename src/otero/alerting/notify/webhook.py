"""Webhooks: the notification as JSON, version 4 of Alertmanager's payload."""

from typing import Any

from msgspec.structs import replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import encode, filled_in, version_4
from otero.alerting.notify.settings import (
    GoDuration,
    ReceiverSettings,
    TemplateUrl,
    inherit,
    require_one,
    revealed,
)
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath
from otero.http_client import at_most_one


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`webhook_configs`. `max_alerts` and `timeout` of 0 bound nothing; `payload` takes the place of version 4."""

    send_resolved: bool = True
    url: TemplateUrl | None = None
    url_file: FilePath = FilePath("")
    max_alerts: int = 0
    timeout: GoDuration = GoDuration(0)
    payload: Any = None

    def __post_init__(self) -> None:
        require_one(self, "url", "url_file")
        at_most_one(self, "url", "url_file")
        if self.max_alerts < 0:
            raise BadField("max_alerts cannot be negative", "max_alerts")


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST; 2xx is success, 5xx is retried."""
    url = text.text(revealed(config.url, config.url_file))
    if not url:
        raise DeliveryError("the webhook's URL is empty once its template is filled in", retry=False)
    if config.payload is None:
        payload = version_4(notification, config.max_alerts)
    else:
        payload = filled_in(config.payload, text)
    await client.post(config.http, url, encode(payload), timeout_s=config.timeout.seconds)
