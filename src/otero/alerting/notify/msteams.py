"""Microsoft Teams by the connectors of Office 365, which Microsoft has retired: a MessageCard. New ones: `msteamsv2`."""

from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import encode
from otero.alerting.notify.settings import ByWebhook, inherit
from otero.alerting.template import Text

_RED, _GREEN = "8C1A1A", "2DC72D"


class Config(ByWebhook, frozen=True, kw_only=True):
    """`msteams_configs`."""

    send_resolved: bool = True
    title: str = '{{ template "msteams.default.title" . }}'
    summary: str = '{{ template "msteams.default.summary" . }}'
    text: str = '{{ template "msteams.default.text" . }}'


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST; 429 and 5xx are retried."""
    card = {
        "@context": "http://schema.org/extensions",
        "type": "MessageCard",
        "title": text.text(config.title),
        "summary": text.text(config.summary),
        "text": text.text(config.text),
        "themeColor": _RED if notification.status == "firing" else _GREEN,
    }
    url = config.url()
    await client.post(config.http, url, encode(card), retry_on=(TOO_MANY_REQUESTS,))
