"""Notifications as text: Alertmanager's template data and functions over Go's language.

Data and functions: https://prometheus.io/docs/alerting/latest/notifications/. Templates of users may call and replace the
default ones, which stand in `default_templates` under Alertmanager's names.
"""

import base64
import binascii
import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from otero.alerting.notification import DeliveryError, Notification, common
from otero.errors import BadConfig, Problem
from otero.gotemplate import Function, FunctionError, List, Map, SafeUrl, Struct, TemplateError
from otero.gotemplate import Templates as GoTemplates
from otero.gotemplate.json_text import to_json
from otero.gotemplate.prometheus import FUNCTIONS as PROMETHEUS_FUNCTIONS
from otero.gotemplate.time_layout import parse_time
from otero.gotemplate.times import ZERO_TIME, Duration, Time, system_zone
from otero.gotemplate.values import type_name
from otero.model.alerts import ALERT_NAME, Alert

_DEFAULTS = Path(__file__).parent / "default_templates"


class Templates:
    """The templates of a configuration: the default ones and those of users. Immutable; made at every reload."""

    def __init__(self, templates: GoTemplates) -> None:
        self._templates = templates

    @staticmethod
    @cache
    def builtin() -> "Templates":
        """The default templates alone."""
        templates = GoTemplates(FUNCTIONS)
        for path in sorted(_DEFAULTS.glob("*.tmpl")):
            templates = templates.add(path.read_text(), path.name)
        return Templates(templates)

    @staticmethod
    def load(patterns: Sequence[str]) -> "Templates":
        """The default templates and those of the files that the patterns match (as Go's filepath.Glob: no `**`).

        A later file replaces the templates of an earlier one; a pattern that matches nothing is no fault. Raises
        BadConfig with every file that cannot be read or parsed.
        """
        templates = Templates.builtin()._templates
        problems: list[Problem] = []
        for path in _files(patterns):
            try:
                templates = templates.add(path.read_text(), path.name)
            except TemplateError as error:
                problems.append(Problem(error.reason, str(path), error.line, error.column + 1))
            except OSError as error:
                problems.append(Problem(f"cannot read the templates: {error.strerror}", str(path)))
            except UnicodeDecodeError:
                problems.append(Problem("cannot read the templates: the file is not UTF-8", str(path)))
        if problems:
            raise BadConfig(*problems)
        return Templates(templates)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that `{{ template "…" . }}` may call, sorted."""
        return self._templates.names

    def check(self, source: str) -> list[str]:
        """What is wrong with a text whatever the alerts are: its syntax, unknown functions, templates not defined."""
        try:
            self._templates.check(source)
        except TemplateError as error:
            return [str(error)]
        return [f'template "{name}" is not defined' for name in self._templates.undefined(source)]

    def bind(self, notification: Notification) -> "Text":
        """What texts become for one notification."""
        return Text(self._templates, notification)


def _files(patterns: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(map(Path, glob.glob(pattern, include_hidden=True)))  # noqa: PTH207 patterns are absolute
        found += [path for path in matches if not path.is_dir()]
    return found


class Text:
    """Fills in texts with one notification. The alerts are at the time of the notification, and so is `now`."""

    def __init__(self, templates: GoTemplates, notification: Notification) -> None:
        self._templates = templates
        self._notification = notification
        now_ns = notification.now_ms * 1_000_000
        self._own = {
            "now": Function(lambda: Time(now_ns, system_zone())),
            "since": Function(lambda time: Duration(now_ns - time.ns), ("time",)),
        }

    @cached_property
    def data(self) -> Struct:
        """What `.` is: Alertmanager's Data. Its JSON (`gotemplate.json_text.to_json`) is what webhooks send of it."""
        return template_data(self._notification)

    def text(self, source: str) -> str:
        """What a text becomes. Raises DeliveryError, not to be retried, when its template fails."""
        if "{{" not in source:
            return source
        try:
            return self._templates.text(source, self.data, own=self._own)
        except TemplateError as error:
            raise DeliveryError(str(error), retry=False) from None

    def html(self, source: str) -> str:
        """As `text`, what is filled in being escaped for its place in HTML."""
        if not source:
            return ""
        try:
            return self._templates.html(source, self.data, own=self._own)
        except TemplateError as error:
            raise DeliveryError(str(error), retry=False) from None


