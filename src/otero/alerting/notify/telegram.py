"""Telegram: a message of a bot to a chat."""

import re
from typing import Literal

import msgspec
from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import GoDuration, HttpUrl, ReceiverSettings, inherit, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import HttpResponse, at_most_one

_MAX_CHARACTERS = 4096  # of the text that is shown, https://core.telegram.org/bots/api#sendmessage
_MAX_BYTES = 1 << 15
_TOO_LONG = (
    "This notification is longer than what Telegram takes, so its text was left out. Shorten the template of the "
    "message (telegram_configs, message)."
)
_MARKUP = re.compile(r"</?[A-Za-z][^>]*>")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});")


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`telegram_configs`. With an empty `parse_mode` the message is plain text."""

    send_resolved: bool = True
    api_url: HttpUrl | None = None
    bot_token: Secret = Secret("")
    bot_token_file: FilePath = FilePath("")
    chat_id: int = 0
    chat_id_file: FilePath = FilePath("")
    message_thread_id: int = 0
    message: str = '{{ template "telegram.default.message" . }}'
    disable_notifications: bool = False
    parse_mode: Literal["", "Markdown", "MarkdownV2", "HTML"] = "HTML"
    timeout: GoDuration = GoDuration(0)

    def __post_init__(self) -> None:
        at_most_one(self, "bot_token", "bot_token_file")
        if not self.chat_id and not self.chat_id_file:
            raise BadField("missing chat_id or chat_id_file")
        at_most_one(self, "chat_id", "chat_id_file")


def complete(config: Config, global_: Global) -> Config:
    token, token_file = config.bot_token, config.bot_token_file
    if not token and not token_file:
        token, token_file = global_.telegram_bot_token, global_.telegram_bot_token_file
    if not token and not token_file:
        raise BadField(
            "no Telegram bot token is set: set bot_token or bot_token_file here, or telegram_bot_token or "
            "telegram_bot_token_file in global"
        )
    return replace(
        config,
        api_url=config.api_url or global_.telegram_api_url,
        bot_token=token,
        bot_token_file=token_file,
        **inherit(config, global_.http_config),
    )


class _Parameters(msgspec.Struct):
    retry_after: float | None = None


class _Answer(msgspec.Struct):
    ok: bool = False
    description: str = ""
    parameters: _Parameters = field(default_factory=_Parameters)


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """POST to `sendMessage`. Alertmanager retries whatever goes wrong here, and so does this; after a 429 the next
    attempt waits as long as Telegram says."""
    token = revealed(config.bot_token, config.bot_token_file)
    request = {
        "chat_id": _chat(config),
        "text": _message(config, text),
        "parse_mode": config.parse_mode,
        "disable_web_page_preview": "true",
        "disable_notification": "true" if config.disable_notifications else "",
        "message_thread_id": str(config.message_thread_id) if config.message_thread_id else "",
    }
    url = (config.api_url or HttpUrl("")).below(f"bot{token}/sendMessage")
    response = await client.post(
        config.http,
        url,
        encode(without_empty(request, keep=("text",))),
        timeout_s=config.timeout.seconds,
        retry_on=range(300, 500),
        details=lambda response: _answer(response).description[:300] or excerpt(response),
        pause_s=lambda response: _answer(response).parameters.retry_after,
        secrets=(token,),
    )
    answer = _answer(response)
    if not answer.ok:
        raise DeliveryError(
            f"Telegram refused the message: {answer.description[:300]}", retry=True, status=200
        )


def _answer(response: HttpResponse) -> _Answer:
    try:
        return msgspec.json.decode(response.body, type=_Answer)
    except msgspec.DecodeError:
        return _Answer(description="its answer is not the JSON expected")


def _chat(config: Config) -> str:
    if not config.chat_id_file:
        return str(config.chat_id)
    chat = revealed(None, config.chat_id_file)
    if not re.fullmatch(r"[-+]?[0-9]+", chat):
        raise DeliveryError(f"{config.chat_id_file} does not hold the number of a chat", retry=True)
    return str(int(chat))


def _message(config: Config, text: Text) -> str:
    """HTML cannot be cut anywhere, so a message that is too long is replaced; other texts are cut."""
    if config.parse_mode != "HTML":
        return truncate(text.text(config.message), _MAX_CHARACTERS)
    message = text.html(config.message)
    shown = _ENTITY.sub("&", _MARKUP.sub("", message))
    too_long = len(shown) > _MAX_CHARACTERS or len(message.encode()) > _MAX_BYTES
    return _TOO_LONG if too_long else message
