from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from otero_sdk.metrics.requests import MAX_ROUTES, OTHER, RequestMetrics

BUCKETS = (0.1, 1.0)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def make(names: list[str]) -> tuple[RequestMetrics, CollectorRegistry]:
    registry = CollectorRegistry()
    return RequestMetrics("shop", names, BUCKETS, registry=registry), registry


def samples(registry: CollectorRegistry) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(generate_latest(registry).decode())
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_one_recording_in_three_vocabularies() -> None:
    metrics, registry = make(["http", "golden", "otel"])
    metrics.active("GET", "http").inc()
    metrics.observe("GET", "/orders/{id}", "200", "http", 0.05)
    metrics.observe("GET", "/orders/{id}", "503", "http", 0.5)
    metrics.observe("GET", "/orders/{id}", "418", "https", 5)
    found = samples(registry)
    get = {"method": "GET", "endpoint": "/orders/{id}"}
    assert found[key("http_requests_total", **get, status="200")] == 1
    assert found[key("http_requests_total", **get, status="503")] == 1
    assert found[key("http_requests_total", **get, status="418")] == 1
    assert found[key("http_request_duration_seconds_bucket", **get, le="0.1")] == 1
    assert found[key("http_request_duration_seconds_bucket", **get, le="1.0")] == 2
    assert found[key("http_request_duration_seconds_bucket", **get, le="+Inf")] == 3
    assert found[key("http_request_duration_seconds_sum", **get)] == pytest.approx(5.55)
    assert found[key("http_requests_in_flight", method="GET")] == 1
    golden = {"service": "shop", "endpoint": "/orders/{id}"}
    assert found[key("requests_total", **golden, method="GET")] == 3
    assert found[key("errors_total", **golden, error_type="unavailable")] == 1
    assert found[key("request_duration_seconds_count", **golden)] == 3
    otel = {"http_request_method": "GET", "http_route": "/orders/{id}"}
    name = "http_server_request_duration_seconds_count"
    assert found[key(name, **otel, http_response_status_code="418", url_scheme="https")] == 1
    assert found[key(name, **otel, http_response_status_code="503", url_scheme="http", error_type="503")] == 1
    assert found[key("http_server_active_requests", http_request_method="GET", url_scheme="http")] == 1


def test_series_of_known_routes_are_there_before_their_first_request() -> None:
    metrics, registry = make(["http", "golden", "otel"])
    routes = [("GET", "/a")]
    metrics.expect(lambda: routes)
    routes.append(("POST", "/b"))
    found = samples(registry)
    assert found[key("http_requests_total", method="POST", endpoint="/b", status="500")] == 0
    assert found[key("http_request_duration_seconds_bucket", method="GET", endpoint="/a", le="+Inf")] == 0
    assert found[key("errors_total", service="shop", endpoint="/a", error_type="application_error")] == 0
    assert found[key("requests_total", service="shop", endpoint="/b", method="POST")] == 0
    assert all(value == 0 for (name, _), value in found.items() if not name.endswith("_created"))


request = st.tuples(
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/a", "/b", "unknown"]),
    st.sampled_from(["200", "404", "500", "504"]),
    st.sampled_from(["http", "https"]),
    st.floats(0, 3),
)


@given(st.lists(request, max_size=30))
def test_the_vocabularies_agree_with_counting(requests: list[tuple[str, str, str, str, float]]) -> None:
    metrics, registry = make(["http", "golden", "otel"])
    for method, route, status, scheme, seconds in requests:
        metrics.observe(method, route, status, scheme, seconds)
    found = samples(registry)

    def total(name: str) -> Counter:
        return Counter({labels: value for (found_name, labels), value in found.items() if found_name == name})

    by_status = Counter(
        frozenset({("method", m), ("endpoint", r), ("status", s)})
        for m, r, s, *_ in map(tuple, [(m, r, s) for m, r, s, *_ in requests])
    )
    assert total("http_requests_total") == by_status
    assert sum(total("http_server_request_duration_seconds_count").values()) == len(requests)
    failed = sum(1 for _, _, status, *_ in requests if status >= "500")
    assert sum(total("errors_total").values()) == failed
    for bound in BUCKETS:
        within = sum(1 for *_, seconds in requests if seconds <= bound)
        for name in (
            "http_request_duration_seconds",
            "request_duration_seconds",
            "http_server_request_duration_seconds",
        ):
            buckets = {
                labels: v for labels, v in total(f"{name}_bucket").items() if ("le", str(bound)) in labels
            }
            assert sum(buckets.values()) == within


def test_exemplars_and_creation_times_are_openmetrics() -> None:
    metrics, registry = make(["http", "golden", "otel"])
    metrics.observe("GET", "/a", "200", "http", 0.05, ("a" * 32, "b" * 16))
    metrics.observe("GET", "/a", "500", "http", 0.06, ("c" * 32, "d" * 16))
    metrics.observe("GET", "/a", "200", "http", 9.0)
    families = {family.name: family for family in parse_openmetrics(openmetrics(registry).decode())}
    buckets = [s for s in families["http_request_duration_seconds"].samples if s.name.endswith("_bucket")]
    assert [sample.exemplar is not None for sample in buckets] == [True, False, False]
    exemplar = buckets[0].exemplar
    assert exemplar is not None
    assert exemplar.labels == {"trace_id": "c" * 32, "span_id": "d" * 16}
    assert exemplar.value == 0.06
    created = [s for s in families["http_requests"].samples if s.name == "http_requests_created"]
    assert len({sample.value for sample in created}) == 1


def test_routes_are_bounded() -> None:
    metrics, registry = make(["http"])
    for number in range(MAX_ROUTES + 50):
        metrics.observe("GET", f"/{number}", "200", "http", 0.05)
    found = samples(registry)
    endpoints = {dict(labels)["endpoint"] for name, labels in found if name == "http_requests_total"}
    assert len(endpoints) == MAX_ROUTES + 1
    assert found[key("http_requests_total", method="GET", endpoint=OTHER, status="200")] == 50


def test_a_name_that_the_application_has_itself_is_told() -> None:
    registry = CollectorRegistry()
    PrometheusCounter("http_requests_total", "x", registry=registry)
    with pytest.raises(ValueError, match=r"http_requests.*delete them there, or choose others"):
        RequestMetrics("shop", ["http"], BUCKETS, registry=registry)
    RequestMetrics("shop", ["otel"], BUCKETS, registry=registry)


def test_buckets_have_to_rise() -> None:
    with pytest.raises(ValueError, match="rising upper bounds"):
        RequestMetrics("shop", ["http"], (1.0, 0.5), registry=CollectorRegistry())
