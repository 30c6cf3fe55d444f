"""incident.io: an alert event of an HTTP alert source."""

import msgspec
from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import encode, version_4
from otero.alerting.notify.settings import (
    GoDuration,
    HttpUrl,
    ReceiverSettings,
    inherit,
    require_one,
    revealed,
)
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import HttpResponse, at_most_one

_MAX_BYTES = 512 * 1024


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`incidentio_configs`. The token is said here, or as the authorization of `http_config`."""

    send_resolved: bool = True
    url: HttpUrl | None = None
    url_file: FilePath = FilePath("")
    alert_source_token: Secret = Secret("")
    alert_source_token_file: FilePath = FilePath("")
    max_alerts: int = 0
    timeout: GoDuration = GoDuration(0)

    def __post_init__(self) -> None:
        require_one(self, "url", "url_file")
        at_most_one(self, "url", "url_file")
        at_most_one(self, "alert_source_token", "alert_source_token_file")
        if self.max_alerts < 0:
            raise BadField("max_alerts cannot be negative", "max_alerts")
        token = self.alert_source_token or self.alert_source_token_file
        if self.http_config is None:
            return
        if self.http_config.authorization is not None and token:
            raise BadField(
                "alert_source_token and alert_source_token_file cannot stand beside http_config.authorization"
            )
        if self.http_config.authorization is None and not token:
            raise BadField(
                "one of alert_source_token, alert_source_token_file or http_config.authorization must be configured"
            )


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:  # noqa: ARG001
    """POST; 429 and 5xx are retried. A payload larger than incident.io takes goes with its first alert alone."""
    message = version_4(notification, config.max_alerts, version="1")
    body = encode(message)
    if len(body) > _MAX_BYTES:
        body = encode({**message, "alerts": message["alerts"][:1]})
    token = revealed(config.alert_source_token, config.alert_source_token_file)
    await client.post(
        config.http,
        config.url or revealed(None, config.url_file),
        body,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout_s=config.timeout.seconds,
        retry_on=(TOO_MANY_REQUESTS,),
        details=_details,
        secrets=(token,),
    )


class _Error(msgspec.Struct):
    message: str = ""
    error: str = ""
    errors: list[str] = field(default_factory=list)


def _details(response: HttpResponse) -> str:
    try:
        error = msgspec.json.decode(response.body, type=_Error)
    except msgspec.DecodeError:
        return excerpt(response)
    return ": ".join(filter(None, (error.message[:200], error.error[:200], ", ".join(error.errors)[:300])))
