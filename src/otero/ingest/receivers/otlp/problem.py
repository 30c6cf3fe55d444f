"""Errors as OTLP tells them: a code of google.rpc and the HTTP status that goes with it."""

import logging

from otero.errors import BadInput, LimitExceeded, OteroError, Unavailable
from otero.ingest.receivers.otlp.export import Busy

_log = logging.getLogger(__name__)

# google.rpc.Code
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 3, 8, 13, 14, 16

_KINDS: tuple[tuple[type[OteroError], int, int], ...] = (
    (BadInput, INVALID_ARGUMENT, 400),
    (LimitExceeded, RESOURCE_EXHAUSTED, 413),
    (Busy, RESOURCE_EXHAUSTED, 429),
    (Unavailable, UNAVAILABLE, 503),
)


def classify(error: Exception) -> tuple[int, int, str]:
    """Code, HTTP status and text of an error. A bug is logged and told without its inside."""
    for kind, code, status in _KINDS:
        if isinstance(error, kind):
            return code, status, str(error)
    if isinstance(error, OteroError):
        return INTERNAL, 500, str(error)
    _log.error("unexpected error while taking a request of OTLP", exc_info=error)
    return INTERNAL, 500, f"internal error: {type(error).__name__} (the server's log has the details)"
