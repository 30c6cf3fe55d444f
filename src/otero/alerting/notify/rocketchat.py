"""Rocket.Chat: a message of a user or bot with an access token."""

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, Settings, inherit
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one


class Field(Settings, frozen=True, kw_only=True):
    short: bool | None = None
    title: str = ""
    value: str = ""


class Action(Settings, frozen=True, kw_only=True):
    """A button. Alertmanager reads these keys without underscores, and sends only text, url and msg of them."""

    type: str = ""
    text: str = ""
    url: str = ""
    imageurl: str = ""
    iswebview: bool = False
    webviewheightratio: str = ""
    msg: str = ""
    msginchatwindow: bool = False
    msgprocessingtype: str = ""


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`rocketchat_configs`. `token_id` is the id of the user whose token it is."""

    send_resolved: bool = False
    api_url: HttpUrl | None = None
    token_id: Secret = Secret("")
    token_id_file: FilePath = FilePath("")
    token: Secret = Secret("")
    token_file: FilePath = FilePath("")
    channel: str = ""
    color: str = '{{ if eq .Status "firing" }}red{{ else }}green{{ end }}'
    title: str = '{{ template "rocketchat.default.title" . }}'
    title_link: str = '{{ template "rocketchat.default.titlelink" . }}'
    text: str = '{{ template "rocketchat.default.text" . }}'
    fields: list[Field] = field(default_factory=list)
    short_fields: bool = False
    emoji: str = '{{ template "rocketchat.default.emoji" . }}'
    icon_url: str = '{{ template "rocketchat.default.iconurl" . }}'
    image_url: str = ""
    thumb_url: str = ""
    link_names: bool = False
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        at_most_one(self, "token", "token_file")
        at_most_one(self, "token_id", "token_id_file")


def complete(config: Config, global_: Global) -> Config:
    token_id, token_id_file = config.token_id, config.token_id_file
    if not token_id and not token_id_file:
        token_id, token_id_file = global_.rocketchat_token_id, global_.rocketchat_token_id_file
    if not token_id and not token_id_file:
        raise BadField(
            "no Rocket.Chat user id is set: set token_id or token_id_file here, or rocketchat_token_id or "
            "rocketchat_token_id_file in global"
        )
    token, token_file = config.token, config.token_file
    if not token and not token_file:
        token, token_file = global_.rocketchat_token, global_.rocketchat_token_file
    if not token and not token_file:
        raise BadField(
            "no Rocket.Chat token is set: set token or token_file here, or rocketchat_token or "
            "rocketchat_token_file in global"
        )
    return replace(
        config,
        api_url=config.api_url or global_.rocketchat_api_url,
        token_id=token_id,
        token_id_file=token_id_file,
        token=token,
        token_file=token_file,
        **inherit(config, global_.http_config),
    )
