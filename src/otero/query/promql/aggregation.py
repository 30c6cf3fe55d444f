"""One aggregation node: groups, parameter, labels of the result."""

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from otero.errors import ExecutionError
from otero.model.labels import METRIC_NAME, LabelColumn, LabelTable
from otero.query.notes import Notes
from otero.query.promql import aggregate, ast, choose
from otero.query.promql.ast import AggregateOp
from otero.query.promql.naming import without_absent
from otero.query.series import StepMatrix

_MAX_INT64 = 2.0**63


def group_labels(labels: LabelTable, grouping: tuple[str, ...], without: bool) -> LabelTable:
    """The columns that decide about the group and stay on the result."""
    return labels.drop((METRIC_NAME, *grouping)) if without else labels.keep(grouping)


def evaluate(
    node: ast.Aggregate, matrix: StepMatrix, param: NDArray[np.float64] | str | None, notes: Notes
) -> StepMatrix:
    """The aggregation of a matrix; `param` is the number of each step, or the label of count_values."""
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


def go_number(value: float) -> str:
    """A float as Go's %v and %g print it."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{Decimal(repr(float(value))):e}".lower().partition("e")
    power = int(exponent or 0)
    if -5 < power < 21:
        return positional(value)
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def positional(value: float) -> str:
    """A float in the shortest digits that give it back, without an exponent (Go's format 'f', precision -1)."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(float(value))), "f")
    return text.removesuffix(".0")


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


def _count_values(node: ast.Aggregate, matrix: StepMatrix, label: str) -> StepMatrix:
    """How often each value occurs in each group: one series per group and value, the value in `label`."""
    table = group_labels(matrix.labels, node.grouping, node.without)
    named = not (node.without and label in node.grouping)
    groups, representatives = table.drop((label,)).group()
    mask = matrix.present_mask()
    steps, columns = np.nonzero(mask)
    texts, codes = np.unique(matrix.values[steps, columns], return_inverse=True)  # NaNs are one value
    if not named:
        codes = np.zeros_like(codes)
    width = max(len(texts), 1)
    found, cells = np.unique(groups[columns] * width + codes, return_inverse=True)
    size = len(found)
    values = np.zeros((matrix.step_count, size))
    np.add.at(values, (steps, cells), 1.0)
    labels = table.drop((label,)).take(representatives[found // width])
    if named:
        labels = labels.with_column(
            label, LabelColumn.of([positional(float(texts[code])) for code in found % width])
        )
    present = values > 0
    return StepMatrix(labels, values, None if present.all() else present)
