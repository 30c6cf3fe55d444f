"""otero.yml: what Otero is told besides the files that teams already have."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from otero.config.receivers import Receivers
from otero.errors import BadField
from otero.fields import Duration, FilePath, Secret, Size, check_endpoint
from otero.query.promql.engine import FEATURES
from otero.rules.config import AlertTiming
from otero.source import Unserved

_DAY_MS = 86_400_000
_MIN_MEMORY = 1 << 20


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of otero.yml."""


class Retention(Part, frozen=True, kw_only=True):
    """How long stored data is kept; 0 means for ever."""

    metrics: Duration = Duration(30 * _DAY_MS)
    logs: Duration = Duration(14 * _DAY_MS)
    traces: Duration = Duration(7 * _DAY_MS)
    decisions: Duration = Duration(90 * _DAY_MS)


class OteroStorage(Part, frozen=True, kw_only=True):
    """Where and how data is stored. `path` is absolute after loading."""

    engine: str = "embedded"
    path: FilePath = FilePath("data")
    retention: Retention = Retention()
    head_max_bytes: Size = Size(1 << 30)
    journal_max_bytes: Size = Size(2 << 30)
    remote_write_max_bytes: Size = Size(4 << 30)
    flush_interval: Duration = Duration(30_000)
    fsync: Literal["interval", "always", "never"] = "interval"

    def __post_init__(self) -> None:
        if self.engine == "clickhouse":
            raise BadField("a ClickHouse server as engine comes with a later release; use embedded", "engine")
        if self.engine != "embedded":
            raise BadField(f'unknown engine "{self.engine}"; use embedded', "engine")
        if not self.path:
            raise BadField("the data directory must be named", "path")
        for name in ("head_max_bytes", "journal_max_bytes", "remote_write_max_bytes"):
            if getattr(self, name) < _MIN_MEMORY:
                raise BadField(f"{name} must be at least 1MiB", name)


def check_features(names: Sequence[str], at: str = "") -> None:
    """Raises BadField for a name that is no feature flag of queries."""
    for name in names:
        if name not in FEATURES:
            raise BadField(f'unknown feature "{name}"; there are {", ".join(sorted(FEATURES))}', at)


class QueryConfig(Part, frozen=True, kw_only=True):
    """Bounds of each query and the feature flags of PromQL; the defaults are Prometheus'."""

    timeout: Duration = Duration(120_000)
    max_samples: int = 50_000_000
    max_concurrency: int = 20
    lookback_delta: Duration = Duration(300_000)
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("timeout", "max_samples", "max_concurrency", "lookback_delta"):
            if getattr(self, name) <= 0:
                raise BadField(f"{name} must be greater than 0", name)
        check_features(self.features, "features")


class SeriesLimits(Part, frozen=True, kw_only=True):
    """Series budgets: beyond them new series are refused and counted; 0 means no limit. And the largest requests."""

    series: int = 2_000_000
    series_per_job: int = 0
    remote_write_bytes: Size = Size(64 << 20)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 0:
                raise BadField(f"{name} must not be negative", name)
        if not self.remote_write_bytes:
            raise BadField("remote_write_bytes must be greater than 0", "remote_write_bytes")


class Token(Part, frozen=True, kw_only=True):
    """One bearer token; `name` appears in logs."""

    name: str = ""
    token: Secret = Secret("")
    token_file: FilePath = FilePath("")

    def __post_init__(self) -> None:
        if bool(self.token) == bool(self.token_file):
            raise BadField("exactly one of token and token_file must be given")


class Auth(Part, frozen=True, kw_only=True):
    """Who may come in besides the users of the web configuration file.

    `allowed_hosts` are further names under which an open loopback server may be addressed.
    """

    tokens: tuple[Token, ...] = ()
    allowed_hosts: tuple[str, ...] = ()


class Host(Part, frozen=True, kw_only=True):
    """Metrics of this host under node_exporter's names; `enabled` null means: unless a prometheus.yml was given."""

    enabled: bool | None = None
    interval: Duration = Duration(15_000)

    def __post_init__(self) -> None:
        if self.interval < 100:
            raise BadField("interval must be at least 100ms", "interval")


_LATER = "a later release serves it"


class OteroConfig(Part, frozen=True, kw_only=True):
    """otero.yml. Keys that take "a path, or the same content inline" hold a path or plain values."""

    prometheus: FilePath | dict[str, Any] | None = None
    alertmanager: FilePath | dict[str, Any] | None = None
    rules: tuple[FilePath, ...] = ()
    dashboards: Annotated[tuple[FilePath, ...], Unserved(_LATER)] = ()
    slis: Annotated[FilePath | dict[str, Any] | None, Unserved(_LATER)] = None
    slos: Annotated[FilePath | dict[str, Any] | None, Unserved(_LATER)] = None
    probes: Annotated[dict[str, Any], Unserved(_LATER)] = {}
    receivers: Receivers = Receivers()
    tickets: Annotated[dict[str, Any], Unserved(_LATER)] = {}
    hosts: dict[str, str] = {}
    host: Host = Host()
    storage: OteroStorage = OteroStorage()
    listen: str = "127.0.0.1:9090"
    auth: Auth = Auth()
    query: QueryConfig = QueryConfig()
    limits: SeriesLimits = SeriesLimits()
    alerts: AlertTiming = AlertTiming()

    def __post_init__(self) -> None:
        check_endpoint(self.listen, "listen")
        for name, place in self.hosts.items():
            for text in (name, place):
                _check_host(text, f"hosts.{name}")

    def __repr__(self) -> str:
        """Without what stands inline: it may hold secrets that nobody has read as such yet."""
        shown = (
            f"{name}={'…' if isinstance(value, dict) and value else repr(value)}"
            for name in self.__struct_fields__
            for value in [getattr(self, name)]
        )
        return f"OteroConfig({', '.join(shown)})"


def _check_host(text: str, at: str) -> None:
    name, separator, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    port_is_good = not separator or (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536)
    if not name or not port_is_good or any(char in name for char in "/@ ?#"):
        raise BadField(f'expected a name or name:port, found "{text}"', at)
