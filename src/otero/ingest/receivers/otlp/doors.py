"""OTLP's own ports: which of them open, and what happens when one cannot."""

import logging
import socket
import ssl
from collections.abc import Sequence

from otero.errors import BadConfig, Conflict, Problem
from otero.http_server import Access, Authenticator, HttpServer, Tls, bind, is_loopback, split_listen
from otero.ingest.receivers.otlp.config import DoorTls, OtlpReceiver
from otero.ingest.receivers.otlp.export import OtlpExport
from otero.ingest.receivers.otlp.grpc_door import GrpcDoor
from otero.ingest.receivers.otlp.http_door import application

_log = logging.getLogger(__name__)


class OtlpDoors:
    """The gRPC and the HTTP port. A port that was configured and cannot be opened raises Conflict; one of the usual
    ports, to be open because nothing else was said (`receiver` is None), stays closed with a warning.

    Construction finds out whether the ports can be had, before anything else is touched; `start` opens them.
    """

    def __init__(self, receiver: OtlpReceiver | None, access: Access, *, insecure: bool = False) -> None:
        self._optional = receiver is None
        self._access = access
        self._protocols = (receiver or OtlpReceiver()).protocols
        self._grpc: GrpcDoor | None = None
        self._http: HttpServer | None = None
        self._http_socket: socket.socket | None = None
        grpc, http = self._protocols.grpc, self._protocols.http
        for name, protocol in (("grpc", grpc), ("http", http)):
            if protocol is not None:
                _check_exposure(protocol.endpoint, name, access, insecure)
        self._http_tls = None if http is None or http.tls is None else _tls(http.tls)
        probe = None if grpc is None else self._bound(grpc.endpoint)
        self._opens_grpc = probe is not None
        if probe is not None:
            probe.close()  # gRPC takes addresses, not sockets
        if http is not None:
            self._http_socket = self._bound(http.endpoint)

    async def start(self, export: OtlpExport) -> Sequence[tuple[str, str]]:
        """Open the doors; name and address of each. Raises Conflict."""
        opened: list[tuple[str, str]] = []
        grpc, http = self._protocols.grpc, self._protocols.http
        if grpc is not None and self._opens_grpc:
            door = GrpcDoor(export, grpc, Authenticator(self._access))
            try:
                opened.append(("otlp/grpc", _address(grpc.endpoint, await door.start())))
                self._grpc = door
            except Conflict as error:
                self._stays_closed(error)
        if http is not None and self._http_socket is not None:
            port = self._http_socket.getsockname()[1]
            app = application(export, http, self._access)
            self._http = HttpServer(app, [self._http_socket], tls=self._http_tls)
            await self._http.start()
            scheme = "http" if self._http_tls is None else "https"
            opened.append(("otlp/http", f"{scheme}://{_address(http.endpoint, port)}"))
        return opened

    async def stop(self) -> None:
        """Answer what is under way and close."""
        if self._grpc is not None:
            await self._grpc.stop()
        if self._http is not None:
            await self._http.stop()
        self.close()

    def close(self) -> None:
        """Give the port back that was taken and never opened."""
        if self._http_socket is not None:
            self._http_socket.close()

    def _bound(self, endpoint: str) -> socket.socket | None:
        try:
            return bind(endpoint)
        except Conflict as error:
            self._stays_closed(Conflict(str(error).split(";")[0]))
            return None

    def _stays_closed(self, error: Conflict) -> None:
        if not self._optional:
            raise Conflict(f"{error} (receivers.otlp)") from None
        _log.warning("a usual port of OTLP stays closed", extra={"reason": str(error)})


def _check_exposure(endpoint: str, protocol: str, access: Access, insecure: bool) -> None:
    host, _ = split_listen(endpoint)
    if not is_loopback(host) and not access.needs_credentials and not insecure:
        raise BadConfig(
            Problem(
                f"listening on {endpoint} would let everyone on the network in: configure basic_auth_users"
                " (--web-config) or auth.tokens (otero.yml), or say --insecure",
                path=f"receivers.otlp.protocols.{protocol}.endpoint",
            )
        )


def _address(endpoint: str, port: int) -> str:
    host, _ = split_listen(endpoint)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls(config: DoorTls) -> ssl.SSLContext:
    return Tls(
        cert_file=config.cert_file,
        key_file=config.key_file,
        client_ca_file=config.client_ca_file,
        client_certificate=ssl.CERT_REQUIRED if config.client_ca_file else ssl.CERT_NONE,
    ).context()
