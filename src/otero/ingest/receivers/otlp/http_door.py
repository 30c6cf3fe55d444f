"""OTLP over HTTP: `POST /v1/{logs,traces,metrics}` as routes for any application, and the application of port 4318."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otero.errors import BadInput, LimitExceeded, Unavailable
from otero.http_server import Access, Gate, SecurityHeaders, measured
from otero.ingest.receivers.otlp.config import Cors, OtlpHttp
from otero.ingest.receivers.otlp.export import AnySignal, Form, OtlpExport
from otero.ingest.receivers.otlp.problem import classify
from otero.telemetry import rejected
from otero.wire.otlp_json import to_json

DOOR = "otlp/http"
_FORMS: dict[str, Form] = {
    "application/x-protobuf": "protobuf",
    "application/protobuf": "protobuf",
    "application/json": "json",
}
_TYPES: dict[Form, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}
_PATHS: dict[str, AnySignal] = {
    "/v1/logs": "logs",
    "/v1/traces": "traces",
    "/v1/metrics": "metrics",
    "/api/v1/otlp/v1/metrics": "metrics",  # where Prometheus has it
}


def routes(export: OtlpExport, max_bytes: int, ready: Callable[[], bool]) -> list[Route]:
    """The paths of OTLP. While `ready` says no they answer 503."""
    return [
        Route(path, measured(path, partial(_serve, export, signal, max_bytes, ready)), methods=["POST"])
        for path, signal in _PATHS.items()
    ]


def application(export: OtlpExport, config: OtlpHttp, access: Access) -> Starlette:
    """What answers on OTLP's own HTTP port."""
    middleware = [Middleware(SecurityHeaders, headers={})]
    if config.cors.allowed_origins:
        listed = "|".join(re.escape(origin).replace(r"\*", ".*") for origin in config.cors.allowed_origins)
        access = replace(access, origins=re.compile(listed))
        middleware.append(_cors(config.cors, listed))
    middleware.append(Middleware(Gate, access=access))

    async def front_page(_request: Request) -> Response:
        return PlainTextResponse("OTLP/HTTP: POST to /v1/traces, /v1/logs or /v1/metrics.\n")

    return Starlette(
        routes=[
            *routes(export, config.max_request_body_size, lambda: True),
            Route("/", measured("/", front_page), methods=["GET"]),
        ],
        middleware=middleware,
    )


def _cors(cors: Cors, origins: str) -> Middleware:
    every = "*" in cors.allowed_origins
    headers = ["authorization", "content-encoding", "content-type", *cors.allowed_headers]
    return Middleware(
        CORSMiddleware,
        allow_origins=["*"] if every else (),
        allow_origin_regex=None if every else origins,
        allow_methods=["POST"],
        allow_headers=["*"] if "*" in cors.allowed_headers else headers,
        allow_credentials=not every,
        max_age=int(cors.max_age.seconds),
    )


async def _serve(
    export: OtlpExport, signal: AnySignal, max_bytes: int, ready: Callable[[], bool], request: Request
) -> Response:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    form = _FORMS.get(content_type)
    try:
        if form is None:
            rejected(DOOR, "unsupported_media_type")
            text = (
                f"Content-Type {content_type!r} is not taken; send application/x-protobuf or application/json"
            )
            return _problem(BadInput(text), "protobuf", status=415)
        if not ready():
            raise Unavailable("Otero is starting: it reads back what it has stored", retry_after_s=1)
        body = await _body(request, max_bytes)
        encoding = request.headers.get("content-encoding", "")
        answer = await export.export(
            signal, body, form=form, encoding=encoding, max_bytes=max_bytes, door=DOOR
        )
        return _rendered(answer, form, 200)
    except ClientDisconnect:
        raise
    except Exception as error:
        return _problem(error, form or "protobuf")


async def _body(request: Request, max_bytes: int) -> bytes:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > max_bytes:
            rejected(DOOR, "too_large")
            raise LimitExceeded(
                f"the body takes more than {max_bytes:,} bytes; send smaller batches, or raise"
                " receivers.otlp.protocols.http.max_request_body_size"
            )
    return bytes(parts)


def _rendered(message: Message, form: Form, status: int, headers: dict[str, str] | None = None) -> Response:
    body = message.SerializeToString() if form == "protobuf" else to_json(message)
    return Response(body, status, headers, _TYPES[form])


def _problem(error: Exception, form: Form, status: int = 0) -> Response:
    """The error as google.rpc.Status; clients retry 429, 502, 503 and 504, nothing else."""
    code, http_status, text = classify(error)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, LimitExceeded):
        headers["Connection"] = "close"
    return _rendered(Status(code=code, message=text), form, status or http_status, headers)
