"""prometheus.yml: the whole file, checked as Prometheus checks it, with the defaults of `global` filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import replace

from otero.alerting.external_config import AlertingConfig
from otero.config.sections import RuntimeConfig, StorageConfig, TracingConfig
from otero.errors import BadConfig, BadField, Problem
from otero.fields import FilePath, valid_legacy_label_name
from otero.ingest.receivers.otlp_metrics.config import OtlpConfig
from otero.ingest.relabel_config import RelabelConfig
from otero.ingest.scrape.config import GlobalConfig, ScrapeConfig
from otero.remote.config import RemoteReadConfig, RemoteWriteConfig
from otero.source import List, Map, Node, Reader, Unserved, is_file, parse, read_file

_RULE_PATH = re.compile(r"[^*]*(\*[^/]*)?")
_MAX_SCRAPE_FILES = 10_000


class PrometheusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """prometheus.yml. After `load_prometheus`, `global_` and every scrape config are complete, file paths absolute."""

    global_: GlobalConfig = msgspec.field(default=GlobalConfig(), name="global")
    runtime: RuntimeConfig = RuntimeConfig()
    alerting: AlertingConfig = AlertingConfig()
    rule_files: tuple[FilePath, ...] = ()
    scrape_config_files: tuple[FilePath, ...] = ()
    scrape_configs: tuple[ScrapeConfig, ...] = ()
    storage: StorageConfig = StorageConfig()
    tracing: Annotated[TracingConfig | None, Unserved("Otero does not send traces of itself")] = None
    remote_write: tuple[RemoteWriteConfig, ...] = ()
    remote_read: tuple[RemoteReadConfig, ...] = ()
    otlp: OtlpConfig = OtlpConfig()

    def __post_init__(self) -> None:
        for key, what in (("rule_files", "rule file"), ("scrape_config_files", "scrape config file")):
            for index, path in enumerate(getattr(self, key)):
                if _RULE_PATH.fullmatch(path) is None:
                    raise BadField(
                        f'invalid {what} path "{path}": * may stand in its last part only', f"{key}[{index}]"
                    )
        for key, what in (("remote_write", "remote write"), ("remote_read", "remote read")):
            names: set[str] = set()
            for index, remote in enumerate(getattr(self, key)):
                if remote.name and remote.name in names:
                    raise BadField(
                        f'found multiple {what} configs with job name "{remote.name}"', f"{key}[{index}].name"
                    )
                names.add(remote.name)


class _ScrapeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that `scrape_config_files` names."""

    scrape_configs: tuple[ScrapeConfig, ...] = ()


def load_prometheus(path: Path, environ: Mapping[str, str]) -> tuple[PrometheusConfig, list[Problem]]:
    """The configuration of a file, and what to warn about. Raises BadConfig with every problem found."""
    node = parse(read_file(path), str(path))
    return read_prometheus(node, Reader(str(path), path.absolute().parent), environ)


def read_prometheus(
    node: Node, reader: Reader, environ: Mapping[str, str], path: str = ""
) -> tuple[PrometheusConfig, list[Problem]]:
    """As `load_prometheus`, of text that is already parsed. `path` is where it stands in its file."""
    config = reader.require(node, PrometheusConfig, path)
    assembly = _Assembly(config.global_, reader, environ, path)
    complete = assembly.assemble(config, node)
    return complete, assembly.warnings


