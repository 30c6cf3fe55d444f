"""alertmanager.yml as YAML again: what differs from the defaults, secrets hidden. What the API's status shows.

Defaults are left out because those who read this text are strict: amtool refuses keys that came after its own release.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from otero.alerting.notify.settings import REDACTED, TemplateUrl
from otero.alerting.time_intervals import Range
from otero.fields import Duration, Secret, Size, Url

_ALWAYS = frozenset(
    {"resolve_timeout", "smtp_hello", "smtp_require_tls", "send_resolved", "continue_", "templates"}
)
"""Keys that Alertmanager prints whatever their value, and that people look for."""


def render(config: msgspec.Struct, **others: Any) -> str:
    """YAML of a Struct by the names of its keys; `others` stand for fields of it. Reads back as the same but for
    secrets, which are `<secret>`."""
    plain = _struct(config) | {key: _plain(value) for key, value in others.items()}
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: equal parts are written out."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


def _struct(config: msgspec.Struct) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for info in msgspec.structs.fields(type(config)):
        value = getattr(config, info.name)
        default = info.default
        if default is msgspec.NODEFAULT and info.default_factory is not msgspec.NODEFAULT:
            default = info.default_factory()
        if value != default or info.name in _ALWAYS or (info.name == "global_"):
            out[info.encode_name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            return _struct(value)
        case TemplateUrl():
            return _host_only(value)
        case Url():
            return value.redacted()
        case Duration() | Size() | Secret() | Range() | str():
            return str(value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def _host_only(url: TemplateUrl) -> str:
    """A webhook's URL, of which all after the host may be secret. To amtool before 0.26 it was none: it must be a URL."""
    scheme, separator, rest = url.reveal().partition("://")
    host = rest.replace("?", "/").replace("#", "/").partition("/")[0].rpartition("@")[2]
    return f"{scheme}://{host}/{REDACTED}" if separator and "{{" not in url.reveal() else REDACTED
