"""Numbers in JSON look as Go prints them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.api.prometheus.numbers import exposition_text, time_text, time_texts, value_text, value_texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1.2345678901234567e20, "123456789012345670000"),
        (1e21, "1e+21"),
        (1e-5, "0.00001"),
        (1.5e-6, "0.0000015"),
        (9.9e-7, "9.9e-07"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_a_value_is_printed_as_go_prints_it(value: float, text: str) -> None:
    assert value_text(value) == text


def test_a_scalar_has_no_exponent() -> None:
    assert value_text(1e30, positional=True) == "1" + "0" * 30
    assert value_text(2.5e-9, positional=True) == "0.0000000025"
    assert value_text(math.inf, positional=True) == "+Inf"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (20.5, "20.5"),
        (123456.0, "123456"),
        (1234567.0, "1.234567e+06"),
        (-1e6, "-1e+06"),
        (1e21, "1e+21"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-300, "1.5e-300"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
    ],
)
def test_an_exposition_writes_values_as_go_does(value: float, text: str) -> None:
    assert exposition_text(value) == text


@given(st.floats(allow_nan=False))
def test_an_exposed_value_reads_back_as_the_same_number(value: float) -> None:
    assert float(exposition_text(value)) == value


@given(st.lists(st.floats()))
def test_many_values_print_as_one_does(values: list[float]) -> None:
    assert value_texts(np.array(values, np.float64)) == [value_text(value).encode() for value in values]


@given(st.floats(allow_nan=False))
def test_a_printed_value_reads_back_as_the_same_number(value: float) -> None:
    assert float(value_text(value)) == value


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(0, "0"), (1_000, "1"), (1_500, "1.500"), (1_001, "1.001"), (-1, "-0.001"), (-1_500, "-1.500")],
)
def test_a_time_has_three_decimals_or_none(time_ms: int, text: str) -> None:
    assert time_text(time_ms) == text


@given(st.lists(st.integers(-(10**13), 10**13)), st.integers(-1, 999))
def test_many_times_are_printed_as_one(times: list[int], fraction: int) -> None:
    if fraction >= 0:
        times = [time // 1000 * 1000 + fraction for time in times]
    assert time_texts(np.array(times, np.int64)) == [time_text(time).encode() for time in times]
