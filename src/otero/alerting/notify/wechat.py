"""WeChat Work: a message of an application of the corporation."""

from typing import Literal
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import encode, without_empty
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, inherit, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import HttpResponse, at_most_one

_KEPT_MS = 7200_000  # as long as the service says that a token lives
_TOKEN_GONE = frozenset(
    {40001, 40014, 42001}
)  # wrong, unknown, expired: https://developer.work.weixin.qq.com/document/path/90313
_TOO_OFTEN = 45009


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


class _Answer(msgspec.Struct):
    errcode: int = 0
    errmsg: str = ""
    access_token: str = ""


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """GET of a token, kept for two hours, then POST of the message. Every answer but 200 is retried, and a token that
    the service no longer takes is fetched anew by the next attempt."""
    api = config.api_url or HttpUrl("")
    secret = text.text(revealed(config.api_secret, config.api_secret_file))
    corporation = text.text(config.corp_id)
    key = ("wechat", api, corporation, secret)
    kept = client.memory.get(*key)
    if kept is None or int(kept[1]) <= client.clock.now_ms():
        query = urlencode({"corpid": corporation, "corpsecret": secret})
        response = await client.request(
            config.http,
            "GET",
            f"{api.below('gettoken')}?{query}",
            retry_on=range(300, 500),
            secrets=(secret,),
        )
        token = _answer(response).access_token
        if not token:
            raise DeliveryError(
                f"WeChat gave no token for the corporation {corporation}", retry=False, status=200
            )
        kept = (token, str(client.clock.now_ms() + _KEPT_MS))
        client.memory.set(key, kept)
    content = {"content": text.text(config.message)}
    message = {
        "text": {"content": ""} if config.message_type == "markdown" else content,
        "touser": text.text(config.to_user),
        "toparty": text.text(config.to_party),
        "totag": text.text(config.to_tag),
        "agentid": text.text(config.agent_id),
        "safe": "0",
        "msgtype": config.message_type or "text",
        "markdown": content if config.message_type == "markdown" else {"content": ""},
    }
    url = f"{api.below('message/send')}?{urlencode({'access_token': kept[0]})}"
    body = encode(without_empty(message))
    response = await client.post(config.http, url, body, retry_on=range(300, 500), secrets=(secret, kept[0]))
    answer = _answer(response)
    if answer.errcode in _TOKEN_GONE:
        client.memory.forget(*key)
    if answer.errcode != 0:
        raise DeliveryError(
            f"WeChat refused the message: {answer.errcode} {answer.errmsg[:300]}".replace(
                kept[0], "<secret>"
            ),
            retry=answer.errcode in _TOKEN_GONE or answer.errcode == _TOO_OFTEN,
            status=200,
        )


def _answer(response: HttpResponse) -> _Answer:
    try:
        return msgspec.json.decode(response.body, type=_Answer)
    except msgspec.DecodeError:
        raise DeliveryError(
            f"WeChat's answer is not the JSON expected: {excerpt(response)}",
            retry=True,
            status=response.status,
        ) from None
