import numpy as np

from otero.storage.cohorts import Cohorts
from otero.storage.grid import POOL_COLUMNS, ROWS, OpenGrid


def grid_of(*strips: tuple[int, int, int]) -> OpenGrid:
    """Strips of (series, rows, milliseconds from row to row)."""
    grid = OpenGrid()
    grid.reserve(sum(series for series, _, _ in strips))
    at = 0
    for series, rows, pace_ms in strips:
        strip = grid.open(np.arange(at, at + series), 0)
        at += series
        grid.times_ms[:rows, strip] = 1 + np.arange(rows) * pace_ms
        grid.rows[strip] = rows
        grid.last_ms[strip] = grid.times_ms[rows - 1, strip]
    return grid


def test_strips_of_one_pace_are_sealed_together_when_they_are_half_full() -> None:
    grid = grid_of((10, ROWS, 15_000), (10, ROWS - 1, 15_100), (10, 20, 15_000), (10, 40, 5_000))
    assert Cohorts().together(grid, 0) == [0, 1]


def test_a_cohort_stays_together_across_pools() -> None:
    grid = grid_of((3000, ROWS, 15_000), (3000, ROWS, 15_000))
    cohorts = Cohorts()
    assert len(grid.pools) == 2
    assert cohorts.together(grid, 1) == [0, 1]
    assert cohorts.together(grid, 0) == [0, 1]


def test_a_cohort_has_an_end() -> None:
    half = POOL_COLUMNS // 2 + 1
    grid = grid_of((half, ROWS, 15_000), (half, ROWS, 15_000))
    cohorts = Cohorts()
    assert cohorts.together(grid, 0) == [0]
    assert cohorts.together(grid, 1) == [1]


def test_who_changes_pace_changes_the_cohort() -> None:
    grid = grid_of((10, ROWS, 15_000), (10, ROWS, 15_000))
    cohorts = Cohorts()
    assert cohorts.together(grid, 0) == [0, 1]
    grid.times_ms[:, 0] = 1 + np.arange(ROWS) * 60_000
    grid.last_ms[0] = grid.times_ms[-1, 0]
    assert cohorts.together(grid, 0) == [0]
    assert cohorts.together(grid, 1) == [1]


def test_a_dissolved_strip_leaves_room() -> None:
    grid = grid_of((POOL_COLUMNS, ROWS, 15_000), (10, ROWS, 15_000))
    cohorts = Cohorts()
    assert cohorts.together(grid, 0) == [0]
    assert cohorts.together(grid, 1) == [1]
    cohorts.forget(0, POOL_COLUMNS)
    cohorts.forget(0, POOL_COLUMNS)
    grid.rows[0] = 0
    assert cohorts.together(grid, 1) == [1]
