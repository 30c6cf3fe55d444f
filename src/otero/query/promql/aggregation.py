"""One aggregation node: groups, parameter, labels of the result."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import ExecutionError
from otero.model.histograms import CUSTOM, Histograms, box, boxed_rows
from otero.model.labels import METRIC_NAME, LabelColumn, LabelTable
from otero.query.notes import Notes
from otero.query.promql import aggregate, ast, choose, doubts
from otero.query.promql.ast import AggregateOp
from otero.query.promql.boxes import floats_only, histogram_cells
from otero.query.promql.naming import without_absent
from otero.query.promql.native.arithmetic import sum_rows
from otero.query.promql.native.text import describe
from otero.query.promql.numbers import go_number, positional
from otero.query.series import StepMatrix

_MAX_INT64 = 2.0**63


def group_labels(labels: LabelTable, grouping: tuple[str, ...], without: bool) -> LabelTable:
    """The columns that decide about the group and stay on the result."""
    return labels.drop((METRIC_NAME, *grouping)) if without else labels.keep(grouping)


def evaluate(
    node: ast.Aggregate, matrix: StepMatrix, param: NDArray[np.float64] | str | None, notes: Notes
) -> StepMatrix:
    """The aggregation of a matrix; `param` is the number of each step, or the label of count_values.

    Raises ExecutionError for a parameter that means nothing.
    """
    if isinstance(param, str) and not _is_label(param):
        raise ExecutionError(f"invalid label name {doubts.quoted(param)}")
    if matrix.histograms is not None:
        return _with_histograms(node, matrix, matrix.histograms, param, notes)
    if isinstance(param, str):
        return _count_values(node, matrix, param)
    if param is not None and not _usable(node, param, notes):
        return matrix.take(np.empty(0, np.intp))
    table = group_labels(matrix.labels, node.grouping, node.without)
    groups, representatives = table.group()
    count = len(representatives)
    if param is not None and node.op is not AggregateOp.QUANTILE:
        return _chosen(node.op, matrix, param, groups, count)
    if count == 0:
        return StepMatrix(table, matrix.values)
    if param is None:
        values = aggregate.REDUCTIONS[node.op](matrix.values, matrix.present, groups, count)
    else:
        values = aggregate.quantile(param, matrix.values, matrix.present, groups, count)
    present = None
    if matrix.present is not None:
        present = aggregate.counts(matrix.step_count, matrix.present, groups, count) > 0
    drop = None
    if matrix.drop_name is not None:
        drop = np.bincount(groups, matrix.drop_name, count) > 0
    return without_absent(StepMatrix(table.take(representatives), values, present, drop))


def _is_label(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _with_histograms(
    node: ast.Aggregate,
    matrix: StepMatrix,
    h: Histograms,
    param: NDArray[np.float64] | str | None,
    notes: Notes,
) -> StepMatrix:
    """The same where some elements are native histograms."""
    bare = replace(matrix, histograms=None)
    cells = histogram_cells(matrix)
    if not cells.any():
        return evaluate(node, bare, param, notes)
    match node.op:
        case AggregateOp.COUNT | AggregateOp.GROUP:
            return evaluate(node, bare, param, notes)
        case AggregateOp.LIMITK | AggregateOp.LIMIT_RATIO:
            return replace(evaluate(node, bare, param, notes), histograms=h)
        case AggregateOp.COUNT_VALUES:
            return _count_values(node, matrix, param if isinstance(param, str) else "")
        case AggregateOp.SUM | AggregateOp.AVG:
            return _sum_with_histograms(node, matrix, h, cells, notes)
        case _:
            notes.inform(f"ignored histogram in {node.op} aggregation", node.expr.start, node.expr.end)
            return evaluate(node, floats_only(matrix), param, notes)


def _sum_with_histograms(
    node: ast.Aggregate, matrix: StepMatrix, h: Histograms, cells: NDArray[np.bool_], notes: Notes
) -> StepMatrix:
    """Sums and means of groups that are all floats or all histograms at a step; the others have none there."""
    place = (node.expr.start, node.expr.end)
    table = group_labels(matrix.labels, node.grouping, node.without)
    groups, representatives = table.group()
    count, steps = len(representatives), matrix.step_count
    floats = matrix.present_mask() & ~cells
    number = aggregate.counts(steps, floats, groups, count)
    step, series = np.nonzero(cells)
    cell = step * count + groups[series]
    histograms = np.bincount(cell, minlength=steps * count).reshape(steps, count)
    if ((number > 0) & (histograms > 0)).any():
        notes.warn(doubts.MIXED_AGGREGATION, *place)
    values = aggregate.REDUCTIONS[node.op](matrix.values, floats, groups, count)
    present = (number > 0) & (histograms == 0)

    pure = ((histograms > 0) & (number == 0)).ravel()
    numbering = np.cumsum(pure) - 1
    chosen = pure[cell]
    rows, cell, series = boxed_rows(matrix.values[step, series])[chosen], cell[chosen], series[chosen]
    where = np.flatnonzero(pure)
    sums = sum_rows(h, rows, numbering[cell], len(where), mean=node.op is AggregateOp.AVG)
    if sums.mixed.any():
        custom = (h.schema[rows] == CUSTOM) & sums.mixed[numbering[cell]]
        doubts.warn_of(notes, place, doubts.MIXED_BUCKETS, matrix.labels, np.unique(series[custom]))
    if sums.conflicting.any():
        doubts.conflicting(notes, place, "aggregation")
    if sums.reconciled.any():
        doubts.reconciled(notes, place, "aggregation")
    good = np.flatnonzero(~sums.mixed)
    values.reshape(-1)[where[good]] = box(good)
    present.reshape(-1)[where[good]] = True
    drop = None
    if matrix.drop_name is not None:
        drop = np.bincount(groups, matrix.drop_name, count) > 0
    return without_absent(StepMatrix(table.take(representatives), values, present, drop, sums.histograms))


def _usable(node: ast.Aggregate, param: NDArray[np.float64], notes: Notes) -> bool:
    """Checks a parameter as Prometheus does: False when the result is empty whatever the series are."""
    place = (-1, -1) if node.param is None else (node.param.start, node.param.end)
    nan = bool(np.isnan(param).any())
    low = float(np.fmin.reduce(param, initial=np.inf)) if len(param) else 0.0
    high = float(np.fmax.reduce(param, initial=-np.inf)) if len(param) else 0.0
    match node.op:
        case AggregateOp.QUANTILE:
            for value, bad in ((np.nan, nan), (high, high > 1), (low, low < 0)):
                if bad:
                    notes.warn(f"quantile value should be between 0 and 1, got {go_number(value)}", *place)
        case AggregateOp.LIMIT_RATIO:
            if nan:
                raise ExecutionError("Ratio value is NaN")
            if high == 0 and low == 0:
                return False
            for value, limit, bad in ((high, 1, high > 1), (low, -1, low < -1)):
                if bad:
                    notes.warn(
                        f"ratio value should be between -1 and 1, got {go_number(value)}, capping to {limit}",
                        *place,
                    )
        case _:
            if nan:
                raise ExecutionError("Parameter value is NaN")
            if high < 1:
                return False
            if low <= -_MAX_INT64:
                raise ExecutionError(f"Scalar value {go_number(low)} underflows int64")
            if high >= _MAX_INT64:
                raise ExecutionError(f"Scalar value {go_number(high)} overflows int64")
    return True


def _chosen(
    op: AggregateOp, matrix: StepMatrix, param: NDArray[np.float64], groups: NDArray[np.intp], count: int
) -> StepMatrix:
    """Some series of each group; at a single step topk and bottomk also put them in order."""
    values, present = matrix.values, matrix.present
    if op is AggregateOp.LIMIT_RATIO:
        keep = choose.ratio(param, matrix.labels, present)
        return without_absent(StepMatrix(matrix.labels, values, keep, matrix.drop_name))
    k = np.minimum(param, float(max(matrix.series_count, 1))).astype(np.int64)
    if op is AggregateOp.LIMITK:
        keep = choose.first(k, values.shape, present, groups, count)
        return without_absent(StepMatrix(matrix.labels, values, keep, matrix.drop_name))
    signed = values if op is AggregateOp.TOPK else -values
    keep = choose.top(k, signed, present, groups, count)
    kept = StepMatrix(matrix.labels, values, keep, matrix.drop_name)
    if matrix.step_count != 1:
        return without_absent(kept)
    rows = np.flatnonzero(keep[0])
    rows = rows[np.lexsort((-signed[0, rows], groups[rows]))]
    chosen = matrix.take(rows)
    return StepMatrix(chosen.labels, chosen.values, None, chosen.drop_name)


def _texts(
    matrix: StepMatrix, steps: NDArray[np.intp], columns: NDArray[np.intp]
) -> tuple[list[str], NDArray[np.intp]]:
    """The distinct values of some cells as texts, and which each cell has. NaNs are one value."""
    cells = matrix.values[steps, columns]
    which = np.full(len(cells), -1, np.int64) if matrix.histograms is None else boxed_rows(cells)
    floats = which < 0
    numbers, codes = np.unique(cells[floats], return_inverse=True)
    texts = [positional(number) for number in numbers.tolist()]
    out = np.zeros(len(cells), np.intp)
    out[floats] = codes
    if matrix.histograms is not None and not floats.all():
        rows, again = np.unique(which[~floats], return_inverse=True)
        known = {text: code for code, text in enumerate(texts)}
        described = [known.setdefault(text, len(known)) for text in describe(matrix.histograms.take(rows))]
        out[~floats] = np.array(described, np.intp)[again]
        texts = list(known)
    return texts, out


def _count_values(node: ast.Aggregate, matrix: StepMatrix, label: str) -> StepMatrix:
    """How often each value occurs in each group: one series per group and value, the value in `label`."""
    table = group_labels(matrix.labels, node.grouping, node.without)
    named = not (node.without and label in node.grouping)
    groups, representatives = table.drop((label,)).group()
    mask = matrix.present_mask()
    steps, columns = np.nonzero(mask)
    texts, codes = _texts(matrix, steps, columns)
    if not named:
        codes = np.zeros_like(codes)
    width = max(len(texts), 1)
    found, cells = np.unique(groups[columns] * width + codes, return_inverse=True)
    size = len(found)
    values = np.zeros((matrix.step_count, size))
    np.add.at(values, (steps, cells), 1.0)
    labels = table.drop((label,)).take(representatives[found // width])
    if named:
        labels = labels.with_column(label, LabelColumn.of([texts[code] for code in found % width]))
    present = values > 0
    return StepMatrix(labels, values, None if present.all() else present)
