"""PagerDuty: an event of the Events API v2, or of v1 where there is a service key."""

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, filled_in, group_hash, without_empty
from otero.alerting.notify.settings import GoDuration, HttpUrl, ReceiverSettings, Settings, inherit, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import HttpResponse, at_most_one

_DEFAULT_DETAILS = {
    "firing": '{{ template "pagerduty.default.instances" .Alerts.Firing }}',
    "resolved": '{{ template "pagerduty.default.instances" .Alerts.Resolved }}',
    "num_firing": "{{ .Alerts.Firing | len }}",
    "num_resolved": "{{ .Alerts.Resolved | len }}",
}
V1_URL = "https://events.pagerduty.com/generic/2010-04-15/create_event.json"
_MAX_SUMMARY = 1024
_MAX_EVENT = 512_000
_TOO_LARGE = (
    "The details were left out: the event would have been larger than the 512 kB that PagerDuty takes"
)


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


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """One event: `trigger` as long as something fires, then `resolve`. 5xx is retried, and what each version means by
    "not so fast": 429 of v2, 403 of v1 (https://developer.pagerduty.com/docs/events-api-v2-overview#response-codes--retry-logic).
    """
    if config.service_key or config.service_key_file:
        key = _key(revealed(config.service_key, config.service_key_file), "service", text)
        url, event, retry_on = V1_URL, _v1(config, notification, text, key), (403,)
    else:
        key = _key(revealed(config.routing_key, config.routing_key_file), "routing", text)
        url, event, retry_on = config.url or "", _v2(config, notification, text, key), (TOO_MANY_REQUESTS,)
    await client.post(
        config.http,
        url,
        _bounded(event),
        timeout_s=config.timeout.seconds,
        retry_on=retry_on,
        details=_details_of_error,
        secrets=(key,),
    )


def _key(template: str, kind: str, text: Text) -> str:
    key = text.text(template)
    if not key:
        raise DeliveryError(f"the {kind} key is empty once its template is filled in", retry=False)
    return key


def _v2(config: Config, notification: Notification, text: Text, key: str) -> dict[str, Any]:
    fill = text.text
    images = [_filled(image, ("src", "alt", "href"), text) for image in config.images]
    links = [_filled(link, ("href", "text"), text) for link in config.links]
    payload = {
        "summary": truncate(fill(config.description), _MAX_SUMMARY),
        "source": fill(config.source),
        "severity": fill(config.severity or "error"),
        "class": fill(config.class_),
        "component": fill(config.component),
        "group": fill(config.group),
        "custom_details": _details(config, text),
    }
    event = {
        "routing_key": key,
        "dedup_key": group_hash(notification),
        "event_action": _action(notification),
        "payload": without_empty(payload, keep=("summary", "source", "severity")),
        "client": fill(config.client),
        "client_url": fill(config.client_url),
        "images": [image for image in images if image["src"]],
        "links": [link for link in links if link["href"]],
    }
    return without_empty(event)


def _v1(config: Config, notification: Notification, text: Text, key: str) -> dict[str, Any]:
    event = {
        "service_key": key,
        "incident_key": group_hash(notification),
        "event_type": _action(notification),
        "description": truncate(text.text(config.description), _MAX_SUMMARY),
        "details": _details(config, text),
    }
    if event["event_type"] == "trigger":
        event |= {"client": text.text(config.client), "client_url": text.text(config.client_url)}
    return without_empty(event)


def _action(notification: Notification) -> str:
    return "trigger" if notification.status == "firing" else "resolve"


def _filled(item: msgspec.Struct, names: Collection[str], text: Text) -> dict[str, str]:
    return {name: text.text(getattr(item, name)) for name in names}


def _details(config: Config, text: Text) -> dict[str, Any]:
    """Texts stay texts, as PagerDuty always got them, but for JSON of objects and lists (`toJson`), which it shows."""
    details: dict[str, Any] = {}
    for name, value in config.details.items():
        if isinstance(value, str):
            filled = text.text(value)
            details[name] = _json(filled) if filled[:1] in ("{", "[") else filled
        else:
            details[name] = filled_in(value, text)
    return details


def _json(filled: str) -> Any:
    try:
        return msgspec.json.decode(filled.encode())
    except msgspec.DecodeError:
        return filled


def _bounded(event: dict[str, Any]) -> bytes:
    encoded = encode(event)
    if len(encoded) <= _MAX_EVENT:
        return encoded
    shortened = {"error": _TOO_LARGE}
    if "payload" in event:
        return encode({**event, "payload": {**event["payload"], "custom_details": shortened}})
    return encode({**event, "details": shortened})


class _Error(msgspec.Struct):
    message: str = ""
    errors: list[str] = field(default_factory=list)


def _details_of_error(response: HttpResponse) -> str:
    try:
        error = msgspec.json.decode(response.body, type=_Error)
    except msgspec.DecodeError:
        return excerpt(response)
    return ": ".join(filter(None, (error.message[:200], ", ".join(error.errors)[:300])))
