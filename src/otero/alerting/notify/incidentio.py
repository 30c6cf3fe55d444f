"""incident.io: an alert event of an HTTP alert source."""

from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import GoDuration, HttpUrl, ReceiverSettings, inherit, require_one
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one


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
