"""VictorOps (Splunk On-Call): messages of its generic REST endpoint."""

from urllib.parse import quote

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import Notification
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, group_hash
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, inherit, revealed
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import at_most_one

_FIXED_FIELDS = (
    "routing_key", "message_type", "state_message", "entity_display_name", "monitoring_tool", "entity_id",
    "entity_state",
)  # fmt: skip
_MAX_MESSAGE = 20_480
_TYPES = frozenset({"INFO", "WARNING", "CRITICAL"})


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`victorops_configs`."""

    send_resolved: bool = True
    api_key: Secret = Secret("")
    api_key_file: FilePath = FilePath("")
    api_url: HttpUrl | None = None
    routing_key: str = ""
    message_type: str = "CRITICAL"
    state_message: str = '{{ template "victorops.default.state_message" . }}'
    entity_display_name: str = '{{ template "victorops.default.entity_display_name" . }}'
    monitoring_tool: str = '{{ template "victorops.default.monitoring_tool" . }}'
    custom_fields: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.routing_key:
            raise BadField("missing routing_key", "routing_key")
        at_most_one(self, "api_key", "api_key_file")
        for name in _FIXED_FIELDS:
            if name in self.custom_fields:
                raise BadField(
                    f"{name} cannot be a custom field: it is one that every message has",
                    f"custom_fields.{name}",
                )


def complete(config: Config, global_: Global) -> Config:
    api_url = config.api_url or global_.victorops_api_url
    if api_url is None:
        raise BadField("no VictorOps URL is set: set api_url here or victorops_api_url in global")
    key, key_file = config.api_key, config.api_key_file
    if not key and not key_file:
        key, key_file = global_.victorops_api_key, global_.victorops_api_key_file
    if not key and not key_file:
        raise BadField(
            "no VictorOps API key is set: set api_key or api_key_file here, or victorops_api_key or "
            "victorops_api_key_file in global"
        )
    return replace(
        config, api_url=api_url, api_key=key, api_key_file=key_file, **inherit(config, global_.http_config)
    )


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST; 5xx is retried. What fires with a `message_type` that VictorOps does not know is CRITICAL."""
    key = revealed(config.api_key, config.api_key_file)
    path = quote(f"{key}/{text.text(config.routing_key)}", safe="/$&+,:;=@")
    message_type = text.text(config.message_type)
    if notification.status == "resolved":
        message_type = "RECOVERY"
    elif message_type not in _TYPES:
        message_type = "CRITICAL"
    message = {
        "message_type": message_type,
        "entity_id": group_hash(notification),
        "entity_display_name": text.text(config.entity_display_name),
        "state_message": truncate(text.text(config.state_message), _MAX_MESSAGE),
        "monitoring_tool": text.text(config.monitoring_tool),
    }
    message |= {name: text.text(value) for name, value in config.custom_fields.items()}
    url = (config.api_url or HttpUrl("")).below(path)
    await client.post(config.http, url, encode(message), secrets=(key,))
