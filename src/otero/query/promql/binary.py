"""Binary operators: scalars, a vector with a scalar, two vectors with matching, set operators."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import ExecutionError
from otero.model.labels import METRIC_NAME, LabelTable
from otero.query.matching import layers, pairs, present_signatures, signatures
from otero.query.notes import Notes
from otero.query.promql.ast import COMPARISONS, Binary, BinaryOp, Cardinality, VectorMatching
from otero.query.promql.boxes import histogram_cells, mapped, rows_at, united
from otero.query.promql.elements import ARITHMETIC, COMPARE, TRIM, Operand, combined
from otero.query.promql.naming import RESERVED, drop_names, may_be_equal, merge_equal, without_absent
from otero.query.promql.native.arithmetic import scale
from otero.query.series import StepMatrix

Values = NDArray[np.float64]


def scalars(op: BinaryOp, left: Values, right: Values) -> Values:
    """Two scalars; a comparison gives 0 or 1."""
    if op in COMPARISONS:
        return COMPARE[op](left, right).astype(np.float64)
    return ARITHMETIC[op](left, right)


def with_scalar(
    node: Binary, matrix: StepMatrix, scalar: Values, *, swapped: bool, notes: Notes, delayed: bool
) -> StepMatrix:
    """A vector and a scalar (on the left when `swapped`); a comparison keeps the vector's values."""
    op, return_bool = node.op, node.return_bool
    column = scalar[:, None]
    if matrix.histograms is not None or op in TRIM:
        numbers = np.broadcast_to(column, matrix.values.shape)
        vector, number = Operand(matrix.values, matrix.histograms), Operand(numbers)
        left, right = (number, vector) if swapped else (vector, number)
        found = combined(node, left, right, matrix.present, notes)
        out = replace(matrix, values=found.values, present=found.present, histograms=found.histograms)
        if op in TRIM or (op in COMPARISONS and not return_bool):
            return without_absent(out)
        return renamed(without_absent(out), delayed)
    left, right = (column, matrix.values) if swapped else (matrix.values, column)
    if op in COMPARISONS and not return_bool:
        holds = COMPARE[op](left, right)
        present = holds if matrix.present is None else matrix.present & holds
        return without_absent(replace(matrix, present=present))
    if op in COMPARISONS:
        values = COMPARE[op](left, right).astype(np.float64)
    else:
        values = ARITHMETIC[op](left, right)
    return renamed(replace(matrix, values=values), delayed)


def renamed(matrix: StepMatrix, delayed: bool) -> StepMatrix:
    """The matrix as something that is no longer the metric."""
    ambiguous = not delayed and may_be_equal(matrix.labels)
    dropped = drop_names(matrix, delayed)
    return merge_equal(dropped) if ambiguous else dropped


def sets(op: BinaryOp, left: StepMatrix, right: StepMatrix, matching: VectorMatching) -> StepMatrix:
    """`and`, `or`, `unless`: decided at each step by which signatures have a value there."""
    found = signatures(left.labels, right.labels, matching.on, matching.labels)
    if op is BinaryOp.OR:
        there = present_signatures(left.present_mask(), found.left, found.count)
        kept = _masked(right, ~there[:, found.right])
        return merge_equal(concat([left, kept])) if kept.series_count else left
    there = present_signatures(right.present_mask(), found.right, found.count)
    wanted = there[:, found.left]
    return _masked(left, wanted if op is BinaryOp.AND else ~wanted)


def _masked(matrix: StepMatrix, mask: NDArray[np.bool_]) -> StepMatrix:
    present = mask if matrix.present is None else matrix.present & mask
    return without_absent(replace(matrix, present=present))


def concat(parts: list[StepMatrix]) -> StepMatrix:
    """The series of several matrices on the same grid, one after the other."""
    if len(parts) == 1:
        return parts[0]
    present = drop = None
    if any(part.present is not None for part in parts):
        present = np.concatenate([part.present_mask() for part in parts], axis=1)
    if any(part.drop_name is not None for part in parts):
        drop = np.concatenate(
            [
                np.zeros(part.series_count, np.bool_) if part.drop_name is None else part.drop_name
                for part in parts
            ]
        )
    columns, histograms = united([part.values for part in parts], [part.histograms for part in parts])
    return StepMatrix(
        LabelTable.concat([part.labels for part in parts]),
        np.concatenate(columns, axis=1),
        present,
        drop,
        histograms,
    )


