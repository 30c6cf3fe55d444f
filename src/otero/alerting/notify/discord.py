"""Discord: an embed through a channel's webhook."""

from urllib.parse import urlsplit

from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import ByWebhook, inherit
from otero.alerting.template import Text

_MAX_TITLE, _MAX_DESCRIPTION, _MAX_CONTENT = 256, 4096, 2000
_RED, _GREEN = 0x992D22, 0x2ECC71


class Config(ByWebhook, frozen=True, kw_only=True):
    """`discord_configs`."""

    send_resolved: bool = True
    content: str = ""
    title: str = '{{ template "discord.default.title" . }}'
    message: str = '{{ template "discord.default.message" . }}'
    username: str = ""
    avatar_url: str = ""


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST; 5xx is retried, and 429 after the time that Discord says
    (https://discord.com/developers/docs/topics/rate-limits)."""
    embed = {
        "title": truncate(text.text(config.title), _MAX_TITLE),
        "description": truncate(text.text(config.message), _MAX_DESCRIPTION),
        "color": _RED if notification.status == "firing" else _GREEN,
    }
    message = {
        "content": truncate(text.text(config.content), _MAX_CONTENT),
        "embeds": [embed],
        "username": config.username,
        "avatar_url": config.avatar_url if _is_url(config.avatar_url) else "",
    }
    url = config.url()
    body = encode(without_empty(message, keep=("content", "embeds")))
    await client.post(config.http, url, body, retry_on=(TOO_MANY_REQUESTS,))


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme)
    except ValueError:
        return False
