"""Matrices whose cells may be native histograms: floats apart, rows of several histograms in one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, box, boxed_rows, is_boxed
from otero.query.promql.naming import without_absent
from otero.query.series import StepMatrix

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


def united(
    columns: Sequence[Values], owners: Sequence[Histograms | None]
) -> tuple[list[Values], Histograms | None]:
    """Cells that point into several `Histograms`, made to point into one."""
    distinct = {id(owner): owner for owner in owners if owner is not None}
    if len(distinct) < 2:
        return list(columns), next(iter(distinct.values()), None)
    offsets: dict[int, int] = {}
    at = 0
    for key, owner in distinct.items():
        offsets[key] = at
        at += len(owner)
    out = [
        values if owner is None or offsets[id(owner)] == 0 else moved(values, offsets[id(owner)])
        for values, owner in zip(columns, owners, strict=True)
    ]
    return out, Histograms.concat(list(distinct.values()))


def moved(values: Values, offset: int) -> Values:
    """The same cells, pointing `offset` rows further."""
    rows = boxed_rows(values)
    return np.where(rows >= 0, box(np.maximum(rows, 0) + offset), values)


def histogram_cells(matrix: StepMatrix) -> Mask:
    """bool [steps, S]: where there is a histogram."""
    if matrix.histograms is None:
        return np.zeros(matrix.values.shape, np.bool_)
    found = is_boxed(matrix.values)
    return found if matrix.present is None else found & matrix.present


def floats_only(matrix: StepMatrix) -> StepMatrix:
    """The matrix without its histograms."""
    if matrix.histograms is None:
        return matrix
    found = is_boxed(matrix.values)
    if not found.any():
        return replace(matrix, histograms=None)
    present = ~found if matrix.present is None else matrix.present & ~found
    return without_absent(replace(matrix, present=present, histograms=None))


def rows_at(matrix: StepMatrix, cells: Mask) -> NDArray[np.int64]:
    """The rows of the histograms at some cells, in the order of np.nonzero."""
    return boxed_rows(matrix.values[cells])


def mapped(matrix: StepMatrix, cells: Mask, histograms: Histograms) -> StepMatrix:
    """The matrix with other histograms at `cells`, in the order of np.nonzero."""
    values = matrix.values.copy()
    values[cells] = box(np.arange(len(histograms)))
    return replace(matrix, values=values, histograms=histograms)
