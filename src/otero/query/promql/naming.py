"""Label sets of results: losing the metric name, refusing or merging equal label sets, order."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import ExecutionError
from otero.model.labels import METRIC_NAME, LabelColumn, LabelTable
from otero.query.matching import layers
from otero.query.series import StepMatrix

RESERVED = (METRIC_NAME, "__type__", "__unit__")
"""What a result loses when it is no longer the metric: name, type and unit."""

SAME_LABELSET = "vector cannot contain metrics with the same labelset"


def drop_names(matrix: StepMatrix, delayed: bool) -> StepMatrix:
    """The matrix without metric names; with `delayed` they go at the end of the query (`finish_names`).

    The labels of the result may be equal: follow with `merge_equal` or `refuse_equal`.
    """
    if delayed:
        return replace(matrix, drop_name=np.ones(matrix.series_count, np.bool_))
    return replace(matrix, labels=matrix.labels.drop(RESERVED))


def may_be_equal(before: LabelTable) -> bool:
    """Whether label sets that were all different may be equal once the reserved labels are gone."""
    for name in RESERVED:
        column = before.columns.get(name)
        if column is not None and before.size > 1 and (column.codes != column.codes[0]).any():
            return True
    return False


def finish_names(matrix: StepMatrix) -> StepMatrix:
    """Take away the names that were due to go, and merge what became equal."""
    due = matrix.drop_name
    if due is None or not due.any():
        return replace(matrix, drop_name=None)
    columns = dict(matrix.labels.columns)
    for name in RESERVED:
        if name in columns:
            column = columns[name]
            columns[name] = LabelColumn(column.values, np.where(due, 0, column.codes).astype(np.int32))
    return merge_equal(replace(matrix, labels=LabelTable(matrix.labels.size, columns), drop_name=None))


def refuse_equal(labels: LabelTable) -> None:
    """Raises ExecutionError when two label sets are equal."""
    if labels.size > 1 and len(labels.group()[1]) < labels.size:
        raise ExecutionError(SAME_LABELSET)


def merge_equal(matrix: StepMatrix) -> StepMatrix:
    """One series for each label set; raises ExecutionError when two series with equal labels have a value at one step."""
    if matrix.series_count < 2:
        return matrix
    groups, representatives = matrix.labels.group()
    count = len(representatives)
    if count == matrix.series_count:
        return matrix
    mask = matrix.present_mask()
    values = np.zeros((matrix.step_count, count))
    present = np.zeros(values.shape, np.bool_)
    drop = None if matrix.drop_name is None else np.zeros(count, np.bool_)
    for layer in layers(groups, count):
        into = groups[layer]
        here = mask[:, layer]
        if (present[:, into] & here).any():
            raise ExecutionError(SAME_LABELSET)
        values[:, into] = np.where(here, matrix.values[:, layer], values[:, into])
        present[:, into] |= here
        if drop is not None and matrix.drop_name is not None:
            drop[into] |= matrix.drop_name[layer]
    return StepMatrix(
        matrix.labels.take(representatives),
        values,
        None if present.all() else present,
        drop,
        matrix.histograms,
    )


def without_absent(matrix: StepMatrix) -> StepMatrix:
    """The matrix without series that have no value at any step; `present` None when nothing is missing."""
    present = matrix.present
    if present is None:
        return matrix
    if present.shape[0] == 1:
        somewhere = present[0]
    else:
        if present.all():
            return replace(matrix, present=None)
        somewhere = present.any(axis=0)
    if somewhere.all():
        return replace(matrix, present=None) if present.shape[0] == 1 else matrix
    kept = matrix.take(np.flatnonzero(somewhere))
    if kept.present is not None and kept.present.all():
        return replace(kept, present=None)
    return kept


def label_order(labels: LabelTable) -> NDArray[np.intp]:
    """The rows in Prometheus' order of label sets: pairs compared in turn, name before value, a shorter set first."""
    if labels.size < 2:
        return np.arange(labels.size, dtype=np.intp)
    keys: list[NDArray[np.int64]] = []
    more = np.zeros(labels.size, np.bool_)  # rows that have a label after the column at hand
    for name in sorted(labels.columns, reverse=True):
        column = labels.columns[name]
        ranks = np.empty(len(column.values), np.int64)
        ranks[sorted(range(len(column.values)), key=column.values.__getitem__)] = np.arange(
            len(column.values)
        )
        absent = column.codes == 0
        key = ranks[column.codes]
        key[absent & more] = len(column.values)  # its next name is a later one
        keys.append(key)
        more = more | ~absent
    return np.lexsort(keys).astype(np.intp) if keys else np.arange(labels.size, dtype=np.intp)
