"""Log records sent to an OTLP receiver, with the fields of the JSON lines as attributes.

Needs the packages of `otero-sdk[traces]`.
"""

import contextvars
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Final

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

from otero_sdk.logs.json_lines import JsonLines
from otero_sdk.logs.redaction import as_text
from otero_sdk.tracing.leaving import at_exit

SEND_TIMEOUT_S: Final = 5.0
_SENDERS: Final = ("opentelemetry", "urllib3")
"""Loggers of the sending itself, whose records would cause further ones."""
_ELSEWHERE: Final = frozenset(
    ("timestamp", "level", "logger", "message", "service", "trace_id", "span_id", "exception")
)
"""Fields that OTLP has a place for."""
_SEVERITIES: Final = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
    (logging.DEBUG, SeverityNumber.DEBUG),
)
_NAMES: Final = {"module": "code.namespace", "function": "code.function.name", "line": "code.line.number"}


def handler(url: str, resource: Resource, formatter: JsonLines) -> logging.Handler:
    """A handler that sends to this URL in batches, of which the process's end waits for no more than a second."""
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    records = _Records(lambda: OTLPLogExporter(endpoint=url, timeout=SEND_TIMEOUT_S))
    provider.add_log_record_processor(records)
    at_exit(records.shutdown)
    return OtlpHandler(provider, formatter)


class OtlpHandler(logging.Handler):
    """Turns records into OpenTelemetry's."""

    def __init__(self, provider: LoggerProvider, formatter: JsonLines) -> None:
        super().__init__()
        self._provider = provider
        self._lines = formatter
        self._loggers: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in _SENDERS:
            return
        try:
            self._send(record)
        except Exception:
            self.handleError(record)

    def _send(self, record: logging.LogRecord) -> None:
        logger = self._loggers.get(record.name)
        if logger is None:
            logger = self._loggers[record.name] = self._provider.get_logger(record.name)
        fields = self._lines.fields(record)
        attributes = {
            _NAMES.get(name, name): value if isinstance(value, bool | int | float | str) else as_text(value)
            for name, value in fields.items()
            if name not in _ELSEWHERE and value is not None
        }
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__qualname__
            attributes["exception.message"] = as_text(record.exc_info[1])
            attributes["exception.stacktrace"] = fields["exception"]
        logger.emit(
            timestamp=int(record.created * 1e9),
            severity_number=next(
                (s for level, s in _SEVERITIES if record.levelno >= level), SeverityNumber.TRACE
            ),
            severity_text=record.levelname,
            body=fields["message"],
            attributes=attributes,
        )


class _Records(LogRecordProcessor):
    """Batches of this process; as with spans, made after a fork and never before."""

    def __init__(self, exporter: Callable[[], LogRecordExporter]) -> None:
        self._exporter = exporter
        self._pid = 0
        self._batches: BatchLogRecordProcessor | None = None
        self._lock = threading.Lock()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self._pid != os.getpid():
            made = contextvars.Context().run(self._make)
            with self._lock:
                first = self._pid != os.getpid()
                if first:
                    self._batches, self._pid = made, os.getpid()
            if not first:
                made.shutdown()
        if self._batches is not None:
            self._batches.on_emit(log_record)

    def _make(self) -> BatchLogRecordProcessor:
        return BatchLogRecordProcessor(self._exporter(), schedule_delay_millis=1000)

    def shutdown(self) -> None:
        if self._batches is not None and self._pid == os.getpid():
            self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        if self._batches is None or self._pid != os.getpid():
            return True
        return self._batches.force_flush(timeout_millis)
