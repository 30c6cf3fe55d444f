import pytest

from otero_sdk import instrument
from otero_sdk.settings import Settings


def test_the_service_comes_from_the_argument_then_from_the_environment() -> None:
    assert Settings.of("orders", {}, {"OTEL_SERVICE_NAME": "other"}).service == "orders"
    assert Settings.of(None, {}, {"OTEL_SERVICE_NAME": "other"}).service == "other"
    with pytest.raises(ValueError, match="needs the service"):
        Settings.of(None, {}, {})


def test_environment_variables_of_opentelemetry() -> None:
    assert Settings.of("a", {}, {"OTEL_TRACES_SAMPLER_ARG": "0.25"}).sample_ratio == 0.25
    assert Settings.of("a", {"sample_ratio": 1.0}, {"OTEL_TRACES_SAMPLER_ARG": "0.25"}).sample_ratio == 1.0
    assert Settings.of("a", {}, {"OTEL_SDK_DISABLED": "true"}).traces is False


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"metric_name": ["http"]}, TypeError, "no option 'metric_name'"),
        ({"metric_names": "http"}, TypeError, "a list of names"),
        ({"metric_names": ["seed"]}, ValueError, "'seed' is none of http, golden, otel"),
        ({"propagators": ["zipkin"]}, ValueError, "'zipkin' is none of tracecontext"),
        ({"sample_ratio": 2}, ValueError, "between 0 and 1"),
        ({"metrics_path": "metrics"}, ValueError, "such as '/metrics'"),
        ({"drain_s": -1}, ValueError, "at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Settings.of("orders", options, {})


@pytest.mark.parametrize("app", [None, "flask", 7, int, lambda one: one])
def test_what_is_no_application_is_refused(app: object) -> None:
    with pytest.raises(TypeError, match="takes a Flask, Starlette"):
        instrument(app, service="orders")
