"""Outgoing HTTP: its settings, as every part of Prometheus' configuration takes them."""

from typing import Any, Literal

import msgspec
from msgspec.structs import force_setattr

from otero.errors import BadField
from otero.fields import FilePath, Secret, Url

TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]

RESERVED_HEADERS = frozenset(
    {
        "Authorization", "Host", "Content-Encoding", "Content-Length", "Content-Type", "User-Agent", "Connection",
        "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Www-Authenticate", "Accept-Encoding",
        "X-Prometheus-Remote-Write-Version", "X-Prometheus-Remote-Read-Version",
        "X-Prometheus-Scrape-Timeout-Seconds", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
    }
)  # fmt: skip
"""Headers that Prometheus sets itself and does not let anybody override; compared in canonical form."""


def at_most_one(config: msgspec.Struct, *names: str) -> None:
    """Raises BadField when more than one of the named fields is set."""
    given = [name for name in names if getattr(config, name)]
    if len(given) > 1:
        raise BadField(f"at most one of {', '.join(names[:-1])} & {names[-1]} must be configured", given[1])


def canonical_header(name: str) -> str:
    """`x-amz-date` as `X-Amz-Date`."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the configuration Structs of this module."""


class BasicAuth(Config, frozen=True, kw_only=True):
    username: str = ""
    username_file: FilePath = FilePath("")
    username_ref: str = ""
    password: Secret = Secret("")
    password_file: FilePath = FilePath("")
    password_ref: str = ""

    def __post_init__(self) -> None:
        at_most_one(self, "username", "username_file", "username_ref")
        at_most_one(self, "password", "password_file", "password_ref")


class Authorization(Config, frozen=True, kw_only=True):
    """The Authorization header: `type` followed by the credentials."""

    type: str = "Bearer"
    credentials: Secret = Secret("")
    credentials_file: FilePath = FilePath("")
    credentials_ref: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "type", self.type.strip() or "Bearer")
        if self.type.lower() == "basic":
            raise BadField('authorization type cannot be set to "basic", use "basic_auth" instead', "type")
        at_most_one(self, "credentials", "credentials_file", "credentials_ref")


class TlsConfig(Config, frozen=True, kw_only=True):
    ca: str = ""
    cert: str = ""
    key: Secret = Secret("")
    ca_file: FilePath = FilePath("")
    cert_file: FilePath = FilePath("")
    key_file: FilePath = FilePath("")
    ca_ref: str = ""
    cert_ref: str = ""
    key_ref: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: TlsVersion | None = None
    max_version: TlsVersion | None = None

    def __post_init__(self) -> None:
        at_most_one(self, "ca", "ca_file", "ca_ref")
        at_most_one(self, "cert", "cert_file", "cert_ref")
        at_most_one(self, "key", "key_file", "key_ref")
        has_cert = bool(self.cert or self.cert_file or self.cert_ref)
        has_key = bool(self.key or self.key_file or self.key_ref)
        if has_cert and not has_key:
            raise BadField(
                "exactly one of key or key_file must be configured when a client certificate is configured"
            )
        if has_key and not has_cert:
            raise BadField(
                "exactly one of cert or cert_file must be configured when a client key is configured"
            )
        if self.min_version and self.max_version and self.min_version > self.max_version:
            raise BadField("tls_config.max_version must be at least tls_config.min_version", "max_version")


class ProxyConfig(Config, frozen=True, kw_only=True):
    proxy_url: Url = Url("")
    no_proxy: str = ""
    proxy_from_environment: bool = False
    proxy_connect_header: dict[str, list[Secret]] = {}

    def check_proxy(self) -> None:
        if self.proxy_connect_header and not (self.proxy_from_environment or self.proxy_url):
            raise BadField(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
                "proxy_connect_header",
            )
        if self.proxy_from_environment and self.proxy_url:
            raise BadField(
                "if proxy_from_environment is configured, proxy_url must not be configured", "proxy_url"
            )
        if self.proxy_from_environment and self.no_proxy:
            raise BadField(
                "if proxy_from_environment is configured, no_proxy must not be configured", "no_proxy"
            )
        if self.no_proxy and not self.proxy_url:
            raise BadField("if no_proxy is configured, proxy_url must also be configured", "no_proxy")


class OAuth2(ProxyConfig, frozen=True, kw_only=True):
    client_id: str = ""
    client_secret: Secret = Secret("")
    client_secret_file: FilePath = FilePath("")
    client_secret_ref: str = ""
    client_certificate_key_id: str = ""
    client_certificate_key: Secret = Secret("")
    client_certificate_key_file: FilePath = FilePath("")
    client_certificate_key_ref: str = ""
    grant_type: str = ""
    audience: str = ""
    iss: str = ""
    signature_algorithm: str = ""
    claims: dict[str, Any] = {}
    scopes: list[str] = []
    token_url: str = ""
    endpoint_params: dict[str, str] = {}
    tls_config: TlsConfig = TlsConfig()

    def __post_init__(self) -> None:
        if not self.client_id:
            raise BadField("oauth2 client_id must be configured")
        if not self.token_url:
            raise BadField("oauth2 token_url must be configured")
        at_most_one(self, "client_secret", "client_secret_file", "client_secret_ref")
        self.check_proxy()


class HttpHeader(Config, frozen=True, kw_only=True):
    """The values of one request header, in the order values, secrets, files."""

    values: list[str] = []
    secrets: list[Secret] = []
    files: list[FilePath] = []


class HttpClientConfig(ProxyConfig, frozen=True, kw_only=True):
    """How to make HTTP requests: authentication, TLS, proxy, headers.

    `bearer_token` and `bearer_token_file` are folded into `authorization`, as Prometheus does: whoever makes requests
    need not look at them. At most one of `basic_auth`, `authorization` and `oauth2` is set.
    """

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None
    bearer_token: Secret = Secret("")
    bearer_token_file: FilePath = FilePath("")
    tls_config: TlsConfig = TlsConfig()
    follow_redirects: bool = True
    enable_http2: bool = True
    http_headers: dict[str, HttpHeader] = {}

    def __post_init__(self) -> None:
        at_most_one(self, "bearer_token", "bearer_token_file")
        bearer = (
            "bearer_token" if self.bearer_token else "bearer_token_file" if self.bearer_token_file else ""
        )
        if bearer and self.authorization is not None:
            raise BadField("authorization is not compatible with bearer_token & bearer_token_file", bearer)
        if bearer and (self.basic_auth is not None or self.oauth2 is not None):
            raise BadField(
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
                bearer,
            )
        if sum(part is not None for part in (self.basic_auth, self.authorization, self.oauth2)) > 1:
            raise BadField("at most one of basic_auth, oauth2 & authorization must be configured")
        for name in self.http_headers:
            if canonical_header(name) in RESERVED_HEADERS:
                raise BadField(
                    f'setting header "{canonical_header(name)}" is not allowed', f"http_headers.{name}"
                )
        self.check_proxy()
        if bearer:
            authorization = Authorization(
                credentials=self.bearer_token, credentials_file=self.bearer_token_file
            )
            force_setattr(self, "authorization", authorization)
            force_setattr(self, "bearer_token", Secret(""))
            force_setattr(self, "bearer_token_file", FilePath(""))

    def http_client(self) -> "HttpClientConfig":
        """Only these settings, of a Struct that inherits them: what two users of one session must agree on."""
        return HttpClientConfig(**{name: getattr(self, name) for name in HttpClientConfig.__struct_fields__})
