"""Opsgenie: alerts created, updated and closed by their alias."""

from typing import Any

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import Notification, common
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import split_list, truncate
from otero.alerting.notify.payload import encode, group_hash, without_empty
from otero.alerting.notify.settings import (
    HttpUrl,
    ReceiverSettings,
    Settings,
    check_template,
    inherit,
    revealed,
)
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one

_TYPES = ("team", "teams", "user", "escalation", "schedule")
_MAX_MESSAGE = 130
_ALWAYS = frozenset({"alias", "details", "source"})


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


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """Creates the alert of the group, or closes it; 429 and 5xx are retried.

    Opsgenie does not change an alert that is open already: with `update_alerts` its message and description are put
    after the creation.
    """
    alias = group_hash(notification)
    create = (config.api_url or HttpUrl("")).below("v2/alerts")
    requests: list[tuple[str, str, dict[str, Any]]] = []
    if notification.status == "resolved":
        requests.append(("POST", _of_alias(create, alias, "close"), {"source": text.text(config.source)}))
    else:
        alert = _alert(config, notification, text, alias)
        requests.append(("POST", create, alert))
        updated = ("message", "description") if config.update_alerts else ()
        requests += [("PUT", _of_alias(create, alias, name), {name: alert[name]}) for name in updated]
    key = text.text(revealed(config.api_key, config.api_key_file)).strip()
    for method, url, payload in requests:
        await client.request(
            config.http,
            method,
            url,
            body=encode(without_empty(payload, keep=_ALWAYS)),
            headers={"Content-Type": "application/json", "Authorization": f"GenieKey {key}"},
            retry_on=(TOO_MANY_REQUESTS,),
            secrets=(key,),
        )


def _of_alias(alerts: HttpUrl, alias: str, what: str) -> str:
    return f"{alerts.below(f'{alias}/{what}')}?identifierType=alias"


def _alert(config: Config, notification: Notification, text: Text, alias: str) -> dict[str, Any]:
    fill = text.text
    shared = common([alert.labels for alert in notification.alerts])
    return {
        "alias": alias,
        "message": truncate(fill(config.message), _MAX_MESSAGE),
        "description": fill(config.description),
        "details": shared | {name: fill(value) for name, value in config.details.items()},
        "source": fill(config.source),
        "responders": [item for responder in config.responders for item in _responders(responder, text)],
        "tags": split_list(fill(config.tags)),
        "note": fill(config.note),
        "priority": fill(config.priority),
        "entity": fill(config.entity),
        "actions": split_list(fill(config.actions)),
    }


def _responders(responder: Responder, text: Text) -> list[dict[str, str]]:
    """None where everything is empty once filled in: so responders can come from labels that only some alerts have."""
    written = {name: text.text(getattr(responder, name)) for name in ("id", "name", "username", "type")}
    if written["type"] == "teams":
        return [{"name": team, "type": "team"} for team in split_list(written["name"])]
    return [without_empty(written, keep=("type",))] if any(written.values()) else []
