"""How each HTTP dialect tells an error: the only place where errors become statuses and bodies."""

import logging
import math

import orjson
from starlette.responses import Response

from otero.errors import (
    BadInput,
    Cancelled,
    Conflict,
    ExecutionError,
    LimitExceeded,
    NotFound,
    OteroError,
    TimedOut,
    Unavailable,
)

_log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499

_KINDS: tuple[tuple[type[OteroError], int, str], ...] = (
    (ExecutionError, 422, "execution"),
    (BadInput, 400, "bad_data"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "execution"),
    (LimitExceeded, 422, "execution"),
    (Cancelled, CLIENT_CLOSED_REQUEST, "canceled"),
    (TimedOut, 503, "timeout"),
    (Unavailable, 503, "unavailable"),
)


def classify(error: Exception) -> tuple[int, str, str]:
    """HTTP status, Prometheus' `errorType` and text of an error. A bug is logged and told without its inside."""
    for kind, status, word in _KINDS:
        if isinstance(error, kind):
            return status, word, str(error)
    if isinstance(error, OteroError):
        return 500, "internal", str(error)
    _log.error("unexpected error while answering a request", exc_info=error)
    return 500, "internal", f"internal error: {type(error).__name__} (the server's log has the details)"


def _headers(error: Exception) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, Unavailable) else {}


def prometheus_problem(error: Exception) -> Response:
    """The error as Prometheus' API tells it: `{"status":"error","errorType":…,"error":…}`."""
    status, word, text = classify(error)
    body = orjson.dumps({"status": "error", "errorType": word, "error": text})
    return Response(body, status, _headers(error), "application/json")


def native_problem(error: Exception) -> Response:
    """The error as problem details (RFC 9457)."""
    status, word, text = classify(error)
    body = orjson.dumps({"type": "about:blank", "title": word, "status": status, "detail": text})
    return Response(body, status, _headers(error), "application/problem+json")


class WrongShape(BadInput):
    """A request that does not fit its schema; `code` is what go-swagger's servers give beside the text."""

    def __init__(self, message: str, *, status: int = 422, code: int = 602) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def alertmanager_problem(error: Exception) -> Response:
    """The error as Alertmanager's API tells it: a JSON text, or `{"code":…,"message":…}` for a wrong shape."""
    if isinstance(error, WrongShape):
        body: object = {"code": error.code, "message": str(error)}
        return Response(orjson.dumps(body), error.status, media_type="application/json")
    if isinstance(error, LimitExceeded):
        return Response(orjson.dumps(str(error)), 413, media_type="application/json")
    status, _, text = classify(error)
    return Response(orjson.dumps(text), status, _headers(error), "application/json")


def plain_problem(error: Exception) -> Response:
    """The error as one line of text, for pages that people read."""
    status, _, text = classify(error)
    return Response(f"{text}\n", status, _headers(error), "text/plain; charset=utf-8")