# -- data ---------------------------------------------------------------------------------------------------------------


def template_data(notification: Notification) -> Struct:
    """Alertmanager's template.Data of a notification."""
    alerts = notification.alerts
    return Struct(
        "template.Data",
        {
            "Receiver": notification.receiver_pattern,
            "Status": notification.status,
            "Alerts": List(
                [_alert(alert, notification.now_ms) for alert in alerts], "template.Alerts", _ALERTS_METHODS
            ),
            "NotificationReason": notification.reason,
            "GroupLabels": _kv(notification.group_labels),
            "CommonLabels": _kv(common([alert.labels for alert in alerts])),
            "CommonAnnotations": _kv(common([alert.annotations for alert in alerts])),
            "RouteLabels": _kv({}),
            "ExternalURL": notification.external_url,
        },
        json_names=_DATA_JSON,
    )


_DATA_JSON = {
    "Receiver": "receiver", "Status": "status", "Alerts": "alerts", "NotificationReason": "notification_reason",
    "GroupLabels": "groupLabels", "CommonLabels": "commonLabels", "CommonAnnotations": "commonAnnotations",
    "RouteLabels": "routeLabels", "ExternalURL": "externalURL",
}  # fmt: skip
_ALERT_JSON = {
    "Status": "status", "Labels": "labels", "Annotations": "annotations", "StartsAt": "startsAt", "EndsAt": "endsAt",
    "GeneratorURL": "generatorURL", "Fingerprint": "fingerprint",
}  # fmt: skip


def _alert(alert: Alert, now_ms: int) -> Struct:
    """An alert that fires has no end, whatever its timeout."""
    resolved = alert.resolved_at(now_ms)
    return Struct(
        "template.Alert",
        {
            "Status": "resolved" if resolved else "firing",
            "Labels": _kv(alert.labels),
            "Annotations": _kv(alert.annotations),
            "StartsAt": Time(alert.starts_ms * 1_000_000),
            "EndsAt": Time(alert.ends_ms * 1_000_000) if resolved else ZERO_TIME,
            "GeneratorURL": alert.generator_url,
            "Fingerprint": f"{alert.fingerprint:016x}",
        },
        json_names=_ALERT_JSON,
    )


def _kv(entries: Mapping[str, str]) -> Map:
    return Map(entries, "", "template.KV", _KV_METHODS)


def _with_status(status: str) -> Any:
    return lambda alerts: List(
        [alert for alert in alerts.items if alert.fields["Status"] == status], "[]template.Alert"
    )


_ALERTS_METHODS = {"Firing": _with_status("firing"), "Resolved": _with_status("resolved")}


def _sorted(kv: Map) -> list[tuple[str, str]]:
    """Pairs by name, the alert's name before all others."""
    return sorted(kv.entries.items(), key=lambda pair: (pair[0] != ALERT_NAME, pair[0]))


def _strings(values: Iterable[str]) -> List:
    return List(list(values), "template.Strings", _STRINGS_METHODS)


def _pairs(kv: Map) -> List:
    return List(
        [Struct("template.Pair", {"Name": name, "Value": value}) for name, value in _sorted(kv)],
        "template.Pairs",
        _PAIRS_METHODS,
    )


def _without(kv: Map, names: Any) -> Map:
    taken = frozenset(_texts(names))
    return _kv({name: value for name, value in kv.entries.items() if name not in taken})


def _printed(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs)


def _pairs_field(pairs: List, name: str) -> list[str]:
    return [pair.fields[name] for pair in pairs.items]