def negated(matrix: StepMatrix) -> StepMatrix:
    """A vector with a minus sign before it."""
    cells = histogram_cells(matrix)
    out = replace(matrix, values=-matrix.values, histograms=None)
    if matrix.histograms is None or not cells.any():
        return out
    rows = rows_at(matrix, cells)
    return mapped(out, cells, scale(matrix.histograms.take(rows), np.full(len(rows), -1.0)))


def vectors(
    node: Binary,
    left: StepMatrix,
    right: StepMatrix,
    matching: VectorMatching,
    *,
    notes: Notes,
    delayed: bool,
) -> StepMatrix:
    """Two vectors, element by matching element. Raises ExecutionError when the matching is ambiguous at any step."""
    op, return_bool = node.op, node.return_bool
    swapped = matching.card is Cardinality.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    found = signatures(many.labels, one.labels, matching.on, matching.labels)
    _refuse_duplicates(many, one, found.right, matching, swapped)

    left_rows, right_rows = pairs(found)
    parts = [
        _Part(
            _result_labels(
                op, many.labels.take(left_rows), one.labels.take(right_rows), matching, return_bool, delayed
            ),
            many.values.take(left_rows, axis=1),
            one.values.take(right_rows, axis=1),
            _both(many.present, left_rows, one.present, right_rows),
            found.left[left_rows],
        )
    ]
    if matching.fill_right is not None:
        there = present_signatures(one.present_mask(), found.right, found.count)
        missing = many.present_mask() & ~there[:, found.left]
        rows = np.flatnonzero(missing.any(axis=0))
        labels = many.labels.take(rows)
        stand_in = _match_labels(labels, matching)
        parts.append(
            _Part(
                _result_labels(op, labels, stand_in, matching, return_bool, delayed),
                many.values.take(rows, axis=1),
                np.full((many.step_count, len(rows)), matching.fill_right),
                missing[:, rows],
                found.left[rows],
            )
        )
    if matching.fill_left is not None:
        there = present_signatures(many.present_mask(), found.left, found.count)
        missing = one.present_mask() & ~there[:, found.right]
        rows = np.flatnonzero(missing.any(axis=0))
        labels = one.labels.take(rows)
        stand_in = _match_labels(labels, matching)
        parts.append(
            _Part(
                _result_labels(op, stand_in, labels, matching, return_bool, delayed),
                np.full((one.step_count, len(rows)), matching.fill_left),
                one.values.take(rows, axis=1),
                missing[:, rows],
                found.right[rows],
            )
        )
    part = _joined(parts)
    _refuse_ambiguous(part, matching)
    a, b = (part.one, part.many) if swapped else (part.many, part.one)
    if left.histograms is not None or right.histograms is not None or op in TRIM:
        found = combined(node, Operand(a, left.histograms), Operand(b, right.histograms), part.present, notes)
        out = StepMatrix(part.labels, found.values, found.present, histograms=found.histograms)
    elif op in COMPARISONS:
        holds = COMPARE[op](a, b)
        if return_bool:
            out = StepMatrix(part.labels, holds.astype(np.float64), part.present)
        else:
            present = holds if part.present is None else part.present & holds
            out = StepMatrix(part.labels, a, present)
    else:
        out = StepMatrix(part.labels, ARITHMETIC[op](a, b), part.present)
    if return_bool and delayed:
        out = replace(out, drop_name=np.ones(out.series_count, np.bool_))
    return merge_equal(without_absent(out))


class _Part:
    """Pairs of series that meet: label sets of the result, both sides' values, where both exist, and the signature."""

    __slots__ = ("labels", "many", "one", "present", "signature")

    def __init__(
        self,
        labels: LabelTable,
        many: Values,
        one: Values,
        present: NDArray[np.bool_] | None,
        signature: NDArray[np.intp],
    ) -> None:
        self.labels = labels
        self.many = many
        self.one = one
        self.present = present
        self.signature = signature

    def mask(self) -> NDArray[np.bool_]:
        return np.ones(self.many.shape, np.bool_) if self.present is None else self.present


