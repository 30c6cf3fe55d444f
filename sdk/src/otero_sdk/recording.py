"""What is recorded about each request, the same for every framework: metrics, a span, a log line, a correlation id."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from otero_sdk import correlation
from otero_sdk.logs.access import AccessLog
from otero_sdk.metrics.requests import METHODS, UNKNOWN, RequestMetrics

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from otero_sdk.tracing.spans import Tracing


_logger = logging.getLogger(__name__)


class Exchange:
    """A request that is being answered."""

    __slots__ = (
        *(
            "correlation_id",
            "correlation_token",
            "done",
            "error",
            "in_flight",
            "length",
            "method",
            "path",
            "route",
        ),
        *("scheme", "span", "span_token", "start", "status"),
    )

    def __init__(self, method: str, path: str, scheme: str) -> None:
        self.method = method
        self.path = path
        self.scheme = scheme
        self.route: str | None = None
        """The route template, None while unknown or when no route matched."""
        self.status = 0
        """0 until the application answers."""
        self.error: BaseException | None = None
        """What the application raised, if a framework turned it into an answer or let it through."""
        self.done = False
        self.span: Any = None
        self.span_token: Any = None
        self.correlation_id: str = ""
        self.correlation_token: Any = None
        self.in_flight: Gauge | None = None
        self.length = -1
        """The length that the answer declares, -1: none."""
        self.start = 0.0


class Recorder:
    """Begins and ends exchanges. Its own failures are logged and never those of the request."""

    def __init__(
        self, metrics: RequestMetrics, tracing: "Tracing | None" = None, access_log: AccessLog | None = None
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._access_log = access_log
        self.headers_wanted: tuple[str, ...] = ("x-correlation-id", "baggage")
        """Headers that matter to us, in lower case."""
        if tracing is not None:
            from otero_sdk.tracing.spans import HEADERS, sampled_ids  # optional packages

            self._sampled_ids = sampled_ids
            self.headers_wanted += tuple(name for name in HEADERS if name not in self.headers_wanted)

    def begin(self, method: str, path: str, scheme: str, headers: Mapping[str, str]) -> Exchange:
        """Take over a request: from here on its id and span are the current ones.

        `headers` are those named in `headers_wanted`, as far as the request has them.
        """
        exchange = Exchange(method if method in METHODS else "_OTHER", path, scheme)
        correlation_id = correlation.accept(headers.get("x-correlation-id"), headers.get("baggage"))
        exchange.correlation_id = correlation_id
        exchange.correlation_token = correlation.current.set(correlation_id)
        try:
            in_flight = self._metrics.active(exchange.method, scheme)
            in_flight.inc()
            exchange.in_flight = in_flight
            if self._tracing is not None:
                exchange.span, exchange.span_token = self._tracing.begin(
                    exchange.method, path, scheme, correlation_id, headers
                )
        except Exception:
            _logger.exception("a request is not recorded")
        exchange.start = time.perf_counter()
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Record the request: when the last byte of its answer is known, or it failed. Once."""
        if exchange.done:
            return
        exchange.done = True
        try:
            self._record(exchange, time.perf_counter() - exchange.start)
        except Exception:
            _logger.exception("a request is not recorded")
        try:
            correlation.current.reset(exchange.correlation_token)
        except ValueError:
            # The body was iterated in another context than the one the request began in.
            correlation.current.set(None)

    def _record(self, exchange: Exchange, seconds: float) -> None:
        if exchange.in_flight is not None:
            exchange.in_flight.dec()
        status = exchange.status or 500
        route = exchange.route
        endpoint = route or UNKNOWN
        code = _CODES.get(status) or str(status)
        trace = self._sampled_ids(exchange.span) if exchange.span is not None else None
        self._metrics.observe(exchange.method, endpoint, code, exchange.scheme, seconds, trace)
        if self._access_log is not None:
            self._access_log.write(exchange.method, exchange.path, endpoint, status, seconds, trace)
        if self._tracing is not None and exchange.span is not None:
            attributes: dict[str, Any] = {"http.response.status_code": status}
            if route:
                attributes["http.route"] = route
            failed = status >= 500
            if failed:
                attributes["error.type"] = (
                    code if exchange.error is None else type(exchange.error).__qualname__
                )
            name = f"{exchange.method} {route}" if route else exchange.method
            self._tracing.end(exchange.span, exchange.span_token, name, attributes, failed, exchange.error)


_CODES: Final = {status: str(status) for status in range(100, 600)}
