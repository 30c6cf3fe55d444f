"""Slack: an attachment through an incoming webhook, or as a bot with a token."""

from typing import Any

import msgspec
from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import (
    GoDuration,
    HttpUrl,
    ReceiverSettings,
    SecretUrl,
    Settings,
    inherit,
    revealed,
)
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import Authorization, HttpResponse, at_most_one

_MAX_TITLE = 1024
_POST, _UPDATE = "/chat.postMessage", "/chat.update"
_RATE_LIMITED = frozenset({"ratelimited", "rate_limited"})


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


class _Answer(msgspec.Struct):
    ok: bool = False
    error: str = ""
    channel: str = ""
    ts: str = ""


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST; 429 and 5xx are retried. A 200 is success when its text is `ok`, or its JSON says so.

    `update_message` changes the first message of a group instead of posting another, `post_updates_to_thread` answers
    it in its thread; with both, the thread also keeps the first message as it was.
    """
    url = revealed(config.api_url, config.api_url_file)
    message = _message(config, text)
    channel = text.text(config.channel)
    post = _Poster(config, client, url)
    if not (config.update_message or config.post_updates_to_thread):
        await post({"channel": channel, **message})
        return
    key = ("slack", notification.receiver, notification.integration, notification.group_key)
    known = client.memory.get(*key)
    if known is None:
        answer = await post({"channel": channel, **message})
        if not answer.channel or not answer.ts:
            return
        client.memory.set(key, (answer.channel, answer.ts))
        if config.update_message and config.post_updates_to_thread:
            await post({"channel": answer.channel, "thread_ts": answer.ts, **message})
    else:
        channel, first = known
        if config.update_message:
            await post({"channel": channel, "ts": first, **message}, url=url.replace(_POST, _UPDATE))
        if config.post_updates_to_thread:
            await post({"channel": channel, "thread_ts": first, **message})
    if notification.status == "resolved":
        client.memory.forget(*key)  # what fires later is another story, and a changed message rings no bell


class _Poster:
    def __init__(self, config: Config, client: Client, url: str) -> None:
        self._config = config
        self._client = client
        self._url = url

    async def __call__(self, request: dict[str, Any], *, url: str = "") -> _Answer:
        response = await self._client.post(
            self._config.http,
            url or self._url,
            encode(without_empty(request, keep=("attachments",))),
            timeout_s=self._config.timeout.seconds,
            retry_on=(TOO_MANY_REQUESTS,),
        )
        try:
            return _checked(response)
        except DeliveryError as error:
            channel = request.get("channel")
            raise DeliveryError(
                f'channel "{channel}": {error}' if channel else str(error), retry=error.retry, status=200
            ) from None


def _checked(response: HttpResponse) -> _Answer:
    """https://api.slack.com/messaging/webhooks#handling_errors and https://api.slack.com/web#evaluating-responses"""
    if not response.content_type.startswith("application/json"):
        if response.body != b"ok":
            raise DeliveryError(f"Slack refused the message: {excerpt(response)}", retry=False)
        return _Answer(ok=True)
    try:
        answer = msgspec.json.decode(response.body, type=_Answer)
    except msgspec.DecodeError:
        raise DeliveryError(
            f"Slack's answer is not the JSON expected: {excerpt(response)}", retry=True
        ) from None
    if not answer.ok:
        raise DeliveryError(
            f"Slack refused the message: {answer.error[:200]}", retry=answer.error in _RATE_LIMITED
        )
    return answer


def _message(config: Config, text: Text) -> dict[str, Any]:
    fill = text.text
    attachment = {
        "title": truncate(fill(config.title), _MAX_TITLE),
        "title_link": fill(config.title_link),
        "pretext": fill(config.pretext),
        "text": fill(config.text),
        "fallback": fill(config.fallback),
        "callback_id": fill(config.callback_id),
        "fields": [
            {
                "title": fill(field.title),
                "value": fill(field.value),
                "short": config.short_fields if field.short is None else field.short,
            }
            for field in config.fields
        ],
        "actions": [_action(action, text) for action in config.actions],
        "image_url": fill(config.image_url),
        "thumb_url": fill(config.thumb_url),
        "footer": fill(config.footer),
        "color": fill(config.color),
        "mrkdwn_in": config.mrkdwn_in or ["fallback", "pretext", "text"],
    }
    return {
        "username": fill(config.username),
        "icon_emoji": fill(config.icon_emoji),
        "icon_url": fill(config.icon_url),
        "link_names": config.link_names,
        "text": fill(config.message_text),
        "attachments": [without_empty(attachment, keep=("text", "fallback", "callback_id", "footer"))],
    }


def _action(action: Action, text: Text) -> dict[str, Any]:
    names = ("type", "text", "url", "style", "name", "value")
    written: dict[str, Any] = {name: text.text(getattr(action, name)) for name in names}
    if (confirm := action.confirm) is not None:
        names = ("text", "title", "ok_text", "dismiss_text")
        written["confirm"] = without_empty({name: text.text(getattr(confirm, name)) for name in names})
    return without_empty(written)
