"""Webex: a markdown message to a room."""

from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, inherit
from otero.errors import BadField


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
