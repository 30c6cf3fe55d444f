"""Slack: an attachment through an incoming webhook, or as a bot with a token."""

from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import (
    GoDuration,
    HttpUrl,
    ReceiverSettings,
    SecretUrl,
    Settings,
    inherit,
)
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import Authorization, at_most_one


class Confirmation(Settings, frozen=True, kw_only=True):
    """The question that Slack asks before an action is done."""

    text: str = ""
    title: str = ""
    ok_text: str = ""
    dismiss_text: str = ""

    def __post_init__(self) -> None:
        if not self.text:
            raise BadField("missing text in Slack confirmation configuration", "text")


class Action(Settings, frozen=True, kw_only=True):
    """A button: one with a URL is a link, one with a name is a message action."""

    type: str = ""
    text: str = ""
    url: str = ""
    style: str = ""
    name: str = ""
    value: str = ""
    confirm: Confirmation | None = None

    def __post_init__(self) -> None:
        for name in ("type", "text"):
            if not getattr(self, name):
                raise BadField(f"missing {name} in Slack action configuration", name)
        if not self.url and not self.name:
            raise BadField("missing name or url in Slack action configuration")
        if self.url:
            force_setattr(self, "name", "")
            force_setattr(self, "value", "")
            force_setattr(self, "confirm", None)


class Field(Settings, frozen=True, kw_only=True):
    """A titled value beside the text; `short` ones stand side by side."""

    title: str = ""
    value: str = ""
    short: bool | None = None

    def __post_init__(self) -> None:
        for name in ("title", "value"):
            if not getattr(self, name):
                raise BadField(f"missing {name} in Slack field configuration", name)


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`slack_configs`. Once complete, `api_url` or `api_url_file` is where to send, whichever way it was said."""

    send_resolved: bool = False
    api_url: SecretUrl | None = None
    api_url_file: FilePath = FilePath("")
    app_token: Secret = Secret("")
    app_token_file: FilePath = FilePath("")
    app_url: HttpUrl | None = None
    channel: str = ""
    username: str = '{{ template "slack.default.username" . }}'
    color: str = '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'
    title: str = '{{ template "slack.default.title" . }}'
    title_link: str = '{{ template "slack.default.titlelink" . }}'
    pretext: str = '{{ template "slack.default.pretext" . }}'
    text: str = '{{ template "slack.default.text" . }}'
    message_text: str = ""
    fields: list[Field] = field(default_factory=list)
    short_fields: bool = False
    footer: str = '{{ template "slack.default.footer" . }}'
    fallback: str = '{{ template "slack.default.fallback" . }}'
    callback_id: str = '{{ template "slack.default.callbackid" . }}'
    icon_emoji: str = '{{ template "slack.default.iconemoji" . }}'
    icon_url: str = '{{ template "slack.default.iconurl" . }}'
    image_url: str = ""
    thumb_url: str = ""
    link_names: bool = False
    mrkdwn_in: list[str] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    update_message: bool = False
    post_updates_to_thread: bool = False
    timeout: GoDuration = GoDuration(0)

    def __post_init__(self) -> None:
        at_most_one(self, "api_url", "api_url_file")
        at_most_one(self, "app_token", "app_token_file")
        if (self.api_url or self.api_url_file) and (self.app_token or self.app_token_file):
            raise BadField(
                "at most one of api_url/api_url_file & app_token/app_token_file must be configured",
                "app_token" if self.app_token else "app_token_file",
            )


def complete(config: Config, global_: Global) -> Config:
    """A token becomes the authorization of `http_config`, and `app_url` the place to send to."""
    app_url = config.app_url or global_.slack_app_url
    if app_url is None:
        raise BadField("no address of Slack's API is set: set app_url here or slack_app_url in global")
    api_url, api_url_file = config.api_url, config.api_url_file
    token, token_file = config.app_token, config.app_token_file
    authorized = config.http_config is not None and config.http_config.authorization is not None
    if not token and not token_file and not authorized and api_url is None:
        token, token_file = global_.slack_app_token, global_.slack_app_token_file
    if api_url is None and not api_url_file:
        api_url, api_url_file = global_.slack_api_url, global_.slack_api_url_file
    if api_url is None and not api_url_file and not token and not token_file:
        raise BadField(
            "neither a webhook URL nor a token is set: set api_url, api_url_file, app_token or app_token_file here, "
            "or slack_api_url, slack_api_url_file, slack_app_token or slack_app_token_file in global"
        )
    http = inherit(config, global_.http_config)["http_config"]
    if token or token_file:
        if http.authorization is not None:
            raise BadField(
                "http_config cannot have an authorization beside a Slack token", "http_config.authorization"
            )
        http = replace(http, authorization=Authorization(credentials=token, credentials_file=token_file))
        api_url, api_url_file = SecretUrl(app_url), FilePath("")
    for name in ("update_message", "post_updates_to_thread"):
        if getattr(config, name) and (api_url is None or not api_url.reveal().endswith("/chat.postMessage")):
            raise BadField(
                f"{name} works for bots only: set app_token, or api_url to https://slack.com/api/chat.postMessage "
                "and the token as http_config.authorization; a webhook cannot change its messages",
                name,
            )
    return replace(
        config,
        http_config=http,
        api_url=api_url,
        api_url_file=api_url_file,
        app_token=Secret(""),
        app_token_file=FilePath(""),
        app_url=app_url,
    )
