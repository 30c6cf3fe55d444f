"""Log records as JSON lines, for any handler of the standard library.

`timestamp` (UTC, RFC 3339), `level`, `logger`, `message`, `module`, `function`, `line`, `service`, then `trace_id`,
`span_id` and `correlation_id` where there are any, `exception`, and every field that was given as `extra`.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from otero_sdk import correlation
from otero_sdk.logs.redaction import REDACTED, Redaction, as_text, unprintable

FIELDS: Final = "otero_fields"
"""The attribute of a record whose mapping holds further fields, by any name."""
TRACE: Final = "otero_trace"
"""The attribute that names trace and span in hexadecimal when the record is made outside of them."""

EXEMPT: Final = "otero_unlimited"
"""The attribute of records that the rate limit lets through."""

_own: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    *("message", "asctime", "taskName", "color_message", FIELDS, TRACE, EXEMPT),
}
_own_count: Final = len(logging.makeLogRecord({}).__dict__)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=as_text).encode

TraceIds = Callable[[], tuple[str, str] | None]
"""The ids of the current trace and span in hexadecimal, None outside of any."""


def no_trace() -> tuple[str, str] | None:
    """Where traces are off."""
    return None


class JsonLines(logging.Formatter):
    """Formats a record as one line; never raises, whatever was logged.

    Fields that are named like secrets become `***`. A field that is named like one of ours does not replace it and is
    written as `extra_<name>`.
    """

    def __init__(
        self,
        service: str,
        *,
        constant: Mapping[str, str] | None = None,
        trace_ids: TraceIds = no_trace,
        redact: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.constant: Mapping[str, str] = {"service": service, **(constant or {})}
        """Fields of every line."""
        self._trace_ids = trace_ids
        self._redaction = Redaction(redact)
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        try:
            fields = self.fields(record)
        except Exception as error:
            fields = self._least(record, error)
        try:
            line = _encode(fields)
        except Exception:
            line = self._slowly(fields)
        if line.isascii():
            return line
        try:
            line.encode()
        except UnicodeEncodeError:
            # Halves of surrogate pairs, from file names for example; written as escapes they are valid JSON.
            return line.encode("utf-8", "backslashreplace").decode()
        return line

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the line of a record says, without secrets."""
        fields: dict[str, Any] = {
            "timestamp": self._timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
            **self.constant,
        }
        attributes = record.__dict__
        trace = attributes.get(TRACE) or self._trace_ids()
        if trace is not None:
            fields["trace_id"], fields["span_id"] = trace
        correlation_id = correlation.current.get()
        if correlation_id is not None:
            fields["correlation_id"] = correlation_id
        if len(attributes) > _own_count:
            for name, value in attributes.items():
                if name not in _own:
                    self._add(fields, name, value)
        if (more := attributes.get(FIELDS)) is not None:
            for name, value in more.items():
                self._add(fields, name, value)
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = _exception(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        return fields

    def _add(self, fields: dict[str, Any], name: str, value: Any) -> None:
        if name == "correlation_id" and value:
            fields[name] = value
            return
        if name in fields:
            name = f"extra_{name}"
        fields[name] = REDACTED if self._redaction.is_secret(name) else self._redaction.clean(value)

    def now(self) -> str:
        """The present as lines write it."""
        return self._timestamp(time.time())

    def _timestamp(self, created: float) -> str:
        second = int(created)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int((created - second) * 1e6):06d}Z"

    def _least(self, record: logging.LogRecord, error: Exception) -> dict[str, Any]:
        return {
            "timestamp": self._timestamp(record.created),
            "level": str(record.levelname),
            "logger": str(record.name),
            "message": as_text(record.msg),
            **self.constant,
            "log_error": type(error).__name__,
        }

    def _slowly(self, fields: dict[str, Any]) -> str:
        plain: dict[str, Any] = {}
        for name, value in fields.items():
            try:
                plain[str(name)] = self._redaction.plain(value)
            except Exception:
                plain[str(name)] = unprintable(value)
        return _encode(plain)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # As the record was meant, with what did not fit its placeholders.
        return f"{as_text(record.msg)} {as_text(record.args)}"


def _exception(exc_info: Any) -> str:
    try:
        return "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    except Exception:
        return unprintable(exc_info[1])


def stderr_handler(formatter: logging.Formatter) -> logging.StreamHandler[Any]:
    """A handler that writes to whatever standard error is at the time."""
    handler = _StandardError()
    handler.setFormatter(formatter)
    return handler


class _StandardError(logging.StreamHandler[Any]):
    """Standard error is looked up at each record, as servers and tests replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr
