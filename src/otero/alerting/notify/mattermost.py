"""Mattermost: a post through an incoming webhook."""

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import ReceiverSettings, SecretUrl, Settings, inherit
from otero.errors import BadField
from otero.fields import FilePath
from otero.http_client import at_most_one


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
    """`mattermost_configs`. Of the settings of one attachment (`title`, `color`, …) Alertmanager sends none: posts have
    `text` and `attachments`."""

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
