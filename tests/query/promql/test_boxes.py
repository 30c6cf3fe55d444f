"""Matrices whose cells may be native histograms."""

import numpy as np

from otero.model.histograms import box, boxed_rows
from otero.model.labels import LabelTable
from otero.query.promql.boxes import floats_only, histogram_cells, united
from otero.query.series import StepMatrix
from tests.query.promql.native.one import many, one


def matrix() -> StepMatrix:
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    values[:, 1] = box(np.array([1, 0]))
    labels = LabelTable.of([{"a": "1"}, {"a": "2"}])
    return StepMatrix(labels, values, histograms=many(one(1, 1), one(2, 2)))


def test_floats_lose_what_is_no_float() -> None:
    out = floats_only(matrix())
    assert out.labels.rows() == [{"a": "1"}]
    assert out.values[:, 0].tolist() == [1, 3]
    assert out.histograms is None


def test_a_cell_that_is_not_there_is_no_histogram() -> None:
    given = matrix()
    present = np.array([[True, False], [True, True]])
    cells = histogram_cells(StepMatrix(given.labels, given.values, present, histograms=given.histograms))
    assert cells.tolist() == [[False, False], [False, True]]


def test_cells_of_several_are_moved_into_one() -> None:
    a, b = many(one(1), one(2)), many(one(3))
    cells = [box(np.array([1, 0])), box(np.array([0])), np.array([7.0]), box(np.array([0]))]
    columns, h = united(cells, [a, b, None, a])
    assert h is not None
    assert h.count.tolist() == [1, 2, 3]
    assert [boxed_rows(column).tolist() for column in columns] == [[1, 0], [2], [-1], [0]]
    assert columns[2].tolist() == [7.0]


def test_one_owner_stays_as_it_is() -> None:
    a = many(one(1))
    columns, h = united([box(np.array([0])), np.array([1.0])], [a, None])
    assert h is a
    assert boxed_rows(columns[0]).tolist() == [0]
