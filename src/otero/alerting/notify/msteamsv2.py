"""Microsoft Teams by a flow of Power Automate ("Workflows"): an adaptive card."""

from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import encode
from otero.alerting.notify.settings import ByWebhook, inherit
from otero.alerting.template import Text


class Config(ByWebhook, frozen=True, kw_only=True):
    """`msteamsv2_configs`."""

    send_resolved: bool = True
    title: str = '{{ template "msteamsv2.default.title" . }}'
    text: str = '{{ template "msteamsv2.default.text" . }}'


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST; 429 and 5xx are retried."""
    title = {
        "type": "TextBlock",
        "text": text.text(config.title),
        "weight": "Bolder",
        "size": "Medium",
        "wrap": True,
        "style": "heading",
        "color": "Attention" if notification.status == "firing" else "Good",
    }
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [title, {"type": "TextBlock", "text": text.text(config.text), "wrap": True}],
        "msteams": {"width": "full"},
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    url = config.url()
    message = {"type": "message", "attachments": [attachment]}
    await client.post(config.http, url, encode(message), retry_on=(TOO_MANY_REQUESTS,))
