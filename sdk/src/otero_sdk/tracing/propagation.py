"""How traces cross processes: W3C, B3 (one header or several) and Jaeger, and W3C baggage with the correlation id."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.jaeger import JaegerPropagator
from opentelemetry.propagators.textmap import CarrierT, Setter, TextMapPropagator, default_setter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otero_sdk import correlation


class CorrelationBaggage(W3CBaggagePropagator):
    """W3C baggage that also says in whose name a call is made."""

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        correlation_id = correlation.current.get()
        if correlation_id is not None:
            context = baggage.set_baggage(correlation.BAGGAGE_KEY, correlation_id, context)
        super().inject(carrier, context, setter)


_PROPAGATORS: Final[dict[str, type[TextMapPropagator]]] = {
    "tracecontext": TraceContextTextMapPropagator,
    "b3": B3SingleFormat,
    "b3multi": B3MultiFormat,
    "jaeger": JaegerPropagator,
}


_TELLTALES: Final = {
    "tracecontext": ("traceparent",),
    "b3": ("b3", "x-b3-traceid"),
    "b3multi": ("b3", "x-b3-traceid"),
    "jaeger": ("uber-trace-id",),
}
"""The headers without which a propagator finds nothing."""
PROPAGATION_HEADERS: Final = (
    *("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"),
    "uber-trace-id",
)
_nothing: Final = Context()


def extraction(names: Sequence[str]) -> Callable[[Mapping[str, str]], Context]:
    """Reads the caller's context from headers in lower case: the first of the propagators that its headers are for.

    Only those are asked whose headers are there, as asking all of them costs a request more than its span.
    """
    known = [(_TELLTALES[name], _PROPAGATORS[name]()) for name in names]
    baggages = W3CBaggagePropagator()

    def extract(headers: Mapping[str, str]) -> Context:
        context = _nothing
        for telltales, found in known:
            if any(name in headers for name in telltales):
                context = found.extract(headers, context)
                if context:
                    break
        if "baggage" in headers:
            context = baggages.extract(headers, context)
        return context

    return extract


def propagator(names: Sequence[str]) -> TextMapPropagator:
    """All of these at once, for calls of libraries: each is written, and the first that a sender used is followed.

    A later propagator that finds its header would win; so they are asked in reverse.
    """
    return CompositePropagator([*(_PROPAGATORS[name]() for name in reversed(names)), CorrelationBaggage()])
