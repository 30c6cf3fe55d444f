"""PagerDuty: an event of the Events API v2, or of v1 where there is a service key."""

from typing import Any

from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import GoDuration, HttpUrl, ReceiverSettings, Settings, inherit
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one

_DEFAULT_DETAILS = {
    "firing": '{{ template "pagerduty.default.instances" .Alerts.Firing }}',
    "resolved": '{{ template "pagerduty.default.instances" .Alerts.Resolved }}',
    "num_firing": "{{ .Alerts.Firing | len }}",
    "num_resolved": "{{ .Alerts.Resolved | len }}",
}


class Link(Settings, frozen=True, kw_only=True):
    href: str = ""
    text: str = ""


class Image(Settings, frozen=True, kw_only=True):
    src: str = ""
    alt: str = ""
    href: str = ""


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`pagerduty_configs`. `details` are merged over the usual four; an empty `source` is the client."""

    send_resolved: bool = True
    service_key: Secret = Secret("")
    service_key_file: FilePath = FilePath("")
    routing_key: Secret = Secret("")
    routing_key_file: FilePath = FilePath("")
    url: HttpUrl | None = None
    client: str = '{{ template "pagerduty.default.client" . }}'
    client_url: str = '{{ template "pagerduty.default.clientURL" . }}'
    description: str = '{{ template "pagerduty.default.description" .}}'
    details: dict[str, Any] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    source: str = ""
    severity: str = ""
    class_: str = field(default="", name="class")
    component: str = ""
    group: str = ""
    timeout: GoDuration = GoDuration(0)

    def __post_init__(self) -> None:
        keys = ("service_key", "service_key_file", "routing_key", "routing_key_file")
        if not any(getattr(self, name) for name in keys):
            raise BadField("missing key: set routing_key or routing_key_file (service_key for Events API v1)")
        at_most_one(self, "routing_key", "routing_key_file")
        at_most_one(self, "service_key", "service_key_file")
        force_setattr(self, "details", {**_DEFAULT_DETAILS, **self.details})
        if not self.source:
            force_setattr(self, "source", self.client)


def complete(config: Config, global_: Global) -> Config:
    url = config.url or global_.pagerduty_url
    if url is None:
        raise BadField("no PagerDuty URL is set: set url here or pagerduty_url in global")
    return replace(config, url=url, **inherit(config, global_.http_config))
