"""Stored spans and log records over the native API: OTLP's JSON, so that what reads OTLP reads this too."""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from starlette.requests import Request

from otero.api.context import ApiContext
from otero.api.native.openapi import Endpoint
from otero.api.native.record_schema import (
    LogList,
    LogQuery,
    NoQuery,
    Trace,
    TraceList,
    TraceQuery,
    TraceSummary,
)
from otero.errors import BadInput, NotFound
from otero.model.records import Placed
from otero.wire.otlp_json import to_tree

MAX_LIMIT = 10_000
_HOUR_NS = 3_600_000_000_000
_MAX_NS = (1 << 63) - 1


class RecordEndpoints:
    """`/traces`, `/traces/{id}`, `/logs`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                "/traces/{id}",
                "A trace with every field of its spans",
                self.get_trace,
                Trace,
                query=NoQuery,
            ),
            Endpoint(
                "GET", "/traces", "The newest traces of a time", self.list_traces, TraceList, query=TraceQuery
            ),
            Endpoint(
                "GET", "/logs", "The newest log records of a time", self.list_logs, LogList, query=LogQuery
            ),
        )

    async def get_trace(self, _query: NoQuery, path: dict[str, str], request: Request) -> dict[str, Any]:
        trace_id = _trace_id(path["id"])
        queries, traces = self._context.queries, self._context.records.traces
        budget = queries.budget()
        spans = await queries.run(
            "trace", request, budget, lambda: traces.trace(trace_id, budget), trace_id.hex()
        )
        if not spans:
            raise NotFound(
                f"there is no trace {trace_id.hex()}: it was never received, or is older than"
                " storage.retention.traces"
            )
        return {"resourceSpans": _grouped(spans)}

    async def list_traces(self, query: TraceQuery, _path: dict[str, str], request: Request) -> dict[str, Any]:
        start_ns, end_ns = _span_of_time(query.start, query.end)
        limit = _limit(query.limit)
        queries, traces = self._context.queries, self._context.records.traces
        budget = queries.budget()
        found = await queries.run(
            "traces",
            request,
            budget,
            lambda: traces.search(start_ns, end_ns, query.service, limit, budget),
            query.service,
        )
        return {
            "traces": [
                TraceSummary(
                    trace.trace_id,
                    trace.root_service,
                    trace.root_name,
                    str(trace.start_ns),
                    str(trace.end_ns - trace.start_ns),
                    trace.spans,
                    trace.errors,
                    trace.services,
                )
                for trace in found
            ]
        }

    async def list_logs(self, query: LogQuery, _path: dict[str, str], request: Request) -> dict[str, Any]:
        trace_id = _trace_id(query.trace_id) if query.trace_id else b""
        start_ns, end_ns = _span_of_time(query.start, query.end, all_time=bool(trace_id))
        limit = _limit(query.limit)
        queries, logs = self._context.queries, self._context.records.logs
        budget = queries.budget()
        now_ns = self._context.clock.now_ms() * 1_000_000
        found = await queries.run(
            "logs",
            request,
            budget,
            lambda: logs.newest(
                start_ns,
                end_ns,
                limit=limit,
                budget=budget,
                now_ns=now_ns,
                service=query.service,
                trace_id=trace_id,
            ),
            query.service or query.trace_id,
        )
        shared = _Shared()
        return {"logs": [to_tree(record.record) | shared.of(record) for _, record in found]}


class _Shared:
    """Resources and scopes as JSON, each rendered once."""

    def __init__(self) -> None:
        self._trees: dict[int, dict[str, Any]] = {}

    def of(self, record: Placed[Any]) -> dict[str, Any]:
        out: dict[str, Any] = {"resource": self.tree(record.resource), "scope": self.tree(record.scope)}
        if record.resource_schema_url:
            out["resourceSchemaUrl"] = record.resource_schema_url
        if record.scope_schema_url:
            out["scopeSchemaUrl"] = record.scope_schema_url
        return out

    def tree(self, message: Resource | InstrumentationScope) -> dict[str, Any]:
        found = self._trees.get(id(message))
        if found is None:
            found = self._trees[id(message)] = to_tree(message)
        return found


def _grouped(spans: Sequence[Placed[Any]]) -> list[dict[str, Any]]:
    """The spans by resource and scope, in the order in which they first come."""
    shared = _Shared()
    resources: dict[tuple[bytes, str], dict[str, Any]] = {}
    scopes: dict[tuple[tuple[bytes, str], bytes, str], dict[str, Any]] = {}
    for span in spans:
        key = (span.resource.SerializeToString(deterministic=True), span.resource_schema_url)
        resource = resources.get(key)
        if resource is None:
            resource = resources[key] = {"resource": shared.tree(span.resource), "scopeSpans": []}
            if span.resource_schema_url:
                resource["schemaUrl"] = span.resource_schema_url
        inner = (key, span.scope.SerializeToString(deterministic=True), span.scope_schema_url)
        scope = scopes.get(inner)
        if scope is None:
            scope = scopes[inner] = {"scope": shared.tree(span.scope), "spans": []}
            if span.scope_schema_url:
                scope["schemaUrl"] = span.scope_schema_url
            resource["scopeSpans"].append(scope)
        scope["spans"].append(to_tree(span.record))
    return list(resources.values())


def _trace_id(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", text):
        raise BadInput(f"a trace id is up to 32 hexadecimal digits, not {text[:64]!r}")
    return bytes.fromhex(text.rjust(32, "0"))


def _limit(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise BadInput(f"limit must be from 1 to {MAX_LIMIT:,}, not {limit}")
    return limit


def _span_of_time(start: str, end: str, *, all_time: bool = False) -> tuple[int, int]:
    """Nanoseconds of both ends; the last hour where nothing is said."""
    if all_time and not start and not end:
        return 0, _MAX_NS
    end_ns = _nanoseconds(end, "end") if end else time.time_ns()
    start_ns = _nanoseconds(start, "start") if start else max(end_ns - _HOUR_NS, 0)
    if start_ns > end_ns:
        raise BadInput("start must not be after end")
    return start_ns, end_ns


def _nanoseconds(text: str, name: str) -> int:
    found = re.fullmatch(r"(\d{1,10})(?:\.(\d{1,9}))?", text)
    if found:
        return int(found[1]) * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{name} is Unix seconds or RFC 3339, not {text[:64]!r}") from None
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    since = parsed - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
    if not 0 <= ns <= _MAX_NS:
        raise BadInput(f"{name} is out of range: {text}")
    return ns
