"""Sends records of one signal with the official exporters: `python -m tests.e2e.otlp_sender SIGNAL PROTOCOL ENDPOINT COUNT`.

The process prints the serialized requests, one line of base64 each, before it sends them; the last line is `sent`.
"""

import base64
import sys
import time
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

BATCH = 500


def resource() -> Resource:
    return Resource.create(
        {"service.name": "sender", "service.namespace": "e2e", "zones": ["a", "b"], "cores": 4, "load": 0.5},
        schema_url="https://example.org/schema",
    )


class Kept(SpanExporter):
    """Keeps spans for the real exporter."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def made_spans(count: int) -> list[ReadableSpan]:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    kept = Kept()
    provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("e2e", "1.0", "https://example.org/scope", {"scoped": True})
    other = SpanContext(1 << 100, 1 << 50, is_remote=True, trace_flags=TraceFlags(1))
    whole = None
    for number in range(0, count, 2):
        if number % 200 == 0:  # a trace holds 200 spans
            whole = None
        with tracer.start_as_current_span(
            f"request {number}",
            context=whole,
            kind=SpanKind.SERVER,
            links=[Link(other, {"why": "retry", "n": number})] if number % 10 == 0 else [],
            attributes={
                "n": number,
                "ratio": number / 7,
                "ok": True,
                "text": "ünïcode",
                "list": [1, 2],
                "names": ["a", ""],
            },
        ) as span:
            whole = whole or trace.set_span_in_context(span)
            if number % 10 == 0:
                span.add_event("something", {"at": number, "bytes": b"\x00\xff"})
                span.set_status(Status(StatusCode.ERROR, "it failed"))
            with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT):
                pass
    return kept.spans[:count]


def made_logs(count: int) -> list[Any]:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=resource(), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    logger = provider.get_logger("e2e", "1.0")
    began_ns = time.time_ns()
    bodies: list[Any] = [
        "a line",
        {"nested": {"list": [1, "two", 3.0, None]}},
        7,
        True,
        0.25,
        ["x", b"y"],
        "",
    ]
    for number in range(count):
        logger.emit(
            LogRecord(
                timestamp=began_ns + number,
                severity_number=SeverityNumber.WARN if number % 2 else SeverityNumber.INFO,
                severity_text="WARN" if number % 2 else "INFO",
                body=bodies[number % len(bodies)],
                attributes={"n": number, "deep": {"a": [number]}, "flag": False},
                event_name="tick" if number % 3 == 0 else None,
            )
        )
    return list(kept.get_finished_logs())


def main(signal: str, protocol: str, endpoint: str, count: int) -> None:
    if signal == "traces":
        records, encode = made_spans(count), encode_spans
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Exporter
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Exporter
    else:
        records, encode = made_logs(count), encode_logs
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as Exporter
        else:
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as Exporter
    options: dict[str, Any] = {"endpoint": endpoint, "timeout": 120}
    if protocol == "grpc":
        options["insecure"] = True
    exporter = Exporter(**options)
    batches = [records[at : at + BATCH] for at in range(0, len(records), BATCH)]
    for batch in batches:
        print(base64.b64encode(encode(batch).SerializeToString()).decode(), flush=True)
    print("sending", flush=True)
    failed = 0
    for batch in batches:
        # The exporter gives up after a minute; a busy machine may need longer to start a server.
        failed += not any(exporter.export(batch).name == "SUCCESS" for _ in range(4))
        print("exported", flush=True)
    exporter.shutdown()
    print(f"sent, {failed} failed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
