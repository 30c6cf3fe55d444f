"""`POST /api/v1/write`: Prometheus' remote write, 1.0 and 2.0.

Answers: 204 stored; 400 something was refused, the rest is stored, do not send again; 413 and 415 as HTTP has them;
503 with Retry-After: send again.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from email.message import Message

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from otero.api.problem import plain_problem
from otero.errors import Cancelled, LimitExceeded, Unavailable
from otero.ingest.receivers.remote_write import DOOR, RemoteWriteReceiver, Written
from otero.telemetry import rejected

_V1 = "prometheus.WriteRequest"
_V2 = "io.prometheus.write.v2.Request"
_MAX_WAITING_BYTES = 256 << 20


class RemoteWriteRoutes:
    """Serves `/api/v1/write`. Requests are decoded and stored by one thread, in the order in which they arrived."""

    def __init__(self, receiver: RemoteWriteReceiver) -> None:
        self._receiver = receiver
        self._worker = ThreadPoolExecutor(1, "remote write")
        self._waiting_bytes = 0

    async def write(self, request: Request) -> Response:
        version, refusal = _version(request)
        if refusal is not None:
            rejected(DOOR, "unsupported_media_type")
        headers = {} if version == 1 else _written(Written.nothing())
        if refusal is not None:
            refusal.headers.update(headers)
            return refusal
        limit = self._receiver.max_bytes
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    rejected(DOOR, "too_large")
                    text = f"the body takes more than {limit} bytes (setting limits.remote_write_bytes)\n"
                    return PlainTextResponse(text, 413, headers | {"Connection": "close"})
            written = await self._receive(bytes(body), version)
        except ClientDisconnect:
            raise Cancelled("the client hung up while sending") from None
        except LimitExceeded as error:
            return PlainTextResponse(f"{error}\n", 413, headers)
        except Exception as error:
            response = plain_problem(error)
            response.headers.update(headers)
            return response
        if version == 2:
            headers = _written(written)
        if written.refusals.counts:
            faults = [
                f"{count} refused ({reason}): {written.refusals.texts[reason]}"
                for reason, count in written.refusals.counts.items()
            ]
            text = f"{'; '.join(faults)}. Everything else of the request is stored.\n"
            return PlainTextResponse(text, 400, headers)
        return Response(status_code=204, headers=headers)

    async def _receive(self, body: bytes, version: int) -> Written:
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            rejected(DOOR, "overloaded")
            raise Unavailable("too many requests of remote write are waiting; send again", retry_after_s=2)
        self._waiting_bytes += len(body)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, self._receiver.receive, body, version)
        finally:
            self._waiting_bytes -= len(body)


def _written(written: Written) -> dict[str, str]:
    name = "X-Prometheus-Remote-Write-{}-Written"
    return {
        name.format("Samples"): str(written.samples),
        name.format("Histograms"): str(written.histograms),
        name.format("Exemplars"): str(written.exemplars),
    }


def _version(request: Request) -> tuple[int, Response | None]:
    """1 or 2, and the answer 415 for what is neither."""
    given = request.headers.get("content-type", "")
    version = 1
    if given:
        message = Message()
        message["Content-Type"] = given
        proto = message.get_param("proto", _V1)
        kind = message.get_content_type()
        if kind != "application/x-protobuf" or proto not in (_V1, _V2):
            return 2 if proto == _V2 else 1, PlainTextResponse(
                f"Content-Type {given!r} is not taken; send application/x-protobuf, or"
                f" application/x-protobuf;proto={_V2}\n",
                415,
            )
        version = 2 if proto == _V2 else 1
    encoding = request.headers.get("content-encoding", "snappy")
    if encoding != "snappy":
        return version, PlainTextResponse(f"Content-Encoding {encoding!r} is not taken; send snappy\n", 415)
    return version, None
