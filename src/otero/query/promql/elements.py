"""Binary operators on elements that met: float with float, float with native histogram, histogram with histogram.

Pairs for which an operator means nothing give no result, and an info says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, ResetHint, box, boxed_rows
from otero.query.notes import Notes
from otero.query.promql import doubts
from otero.query.promql.ast import COMPARISONS, Binary, BinaryOp
from otero.query.promql.native.arithmetic import Sums, add, divide, scale, subtract
from otero.query.promql.native.compare import equal
from otero.query.promql.native.layout import compact, with_hint
from otero.query.promql.native.trim import trim

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

ARITHMETIC: dict[BinaryOp, Callable[[Values, Values], Values]] = {
    BinaryOp.ADD: np.add,
    BinaryOp.SUB: np.subtract,
    BinaryOp.MUL: np.multiply,
    BinaryOp.DIV: np.divide,
    BinaryOp.MOD: np.fmod,
    BinaryOp.POW: np.power,
    BinaryOp.ATAN2: np.arctan2,
}

COMPARE: dict[BinaryOp, Callable[[Values, Values], NDArray[np.bool_]]] = {
    BinaryOp.EQ: np.equal,
    BinaryOp.NE: np.not_equal,
    BinaryOp.GT: np.greater,
    BinaryOp.LT: np.less,
    BinaryOp.GE: np.greater_equal,
    BinaryOp.LE: np.less_equal,
}

TRIM = frozenset({BinaryOp.TRIM_UPPER, BinaryOp.TRIM_LOWER})
"""Operators that cut a histogram at a number."""


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """One side of the elements that met: values [steps, n] and what boxed ones point into."""

    values: Values
    histograms: Histograms | None = None

    def rows(self) -> NDArray[np.int64]:
        """int64 [steps, n]: the row of each histogram, -1 for floats."""
        if self.histograms is None:
            return np.full(self.values.shape, -1, np.int64)
        return boxed_rows(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """What an operator gives, and where it gives anything."""

    values: Values
    present: Mask
    histograms: Histograms | None


def combined(node: Binary, left: Operand, right: Operand, present: Mask | None, notes: Notes) -> Combined:
    """The operator of `node` applied to every pair of elements that is present, where one may be a histogram."""
    shape = left.values.shape
    present = np.ones(shape, np.bool_) if present is None else present
    a, b = left.rows(), right.rows()
    floats = present & (a < 0) & (b < 0)
    out = _Result(node, left, right, np.zeros(shape), np.zeros(shape, np.bool_))
    if node.op in TRIM:
        out.tell(notes, floats, "float", "float")
    elif node.op in COMPARISONS:
        holds = COMPARE[node.op](left.values, right.values)
        if node.return_bool:
            out.floats(floats, holds.astype(np.float64))
        else:
            out.floats(floats & holds, left.values)
    else:
        out.floats(floats, ARITHMETIC[node.op](left.values, right.values))
    _float_with_histogram(out, present & (a < 0) & (b >= 0), b, notes)
    _histogram_with_float(out, present & (a >= 0) & (b < 0), a, notes)
    _histograms(out, present & (a >= 0) & (b >= 0), a, b, notes)
    return out.all()


class _Result:
    """Gathers the results of the kinds of pairs."""

    def __init__(self, node: Binary, left: Operand, right: Operand, values: Values, present: Mask) -> None:
        self.node = node
        self.left, self.right = left, right
        self._values, self._present = values, present
        self._found: list[Histograms] = []
        self._rows = 0

    def floats(self, where: Mask, values: Values) -> None:
        np.copyto(self._values, values, where=where)
        self._present |= where

    def histograms(self, where: Mask, h: Histograms) -> None:
        """Histograms in the order of np.nonzero(where)."""
        self._values[where] = box(np.arange(len(h)) + self._rows)
        self._present |= where
        self._found.append(h)
        self._rows += len(h)

    def tell(self, notes: Notes, where: Mask, left: str, right: str) -> None:
        """The operator means nothing for such pairs."""
        if not where.any():
            return
        notes.inform(
            f'incompatible sample types encountered for binary operator "{self.node.op}": {left} {self.node.op} {right}',
            self.node.start,
            self.node.end,
        )

    def all(self) -> Combined:
        return Combined(self._values, self._present, Histograms.concat(self._found) if self._found else None)


def _float_with_histogram(out: _Result, where: Mask, rows: NDArray[np.int64], notes: Notes) -> None:
    h = out.right.histograms
    if h is None or not where.any():
        return
    if out.node.op is not BinaryOp.MUL:
        out.tell(notes, where, "float", "histogram")
        return
    out.histograms(where, compact(scale(h.take(rows[where]), out.left.values[where])))


def _histogram_with_float(out: _Result, where: Mask, rows: NDArray[np.int64], notes: Notes) -> None:
    h = out.left.histograms
    if h is None or not where.any():
        return
    numbers = out.right.values[where]
    match out.node.op:
        case BinaryOp.MUL:
            found = compact(scale(h.take(rows[where]), numbers))
        case BinaryOp.DIV:
            found = compact(divide(h.take(rows[where]), numbers))
        case BinaryOp.TRIM_UPPER | BinaryOp.TRIM_LOWER:
            found = trim(h.take(rows[where]), numbers, upper=out.node.op is BinaryOp.TRIM_UPPER)
        case _:
            out.tell(notes, where, "histogram", "float")
            return
    out.histograms(where, found)


def _histograms(out: _Result, where: Mask, a: NDArray[np.int64], b: NDArray[np.int64], notes: Notes) -> None:
    left, right = out.left.histograms, out.right.histograms
    if left is None or right is None or not where.any():
        return
    h, other = left.take(a[where]), right.take(b[where])
    match out.node.op:
        case BinaryOp.ADD:
            _added(out, where, add(h, other), "addition", notes)
        case BinaryOp.SUB:
            _added(out, where, subtract(h, other), "subtraction", notes)
        case BinaryOp.EQ | BinaryOp.NE:
            holds = np.zeros(where.shape, np.bool_)
            holds[where] = equal(h, other) == (out.node.op is BinaryOp.EQ)
            if out.node.return_bool:
                out.floats(where, holds.astype(np.float64))
            else:
                out.histograms(where & holds, left.take(a[where & holds]))
        case _:
            out.tell(notes, where, "histogram", "histogram")


def _added(out: _Result, where: Mask, sums: Sums, operation: str, notes: Notes) -> None:
    place = (out.node.start, out.node.end)
    if sums.mixed.any():
        doubts.warn_of_mixed_buckets(notes, place, out.node.op)
    if sums.conflicting.any():
        doubts.conflicting(notes, place, operation)
    if sums.reconciled.any():
        doubts.reconciled(notes, place, operation)
    good = np.zeros(where.shape, np.bool_)
    good[where] = ~sums.mixed
    h = sums.histograms
    if sums.mixed.any():
        h = h.take(np.flatnonzero(~sums.mixed))
    if operation == "subtraction":
        h = with_hint(h, ResetHint.GAUGE)
    out.histograms(good, h)
