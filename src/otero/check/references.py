"""What a configuration names outside itself: files that must exist, addresses after relabelling."""

from collections.abc import Iterator

import msgspec

from otero.config.prometheus import PrometheusConfig
from otero.errors import BadInput
from otero.fields import FilePath
from otero.ingest.relabel import compile_relabel
from otero.ingest.scrape.config import Discovery
from otero.source import Node, Reader, exists

_SECRET_FILES = frozenset(
    {
        "ca_file",
        "cert_file",
        "key_file",
        "credentials_file",
        "password_file",
        "username_file",
        "bearer_token_file",
        "client_secret_file",
        "client_ca_file",
        "token_file",
        "files",
    }
)


def check_references(config: PrometheusConfig, node: Node, reader: Reader) -> None:
    """Notes credentials and certificates that do not exist, and static targets that are no addresses."""
    check_files_exist(config, node, reader)
    for index, scrape in enumerate(config.scrape_configs):
        labels = {
            "job": scrape.job_name,
            "__scheme__": scrape.scheme,
            "__metrics_path__": scrape.metrics_path,
        }
        _check_targets(scrape, labels, node, reader, f"scrape_configs[{index}]")
    for index, alertmanager in enumerate(config.alerting.alertmanagers):
        labels = {"__scheme__": alertmanager.scheme, "__alerts_path__": alertmanager.path_prefix or "/"}
        _check_targets(alertmanager, labels, node, reader, f"alerting.alertmanagers[{index}]")


def check_files_exist(config: msgspec.Struct, node: Node, reader: Reader) -> None:
    """Notes the files of credentials and certificates below `config` that do not exist."""
    for path, file in _secret_files(config, ""):
        if not exists(file):
            reader.problem(f'file "{file}" does not exist', node, "", path)


def _secret_files(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, msgspec.Struct):
        for info in msgspec.structs.fields(type(value)):
            child = getattr(value, info.name)
            where = f"{path}.{info.encode_name}" if path else info.encode_name
            if isinstance(child, FilePath):
                if child and info.name in _SECRET_FILES:
                    yield where, child
            elif info.name == "files" and "http_headers" in path:
                yield from ((f"{where}[{index}]", file) for index, file in enumerate(child))
            else:
                yield from _secret_files(child, where)
    elif isinstance(value, tuple):
        for index, child in enumerate(value):
            yield from _secret_files(child, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _secret_files(child, f"{path}.{key}")


def _check_targets(config: Discovery, labels: dict[str, str], node: Node, reader: Reader, path: str) -> None:
    try:
        relabel = compile_relabel(config.relabel_configs)
    except BadInput:  # said already
        return
    for group_index, group in enumerate(config.static_configs):
        for index, target in enumerate(group.targets):
            kept = relabel({**labels, **group.labels, "__address__": target})
            if kept is not None and "/" in kept.get("__address__", ""):
                at = f"{path}.static_configs[{group_index}].targets[{index}]"
                address = kept["__address__"]
                reader.problem(f'"{address}" is not a valid hostname (after relabelling)', node, "", at)
