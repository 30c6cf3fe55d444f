"""OTLP over gRPC: the Export methods of the three services."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otero.errors import BadConfig, Conflict, Problem, Unavailable
from otero.http_server import Authenticator, split_listen
from otero.ingest.receivers.otlp.config import DoorTls, OtlpGrpc
from otero.ingest.receivers.otlp.export import AnySignal, OtlpExport
from otero.ingest.receivers.otlp.problem import UNAUTHENTICATED, classify
from otero.telemetry import rejected

DOOR = "otlp/grpc"
_SERVICES: dict[str, AnySignal] = {
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_STOP_S = 10.0


class GrpcDoor:
    """The gRPC server. It runs in the loop that starts it."""

    def __init__(self, export: OtlpExport, config: OtlpGrpc, authenticator: Authenticator) -> None:
        self._export = export
        self._config = config
        self._authenticator = authenticator
        self._server: grpc.aio.Server | None = None

    @property
    def endpoint(self) -> str:
        return self._config.endpoint

    async def start(self) -> int:
        """Open the port; its number. Raises Conflict, BadConfig."""
        limit = int(self._config.max_recv_msg_size)
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the requests
                ("grpc.max_receive_message_length", limit),
                # We unpack ourselves: gRPC would unpack whatever a small message swells to.
                ("grpc.per_message_decompression", 0),
            ]
        )
        for service, signal in _SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(self._method(signal))
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {"Export": handler}),)
            )
        host, port = split_listen(self._config.endpoint)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = self._config.tls
        try:
            bound = (
                server.add_insecure_port(address)
                if tls is None
                else server.add_secure_port(address, _credentials(tls))
            )
        except RuntimeError:
            raise Conflict(f"cannot listen on {self._config.endpoint} (OTLP/gRPC)") from None
        await server.start()
        self._server = server
        return bound

    async def stop(self) -> None:
        """Answer what is under way, within 10 seconds, and close."""
        if self._server is not None:
            await self._server.stop(_STOP_S)

    def _method(self, signal: AnySignal) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def serve(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            if self._authenticator.needs_credentials:
                metadata = dict(context.invocation_metadata() or ())
                if not await self._authenticator.accepts(str(metadata.get("authorization", ""))):
                    rejected(DOOR, "unauthorized")
                    await context.abort(
                        _CODES[UNAUTHENTICATED], "credentials are wanted: metadata authorization"
                    )
            try:
                answer = await self._export.export(
                    signal,
                    request,
                    form="protobuf",
                    encoding="",
                    max_bytes=self._config.max_recv_msg_size,
                    door=DOOR,
                )
            except Exception as error:
                await _abort(context, error)
            return answer.SerializeToString()

        return serve


async def _abort(context: grpc.aio.ServicerContext[bytes, bytes], error: Exception) -> NoReturn:
    """End the call with the error, and with RetryInfo when the same request may succeed later."""
    code, _, text = classify(error)
    if isinstance(error, Unavailable):
        wait = Duration()
        wait.FromNanoseconds(int(error.retry_after_s * 1e9))
        detail = AnyMessage()
        detail.Pack(RetryInfo(retry_delay=wait))
        status = Status(code=code, message=text, details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(_CODES[code], text)


def _credentials(tls: DoorTls) -> grpc.ServerCredentials:
    try:
        pair = (Path(tls.key_file).read_bytes(), Path(tls.cert_file).read_bytes())
        authority = Path(tls.client_ca_file).read_bytes() if tls.client_ca_file else None
    except OSError as error:
        raise BadConfig(
            Problem(
                f"cannot read {error.filename}: {error.strerror}", path="receivers.otlp.protocols.grpc.tls"
            )
        ) from None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)
