"""Spans read back: one trace by its id, and traces by time and service."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otero.model.budget import Budget
from otero.model.records import Placed
from otero.storage.engine import Parameter
from otero.storage.otlp_rows import Context, rows_of, span_of
from otero.storage.otlp_view import LAST_NS
from otero.storage.signals import SignalStore, View


@dataclass(slots=True)
class TraceSummary:
    """What a list of traces shows of one. The root is the span without parent that began first, else the first span.

    start_ns, end_ns  of the earliest and the latest of its spans.
    services          number of spans by service.
    """

    trace_id: str
    root_service: str = ""
    root_name: str = ""
    start_ns: int = LAST_NS
    end_ns: int = 0
    spans: int = 0
    errors: int = 0
    services: dict[str, int] = field(default_factory=dict)
    _root: tuple[bool, int] = (True, LAST_NS)

    def add(self, *, service: str, name: str, is_root: bool, start_ns: int, end_ns: int, error: bool) -> None:
        """Count one more span."""
        self.spans += 1
        self.errors += error
        self.services[service] = self.services.get(service, 0) + 1
        self.start_ns, self.end_ns = min(self.start_ns, start_ns), max(self.end_ns, end_ns)
        if (not is_root, start_ns) < self._root or self.spans == 1:
            self._root = (not is_root, start_ns)
            self.root_service, self.root_name = service, name


class Traces:
    """What is asked of stored spans; what is acknowledged and not yet inserted is found too."""

    def __init__(self, store: SignalStore) -> None:
        self.store = store

    def trace(self, trace_id: bytes, budget: Budget) -> list[Placed[Span]]:
        """The spans of one trace by time; none when there is no such trace."""
        context = Context.empty()
        found: list[Placed[Span]] = []
        with self.store.view() as view:
            sql = "SELECT * FROM otel_traces WHERE TraceId = {id:String} AND InsertId <= {visible:UInt64}"
            parameters = {"id": trace_id.hex(), "visible": view.insert_id}
            for batch in self.store.engine.stream(sql, parameters, budget=budget):
                budget.charge(batch.num_rows)
                found += (span_of(row, context) for row in rows_of(batch))
            for span in _waiting(view, budget, trace_id):
                if span.record.trace_id == trace_id:
                    budget.charge(1)
                    found.append(span)
        return sorted(found, key=lambda span: span.record.start_time_unix_nano)

    def search(
        self, start_ns: int, end_ns: int, service: str, limit: int, budget: Budget
    ) -> list[TraceSummary]:
        """The newest traces that have a span (of this service, when it is not empty) that begins within this time."""
        with self.store.view() as view:
            newest = self._newest(view, start_ns, end_ns, service, limit, budget)
            waiting: dict[str, list[Placed[Span]]] = {}
            for span in _waiting(view, budget):
                waiting.setdefault(span.record.trace_id.hex(), []).append(span)
                begin_ns = min(span.record.start_time_unix_nano, LAST_NS - 1)
                if start_ns <= begin_ns <= end_ns and service in ("", span.service):
                    trace_id = span.record.trace_id.hex()
                    newest[trace_id] = max(newest.get(trace_id, 0), begin_ns)
            chosen = sorted(newest, key=lambda trace_id: (-newest[trace_id], trace_id))[:limit]
            summaries = {trace_id: TraceSummary(trace_id) for trace_id in chosen}
            self._add_stored(summaries, view, budget)
        for trace_id, summary in summaries.items():
            for span in waiting.get(trace_id, ()):
                record = span.record
                summary.add(
                    service=span.service,
                    name=record.name,
                    is_root=not record.parent_span_id,
                    start_ns=record.start_time_unix_nano,
                    end_ns=max(record.start_time_unix_nano, record.end_time_unix_nano),
                    error=record.status.code == Status.STATUS_CODE_ERROR,
                )
        return list(summaries.values())

    def _newest(
        self, view: View, start_ns: int, end_ns: int, service: str, limit: int, budget: Budget
    ) -> dict[str, int]:
        sql = (
            "SELECT TraceId, max(toUnixTimestamp64Nano(Timestamp)) AS newest FROM otel_traces"
            " WHERE Timestamp >= fromUnixTimestamp64Nano({start:Int64}) AND Timestamp <= fromUnixTimestamp64Nano({end:Int64})"
            " AND InsertId <= {visible:UInt64}"
        )
        parameters: dict[str, Parameter] = {"start": start_ns, "end": end_ns, "visible": view.insert_id}
        if service:
            sql += " AND ServiceName = {service:String}"
            parameters["service"] = service
        sql += " GROUP BY TraceId ORDER BY newest DESC, TraceId LIMIT {limit:UInt64}"
        rows = self._rows(sql, parameters | {"limit": limit}, budget)
        return {row["TraceId"].decode(): row["newest"] for row in rows}

    def _add_stored(self, summaries: dict[str, TraceSummary], view: View, budget: Budget) -> None:
        if not summaries:
            return
        sql = (
            "SELECT TraceId, ParentSpanId, SpanName, ServiceName, toUnixTimestamp64Nano(Timestamp) AS start, Duration,"
            " StatusCode FROM otel_traces WHERE TraceId IN {ids:Array(String)} AND InsertId <= {visible:UInt64}"
        )
        for row in self._rows(sql, {"ids": list(summaries), "visible": view.insert_id}, budget):
            summaries[row["TraceId"].decode()].add(
                service=row["ServiceName"].decode(),
                name=row["SpanName"].decode(),
                is_root=not row["ParentSpanId"],
                start_ns=row["start"],
                end_ns=row["start"] + row["Duration"],
                error=row["StatusCode"] == b"Error",
            )

    def _rows(self, sql: str, parameters: dict[str, Parameter], budget: Budget) -> Iterator[Any]:
        for batch in self.store.engine.stream(sql, parameters, budget=budget):
            budget.charge(batch.num_rows)
            yield from rows_of(batch)


def _waiting(view: View, budget: Budget, holding: bytes = b"") -> Iterator[Placed[Span]]:
    """The spans that are not inserted yet, of requests in which these bytes occur."""
    for stored in view.waiting():
        budget.check()
        if holding not in stored.payload:
            continue
        request = ExportTraceServiceRequest.FromString(stored.payload)
        request.DiscardUnknownFields()  # the readable texts, which only the engine wants
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield Placed(resource.resource, resource.schema_url, scope.scope, scope.schema_url, span)
