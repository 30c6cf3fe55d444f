"""Pushover: a message to the devices of a user or group."""

from urllib.parse import urlencode

from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.settings import GoDuration, ReceiverSettings, inherit, require_one, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one

URL = "https://api.pushover.net/1/messages.json"
_MAX_TITLE, _MAX_MESSAGE, _MAX_URL = 250, 1024, 512  # characters, https://pushover.net/api#limits


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`pushover_configs`. A message of priority 2 is repeated every `retry` until `expire` or until it is confirmed."""

    send_resolved: bool = True
    user_key: Secret = Secret("")
    user_key_file: FilePath = FilePath("")
    token: Secret = Secret("")
    token_file: FilePath = FilePath("")
    title: str = '{{ template "pushover.default.title" . }}'
    message: str = '{{ template "pushover.default.message" . }}'
    url: str = '{{ template "pushover.default.url" . }}'
    url_title: str = ""
    device: str = ""
    sound: str = ""
    priority: str = '{{ if eq .Status "firing" }}2{{ else }}0{{ end }}'
    retry: GoDuration = GoDuration(60_000)
    expire: GoDuration = GoDuration(3_600_000)
    ttl: GoDuration = GoDuration(0)
    html: bool = False
    monospace: bool = False

    def __post_init__(self) -> None:
        for name in ("user_key", "token"):
            require_one(self, name, f"{name}_file")
            at_most_one(self, name, f"{name}_file")
        if self.html and self.monospace:
            raise BadField("at most one of monospace & html must be configured", "monospace")


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """POST with everything in the query; 5xx is retried. Pushover takes no empty message, so there always is one."""
    token = text.text(revealed(config.token, config.token_file))
    user = text.text(revealed(config.user_key, config.user_key_file))
    message = text.html(config.message) if config.html else text.text(config.message)
    parameters = {
        "token": token,
        "user": user,
        "title": truncate(text.text(config.title), _MAX_TITLE),
        "message": truncate(message, _MAX_MESSAGE).strip() or "(no details)",
        "url": truncate(text.text(config.url), _MAX_URL),
        "url_title": text.text(config.url_title),
        "priority": text.text(config.priority),
        "retry": str(config.retry // 1000),
        "expire": str(config.expire // 1000),
        "device": text.text(config.device),
        "sound": text.text(config.sound),
    }
    if config.html:
        parameters["html"] = "1"
    if config.monospace:
        parameters["monospace"] = "1"
    if config.ttl >= 1000:
        parameters["ttl"] = str(config.ttl // 1000)
    url = f"{URL}?{urlencode(sorted(parameters.items()))}"
    await client.post(config.http, url, b"", content_type="text/plain", secrets=(token, user))
