"""Telegram: a message of a bot to a chat."""

from typing import Literal

from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import GoDuration, HttpUrl, ReceiverSettings, inherit
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one


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