class _Assembly:
    """What concerns several sections: values from `global`, included files, unique job names."""

    def __init__(self, global_: GlobalConfig, reader: Reader, environ: Mapping[str, str], path: str) -> None:
        self._given = global_
        self._reader = reader
        self._environ = environ
        self._path = path
        self._jobs: dict[str, str] = {}
        self._problems: list[Problem] = []
        self.warnings: list[Problem] = reader.warnings

    def assemble(self, config: PrometheusConfig, node: Node) -> PrometheusConfig:
        global_ = self._expand(self._given, node)
        global_ = global_.complete()
        self._check_names(config, global_, node)
        scrapes = self._complete(
            config.scrape_configs, _child(node, "scrape_configs"), self._reader, self._path
        )
        for index, pattern in enumerate(config.scrape_config_files):
            scrapes += self._include(pattern, node, f"scrape_config_files[{index}]")
        for index, pattern in enumerate(config.rule_files):
            if not _glob(pattern):
                self._reader.warn(f'no file matches "{pattern}"', node, self._path, f"rule_files[{index}]")
        self._reader.check()
        if self._problems:
            raise BadConfig(*self._problems)
        return replace(config, global_=global_, scrape_configs=tuple(scrapes))

    def _expand(self, global_: GlobalConfig, node: Node) -> GlobalConfig:
        labels: dict[str, str] = {}
        for name, value in global_.external_labels.items():
            labels[name], missing = expand(value, self._environ)
            for variable in missing:
                self._reader.warn(
                    f"environment variable {variable} is not set or empty",
                    node,
                    self._path,
                    f"global.external_labels.{name}",
                )
        return replace(global_, external_labels=labels)

    def _check_names(self, config: PrometheusConfig, global_: GlobalConfig, node: Node) -> None:
        if global_.metric_name_validation_scheme != "legacy":
            return
        for name in global_.external_labels:
            if not valid_legacy_label_name(name):
                at = f"global.external_labels.{name}"
                self._reader.problem(f'"{name}" is not a valid label name', node, self._path, at)
        if config.otlp.translation_strategy in ("NoTranslation", "NoUTF8EscapingWithSuffixes"):
            strategy = config.otlp.translation_strategy
            self._reader.problem(
                f'OTLP translation strategy "{strategy}" is not allowed when UTF8 is disabled',
                node,
                self._path,
                "otlp.translation_strategy",
            )

    def _complete(
        self, scrapes: tuple[ScrapeConfig, ...], node: Node | None, reader: Reader, path: str
    ) -> list[ScrapeConfig]:
        complete: list[ScrapeConfig] = []
        for index, scrape in enumerate(scrapes):
            item = node.items[index] if isinstance(node, List) else None
            where = f"{path}.scrape_configs[{index}]".removeprefix(".")
            here = f"{reader.file or 'this file'}:{item.line if item else 0}"
            first = self._jobs.setdefault(scrape.job_name, here)
            if first is not here:
                reader.problem(
                    f'found multiple scrape configs with job name "{scrape.job_name}", first in {first}',
                    item,
                    where,
                    "job_name",
                )
            try:
                finished = scrape.complete(self._given)
                _check_legacy_names(finished)
                complete.append(finished)
            except BadField as error:
                reader.problem(str(error), item, where, error.at)
        return complete

    def _include(self, pattern: str, node: Node, at: str) -> list[ScrapeConfig]:
        scrapes: list[ScrapeConfig] = []
        files = _glob(pattern)
        if not files:
            self._reader.warn(f'no file matches "{pattern}"', node, self._path, at)
        for path in files[:_MAX_SCRAPE_FILES]:
            try:
                tree = parse(read_file(path), str(path))
                reader = Reader(str(path), path.parent)
                included = reader.require(tree, _ScrapeFile)
                scrapes += self._complete(included.scrape_configs, _child(tree, "scrape_configs"), reader, "")
                self.warnings += reader.warnings
                reader.check()
            except BadConfig as error:
                self._problems += error.problems
        return scrapes


def _child(node: Node, key: str) -> Node | None:
    return node.entries.get(key) if isinstance(node, Map) else None


def _check_legacy_names(scrape: ScrapeConfig) -> None:
    if scrape.metric_name_validation_scheme != "legacy":
        return
    for key in ("relabel_configs", "metric_relabel_configs"):
        rules: tuple[RelabelConfig, ...] = getattr(scrape, key)
        for index, rule in enumerate(rules):
            target = rule.target_label
            if target and "$" not in target and not valid_legacy_label_name(target):
                raise BadField(
                    f"\"{target}\" is invalid 'target_label' for {rule.action} action",
                    f"{key}[{index}].target_label",
                )


def _glob(pattern: str) -> list[Path]:
    """The files that a pattern names, sorted; `*`, `?` and `[…]` only in the last part, as the caller has checked."""
    path = Path(pattern)
    if not any(char in pattern for char in "*?["):
        return [path] if is_file(path) else []
    try:
        return sorted(found for found in path.parent.glob(path.name) if is_file(found))
    except (OSError, ValueError):
        return []


_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([*#$@!?\-0-9])|([A-Za-z_][A-Za-z0-9_]*))")


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """`$VAR` and `${VAR}` replaced, `$$` as one dollar sign; and the variables that were empty (Go's os.Expand)."""
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3] or ""
        if name == "$":
            return "$"
        if not environ.get(name):
            missing.append(name)
        return environ.get(name, "")

    return _VARIABLE.sub(value, text), missing
