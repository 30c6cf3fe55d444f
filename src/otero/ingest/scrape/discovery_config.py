"""Settings of service discovery that Otero serves: static, file, HTTP and DNS.

The ones that it only parses are in `discovery_config_unserved.py`.
"""

import re
from typing import Literal

import msgspec

from otero.errors import BadField
from otero.fields import Duration, FilePath, Url, valid_label_name
from otero.http_client import HttpClientConfig

_FILE_PATTERN = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)")


class DiscoveryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of service discovery without HTTP settings."""


class TargetGroup(DiscoveryConfig, frozen=True, kw_only=True):
    """Targets (`host:port`) that share labels; also one entry of a file_sd file or of an http_sd answer."""

    targets: tuple[str, ...] = ()
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        for name in self.labels:
            if not valid_label_name(name):
                raise BadField(f'"{name}" is not a valid label name', f"labels.{name}")


class FileSdConfig(DiscoveryConfig, frozen=True, kw_only=True):
    """`files` are glob patterns, made absolute; `*` only in the last part of the path."""

    files: tuple[FilePath, ...] = ()
    refresh_interval: Duration = Duration(300_000)

    def __post_init__(self) -> None:
        if not self.files:
            raise BadField("file service discovery config must contain at least one path name", "files")
        for index, name in enumerate(self.files):
            if _FILE_PATTERN.fullmatch(name) is None:
                raise BadField(
                    f'path name "{name}" is not valid for file discovery:'
                    " it must end in .json, .yml or .yaml and may have * in its last part only",
                    f"files[{index}]",
                )


class HttpSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    url: Url = Url("")
    refresh_interval: Duration = Duration(60_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url:
            raise BadField("URL is missing", "url")
        self.url.require_http()


class DnsSdConfig(DiscoveryConfig, frozen=True, kw_only=True):
    """`port` is needed for every type of record but SRV."""

    names: tuple[str, ...] = ()
    refresh_interval: Duration = Duration(30_000)
    type: Literal["SRV", "A", "AAAA", "MX", "NS"] = "SRV"
    port: int = 0

    def __post_init__(self) -> None:
        if not self.names:
            raise BadField("DNS-SD config must contain at least one SRV record name", "names")
        if self.type != "SRV" and not self.port:
            raise BadField("a port is required in DNS-SD configs for all record types except SRV", "port")
