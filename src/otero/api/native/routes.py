"""`/api/otero/v1/…`: what our own CLI and UI ask. Typed messages in and out, described by OpenAPI."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_origin

import msgspec
import orjson
import psutil
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otero import __version__
from otero.api.context import ApiContext
from otero.api.native import schema
from otero.api.native.openapi import Endpoint, describe
from otero.api.native.records import RecordEndpoints
from otero.api.native.replay import ReplayEndpoints
from otero.api.native.webhook import WebhookEndpoints
from otero.api.native.why import WhyEndpoints
from otero.api.problem import native_problem
from otero.errors import BadInput, LimitExceeded
from otero.http_server import measured
from otero.storage.backup import backup

PREFIX = "/api/otero/v1"


class NativeApi:
    """The operations, each a method named as its OpenAPI operation."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._process = psutil.Process()

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("GET", "/status", "The state of the server", self.get_status, schema.Status),
            Endpoint(
                "GET", "/queries", "Queries that are running", self.list_queries, list[schema.RunningQuery]
            ),
            Endpoint("DELETE", "/queries/{id}", "Stop a running query", self.cancel_query, schema.Cancelled),
            Endpoint(
                "POST",
                "/backup",
                "Write a backup while running",
                self.write_backup,
                schema.BackupReport,
                schema.BackupRequest,
            ),
            *RecordEndpoints(self._context).endpoints(),
            *WhyEndpoints(self._context).endpoints(),
            *ReplayEndpoints(self._context).endpoints(),
            *WebhookEndpoints(self._context).endpoints(),
        )

    async def get_status(self, _body: None, _path: dict[str, str]) -> schema.Status:
        context = self._context
        stored = context.store.status()
        health = [target.health for target in context.scrapes.targets().active]
        cpu = self._process.cpu_times()
        return schema.Status(
            version=__version__,
            started_ms=context.lifecycle.started_ms,
            ready=context.lifecycle.ready,
            doors=[schema.Door(name, address) for name, address in context.lifecycle.doors],
            targets_up=health.count("up"),
            targets_down=health.count("down"),
            config_reloaded_ms=context.lifecycle.reloaded_ms,
            config_reload_ok=context.lifecycle.reload_ok,
            resident_bytes=self._process.memory_info().rss,
            cpu_seconds=cpu.user + cpu.system,
            storage=schema.StorageStatus(
                series=stored.series,
                head_samples=stored.head_samples,
                head_bytes=stored.head_bytes,
                head_min_time_ms=stored.min_time_ms,
                head_max_time_ms=stored.max_time_ms,
                journal_bytes=stored.journal_bytes,
                engine_lag_s=stored.engine_lag_s,
                writable=stored.writable,
            ),
            records={
                signal: schema.RecordStatus(found.waiting, found.journal_bytes, found.lag_s, found.writable)
                for signal, found in {
                    **context.records.status(),
                    "decisions": context.ledger.status(),
                }.items()
            },
        )

    async def list_queries(self, _body: None, _path: dict[str, str]) -> list[schema.RunningQuery]:
        now_s = self._context.clock.monotonic_s()
        return [
            schema.RunningQuery(running.id, running.kind, running.text, round(now_s - running.since_s, 3))
            for running in self._context.queries.running()
        ]

    async def cancel_query(self, _body: None, path: dict[str, str]) -> schema.Cancelled:
        text = path["id"]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise BadInput(f"a query's id is a number, not {text!r}")
        self._context.queries.cancel(int(text))
        return schema.Cancelled(int(text))

    async def write_backup(self, body: schema.BackupRequest, _path: dict[str, str]) -> schema.BackupReport:
        directory = Path(body.directory)
        if not directory.is_absolute():
            raise BadInput(
                f"the backup's directory must be an absolute path on the server, not {body.directory!r}"
            )
        start_s = time.perf_counter()
        report = await asyncio.to_thread(
            backup,
            self._context.store,
            directory,
            state=self._context.state,
            records=self._context.records,
            ledger=self._context.ledger,
        )
        return schema.BackupReport(
            str(directory),
            report.bytes,
            report.samples,
            report.logs,
            report.spans,
            report.decisions,
            round(time.perf_counter() - start_s, 3),
        )

    def routes(self) -> list[Route]:
        """The endpoints and their description as routes."""
        endpoints = self.endpoints()
        document = orjson.dumps(describe(endpoints, PREFIX), option=orjson.OPT_INDENT_2)

        async def openapi(_request: Request) -> Response:
            return Response(document, media_type="application/json")

        described = f"{PREFIX}/openapi.json"
        return [
            Route(described, measured(described, openapi), methods=["GET"]),
            *(
                Route(PREFIX + e.path, measured(PREFIX + e.path, _serve(e)), methods=[e.method])
                for e in endpoints
            ),
        ]


def _serve(endpoint: Endpoint) -> Callable[[Request], Any]:
    decoder = msgspec.json.Decoder(endpoint.body) if endpoint.body is not None else None

    async def serve(request: Request) -> Response:
        try:
            body = None
            if decoder is not None:
                if request.headers.get("content-type", "").split(";")[0] != "application/json":
                    raise BadInput("send the body as application/json")
                try:
                    body = decoder.decode(await _bounded_body(request, endpoint.max_bytes))
                except msgspec.DecodeError as error:
                    raise BadInput(f"cannot read the body: {error}") from None
            path = dict(request.path_params)
            if endpoint.query is not None:
                answer = await endpoint.handler(_query(request, endpoint.query), path, request)
            elif endpoint.is_query:
                answer = await endpoint.handler(body, path, request)
            else:
                answer = await endpoint.handler(body, path)
            return Response(msgspec.json.encode(answer), media_type="application/json")
        except Exception as error:
            return native_problem(error)

    return serve


def _query(request: Request, type_: type[msgspec.Struct]) -> msgspec.Struct:
    given: dict[str, Any] = dict(request.query_params)
    for field in msgspec.structs.fields(type_):
        if get_origin(field.type) is list and field.encode_name in given:
            given[field.encode_name] = request.query_params.getlist(field.encode_name)
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"cannot read the query parameters: {error}") from None


async def _bounded_body(request: Request, max_bytes: int) -> bytes:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > max_bytes:
            raise LimitExceeded(f"the body is larger than {max_bytes:,} bytes")
    return bytes(parts)
