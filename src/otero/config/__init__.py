"""The whole configuration, from otero.yml, prometheus.yml and the web configuration file, checked and resolved."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from otero.alerting.config import (
    AlertmanagerConfig,
    default_alertmanager,
    load_alertmanager,
    read_alertmanager,
)
from otero.alerting.template import Templates
from otero.config.otero import (
    Auth,
    Host,
    OteroConfig,
    OteroStorage,
    QueryConfig,
    Retention,
    SeriesLimits,
    Token,
    check_features,
)
from otero.config.prometheus import PrometheusConfig, load_prometheus, read_prometheus
from otero.config.receivers import Receivers, switch_on
from otero.config.render import render
from otero.config.web import TlsServerConfig, WebConfig, load_web
from otero.errors import BadConfig, BadField, Problem
from otero.fields import FilePath, check_endpoint
from otero.rules.config import LoadedFile, load_rule_files, rule_paths
from otero.source import Map, Node, Reader, Scalar, is_file, locate, parse, read_file

__all__ = [
    "AlertmanagerConfig",
    "Auth",
    "Config",
    "Host",
    "OteroConfig",
    "OteroStorage",
    "PrometheusConfig",
    "QueryConfig",
    "Receivers",
    "Retention",
    "SeriesLimits",
    "TlsServerConfig",
    "Token",
    "WebConfig",
    "check_features",
    "effective_yaml",
    "load",
]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that Otero was told. Immutable; two are equal when they say the same.

    `otero` holds the keys of otero.yml with the command line's flags applied. `prometheus_given` is False when no
    prometheus.yml was named at all: then the server scrapes itself and this host. `rule_files` are those of
    prometheus.yml, then those of otero.yml, each once. `templates` are those that alertmanager.yml names and the default
    ones. `files` were read.
    """

    otero: OteroConfig = field(default_factory=OteroConfig)
    prometheus: PrometheusConfig = field(default_factory=PrometheusConfig)
    web: WebConfig = field(default_factory=WebConfig)
    rule_files: tuple[LoadedFile, ...] = ()
    alertmanager: AlertmanagerConfig = field(default_factory=default_alertmanager)
    templates: Templates = field(default_factory=Templates.builtin, compare=False)
    prometheus_given: bool = False
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    files: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def storage(self) -> OteroStorage:
        return self.otero.storage

    @property
    def listen(self) -> str:
        return self.otero.listen

    @property
    def hosts(self) -> Mapping[str, str]:
        return self.otero.hosts

    @property
    def host(self) -> Host:
        return self.otero.host

    @property
    def collects_host(self) -> bool:
        """Whether this host's own metrics are collected."""
        return not self.prometheus_given if self.host.enabled is None else self.host.enabled

    @property
    def auth(self) -> Auth:
        return self.otero.auth

    @property
    def query(self) -> QueryConfig:
        return self.otero.query

    @property
    def receivers(self) -> Receivers:
        return self.otero.receivers

    @property
    def limits(self) -> SeriesLimits:
        return self.otero.limits

    @property
    def text(self) -> str:
        """As `effective_yaml`."""
        return effective_yaml(self)


def effective_yaml(config: Config) -> str:
    """prometheus.yml as it is in force: defaults filled in, paths absolute, secrets as `<secret>`."""
    return render(config.prometheus)


