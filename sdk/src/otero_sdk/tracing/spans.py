"""The tracer provider, and a span processor that survives forks.

Needs the packages of `otero-sdk[traces]`.
"""

import contextvars
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import set_global_textmap
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode

from otero_sdk import correlation
from otero_sdk.settings import Settings
from otero_sdk.tracing import endpoint, libraries
from otero_sdk.tracing.leaving import at_exit
from otero_sdk.tracing.propagation import PROPAGATION_HEADERS, extraction, propagator

SEND_TIMEOUT_S: Final = 5.0
HEADERS: Final = ("host", "user-agent", "baggage", *PROPAGATION_HEADERS)
"""Headers of a request that its span is made from."""


class Tracing:
    """What the recorder of requests needs of traces."""

    def __init__(self, tracer: trace.Tracer, propagators: Sequence[str]) -> None:
        self._start_span = tracer.start_span
        self._extract = extraction(propagators)

    @classmethod
    def of(cls, settings: Settings) -> "Tracing":
        """Set the process's tracer provider and propagators, and instrument libraries.

        An application that set a provider itself keeps it: requests then become spans of that one.
        """
        set_global_textmap(propagator(settings.propagators))
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = TracerProvider(
                sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
                resource=resource(settings),
                shutdown_on_exit=False,
            )
            url = endpoint(settings, "traces")
            spans = Spans(lambda: OTLPSpanExporter(endpoint=url, timeout=SEND_TIMEOUT_S))
            provider.add_span_processor(spans)
            trace.set_tracer_provider(provider)
            at_exit(spans.shutdown)
        libraries.instrument()
        return cls(provider.get_tracer("otero_sdk"), settings.propagators)

    def begin(
        self, method: str, path: str, scheme: str, correlation_id: str, headers: Mapping[str, str]
    ) -> tuple[Any, Any]:
        """Start the span of a request, a child of the caller's if its headers name one, and make it the current one.

        The span, and what `end` takes to undo the latter. Where somebody else already began a span for this request
        (the official instrumentation of the framework), that one is used: the token is None.
        """
        current = trace.get_current_span()
        if current.is_recording() and getattr(current, "kind", None) is SpanKind.SERVER:
            return current, None
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.path": path,
            "url.scheme": scheme,
            "correlation_id": correlation_id,
        }
        if (host := headers.get("host")) is not None:
            attributes["server.address"] = host
        if (agent := headers.get("user-agent")) is not None:
            attributes["user_agent.original"] = agent
        parent = self._extract(headers)
        span = self._start_span(method, parent, SpanKind.SERVER, attributes)
        return span, otel_context.attach(trace.set_span_in_context(span, parent))

    def end(
        self,
        span: Any,
        token: Any,
        name: str,
        attributes: Mapping[str, Any],
        failed: bool,
        error: BaseException | None,
    ) -> None:
        """Finish the span of a request and leave it."""
        if span.is_recording():
            span.update_name(name)
            span.set_attributes(attributes)
            if error is not None:
                span.record_exception(error)
            if failed:
                span.set_status(Status(StatusCode.ERROR))
        if token is not None:
            span.end()
            self.leave(token)

    def leave(self, token: Any) -> None:
        """Make the span that was current before the current one again."""
        try:
            otel_context._RUNTIME_CONTEXT.detach(token)  # pyright: ignore[reportPrivateUsage]
        except ValueError:
            # The body was iterated in another context than the one the request began in, where nothing was attached.
            return


def sampled_ids(span: Any) -> tuple[str, str] | None:
    """Trace and span in hexadecimal when the trace is kept."""
    found = span.get_span_context()
    if found.trace_flags & 1:
        return f"{found.trace_id:032x}", f"{found.span_id:016x}"
    return None


def current_ids() -> tuple[str, str] | None:
    """Trace and span in hexadecimal, whether or not they are kept."""
    found = trace.get_current_span().get_span_context()
    if found.trace_id:
        return f"{found.trace_id:032x}", f"{found.span_id:016x}"
    return None


def resource(settings: Settings) -> Resource:
    """Who sends: the service, its version and environment, and what OTEL_RESOURCE_ATTRIBUTES says."""
    attributes: dict[str, str] = {"service.name": settings.service}
    if settings.version:
        attributes["service.version"] = settings.version
    if settings.environment:
        attributes["deployment.environment.name"] = settings.environment
    return Resource.create(attributes)


class Spans(SpanProcessor):
    """Names the correlation id in each span, and sends finished ones in batches.

    The batch processor, with its queue, thread and connections, is made in each process when its first span ends. So
    nothing of it is there to be torn by a fork, nor made before gevent replaces threads and sockets. Spans beyond the
    queue's bound are dropped; a request never waits.
    """

    def __init__(self, exporter: Callable[[], SpanExporter]) -> None:
        self._exporter = exporter
        self._pid = 0
        self._batches: BatchSpanProcessor | None = None
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        del parent_context
        if span.kind is not SpanKind.SERVER:
            correlation_id = correlation.current.get()
            if correlation_id is not None:
                span.set_attribute("correlation_id", correlation_id)

    def on_end(self, span: ReadableSpan) -> None:
        if self._pid != os.getpid():
            self._begin()
        if self._batches is not None:
            self._batches.on_end(span)

    def _begin(self) -> None:
        # Made outside of the lock, as it starts a thread, and outside of the request that happens to be the first, in
        # whose name the thread would work for ever. The one that loses the race is dropped.
        made = contextvars.Context().run(
            lambda: BatchSpanProcessor(self._exporter(), schedule_delay_millis=1000)
        )
        with self._lock:
            if self._pid != os.getpid():
                self._batches, self._pid = made, os.getpid()
                return
        made.shutdown()

    def shutdown(self) -> None:
        if self._batches is not None and self._pid == os.getpid():
            self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        if self._batches is None or self._pid != os.getpid():
            return True
        return self._batches.force_flush(timeout_millis)
