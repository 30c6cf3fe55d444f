"""JSON lines from every logger of the process: the standard library's, structlog's and the web server's."""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from otero_sdk.imports import when_imported
from otero_sdk.logs.json_lines import JsonLines, TraceIds, no_trace, stderr_handler
from otero_sdk.logs.rate_limit import RateLimit

_SENDERS: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.sdk._shared_internal",
)
"""Loggers that tell, at every attempt, of a receiver that is not there."""
_SERVERS: Final = ("gunicorn.error", "gunicorn.access", "uvicorn", "uvicorn.error", "uvicorn.access")
"""Loggers of web servers, which have handlers of their own."""


def set_up(
    service: str,
    *,
    level: str = "INFO",
    constant: Mapping[str, str] | None = None,
    trace_ids: TraceIds = no_trace,
    redact: Iterable[str] = (),
    rate_limit: float | None = None,
    access_log: bool = True,
) -> logging.Handler:
    """Let the root logger write JSON lines to standard error, instead of what its handlers wrote; idempotent.

    Handlers that write elsewhere than to standard error or output (files, test frameworks) stay. Raises ValueError for
    a level that there is none of.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise ValueError(f"log_level={level!r} is none of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    formatter = JsonLines(service, constant=constant, trace_ids=trace_ids, redact=redact)
    handler = stderr_handler(formatter)
    if rate_limit is not None:
        handler.addFilter(RateLimit(rate_limit))
    root = logging.getLogger()
    for existing in list(root.handlers):
        if type(existing) is logging.StreamHandler or type(existing) is type(handler):
            root.removeHandler(existing)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _SERVERS:
        logger = logging.getLogger(name)
        for own in logger.handlers:
            own.setFormatter(formatter)
    if access_log:
        # Our line for each request says more; the server's would be the second one.
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
        logging.getLogger("werkzeug").addFilter(_no_request_lines)
    for name in _SENDERS:
        logger = logging.getLogger(name)
        if not any(isinstance(present, RateLimit) for present in logger.filters):
            logger.addFilter(RateLimit(1 / 60))
    when_imported("structlog", _configure_structlog)
    return handler


def _configure_structlog(module: Any) -> None:
    from otero_sdk.logs import structured  # only where structlog is used

    structured.configure(module)


_REQUEST_LINE = re.compile(r' - - \[[^\]]*\] "%s" %s %s\s*$')
"""How Werkzeug writes a request; its other lines have other words behind the time."""


def _no_request_lines(record: logging.LogRecord) -> bool:
    return not (isinstance(record.msg, str) and _REQUEST_LINE.search(record.msg))