def load(
    otero_yml: Path | None = None,
    *,
    prometheus: Path | None = None,
    alertmanager: Path | None = None,
    rules: Sequence[Path] = (),
    dashboards: Path | None = None,
    slis: Path | None = None,
    slos: Path | None = None,
    data: Path | None = None,
    listen: str | None = None,
    receivers: Sequence[str] = (),
    web_config: Path | None = None,
    features: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration of these files; a flag wins over the key of the same name in otero.yml.

    Raises BadConfig with the problems of all files.
    """
    environ = os.environ if environ is None else environ
    loading = _Loading(environ)
    flags = {
        "prometheus": prometheus,
        "alertmanager": alertmanager,
        "slis": slis,
        "slos": slos,
    }
    node, otero = loading.otero(otero_yml)
    changes: dict[str, object] = {key: _path(path) for key, path in flags.items() if path is not None}
    if rules:
        changes["rules"] = tuple(map(_path, rules))
    if dashboards is not None:
        changes["dashboards"] = (_path(dashboards / "*.json" if dashboards.is_dir() else dashboards),)
    if data is not None:
        changes["storage"] = replace(otero.storage, path=_path(data))
    elif otero_yml is None:
        changes["storage"] = replace(otero.storage, path=_path(Path(otero.storage.path)))
    if listen is not None:
        try:
            check_endpoint(listen)
            changes["listen"] = listen
        except BadField as error:
            loading.problems.append(Problem(str(error), path="--listen"))
    if features:
        try:
            check_features(features)
            changes["query"] = replace(otero.query, features=(*otero.query.features, *features))
        except BadField as error:
            loading.problems.append(Problem(str(error), path="--enable-feature"))
    try:
        changes["receivers"] = switch_on(otero.receivers, receivers)
    except BadField as error:
        loading.problems.append(Problem(str(error), path="--receiver"))
    otero = replace(otero, **changes)
    of_prometheus = loading.prometheus(otero, node if prometheus is None else None, otero_yml)
    of_alertmanager = loading.alertmanager(otero, node if alertmanager is None else None, otero_yml)
    config = Config(
        otero=otero,
        prometheus=of_prometheus,
        web=loading.web(web_config),
        rule_files=loading.rules(of_prometheus, otero, node, "" if rules else str(otero_yml or "")),
        alertmanager=of_alertmanager,
        templates=loading.templates(of_alertmanager),
        prometheus_given=otero.prometheus is not None,
        warnings=tuple(loading.warnings),
        files=tuple(loading.files),
    )
    if loading.problems:
        raise BadConfig(*loading.problems)
    return config


def _path(path: Path) -> FilePath:
    return FilePath(path.absolute())


class _Loading:
    """Collects problems and warnings over all files of one `load`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.files: list[Path] = []

    def otero(self, path: Path | None) -> tuple[Node, OteroConfig]:
        empty = Scalar("", None, 1, 1)
        if path is None:
            return empty, OteroConfig()
        self.files.append(path)
        try:
            node = parse(read_file(path), str(path))
            reader = Reader(str(path), path.absolute().parent)
            config = reader.require(node, OteroConfig)
            if not Path(config.storage.path).is_absolute():  # the default was not read from the file
                storage = replace(config.storage, path=config.storage.path.resolve_in(path.absolute().parent))
                config = replace(config, storage=storage)
            self.warnings += reader.warnings
        except BadConfig as error:
            self.problems += error.problems
            return empty, OteroConfig()
        return node, config

    def prometheus(self, otero: OteroConfig, node: Node | None, otero_yml: Path | None) -> PrometheusConfig:
        given = otero.prometheus
        try:
            if isinstance(given, str) and given:
                self.files.append(Path(given))
                config, warnings = load_prometheus(Path(given), self._environ)
            elif isinstance(node, Map) and isinstance(given, dict) and otero_yml is not None:
                reader = Reader(str(otero_yml), otero_yml.absolute().parent)
                inline = node.entries["prometheus"]
                config, warnings = read_prometheus(inline, reader, self._environ, "prometheus")
            else:
                empty = Scalar("", None, 1, 1)
                config, warnings = read_prometheus(empty, Reader(), self._environ)
        except BadConfig as error:
            self.problems += error.problems
            return PrometheusConfig()
        self.warnings += warnings
        self.files += [Path(file) for file in config.scrape_config_files]
        return config

    def alertmanager(
        self, otero: OteroConfig, node: Node | None, otero_yml: Path | None
    ) -> AlertmanagerConfig:
        given = otero.alertmanager
        try:
            if isinstance(given, str) and given:
                self.files.append(Path(given))
                config, warnings = load_alertmanager(Path(given))
                self.warnings += warnings
                return config
            if isinstance(node, Map) and isinstance(given, dict) and otero_yml is not None:
                reader = Reader(str(otero_yml), otero_yml.absolute().parent)
                config = read_alertmanager(node.entries["alertmanager"], reader, "alertmanager")
                self.warnings += reader.warnings
                return config
        except BadConfig as error:
            self.problems += error.problems
        return default_alertmanager()

    def templates(self, alertmanager: AlertmanagerConfig) -> Templates:
        try:
            return Templates.load(alertmanager.templates)
        except BadConfig as error:
            self.problems += error.problems
            return Templates.builtin()

    def rules(
        self, prometheus: PrometheusConfig, otero: OteroConfig, node: Node, otero_yml: str
    ) -> tuple[LoadedFile, ...]:
        # Of a missing file prometheus.yml's reader has warned, as Prometheus takes any path for a pattern.
        found = [path for pattern in prometheus.rule_files for path in rule_paths(pattern) if is_file(path)]
        for index, pattern in enumerate(otero.rules):
            paths = rule_paths(pattern)
            if not paths:
                at = f"rules[{index}]" if otero_yml else "--rules"
                line, column = locate(node, at) if otero_yml else (0, 0)
                self.warnings.append(
                    Problem(f'no file matches "{pattern}"', otero_yml, line, column, path=at)
                )
            found += paths
        paths = [str(path) for path in dict.fromkeys(found)]
        try:
            files = load_rule_files(paths, frozenset(otero.query.features))
        except BadConfig as error:
            self.problems += error.problems
            return ()
        self.files += [Path(file.path) for file in files]
        return files

    def web(self, path: Path | None) -> WebConfig:
        if path is None:
            return WebConfig()
        self.files.append(path)
        try:
            config, warnings = load_web(path)
        except BadConfig as error:
            self.problems += error.problems
            return WebConfig()
        self.warnings += warnings
        return config
