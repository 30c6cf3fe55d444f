"""Rocket.Chat: a message of a user or bot with an access token."""

from typing import Any

import msgspec
from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, Settings, inherit, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one

_MAX_TITLE = 1024


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


class _Answer(msgspec.Struct):
    success: bool = False
    error: str = ""


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """POST to `chat.postMessage`; 429 and 5xx are retried. A 200 is success when its JSON says so."""
    token, user = revealed(config.token, config.token_file), revealed(config.token_id, config.token_id_file)
    channel = text.text(config.channel)
    message = {
        "channel": channel,
        "emoji": text.text(config.emoji),
        "avatar": text.text(config.icon_url),
        "attachments": [_attachment(config, text)],
    }
    response = await client.post(
        config.http,
        (config.api_url or HttpUrl("")).below("api/v1/chat.postMessage"),
        encode(without_empty(message)),
        headers={"X-Auth-Token": token, "X-User-Id": user},
        retry_on=(TOO_MANY_REQUESTS,),
        secrets=(token, user),
    )
    try:
        answer = msgspec.json.decode(response.body, type=_Answer)
    except msgspec.DecodeError:
        raise DeliveryError(
            f"Rocket.Chat's answer is not the JSON expected: {excerpt(response)}",
            retry=True,
            status=response.status,
        ) from None
    if not answer.success:
        raise DeliveryError(
            f'channel "{channel}": Rocket.Chat refused the message: {answer.error[:300]}',
            retry=False,
            status=200,
        )


def _attachment(config: Config, text: Text) -> dict[str, Any]:
    fill = text.text
    attachment = {
        "title": truncate(fill(config.title), _MAX_TITLE),
        "title_link": fill(config.title_link),
        "text": fill(config.text),
        "image_url": fill(config.image_url),
        "thumb_url": fill(config.thumb_url),
        "color": fill(config.color),
        "fields": [_field(item, text, short=config.short_fields) for item in config.fields],
        "actions": [_action(action, text) for action in config.actions],
    }
    return without_empty(attachment)


def _field(item: Field, text: Text, *, short: bool) -> dict[str, Any]:
    written = {
        "short": short if item.short is None else item.short,
        "title": text.text(item.title),
        "value": text.text(item.value),
    }
    return without_empty(written, keep=("short",))


def _action(action: Action, text: Text) -> dict[str, Any]:
    written = {
        "type": "button",
        "text": text.text(action.text),
        "url": text.text(action.url),
        "msg": text.text(action.msg),
        "is_webview": False,
        "msg_in_chat_window": False,
    }
    return without_empty(written, keep=("is_webview", "msg_in_chat_window"))
