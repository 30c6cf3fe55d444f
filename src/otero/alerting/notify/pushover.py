"""Pushover: a message to the devices of a user or group."""

from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import GoDuration, ReceiverSettings, inherit, require_one
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`pushover_configs`. A message of priority 2 is repeated every `retry` until `expire` or until it is confirmed."""

    send_resolved: bool = True
    user_key: Secret = Secret("")
    user_key_file: FilePath = FilePath("")
    token: Secret = Secret("")
    token_file: FilePath = FilePath("")
    title: str = '{{ template "pushover.default.title" . }}'
    message: str = '{{ template "pushover.default.message" . }}'
    url: str = '{{ template "pushover.default.url" . }}'
    url_title: str = ""
    device: str = ""
    sound: str = ""
    priority: str = '{{ if eq .Status "firing" }}2{{ else }}0{{ end }}'
    retry: GoDuration = GoDuration(60_000)
    expire: GoDuration = GoDuration(3_600_000)
    ttl: GoDuration = GoDuration(0)
    html: bool = False
    monospace: bool = False

    def __post_init__(self) -> None:
        for name in ("user_key", "token"):
            require_one(self, name, f"{name}_file")
            at_most_one(self, name, f"{name}_file")
        if self.html and self.monospace:
            raise BadField("at most one of monospace & html must be configured", "monospace")


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))
