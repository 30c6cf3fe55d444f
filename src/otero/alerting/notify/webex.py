"""Webex: a markdown message to a room."""

from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate_bytes
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, inherit
from otero.alerting.template import Text
from otero.errors import BadField

_MAX_BYTES = 7439  # https://developer.webex.com/docs/api/v1/messages/create-a-message


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`webex_configs`. The bot's token is the authorization of the receiver's own `http_config`."""

    send_resolved: bool = True
    api_url: HttpUrl | None = None
    message: str = '{{ template "webex.default.message" . }}'
    room_id: str = ""

    def __post_init__(self) -> None:
        if not self.room_id:
            raise BadField("missing room_id", "room_id")
        if self.http_config is None or self.http_config.authorization is None:
            raise BadField(
                "missing http_config.authorization: its credentials are the token of the Webex bot"
            )


def complete(config: Config, global_: Global) -> Config:
    api_url = config.api_url or global_.webex_api_url
    if api_url is None:
        raise BadField("no Webex URL is set: set api_url here or webex_api_url in global")
    return replace(config, api_url=api_url, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """POST; 5xx is retried, and 429 after the time that Webex says."""
    message = {
        "markdown": truncate_bytes(text.text(config.message), _MAX_BYTES),
        "roomId": text.text(config.room_id),
    }
    body = encode(without_empty(message, keep=("markdown",)))
    await client.post(config.http, config.api_url or "", body, retry_on=(TOO_MANY_REQUESTS,))
