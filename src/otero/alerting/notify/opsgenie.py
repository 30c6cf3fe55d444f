"""Opsgenie: alerts created, updated and closed by their alias."""

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, Settings, check_template, inherit
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one

_TYPES = ("team", "teams", "user", "escalation", "schedule")


class Responder(Settings, frozen=True, kw_only=True):
    """Whom to tell: by `id`, `name` or `username`. The type `teams` is a list of team names with commas between."""

    id: str = ""
    name: str = ""
    username: str = ""
    type: str = ""

    def __post_init__(self) -> None:
        if not self.id and not self.username and not self.name:
            raise BadField("a responder needs at least one of id, username and name")
        if "{{" in self.type:
            check_template(self.type)
        elif self.type.lower() not in _TYPES:
            raise BadField(
                f'unknown type "{self.type}" of a responder; use one of {", ".join(_TYPES)}', "type"
            )


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`opsgenie_configs`. `tags` and `actions` are lists with commas between."""

    send_resolved: bool = True
    api_key: Secret = Secret("")
    api_key_file: FilePath = FilePath("")
    api_url: HttpUrl | None = None
    message: str = '{{ template "opsgenie.default.message" . }}'
    description: str = '{{ template "opsgenie.default.description" . }}'
    source: str = '{{ template "opsgenie.default.source" . }}'
    details: dict[str, str] = field(default_factory=dict)
    entity: str = ""
    responders: list[Responder] = field(default_factory=list)
    actions: str = ""
    tags: str = ""
    note: str = ""
    priority: str = ""
    update_alerts: bool = False

    def __post_init__(self) -> None:
        at_most_one(self, "api_key", "api_key_file")


def complete(config: Config, global_: Global) -> Config:
    api_url = config.api_url or global_.opsgenie_api_url
    if api_url is None:
        raise BadField("no Opsgenie URL is set: set api_url here or opsgenie_api_url in global")
    key, key_file = config.api_key, config.api_key_file
    if not key and not key_file:
        key, key_file = global_.opsgenie_api_key, global_.opsgenie_api_key_file
    if not key and not key_file:
        raise BadField(
            "no Opsgenie API key is set: set api_key or api_key_file here, or opsgenie_api_key or "
            "opsgenie_api_key_file in global"
        )
    return replace(
        config, api_url=api_url, api_key=key, api_key_file=key_file, **inherit(config, global_.http_config)
    )
