"""WeChat Work: a message of an application of the corporation."""

from typing import Literal

from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, inherit
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`wechat_configs`."""

    send_resolved: bool = False
    api_secret: Secret = Secret("")
    api_secret_file: FilePath = FilePath("")
    corp_id: str = ""
    message: str = '{{ template "wechat.default.message" . }}'
    api_url: HttpUrl | None = None
    to_user: str = '{{ template "wechat.default.to_user" . }}'
    to_party: str = '{{ template "wechat.default.to_party" . }}'
    to_tag: str = '{{ template "wechat.default.to_tag" . }}'
    agent_id: str = '{{ template "wechat.default.agent_id" . }}'
    message_type: Literal["", "text", "markdown"] = "text"

    def __post_init__(self) -> None:
        at_most_one(self, "api_secret", "api_secret_file")


def complete(config: Config, global_: Global) -> Config:
    api_url = config.api_url or global_.wechat_api_url
    if api_url is None:
        raise BadField("no WeChat URL is set: set api_url here or wechat_api_url in global")
    secret, secret_file = config.api_secret, config.api_secret_file
    if not secret and not secret_file:
        secret, secret_file = global_.wechat_api_secret, global_.wechat_api_secret_file
    if not secret and not secret_file:
        raise BadField(
            "no WeChat API secret is set: set api_secret or api_secret_file here, or wechat_api_secret or "
            "wechat_api_secret_file in global"
        )
    corp_id = config.corp_id or global_.wechat_api_corp_id
    if not corp_id:
        raise BadField("no WeChat corporation is set: set corp_id here or wechat_api_corp_id in global")
    return replace(
        config,
        api_url=api_url,
        api_secret=secret,
        api_secret_file=secret_file,
        corp_id=corp_id,
        **inherit(config, global_.http_config),
    )
