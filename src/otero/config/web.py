"""Prometheus' web configuration file: TLS, HTTP/2 and headers of the server, users with bcrypt hashes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from otero.errors import BadField, Problem
from otero.fields import Duration, FilePath, Secret
from otero.http_client import TlsVersion
from otero.source import Node, Reader, Unserved, parse, read_file

ClientAuth = Literal[
    "NoClientCert", "RequestClientCert", "RequireClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]  # fmt: skip

_BCRYPT = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
_HEADERS = {
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": None,
    "Strict-Transport-Security": None,
    "Content-Security-Policy": None,
}


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class TlsServerConfig(_Section, frozen=True, kw_only=True):
    cert_file: FilePath = FilePath("")
    key_file: FilePath = FilePath("")
    cert: str = ""
    key: Secret = Secret("")
    client_auth_type: ClientAuth = "NoClientCert"
    client_ca_file: FilePath = FilePath("")
    client_ca: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: TlsVersion = "TLS12"
    max_version: TlsVersion = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    curve_preferences: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True

    def __post_init__(self) -> None:
        if not (self.cert or self.cert_file):
            raise BadField("missing one of cert or cert_file")
        if not (self.key or self.key_file):
            raise BadField("missing one of key or key_file")
        if self.cert and self.cert_file:
            raise BadField("only one of cert and cert_file may be provided", "cert")
        if self.key and self.key_file:
            raise BadField("only one of key and key_file may be provided", "key")
        has_ca = bool(self.client_ca or self.client_ca_file)
        if self.client_ca and self.client_ca_file:
            raise BadField("only one of client_ca and client_ca_file may be provided", "client_ca")
        if has_ca and self.client_auth_type == "NoClientCert":
            raise BadField("client CAs have been configured without a client auth policy", "client_auth_type")
        if not has_ca and self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert"):
            raise BadField(
                f"client_auth_type {self.client_auth_type} needs client_ca_file", "client_auth_type"
            )
        if self.min_version > self.max_version:
            raise BadField("max_version must be at least min_version", "max_version")


class HttpServerConfig(_Section, frozen=True, kw_only=True):
    http2: Annotated[bool, Unserved("Otero speaks HTTP/1.1")] = True
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if name not in _HEADERS:
                raise BadField(
                    f'HTTP header "{name}" cannot be configured; these can: {", ".join(_HEADERS)}',
                    f"headers.{name}",
                )
            allowed = _HEADERS[name]
            if allowed is not None and value and value.lower() not in allowed:
                raise BadField(f"{name} must be one of {', '.join(allowed)}", f"headers.{name}")


class RateLimit(_Section, frozen=True, kw_only=True):
    interval: Duration = Duration(0)
    burst: int = 0


class WebConfig(_Section, frozen=True, kw_only=True):
    """`basic_auth_users` holds a bcrypt hash per user name; the hashes count as secrets."""

    tls_server_config: TlsServerConfig | None = None
    http_server_config: HttpServerConfig = HttpServerConfig()
    basic_auth_users: dict[str, Secret] = {}
    rate_limit: Annotated[RateLimit | None, Unserved()] = None

    def __post_init__(self) -> None:
        for name, password in self.basic_auth_users.items():
            if _BCRYPT.fullmatch(password.reveal()) is None:
                raise BadField(
                    "not a bcrypt hash; make one with: htpasswd -nBC 10 '' | tr -d ':\\n'",
                    f"basic_auth_users.{name}",
                )

    def users(self) -> Mapping[str, str]:
        """The hashes by user name, for the one who compares them."""
        return {name: password.reveal() for name, password in self.basic_auth_users.items()}


def load_web(path: Path) -> tuple[WebConfig, list[Problem]]:
    """The web configuration of a file, and what to warn about. Raises BadConfig."""
    node = parse(read_file(path), str(path))
    return read_web(node, Reader(str(path), path.absolute().parent))


def read_web(node: Node, reader: Reader) -> tuple[WebConfig, list[Problem]]:
    """As `load_web`, of text that is already parsed."""
    return reader.require(node, WebConfig), reader.warnings
