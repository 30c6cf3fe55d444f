"""Log records read back: the newest of a time, of a service, of a trace."""

from collections.abc import Iterator

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otero.model.budget import Budget
from otero.model.records import Placed
from otero.storage.engine import Parameter
from otero.storage.otlp_rows import Context, log_of, rows_of
from otero.storage.otlp_view import LAST_NS
from otero.storage.signals import SignalStore, View


class Logs:
    """What is asked of stored log records; what is acknowledged and not yet inserted is found too."""

    def __init__(self, store: SignalStore) -> None:
        self.store = store

    def newest(
        self,
        start_ns: int,
        end_ns: int,
        *,
        limit: int,
        budget: Budget,
        now_ns: int,
        service: str = "",
        trace_id: bytes = b"",
    ) -> list[tuple[int, Placed[LogRecord]]]:
        """The newest log records of this time with the time that counts: their own, else when they were observed, else
        when they came (`now_ns` for what came just now). Newest first."""
        context = Context.empty()
        conditions = [
            "Timestamp >= fromUnixTimestamp64Nano({start:Int64})",
            "Timestamp <= fromUnixTimestamp64Nano({end:Int64})",
            "InsertId <= {visible:UInt64}",
        ]
        parameters: dict[str, Parameter] = {"start": start_ns, "end": end_ns, "limit": limit}
        if service:
            conditions.append("ServiceName = {service:String}")
            parameters["service"] = service
        if trace_id:
            conditions.append("TraceId = {trace:String}")
            parameters["trace"] = trace_id.hex()
        sql = f"SELECT * FROM otel_logs WHERE {' AND '.join(conditions)} ORDER BY Timestamp DESC LIMIT {{limit:UInt64}}"
        found: list[tuple[int, Placed[LogRecord]]] = []
        with self.store.view() as view:
            parameters["visible"] = view.insert_id
            for batch in self.store.engine.stream(sql, parameters, budget=budget):
                budget.charge(batch.num_rows)
                found += ((row["Timestamp"], log_of(row, context)) for row in rows_of(batch))
            for time_ns, record in _waiting(view, budget, trace_id, now_ns):
                if start_ns <= time_ns <= end_ns and service in ("", record.service):
                    found.append((time_ns, record))
                    if len(found) > 4 * limit + 10_000:
                        found = _newest_of(found, limit)
        return _newest_of(found, limit)


def _newest_of(found: list[tuple[int, Placed[LogRecord]]], limit: int) -> list[tuple[int, Placed[LogRecord]]]:
    return sorted(found, key=lambda pair: -pair[0])[:limit]


def _waiting(
    view: View, budget: Budget, trace_id: bytes, now_ns: int
) -> Iterator[tuple[int, Placed[LogRecord]]]:
    """The log records (of a trace) that are not inserted yet, with their times."""
    for stored in view.waiting():
        budget.check()
        if trace_id not in stored.payload:
            continue
        request = ExportLogsServiceRequest.FromString(stored.payload)
        request.DiscardUnknownFields()  # the readable texts, which only the engine wants
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    if trace_id and record.trace_id != trace_id:
                        continue
                    time_ns = record.time_unix_nano or record.observed_time_unix_nano or now_ns
                    yield (
                        min(time_ns, LAST_NS - 1),
                        Placed(resource.resource, resource.schema_url, scope.scope, scope.schema_url, record),
                    )
