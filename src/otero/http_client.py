"""Outgoing HTTP: its settings, as every part of Prometheus' configuration takes them, and the client made of them."""

import asyncio
import base64
import ipaddress
import math
import os
import socket
import ssl
import tempfile
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec.structs import force_setattr
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from otero import __version__
from otero.errors import BadField, BadInput, LimitExceeded, TimedOut, Unavailable
from otero.fields import FilePath, Secret, Url
from otero.source import Unserved

USER_AGENT = f"Otero/{__version__}"

_REFERENCE = Unserved("there is no secret manager; use the key without _ref or the one with _file")

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
    username_ref: Annotated[str, _REFERENCE] = ""
    password: Secret = Secret("")
    password_file: FilePath = FilePath("")
    password_ref: Annotated[str, _REFERENCE] = ""

    def __post_init__(self) -> None:
        at_most_one(self, "username", "username_file", "username_ref")
        at_most_one(self, "password", "password_file", "password_ref")


class Authorization(Config, frozen=True, kw_only=True):
    """The Authorization header: `type` followed by the credentials."""

    type: str = "Bearer"
    credentials: Secret = Secret("")
    credentials_file: FilePath = FilePath("")
    credentials_ref: Annotated[str, _REFERENCE] = ""

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
    ca_ref: Annotated[str, _REFERENCE] = ""
    cert_ref: Annotated[str, _REFERENCE] = ""
    key_ref: Annotated[str, _REFERENCE] = ""
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


class SigV4(Config, frozen=True, kw_only=True):
    """What requests to AWS are signed with."""

    region: str = ""
    access_key: str = ""
    secret_key: Secret = Secret("")
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    use_fips_sts_endpoint: bool = False
    service_name: str = ""


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
    client_secret_ref: Annotated[str, _REFERENCE] = ""
    client_certificate_key_id: str = ""
    client_certificate_key: Secret = Secret("")
    client_certificate_key_file: FilePath = FilePath("")
    client_certificate_key_ref: Annotated[str, _REFERENCE] = ""
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
    oauth2: Annotated[OAuth2 | None, Unserved("requests are made without a token")] = None
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


class Hosts:
    """Where names lead, as `curl --resolve`: `{"app": "127.0.0.1", "app:5000": "127.0.0.1:15000"}`.

    Only the connection goes elsewhere; the Host header and the name that TLS checks stay as written. An entry with a
    port wins over one without.
    """

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self._places: dict[tuple[str, int | None], tuple[str, int | None]] = {}
        for name, place in (mapping or {}).items():
            self._places[_split_host(name.lower())] = _split_host(place)

    def place(self, host: str, port: int) -> tuple[str, int] | None:
        """Host and port to connect to instead, or None."""
        found = self._places.get((host.lower(), port)) or self._places.get((host.lower(), None))
        return None if found is None else (found[0], port if found[1] is None else found[1])


def _split_host(text: str) -> tuple[str, int | None]:
    parts = urllib.parse.urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.query:
        raise BadInput(f"hosts: {text!r} is neither a name nor name:port")
    return host, port


