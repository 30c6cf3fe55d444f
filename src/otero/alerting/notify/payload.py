"""A notification as JSON, and the pieces of requests that several services share."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from otero.alerting.notification import Notification, common
from otero.alerting.template import Text
from otero.errors import BadConfig
from otero.model.alerts import Alert
from otero.model.times import NEVER, rfc3339
from otero.source import parse_yaml, plain


def version_4(notification: Notification, max_alerts: int = 0, version: str = "4") -> dict[str, Any]:
    """The payload of Alertmanager's webhooks; of more than `max_alerts` alerts (0: no bound) the first ones.

    https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. As there, what alerts have in common is
    said of those that are sent.
    """
    alerts = notification.alerts
    sent = alerts[:max_alerts] if max_alerts and len(alerts) > max_alerts else alerts
    now_ms = notification.now_ms
    written = [_alert(alert, now_ms) for alert in sent]
    return {
        "receiver": notification.receiver_pattern,
        "status": "firing" if any(alert["status"] == "firing" for alert in written) else "resolved",
        "alerts": written,
        "groupLabels": dict(notification.group_labels),
        "commonLabels": common([alert.labels for alert in sent]),
        "commonAnnotations": common([alert.annotations for alert in sent]),
        "externalURL": notification.external_url,
        "version": version,
        "groupKey": notification.group_key,
        "truncatedAlerts": len(alerts) - len(sent),
    }


def _alert(alert: Alert, now_ms: int) -> dict[str, Any]:
    resolved = alert.resolved_at(now_ms)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_ms),
        "endsAt": rfc3339(alert.ends_ms) if resolved else NEVER,
        "generatorURL": alert.generator_url,
        "fingerprint": f"{alert.fingerprint:016x}",
    }


def group_hash(notification: Notification) -> str:
    """By what services know one group again: the SHA-256 of its key, in hexadecimal digits."""
    return hashlib.sha256(notification.group_key.encode()).hexdigest()


def encode(payload: Any) -> bytes:
    """JSON of one line, ended as Go's encoder ends it."""
    return orjson.dumps(payload, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def without_empty(payload: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
    """Without entries that say nothing ("", False, [], None), but for those to keep."""
    return {name: value for name, value in payload.items() if value or name in keep}


def filled_in(value: Any, text: Text) -> Any:
    """A value of the configuration with its texts, those of keys too, filled in.

    A text that then reads as YAML of anything but a text becomes that (template.DeepCopyWithTemplate), so that
    `'{{ .Alerts | len }}'` is a number. Unlike there, what was filled in is not taken for a template again.
    """
    match value:
        case str():
            return _typed(text.text(value))
        case list():
            return [filled_in(item, text) for item in value]
        case dict():
            return {text.text(str(key)): filled_in(item, text) for key, item in value.items()}
        case _:
            return value


def _typed(filled: str) -> Any:
    try:
        value = plain(parse_yaml(filled))
    except BadConfig:
        return filled
    return filled if isinstance(value, str) else value
