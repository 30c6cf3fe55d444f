"""Parameters of the Prometheus API are read as Prometheus reads them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.api.prometheus.params import Params, parse_step_ms, parse_time_ms
from otero.errors import BadInput


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("0", 0),
        ("1435781430.781", 1435781430781),
        ("-1.5", -1500),
        ("1e3", 1_000_000),
        ("2015-07-01T20:10:30.781Z", 1435781430781),
        ("2015-07-01T20:10:30+02:00", 1435774230000),
        ("1999-12-31T23:59:59.9999Z", 946684800000),
    ],
)
def test_a_time_is_unix_seconds_or_rfc3339(text: str, time_ms: int) -> None:
    assert parse_time_ms(text) == time_ms


@pytest.mark.parametrize(
    "text", ["", "yesterday", "NaN", "inf", "1e300", "2015-02-30T00:00:00Z", "2015-07-01", "１２"]
)
def test_what_is_no_time_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(BadInput, match="to a valid timestamp"):
        parse_time_ms(text)


@pytest.mark.parametrize(
    ("text", "step_ms"), [("15", 15_000), ("0.5", 500), ("1m30s", 90_000), ("5ms", 5), ("-1", -1000)]
)
def test_a_step_is_seconds_or_a_duration(text: str, step_ms: int) -> None:
    assert parse_step_ms(text) == step_ms


@pytest.mark.parametrize("text", ["", "x", "1h1h", "1e300", "NaN"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="to a valid duration"):
        parse_step_ms(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_time_ms, parse_step_ms):
        with contextlib.suppress(BadInput):
            assert isinstance(parse(text), int)


def test_an_error_names_its_parameter() -> None:
    params = Params([("time", "noon"), ("limit", "-1")])
    with pytest.raises(BadInput, match='invalid parameter "time": cannot parse "noon"'):
        params.time_ms("time")
    with pytest.raises(BadInput, match="limit must be non-negative"):
        params.count("limit")
    assert params.time_ms("start", 7) == 7