_KV_METHODS = {
    "SortedPairs": _pairs,
    "Remove": _without,
    "Names": lambda kv: _strings(name for name, _ in _sorted(kv)),
    "Values": lambda kv: _strings(value for _, value in _sorted(kv)),
    "String": lambda kv: _printed(_sorted(kv)),
}
_PAIRS_METHODS = {
    "Names": lambda pairs: _strings(_pairs_field(pairs, "Name")),
    "Values": lambda pairs: _strings(_pairs_field(pairs, "Value")),
    "String": lambda pairs: _printed(
        zip(_pairs_field(pairs, "Name"), _pairs_field(pairs, "Value"), strict=True)
    ),
}
_STRINGS_METHODS = {"Join": lambda texts, separator: separator.join(texts.items)}


# -- functions ----------------------------------------------------------------------------------------------------------


def _texts(value: Any) -> Sequence[str]:
    """The items of a list of texts. Raises FunctionError."""
    if not isinstance(value, List) or not all(isinstance(item, str) for item in value.items):
        raise FunctionError(f"wrong type for value; expected []string; got {type_name(value)}")
    return value.items


_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD = re.compile(r"\w+(?:['’.:·]\w+)*")
_FIRST_LETTER = re.compile(r"[^\W\d_]")


def _title(text: str) -> str:
    """The first letter of each word in title case, the others in lower case."""
    return _WORD.sub(
        lambda word: _FIRST_LETTER.sub(lambda letter: letter[0].title(), word[0].lower(), count=1), text
    )


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    if name == "Local":
        return system_zone()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FunctionError(f"unknown time zone {name}") from None


def _date_or_zero(layout: str, text: str) -> Time:
    try:
        return parse_time(layout, text)
    except FunctionError:
        return ZERO_TIME


def _url_unescape(text: str) -> str:
    wrong = re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", text, re.DOTALL)
    if wrong is not None:
        raise FunctionError(f'invalid URL escape "{wrong[0]}"')
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="replace")


def _base64_decode(text: str) -> str:
    try:
        data = base64.b64decode(text.replace("\r", "").replace("\n", ""), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise FunctionError("illegal base64 data") from None
    return data.decode(errors="replace")


def _dict(*values: Any) -> Map:
    if len(values) % 2:
        raise FunctionError("dict requires an even number of arguments")
    names, items = values[::2], values[1::2]
    if not all(isinstance(name, str) for name in names):
        raise FunctionError("dict keys must be strings")
    return Map(dict(zip(names, items, strict=True)), None, "map[string]interface {}")


FUNCTIONS: Mapping[str, Function] = {
    **PROMETHEUS_FUNCTIONS,
    "title": Function(_title, ("string",)),
    "trimSpace": Function(lambda text: text.strip(_SPACE), ("string",)),
    "join": Function(lambda separator, texts: separator.join(_texts(texts)), ("string", "any")),
    "safeUrl": Function(SafeUrl, ("string",)),
    "urlUnescape": Function(_url_unescape, ("string",)),
    "stringSlice": Function(lambda *texts: List(texts, "[]string"), ("string",), True),
    # Routes have no labels of their own (yet); what Alertmanager gives for an unknown one is the empty text.
    "routeLabels": Function(lambda _name: "", ("string",)),
    "date": Function(lambda layout, time: time.format(layout), ("string", "time")),
    "tz": Function(lambda name, time: Time(time.ns, _zone(name)), ("string", "time")),
    "now": Function(lambda: ZERO_TIME),
    "since": Function(lambda _time: Duration(0), ("time",)),
    "toDate": Function(_date_or_zero, ("string", "string")),
    "mustToDate": Function(parse_time, ("string", "string")),
    "toJson": Function(to_json, ("any",)),
    "base64encode": Function(lambda text: base64.urlsafe_b64encode(text.encode()).decode(), ("string",)),
    "base64decode": Function(_base64_decode, ("string",)),
    "list": Function(lambda *items: List(items), ("any",), True),
    "append": Function(
        lambda items, *more: List([*items.items, *more], items.type_name), ("list", "any"), True
    ),
    "dict": Function(_dict, ("any",), True),
}
"""What Alertmanager adds to the language; `now` and `since` stand here for their names, each notification brings its own."""
