"""sort and its kin: the order of the series of an instant query. Results of range queries are always ordered by labels."""

import re
from collections.abc import Sequence
from functools import cmp_to_key
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otero.query.promql.functions.args import InstantArg, matrix, text
from otero.query.promql.functions.context import Context
from otero.query.promql.naming import label_order
from otero.query.series import StepMatrix

INEFFECTIVE = "sort is ineffective for range queries since results are always ordered by labels"

_CHUNKS = re.compile(r"[0-9]+|[^0-9]+")


def sort(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """By value, ascending, NaN last."""
    return _by_value(matrix(args), context, descending=False)


def sort_desc(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """By value, descending, NaN last."""
    return _by_value(matrix(args), context, descending=True)


def sort_by_label(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """By the values of labels in natural order, then by all labels."""
    return _by_label(args, context, descending=False)


def sort_by_label_desc(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _by_label(args, context, descending=True)


def _by_value(given: StepMatrix, context: Context, *, descending: bool) -> StepMatrix:
    if _is_range(context):
        return given
    values = given.values[0]
    return given.take(np.argsort(-values if descending else values, kind="stable").astype(np.intp))


def _by_label(args: Sequence[InstantArg], context: Context, *, descending: bool) -> StepMatrix:
    given = matrix(args)
    if _is_range(context):
        return given
    place = np.empty(given.series_count, np.intp)
    place[label_order(given.labels)] = np.arange(given.series_count)
    keys: list[NDArray[np.intp]] = [place]
    for index in range(len(args) - 1, 0, -1):
        column = given.labels.column(text(args, index))
        rank = np.empty(len(column.values), np.intp)
        rank[sorted(range(len(column.values)), key=lambda code: _natural(column.values[code]))] = np.arange(
            len(column.values)
        )
        keys.append(rank[column.codes])
    order = np.lexsort(keys)
    return given.take((order[::-1] if descending else order).astype(np.intp))


def _is_range(context: Context) -> bool:
    if context.steps.count == 1:
        return False
    context.notes.warn(INEFFECTIVE, context.call.start, context.call.end)
    return True


def _compare(left: list[str], right: list[str]) -> int:
    for a, b in zip(left, right, strict=False):
        if a == b:
            continue
        if a.isdigit() and b.isdigit():
            if int(a) != int(b):
                return -1 if int(a) < int(b) else 1
        else:
            return -1 if a < b else 1
    return len(left) - len(right)


_ordered = cmp_to_key(_compare)


def _natural(value: str) -> Any:
    """The key of a text in natural order: runs of digits compare as numbers, everything else as text."""
    return _ordered(_CHUNKS.findall(value))
