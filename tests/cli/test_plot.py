"""Pictures in the terminal show the shape of the data."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from otero.cli.plot import plot, sparkline


def test_a_rising_line_rises() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"


def test_a_gap_is_a_blank_and_a_constant_lies_in_the_middle() -> None:
    assert sparkline([5, math.nan, 5]) == "▄ ▄"


def test_a_plot_names_its_extremes_and_draws_corner_to_corner() -> None:
    lines = plot([[0.0, 1.0]], width=2, height=2)
    assert lines[0].startswith("1 ┤")
    assert lines[-1].startswith("0 ┤")
    assert lines[0][-1] != chr(0x2800) or lines[0][-2] != chr(0x2800)
    assert lines[-1][3] != chr(0x2800)


def test_nothing_finite_draws_nothing() -> None:
    assert plot([[math.nan, math.inf]]) == []
    assert sparkline([]) == ""


@example([-1.7e308, 1.7e308], 4, 2)
@example([2190910687299889.0, 2190910687299889.0], 4, 1)
@given(st.lists(st.floats(), max_size=300), st.integers(2, 80), st.integers(1, 20))
def test_any_values_fit_the_frame(values: list[float], width: int, height: int) -> None:
    assert len(sparkline(values, width)) <= width
    lines = plot([values], width, height)
    assert len(lines) in (0, height)
    assert all(len(line.split("┤", 1)[1]) == width for line in lines)
