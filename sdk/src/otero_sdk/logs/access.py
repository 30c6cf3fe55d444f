"""The line of each request.

It is a log record like any other where somebody else listens. Where nobody does but our handler, the usual case, the
line is written as the handler would, without the record: that costs a fifth.
"""

import json.encoder
import logging
from typing import Final

from otero_sdk import correlation
from otero_sdk.logs.json_lines import EXEMPT, FIELDS, TRACE, JsonLines

_logger: Final = logging.getLogger("otero_sdk.access")
_root: Final = logging.getLogger()
_quoted = json.encoder.encode_basestring


class AccessLog:
    """Writes lines of requests: INFO, or ERROR when the status is 500 or above."""

    def __init__(self, handler: logging.Handler | None = None) -> None:
        self._handler = handler
        self._lines = (
            handler.formatter if handler is not None and isinstance(handler.formatter, JsonLines) else None
        )
        constant = self._lines.constant if self._lines is not None else {}
        self._middle = '"module":"access","function":"write","line":0,' + "".join(
            f"{_quoted(name)}:{_quoted(value)}," for name, value in constant.items()
        )

    def write(
        self,
        method: str,
        path: str,
        endpoint: str,
        status: int,
        seconds: float,
        trace: tuple[str, str] | None,
    ) -> None:
        """Log a request that was answered; `trace` are the ids of its trace and span."""
        level = logging.ERROR if status >= 500 else logging.INFO
        if not _logger.isEnabledFor(level):
            return
        duration_ms = round(seconds * 1000, 3)
        message = f"{method} {path} {status}"
        if self._lines is not None and self._is_alone() and message.isprintable():
            self._write_line(level, message, method, endpoint, status, duration_ms, trace)
            return
        record = logging.LogRecord(_logger.name, level, __file__, 0, message, None, None, "write")
        attributes = record.__dict__
        attributes[EXEMPT] = True
        attributes[FIELDS] = {
            "method": method,
            "endpoint": endpoint,
            "status": status,
            "duration_ms": duration_ms,
        }
        if trace is not None:
            attributes[TRACE] = trace
        _logger.handle(record)

    def _is_alone(self) -> bool:
        handlers = _root.handlers
        return (
            len(handlers) == 1
            and handlers[0] is self._handler
            and not _logger.handlers
            and not _logger.filters
            and _logger.propagate
        )

    def _write_line(
        self,
        level: int,
        message: str,
        method: str,
        endpoint: str,
        status: int,
        duration_ms: float,
        trace: tuple[str, str] | None,
    ) -> None:
        handler, lines = self._handler, self._lines
        if handler is None or lines is None:
            return
        ids = f'"trace_id":"{trace[0]}","span_id":"{trace[1]}",' if trace is not None else ""
        correlation_id = correlation.current.get()
        if correlation_id is not None:
            ids += f'"correlation_id":"{correlation_id}",'
        handler.acquire()
        try:
            stream = handler.stream  # pyright: ignore[reportAttributeAccessIssue] — ours is a StreamHandler
            stream.write(
                f'{{"timestamp":"{lines.now()}","level":"{"ERROR" if level == logging.ERROR else "INFO"}",'
                f'"logger":"otero_sdk.access","message":{_quoted(message)},{self._middle}{ids}'
                f'"method":"{method}","endpoint":{_quoted(endpoint)},"status":{status},"duration_ms":{duration_ms}}}\n'
            )
            stream.flush()
        except Exception:
            handler.handleError(
                logging.LogRecord(_logger.name, level, __file__, 0, message, None, None, "write")
            )
        finally:
            handler.release()
