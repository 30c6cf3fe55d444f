import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider

from otero_sdk import correlation
from otero_sdk.tracing.propagation import extraction, propagator

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {
    "W3C": {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b"},
    "B3": {"b3": f"{TRACE}-{SPAN}-1"},
    "B3, several": {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "1"},
    "Jaeger": {"uber-trace-id": f"{TRACE}:{SPAN}:0:1"},
}
ALL = ("tracecontext", "b3", "jaeger")


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_callers_trace_is_followed(headers: dict[str, str]) -> None:
    found = trace.get_current_span(extraction(ALL)(headers)).get_span_context()
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags) == (TRACE, SPAN, 1)
    same = trace.get_current_span(propagator(ALL).extract(headers)).get_span_context()
    assert (same.trace_id, same.span_id) == (found.trace_id, found.span_id)


def test_the_first_of_the_propagators_wins() -> None:
    other = {"b3": f"{'1' * 32}-{'2' * 16}-1", **HEADERS["W3C"]}
    for names, expected in ((("tracecontext", "b3"), TRACE), (("b3", "tracecontext"), "1" * 32)):
        for context in (extraction(names)(other), propagator(names).extract(other)):
            assert f"{trace.get_current_span(context).get_span_context().trace_id:032x}" == expected


@pytest.mark.parametrize("headers", [{}, {"traceparent": "nonsense"}, {"b3": "x"}, {"uber-trace-id": ":::"}])
def test_nonsense_begins_a_new_trace(headers: dict[str, str]) -> None:
    assert not trace.get_current_span(extraction(ALL)(headers)).get_span_context().is_valid


def test_what_does_not_parse_leaves_the_next_its_turn() -> None:
    found = extraction(ALL)({"traceparent": "nonsense", **HEADERS["Jaeger"]})
    assert f"{trace.get_current_span(found).get_span_context().trace_id:032x}" == TRACE


def test_calls_carry_all_formats_and_the_correlation_id() -> None:
    carrier: dict[str, str] = {}
    provider = TracerProvider()
    with provider.get_tracer("test").start_as_current_span("call") as span, correlation.use("job-7"):
        context = baggage.set_baggage("user", "7")
        propagator(ALL).inject(carrier, context)
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert trace_id in carrier["traceparent"]
    assert trace_id in carrier["b3"]
    assert trace_id in carrier["uber-trace-id"]
    assert sorted(carrier["baggage"].split(",")) == ["correlation_id=job-7", "user=7"]
    provider.shutdown()


def test_baggage_is_there_for_the_application() -> None:
    context = extraction(ALL)({"baggage": "user=7", **HEADERS["W3C"]})
    assert baggage.get_baggage("user", context) == "7"
