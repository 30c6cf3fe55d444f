"""Microsoft Teams by the connectors of Office 365, which Microsoft has retired: a MessageCard. New ones: `msteamsv2`."""

from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import encode
from otero.alerting.notify.settings import ReceiverSettings, SecretUrl, inherit, require_one, revealed
from otero.alerting.template import Text
from otero.fields import FilePath
from otero.http_client import at_most_one

_RED, _GREEN = "8C1A1A", "2DC72D"


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`msteams_configs`."""

    send_resolved: bool = True
    webhook_url: SecretUrl | None = None
    webhook_url_file: FilePath = FilePath("")
    title: str = '{{ template "msteams.default.title" . }}'
    summary: str = '{{ template "msteams.default.summary" . }}'
    text: str = '{{ template "msteams.default.text" . }}'

    def __post_init__(self) -> None:
        require_one(self, "webhook_url", "webhook_url_file")
        at_most_one(self, "webhook_url", "webhook_url_file")


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
    url = revealed(config.webhook_url, config.webhook_url_file)
    await client.post(config.http, url, encode(card), retry_on=(TOO_MANY_REQUESTS,))