class _Resolver(AbstractResolver):
    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        place = self._hosts.place(host, port)
        if place is None:
            return await self._system.resolve(host, port, family)
        try:
            version = ipaddress.ip_address(place[0]).version
        except ValueError:
            return await self._system.resolve(place[0], place[1], family)
        return [
            ResolveResult(
                hostname=host,
                host=place[0],
                port=place[1],
                family=socket.AF_INET6 if version == 6 else socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        await self._system.close()


class FileText:
    """The text of a file without surrounding white space, read again when the file changes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._text = ""

    def read(self) -> str:
        """Raises Unavailable when the file cannot be read."""
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._text = self._path.read_text().strip()
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"cannot read {self._path}: {getattr(error, 'strerror', error)}") from None
        return self._text


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


_TLS_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """The TLS settings of a client. Raises Unavailable for files that cannot be read or used."""
    context = ssl.create_default_context()
    try:
        if config.ca_file or config.ca:
            context = ssl.create_default_context(cafile=config.ca_file or None, cadata=config.ca or None)
        if config.cert_file and config.key_file:
            context.load_cert_chain(config.cert_file, config.key_file)
        elif config.cert or config.cert_file:
            _load_inline_chain(context, config)
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot set up TLS: {error}") from None
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.min_version:
        context.minimum_version = _TLS_VERSIONS[config.min_version]
    if config.max_version:
        context.maximum_version = _TLS_VERSIONS[config.max_version]
    return context


def _load_inline_chain(context: ssl.SSLContext, config: TlsConfig) -> None:
    cert = config.cert or Path(config.cert_file).read_text()
    key = config.key.reveal() or Path(config.key_file).read_text()
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # OpenSSL takes keys from files only
        file.write(f"{cert}\n{key}\n")
        file.flush()
        context.load_cert_chain(file.name)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer whose body was read to its end and decompressed. `size` is the number of bytes of `body`."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")

    def retry_after_s(self, now_ms: int) -> float | None:
        """How long `Retry-After` asks to wait, in seconds; None when it is absent or cannot be read.

        A date is taken against the answer's own `Date`, where there is none against `now_ms` (RFC 9110, section 10.2.3).
        """
        value = self.headers.get("Retry-After", "").strip()
        try:
            seconds = float(value) if value[:1].isdigit() else self._until(value, now_ms)
        except ValueError:
            return None
        return seconds if 0 <= seconds < math.inf else None

    def _until(self, date: str, now_ms: int) -> float:
        said = self.headers.get("Date")
        now_s = now_ms / 1000 if said is None else _http_date_s(said)
        return max(0.0, _http_date_s(date) - now_s)


def _http_date_s(text: str) -> float:
    """A date of a header in seconds since the epoch. Raises ValueError."""
    moment = parsedate_to_datetime(text)
    # One without a zone is UTC, as dates of HTTP are.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class HttpClient:
    """A client made of one HttpClientConfig; safe for many requests at once, inside one event loop.

    Files of credentials and certificates are read again when they change. Bodies are bounded after decompression.
    """

    def __init__(self, config: HttpClientConfig, hosts: Hosts | None = None) -> None:
        self.config = config
        self._hosts = hosts or Hosts()
        self._session: aiohttp.ClientSession | None = None
        self._files = {path: FileText(path) for path in _credential_files(config)}
        self._tls: tuple[object, ssl.SSLContext] | None = None

    async def request(
        self,
        method: str,
        url: str | URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        max_bytes: int,
        on_bytes: Callable[[int], None] | None = None,
        raw_encoding: str = "",
        cut: bool = False,
        what: str = "",
    ) -> HttpResponse:
        """One request and its whole answer, whatever its status.

        An answer whose Content-Encoding is `raw_encoding` stays as it came: the caller undoes it. With `cut`, an answer
        longer than `max_bytes` ends there. `what` names the request in errors, for URLs that nobody may read.

        `on_bytes` is told the number of body bytes held so far, and may raise to stop reading. Raises TimedOut,
        LimitExceeded (the body is longer than `max_bytes`), Unavailable (anything else that went wrong on the way).
        """
        what = what or f'{method.title()} "{Url(str(url)).redacted()}"'
        try:
            async with asyncio.timeout(timeout_s), self._send(method, url, headers, body) as response:
                content = await _read(response, max_bytes, on_bytes, raw_encoding, cut=cut)
                return HttpResponse(response.status, response.reason or "", response.headers, content)
        except TimeoutError:
            raise TimedOut(
                f"{what}: context deadline exceeded (no complete answer in {timeout_s:g} s)"
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"{what}: {_connect_error(error)}") from None
        except aiohttp.TooManyRedirects:
            raise Unavailable(f"{what}: stopped after 10 redirects") from None
        except (aiohttp.ClientError, ValueError, OSError, zlib.error) as error:
            raise Unavailable(f"{what}: {str(error)[:_MAX_ERROR] or type(error).__name__}") from None

    async def close(self) -> None:
        """Close all connections; requests that are under way fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _send(
        self, method: str, url: str | URL, headers: Mapping[str, str] | None, body: bytes | None
    ) -> Any:
        config = self.config
        target = url if isinstance(url, URL) else URL(url, encoded=True)
        options: dict[str, Any] = {}
        if target.scheme == "https":
            options["ssl"] = self._tls_context()
            if config.tls_config.server_name:
                options["server_hostname"] = config.tls_config.server_name
        elif target.scheme != "http":
            raise ValueError(f"unsupported protocol scheme {target.scheme!r}")
        if proxy := self._proxy(target):
            options["proxy"] = proxy
            options["proxy_headers"] = {
                name: ",".join(secret.reveal() for secret in secrets)
                for name, secrets in config.proxy_connect_header.items()
            }
        return self._open().request(
            method,
            target,
            headers=self._headers(headers),
            data=body,
            allow_redirects=config.follow_redirects,
            max_redirects=10,
            **options,
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=300,
                    resolver=_Resolver(self._hosts),
                    ttl_dns_cache=10,
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._session

    def _headers(self, given: Mapping[str, str] | None) -> CIMultiDict[str]:
        config = self.config
        headers = CIMultiDict({"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"})
        for name, header in config.http_headers.items():
            for value in header.values:
                headers.add(name, value)
            for secret in header.secrets:
                headers.add(name, secret.reveal())
            for path in header.files:
                headers.add(name, self._files[path].read())
        if given:
            headers.update(given)
        if (basic := config.basic_auth) is not None:
            user = self._text(basic.username, basic.username_file)
            password = self._text(basic.password.reveal(), basic.password_file)
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        elif (authorization := config.authorization) is not None:
            credentials = self._text(authorization.credentials.reveal(), authorization.credentials_file)
            headers["Authorization"] = f"{authorization.type} {credentials}"
        return headers

    def _text(self, text: str, path: str) -> str:
        return self._files[path].read() if path else text

    def _tls_context(self) -> ssl.SSLContext:
        config = self.config.tls_config
        paths = (config.ca_file, config.cert_file, config.key_file)
        try:
            stamps = [_stamp(Path(path)) for path in paths if path]
        except OSError as error:
            raise ValueError(f"cannot read {error.filename}: {error.strerror}") from None
        if self._tls is None or self._tls[0] != stamps:
            self._tls = (stamps, tls_context(config))
        return self._tls[1]

    def _proxy(self, url: URL) -> str | None:
        config = self.config
        if config.proxy_url:
            return None if config.no_proxy and bypasses(config.no_proxy, url) else config.proxy_url
        if config.proxy_from_environment:
            proxies = urllib.request.getproxies()
            return None if bypasses(proxies.get("no", ""), url) else proxies.get(url.scheme)
        return None


def bypasses(no_proxy: str, url: URL) -> bool:
    """Whether a list in the form of the variable `no_proxy` says that the host is asked directly.

    Entries are names (with their subdomains), addresses, networks, each with or without a port, or `*`.
    """
    host, port = (url.host or "").lower(), url.port
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        if entry == "*":
            return True
        if address is not None and "/" in entry:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        name, colon, number = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
        if colon and number != str(port):
            continue
        name = name.removeprefix("*")
        if host == name.removeprefix(".") and not (name.startswith(".") and address is None):
            return True
        if address is None and host.endswith(name if name.startswith(".") else f".{name}"):
            return True
    return False


def _credential_files(config: HttpClientConfig) -> list[str]:
    paths = [path for header in config.http_headers.values() for path in header.files]
    if config.basic_auth is not None:
        paths += [config.basic_auth.username_file, config.basic_auth.password_file]
    if config.authorization is not None:
        paths.append(config.authorization.credentials_file)
    return [path for path in paths if path]


_MAX_ERROR = 300
"""Characters of a library's error text that are kept: some quote what the server sent."""

_STEP = 1 << 18
"""Decompressed bytes between two visits to the event loop, so that a bomb does not hold up its neighbours."""


async def _read(
    response: aiohttp.ClientResponse,
    max_bytes: int,
    on_bytes: Callable[[int], None] | None,
    raw_encoding: str = "",
    *,
    cut: bool = False,
) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").lower()
    inflate = (
        zlib.decompressobj(31 if encoding == "gzip" else 47) if encoding in ("gzip", "deflate") else None
    )
    if encoding not in ("", "identity", "gzip", "deflate", raw_encoding):
        raise Unavailable(f"the answer has an unknown Content-Encoding {encoding[:40]!r}")
    chunks: list[bytes] = []
    size = 0
    received = False
    while data := await response.content.readany():
        received = True
        while data:
            if inflate is None:
                piece, data = data, b""
            else:
                piece = inflate.decompress(data, _STEP)
                data = inflate.unconsumed_tail
                if inflate.eof and (data := inflate.unused_data):
                    inflate = zlib.decompressobj(31)
            chunks.append(piece)
            size += len(piece)
            if size > max_bytes:
                response.close()
                if cut:
                    return b"".join(chunks)[:max_bytes]
                raise LimitExceeded(f"body size limit exceeded ({max_bytes} bytes)")
            if on_bytes is not None:
                on_bytes(size)
            if len(piece) == _STEP:
                await asyncio.sleep(0)
    if inflate is not None and received and not inflate.eof:
        raise Unavailable("the compressed answer ends too early")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _connect_error(error: aiohttp.ClientConnectorError) -> str:
    place = f"{error.host}:{error.port}"
    cause = error.os_error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"lookup {error.host}: {cause.strerror or cause}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"tls: {error}"
    reason = os.strerror(cause.errno).lower() if cause.errno and cause.errno > 0 else str(cause)
    return f"connect {place}: {reason}"