def _joined(parts: list[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(
        LabelTable.concat([part.labels for part in parts]),
        np.concatenate([part.many for part in parts], axis=1),
        np.concatenate([part.one for part in parts], axis=1),
        np.concatenate([part.mask() for part in parts], axis=1),
        np.concatenate([part.signature for part in parts]),
    )


def _both(
    left: NDArray[np.bool_] | None,
    left_rows: NDArray[np.intp],
    right: NDArray[np.bool_] | None,
    right_rows: NDArray[np.intp],
) -> NDArray[np.bool_] | None:
    if left is None and right is None:
        return None
    if left is None or right is None:
        mask, rows = (right, right_rows) if left is None else (left, left_rows)
        return None if mask is None else mask.take(rows, axis=1)
    return left.take(left_rows, axis=1) & right.take(right_rows, axis=1)


def _match_labels(labels: LabelTable, matching: VectorMatching) -> LabelTable:
    """What a filled element knows of itself: the labels of its match group."""
    return labels.keep(matching.labels) if matching.on else labels.drop((METRIC_NAME, *matching.labels))


def _result_labels(
    op: BinaryOp,
    many: LabelTable,
    one: LabelTable,
    matching: VectorMatching,
    return_bool: bool,
    delayed: bool,
) -> LabelTable:
    """Labels of the result: those of the "many" side, of a one-to-one match only the matching ones, plus the included."""
    out = many
    if op not in COMPARISONS or (return_bool and not delayed):
        out = out.drop(RESERVED)
    if matching.card is Cardinality.ONE_TO_ONE:
        out = out.keep(matching.labels) if matching.on else out.drop(matching.labels)
    for name in matching.include:
        column = one.columns.get(name)
        out = out.drop((name,)) if column is None else out.with_column(name, column)
    if return_bool and not delayed:
        out = out.drop(RESERVED)
    return out


def _refuse_duplicates(
    many: StepMatrix, one: StepMatrix, signature: NDArray[np.intp], matching: VectorMatching, swapped: bool
) -> None:
    """The "one" side may have one series per signature at a step (where the operation has anything to do)."""
    if len(signature) < 2 or np.bincount(signature).max() < 2:
        return
    count = int(signature.max()) + 1
    active = np.ones(many.step_count, np.bool_)
    if matching.fill_left is None and matching.fill_right is None:
        active &= many.present_mask().any(axis=1)
    mask = one.present_mask()
    holder = np.full((one.step_count, count), -1, np.intp)
    for layer in layers(signature, count):
        into = signature[layer]
        here = mask[:, layer] & active[:, None]
        clash = here & (holder[:, into] >= 0)
        if clash.any():
            step, at = (int(index[0]) for index in np.nonzero(clash))
            first, second = int(holder[step, into[at]]), int(layer[at])
            side = "left" if swapped else "right"
            both = ", ".join(sorted(label_text(one.labels.row(row)) for row in (first, second)))
            group = label_text(_match_labels(one.labels, matching).row(first))
            raise ExecutionError(
                f"found duplicate series for the match group {group} on the {side} hand-side of the operation:"
                f" [{both}];many-to-many matching not allowed: matching labels must be unique on one side"
            )
        holder[:, into] = np.where(here, layer, holder[:, into])


def _refuse_ambiguous(part: _Part, matching: VectorMatching) -> None:
    """Elements of the "many" side that meet the same element must end with different label sets."""
    signature = part.signature
    if len(signature) < 2:
        return
    if matching.card is Cardinality.ONE_TO_ONE:
        key, error = signature, "many-to-one matching must be explicit (group_left/group_right)"
    else:
        combined = part.labels.group()[0] * (int(signature.max()) + 1) + signature
        key, error = np.unique(combined, return_inverse=True)[1], "grouping labels must ensure unique matches"
    sizes = np.bincount(key)
    if sizes.max() < 2:
        return
    columns = np.flatnonzero(sizes[key] > 1)
    mask = part.mask()[:, columns]
    seen = np.zeros((mask.shape[0], len(sizes)), np.bool_)
    for layer in layers(key[columns], len(sizes)):
        into = key[columns][layer]
        if (seen[:, into] & mask[:, layer]).any():
            raise ExecutionError(f"multiple matches for labels: {error}")
        seen[:, into] |= mask[:, layer]


def label_text(labels: dict[str, str]) -> str:
    """A label set as Prometheus prints it in errors: `{a="1", b="2"}`."""
    escaped = (
        f'{name}="{value}"'
        for name, value in (
            (name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
            for name, value in labels.items()
        )
    )
    return "{" + ", ".join(escaped) + "}"
