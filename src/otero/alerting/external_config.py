"""`alerting` of prometheus.yml: the Alertmanagers elsewhere that are told of alerts, too."""

from typing import Annotated, Literal

import msgspec

from otero.errors import BadField
from otero.fields import Duration
from otero.http_client import SigV4
from otero.ingest.relabel_config import RelabelConfig
from otero.ingest.scrape.config import Discovery
from otero.source import Unserved


class AlertmanagersConfig(Discovery, frozen=True, kw_only=True):
    """Alertmanagers that are found together and told alike."""

    sigv4: Annotated[SigV4 | None, Unserved("alerts are sent without it")] = None
    scheme: Literal["http", "https"] = "http"
    path_prefix: str = ""
    timeout: Duration = Duration(10_000)
    api_version: Literal["v2"] = "v2"
    alert_relabel_configs: tuple[RelabelConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigv4 is not None and (self.basic_auth or self.authorization or self.oauth2):
            raise BadField(
                "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured", "sigv4"
            )


class AlertingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`alert_relabel_configs` are applied for all, before those of each."""

    alert_relabel_configs: tuple[RelabelConfig, ...] = ()
    alertmanagers: tuple[AlertmanagersConfig, ...] = ()
