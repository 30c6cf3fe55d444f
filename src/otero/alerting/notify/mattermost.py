"""Mattermost: a post through an incoming webhook."""

from typing import Any

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import ReceiverSettings, SecretUrl, Settings, inherit, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath
from otero.http_client import at_most_one

_MAX_TEXT = 16_383
_ATTACHMENT_TEXTS = (
    "fallback", "color", "pretext", "text", "author_name", "author_link", "author_icon", "title", "title_link",
    "thumb_url", "footer", "footer_icon", "image_url",
)  # fmt: skip
_PRIORITIES = ("standard", "important", "urgent")


class Priority(Settings, frozen=True, kw_only=True):
    """`standard`, `important` or `urgent`; what a priority may not have is left out of the request."""

    priority: str = ""
    requested_ack: bool = False
    persistent_notifications: bool = False


class Props(Settings, frozen=True, kw_only=True):
    """`card` is markdown that Mattermost shows at the side of the post."""

    card: str = ""


class Field(Settings, frozen=True, kw_only=True):
    title: str = ""
    value: str = ""
    short: bool | None = None

    def __post_init__(self) -> None:
        for name in ("title", "value"):
            if not getattr(self, name):
                raise BadField(f"missing {name} in Mattermost field configuration", name)


class Attachment(Settings, frozen=True, kw_only=True):
    fallback: str = ""
    color: str = ""
    pretext: str = ""
    text: str = ""
    author_name: str = ""
    author_link: str = ""
    author_icon: str = ""
    title: str = ""
    title_link: str = ""
    fields: list[Field] = field(default_factory=list)
    thumb_url: str = ""
    footer: str = ""
    footer_icon: str = ""
    image_url: str = ""


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`mattermost_configs`. Without `attachments` the post is one attachment made of the settings here; with them `text`
    stands above them and the other settings of an attachment have no effect."""

    send_resolved: bool = True
    webhook_url: SecretUrl | None = None
    webhook_url_file: FilePath = FilePath("")
    channel: str = ""
    username: str = '{{ template "mattermost.default.username" . }}'
    text: str = '{{ template "mattermost.default.text" . }}'
    fallback: str = '{{ template "mattermost.default.fallback" . }}'
    color: str = '{{ template "mattermost.default.color" . }}'
    pretext: str = ""
    author_name: str = ""
    author_link: str = ""
    author_icon: str = ""
    title: str = '{{ template "mattermost.default.title" . }}'
    title_link: str = '{{ template "mattermost.default.titlelink" . }}'
    fields: list[Field] = field(default_factory=list)
    thumb_url: str = ""
    footer: str = ""
    footer_icon: str = ""
    image_url: str = ""
    icon_url: str = ""
    icon_emoji: str = ""
    attachments: list[Attachment] = field(default_factory=list)
    type: str = ""
    props: Props | None = None
    priority: Priority | None = None

    def __post_init__(self) -> None:
        at_most_one(self, "webhook_url", "webhook_url_file")


def complete(config: Config, global_: Global) -> Config:
    url, url_file = config.webhook_url, config.webhook_url_file
    if url is None and not url_file:
        url, url_file = global_.mattermost_webhook_url, global_.mattermost_webhook_url_file
    if url is None and not url_file:
        raise BadField(
            "no Mattermost webhook is set: set webhook_url or webhook_url_file here, or mattermost_webhook_url or "
            "mattermost_webhook_url_file in global"
        )
    return replace(config, webhook_url=url, webhook_url_file=url_file, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """POST; 429 and 5xx are retried."""
    fill = text.text
    post = {
        "text": truncate(fill(config.text), _MAX_TEXT) if config.attachments else "",
        "channel": fill(config.channel),
        "username": fill(config.username),
        "icon_url": fill(config.icon_url),
        "icon_emoji": fill(config.icon_emoji),
        "attachments": [_attachment(item, text) for item in config.attachments or (config,)],
        "type": fill(config.type),
        "props": {"card": fill(config.props.card)}
        if config.props is not None and config.props.card
        else None,
        "priority": _priority(config.priority, text),
    }
    url = revealed(config.webhook_url, config.webhook_url_file)
    await client.post(config.http, url, encode(without_empty(post)), retry_on=(TOO_MANY_REQUESTS,))


def _attachment(item: Attachment | Config, text: Text) -> dict[str, Any]:
    written: dict[str, Any] = {name: text.text(getattr(item, name)) for name in _ATTACHMENT_TEXTS}
    written["text"] = truncate(written["text"], _MAX_TEXT)
    written["fields"] = [
        {"title": text.text(part.title), "value": text.text(part.value)}
        | ({} if part.short is None else {"short": part.short})
        for part in item.fields
    ]
    return without_empty(written)


def _priority(priority: Priority | None, text: Text) -> dict[str, Any] | None:
    """Acknowledgements are for important and urgent posts only, persistent notifications for urgent ones."""
    if priority is None or not priority.priority:
        return None
    name = text.text(priority.priority).lower()
    name = name if name in _PRIORITIES else "standard"
    written = {
        "priority": name,
        "requested_ack": priority.requested_ack and name != "standard",
        "persistent_notifications": priority.persistent_notifications and name == "urgent",
    }
    return without_empty(written)
