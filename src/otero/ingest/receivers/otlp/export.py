"""What each OTLP door does with a request, whichever way it came: unpack, know it again, check, store, answer."""

import asyncio
import logging
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol, TypeVar

import cramjam
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otero.clock import Clock
from otero.errors import BadInput, LimitExceeded, Unavailable
from otero.ingest.intake import Intake
from otero.model.records import Signal
from otero.telemetry import rejected
from otero.wire.otlp import accepted, digest_of, parsed
from otero.wire.otlp_json import from_json

_log = logging.getLogger(__name__)

AnySignal = Literal["logs", "traces", "metrics"]
Form = Literal["protobuf", "json"]

MESSAGES: dict[AnySignal, tuple[type[Message], type[Message]]] = {
    "logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
    "traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}
_REJECTED_FIELD: dict[AnySignal, str] = {
    "logs": "rejected_log_records",
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
}
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_THREADS = 2
T = TypeVar("T")


class Busy(Unavailable):
    """More is waiting at the doors than they hold; come again a little later."""


class Accepted(Protocol):
    """What became of a request of metrics."""

    @property
    def points(self) -> int: ...

    @property
    def rejected(self) -> int: ...

    @property
    def message(self) -> str: ...


class SeenRequests(Protocol):
    """What is used of `storage.requests.SeenRequests`."""

    def __contains__(self, digest: bytes) -> bool: ...

    def add(self, digest: bytes) -> None: ...


class OtlpExport:
    """Takes the requests of all OTLP doors and works them off in threads of its own.

    write_metrics      stores a serialized ExportMetricsServiceRequest.
    seen_metrics       knows the requests of metrics of the last minutes.
    retention_ms       older records are refused; 0 is no bound.
    max_waiting_bytes  of bodies that are being worked on or wait; beyond it `Busy` is raised.
    """

    def __init__(
        self,
        intake: Intake,
        clock: Clock,
        write_metrics: Callable[[bytes], Accepted],
        seen_metrics: SeenRequests,
        *,
        retention_ms: dict[Signal, int],
        max_waiting_bytes: int = 256 << 20,
    ) -> None:
        self._intake = intake
        self._clock = clock
        self._write_metrics = write_metrics
        self._seen_metrics = seen_metrics
        self._metrics_lock = threading.Lock()
        self._retention_ms = retention_ms
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting_bytes = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp")

    async def export(
        self, signal: AnySignal, body: bytes, *, form: Form, encoding: str, max_bytes: int, door: str
    ) -> Message:
        """Store a request and return its answer; when this returns, what it does not count as rejected is acknowledged.

        Raises BadInput, LimitExceeded (larger than `max_bytes` when unpacked), Busy, Unavailable.
        """
        if self._waiting_bytes and self._waiting_bytes + len(body) > self._max_waiting_bytes:
            rejected(door, "overloaded")
            raise Busy("too many requests are waiting; send again", retry_after_s=1)
        self._waiting_bytes += len(body)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._threads, self._take, signal, body, form, encoding, max_bytes, door
            )
        finally:
            self._waiting_bytes -= len(body)

    def close(self) -> None:
        """Finish what is being worked on."""
        self._threads.shutdown(wait=True)

    def _take(
        self, signal: AnySignal, body: bytes, form: Form, encoding: str, max_bytes: int, door: str
    ) -> Message:
        try:
            body = unpacked(body, encoding, max_bytes)
            if signal == "metrics":
                return self._take_metrics(body, form)
            return self._take_records(signal, body, form, door)
        except BadInput:
            rejected(door, "malformed")
            raise
        except LimitExceeded:
            rejected(door, "too_large")
            raise

    def _take_records(self, signal: Signal, body: bytes, form: Form, door: str) -> Message:
        request: Any = from_json(MESSAGES[signal][0], body) if form == "json" else parsed(signal, body)
        retention_ms = self._retention_ms[signal]
        oldest_ns = max(self._clock.now_ms() - retention_ms, 0) * 1_000_000 if retention_ms else 0
        batch, refused = accepted(signal, request, digest_of(body), oldest_ns)
        new = not batch.records or self._intake.write_records(signal, batch, door)
        if new:
            for refusal in refused:
                rejected(door, refusal.reason, refusal.records)
        return _answer(signal, sum(r.records for r in refused), "; ".join(r.text for r in refused))

    def _take_metrics(self, body: bytes, form: Form) -> Message:
        digest = digest_of(body)
        if form == "json":
            body = from_json(ExportMetricsServiceRequest, body).SerializeToString()
        with self._metrics_lock:
            if digest in self._seen_metrics:
                return _answer("metrics", 0, "")
            found = self._write_metrics(body)
            self._seen_metrics.add(digest)
        return _answer("metrics", found.rejected, found.message)


def _answer(signal: AnySignal, refused: int, text: str) -> Message:
    response: Any = MESSAGES[signal][1]()
    if refused or text:
        setattr(response.partial_success, _REJECTED_FIELD[signal], refused)
        response.partial_success.error_message = text
    return response


def unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its compression, which its first bytes tell better than headers do. `encoding` is that header's
    text and decides only where the bytes say nothing. Raises BadInput, and LimitExceeded beyond `max_bytes`."""
    if body.startswith(_GZIP):
        return _inflated(body, 31, max_bytes)
    if body.startswith(_ZSTD):
        return _unzstd(body, max_bytes)
    if len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0:
        return _inflated(body, 15, max_bytes)
    if "deflate" in encoding and body[:1] not in (b"{", b"\n"):
        return _inflated(body, -15, max_bytes)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def _inflated(body: bytes, wbits: int, max_bytes: int) -> bytes:
    out = bytearray()
    while body:
        inflate = zlib.decompressobj(wbits)
        try:
            out += inflate.decompress(body, max_bytes - len(out) + 1)
        except zlib.error as error:
            raise BadInput(f"cannot decompress the body: {error}") from None
        if len(out) > max_bytes:
            raise _too_large(max_bytes)
        if not inflate.eof:
            raise BadInput("cannot decompress the body: it ends too early")
        body = inflate.unused_data
    return bytes(out)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    room = bytearray(max_bytes + 1)
    try:
        size = cramjam.zstd.decompress_into(body, room)
    except cramjam.DecompressionError as error:
        if "WriteZero" in str(error) or "whole buffer" in str(error):
            raise _too_large(max_bytes) from None
        raise BadInput(f"cannot decompress the body: {error}") from None
    if size > max_bytes:
        raise _too_large(max_bytes)
    return bytes(memoryview(room)[:size])


def _too_large(max_bytes: int) -> LimitExceeded:
    return LimitExceeded(
        f"the request takes more than {max_bytes:,} bytes; send smaller batches, or raise max_recv_msg_size (gRPC)"
        " or max_request_body_size (HTTP) under receivers.otlp.protocols"
    )
