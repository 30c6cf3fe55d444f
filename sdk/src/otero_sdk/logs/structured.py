"""structlog, so that its events become the same lines as those of the standard library's loggers."""

from collections.abc import MutableMapping
from types import ModuleType
from typing import Any

from otero_sdk.logs.json_lines import FIELDS
from otero_sdk.logs.redaction import as_text


def configure(structlog: ModuleType) -> None:
    """Send structlog's events to the standard library's loggers. An application's own configuration is left alone."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            to_stdlib,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(ignore_frame_names=["otero_sdk"]),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def to_stdlib(logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """The last processor of a structlog configuration: the event's fields by any name, also those of a LogRecord."""
    del logger, method
    keywords: dict[str, Any] = {"msg": as_text(event.pop("event", ""))}
    for name in ("exc_info", "stack_info", "stacklevel"):
        if name in event:
            keywords[name] = event.pop(name)
    keywords["extra"] = {FIELDS: dict(event)}
    return keywords
