"""The HTTP port: sockets, TLS, who may come in, and how long an answer took. What is answered is `api/`'s business."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import re
import socket
import ssl
import tempfile
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import bcrypt
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otero.errors import BadConfig, Conflict, Problem
from otero.telemetry import HTTP_SECONDS, rejected

_log = logging.getLogger(__name__)

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PASSWORD_CACHE = 256


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificates of the server, and what it asks of clients. Files are PEM; the inline texts win over files."""

    cert_file: str = ""
    key_file: str = ""
    cert: str = ""
    key: str = ""
    client_ca_file: str = ""
    client_ca: str = ""
    client_certificate: ssl.VerifyMode = ssl.CERT_NONE
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    def context(self) -> ssl.SSLContext:
        """The context for accepting connections. Raises BadConfig when a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.minimum, self.maximum
        try:
            if self.cert or self.key:
                with tempfile.NamedTemporaryFile(
                    "w", suffix=".pem"
                ) as both:  # mode 0600; ssl reads files only
                    both.write(f"{self.cert or Path(self.cert_file).read_text()}\n")
                    both.write(f"{self.key or Path(self.key_file).read_text()}\n")
                    both.flush()
                    context.load_cert_chain(both.name)
            else:
                context.load_cert_chain(self.cert_file, self.key_file)
            if self.client_ca or self.client_ca_file:
                context.load_verify_locations(self.client_ca_file or None, cadata=self.client_ca or None)
            context.verify_mode = self.client_certificate
        except (OSError, ssl.SSLError) as error:
            raise BadConfig(
                Problem(f"cannot use the TLS certificates: {error}", path="tls_server_config")
            ) from None
        return context


@dataclass(frozen=True)
class Access:
    """Who may come in.

    users           bcrypt hashes of passwords by user name (HTTP basic authentication).
    tokens          accepted bearer tokens.
    check_host      refuse a Host header that is not this machine's, which stops DNS rebinding of an open loopback port.
    allowed_hosts   further names under which the server may be addressed.
    origins         what the origin of a web page of another site must match so that it may send.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    tokens: Sequence[str] = ()
    check_host: bool = True
    allowed_hosts: frozenset[str] = frozenset()
    origins: re.Pattern[str] | None = None

    @property
    def needs_credentials(self) -> bool:
        return bool(self.users or self.tokens)

    def trusts(self, origin: str) -> bool:
        """Whether pages of another site may send because they were named."""
        return self.origins is not None and self.origins.fullmatch(origin) is not None


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host stands in brackets."""
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadConfig(Problem(f"cannot listen on {listen!r}: expected HOST:PORT, such as 127.0.0.1:9090"))
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 — an empty host means every address, as in Go


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(listen: str) -> socket.socket:
    """A listening socket. Raises Conflict when the port is taken."""
    host, port = split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio turns off Nagle's algorithm, which costs an answer 40 ms, only where it sees TCP.
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(1024)
    except OSError as error:
        server.close()
        raise Conflict(
            f"cannot listen on {listen}: {error.strerror}; choose another with --listen HOST:PORT"
        ) from None
    server.setblocking(False)
    return server


class Authenticator:
    """Checks credentials, the same on every door; remembers passwords that it has hashed."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._known: OrderedDict[bytes, bool] = OrderedDict()
        self._token_digests = tuple(hashlib.sha256(token.encode()).digest() for token in access.tokens)

    @property
    def needs_credentials(self) -> bool:
        return self._access.needs_credentials

    async def accepts(self, header: str) -> bool:
        """Whether this Authorization header, or metadata, lets in."""
        scheme, _, credentials = header.partition(" ")
        credentials = credentials.strip()
        match scheme.lower():
            case "bearer":
                digest = hashlib.sha256(credentials.encode("utf-8", "replace")).digest()
                matches = [hmac.compare_digest(digest, known) for known in self._token_digests]
                return any(matches)
            case "basic":
                return await self._password_fits(credentials)
            case _:
                return False

    async def _password_fits(self, credentials: str) -> bool:
        try:
            user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        known_hash = self._access.users.get(user)
        # An unknown user costs as much time as a known one, so that names cannot be found out by the clock.
        hashed = known_hash or "$2b$10$abcdefghijklmnopqrstuuMPIhPFK5XdXv2yDFQ0bRLvzZ0j6AxNO"
        key = hashlib.sha256(b"\0".join((user.encode(), password.encode(), hashed.encode()))).digest()
        if key not in self._known:
            try:
                fits = await asyncio.to_thread(bcrypt.checkpw, password.encode()[:72], hashed.encode())
            except ValueError:
                fits = False
            self._known[key] = fits and known_hash is not None
            while len(self._known) > _PASSWORD_CACHE:
                self._known.popitem(last=False)
        return self._known[key]


class Gate:
    """ASGI middleware: lets in whom `Access` allows; others get 401 or 403 and are counted."""

    def __init__(self, app: ASGIApp, access: Access, realm: str = "otero") -> None:
        self._app = app
        self._access = access
        self._realm = realm
        self._authenticator = Authenticator(access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = await self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if (
            not self._access.needs_credentials
            and self._access.check_host
            and not self._host_is_ours(host, scope)
        ):
            rejected("http", "foreign_host")
            return PlainTextResponse(
                f"This server does not answer to the name {host!r}. Use localhost, or list the name under"
                " auth.allowed_hosts in otero.yml.\n",
                403,
            )
        origin = headers.get(b"origin")
        if (
            origin
            and origin != "null"
            and scope.get("method") not in _SAFE_METHODS
            and urlsplit(origin).netloc != host
            and not self._access.trusts(origin)
        ):
            rejected("http", "foreign_origin")
            return PlainTextResponse("A page of another site may not change anything here.\n", 403)
        if self._access.needs_credentials and not await self._authenticator.accepts(
            headers.get(b"authorization", "")
        ):
            rejected("http", "unauthorized")
            return PlainTextResponse(
                "Unauthorized\n", 401, {"WWW-Authenticate": f'Basic realm="{self._realm}", charset="UTF-8"'}
            )
        return None

    def _host_is_ours(self, host: str, scope: Scope) -> bool:
        name = (urlsplit(f"//{host}").hostname or "") if host else ""
        server = scope.get("server") or ("", 0)
        return name in _LOCAL_NAMES or name == server[0] or name in self._access.allowed_hosts


def measured(
    name: str, handler: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """The handler, its requests counted and timed under the route's name (never under the raw path)."""

    async def handle(request: Request) -> Response:
        start_s = time.perf_counter()
        code = "500"
        try:
            response = await handler(request)
            code = str(response.status_code)
            return response
        finally:
            HTTP_SECONDS.labels(name, request.method, code).observe(time.perf_counter() - start_s)

    return handle


class SecurityHeaders:
    """ASGI middleware: headers that every answer carries; `headers` replaces or adds to the defaults."""

    _defaults: ClassVar = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "same-origin",
    }

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        merged = self._defaults | {name.lower(): value for name, value in headers.items()}
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in merged.items() if value]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class HttpServer:
    """uvicorn on sockets that are bound already, without signal handlers of its own."""

    def __init__(
        self, app: ASGIApp, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
            h11_max_incomplete_event_size=64 << 10,
        )
        config.load()
        if tls is not None:
            config.ssl = tls
        self._server = uvicorn.Server(config)
        self._sockets = list(sockets)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections; returns once the server does."""
        self._task = asyncio.create_task(self._serve(), name="http server")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise Conflict("the HTTP server ended while starting")
            await asyncio.sleep(0.005)

    async def _serve(self) -> None:
        # `Server.serve` would install signal handlers and re-raise signals; stopping is `app.py`'s business.
        await self._server._serve(self._sockets)  # pyright: ignore[reportPrivateUsage]

    async def stop(self) -> None:
        """Answer what is under way, within 10 seconds, and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
