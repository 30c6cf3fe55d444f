"""The configuration as YAML again: defaults filled in, secrets hidden. What `/api/v1/status/config` shows."""

import inspect
from typing import Any

import msgspec
import yaml

from otero.config.prometheus import PrometheusConfig
from otero.fields import Duration, FilePath, Secret, Size, Url

_ALWAYS = frozenset(
    {
        "job_name",
        "honor_timestamps",
        "track_timestamps_staleness",
        "enable_compression",
        "follow_redirects",
        "enable_http2",
        "api_version",
        "gogc",
        "send",
        "send_interval",
    }
)
"""Keys that Prometheus prints whatever their value."""


def render(config: PrometheusConfig) -> str:
    """YAML with the keys of prometheus.yml; loading it again gives the same configuration but for secrets.

    Jobs of scrape_config_files stand among the others, so that key itself is left out.
    """
    config = msgspec.structs.replace(config, scrape_config_files=())
    return yaml.dump(_struct(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: equal parts are written out."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


def _struct(config: msgspec.Struct) -> dict[str, Any]:
    defaults = {info.name: info for info in msgspec.structs.fields(type(config))}
    out: dict[str, Any] = {}
    for name in _order(type(config)):
        value = getattr(config, name)
        info = defaults[name]
        if name not in _ALWAYS and _is_empty(value) and _is_default(value, info):
            continue
        if isinstance(value, msgspec.Struct) and _is_default(value, info) and not _shown(value):
            continue
        out[info.encode_name] = plain(value)
    return out


def _order(type_: type[msgspec.Struct]) -> list[str]:
    """Fields of the class itself before those of its bases."""
    names: dict[str, None] = {}
    for class_ in type_.__mro__:
        own = inspect.get_annotations(class_)
        names.update(dict.fromkeys(name for name in type_.__struct_fields__ if name in own))
    return list(names)


def _is_empty(value: object) -> bool:
    return value is None or value is False or value == 0 or value in ("", (), [], {}, Secret(""))


def _is_default(value: object, info: Any) -> bool:
    if info.default is not msgspec.NODEFAULT:
        return value == info.default
    return info.default_factory is not msgspec.NODEFAULT and value == info.default_factory()


def _shown(config: msgspec.Struct) -> bool:
    return any(name in _ALWAYS for name in config.__struct_fields__)


def plain(value: Any) -> Any:
    """Structs, durations, sizes, URLs and secrets as what YAML and JSON have."""
    match value:
        case msgspec.Struct():
            return _struct(value)
        case Duration() | Size() | Secret():
            return str(value)
        case Url():
            return value.redacted()
        case FilePath():
            return str(value)
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value
