"""Evaluation of a planned expression on a grid of steps.

`Evaluator.value` is one recursive walk: each node becomes a `StepMatrix`, a float64 [steps] or a str. Subqueries walk
their expression on a grid of their own. Nothing here looks at single samples; windows and kernels do that on columns.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadQuery, Bug, ExecutionError
from otero.model.budget import Budget
from otero.model.histograms import Histograms, ResetHint, is_boxed
from otero.model.labels import METRIC_NAME, LabelTable
from otero.model.samples import ABSENT, SampleBlock
from otero.query.notes import Notes
from otero.query.promql import aggregation, ast, binary, special
from otero.query.promql.boxes import floats_only
from otero.query.promql.functions import (
    INSTANT_FUNCTIONS,
    KEEPS_NAME,
    RANGE_FUNCTIONS,
    TAKES_HISTOGRAMS,
    over_histograms,
)
from otero.query.promql.functions.context import Context
from otero.query.promql.naming import (
    RESERVED,
    drop_names,
    may_be_equal,
    merge_equal,
    refuse_equal,
    without_absent,
)
from otero.query.promql.plan import Edges, Plan, subquery_grid
from otero.query.promql.selectors import Samples, ends, floats_apart
from otero.query.promql.windows import Window, window
from otero.query.series import StepMatrix, Steps, Value

EMPTY = LabelTable(0, {})

SMOOTHED_SAFE = frozenset({"delta", "increase", "rate"})
ANCHORED_SAFE = SMOOTHED_SAFE | {"changes", "resets"}
"""Functions that know what to do with values at the edges of their range."""

_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


class Evaluator:
    """Evaluates one plan, once. `samples` has read what the plan needs."""

    def __init__(
        self,
        plan: Plan,
        samples: Samples,
        edges: Edges,
        notes: Notes,
        budget: Budget,
        *,
        default_step_ms: int,
        delayed: bool,
        typed: bool,
    ) -> None:
        self.samples = samples
        self.edges = edges
        self.notes = notes
        self.delayed = delayed
        self._plan = plan
        self._budget = budget
        self._default_step_ms = default_step_ms
        self._typed = typed

    def value(self, node: ast.Expr, steps: Steps) -> Value:
        """The value of an expression at every step. Raises BadQuery, LimitExceeded, TimedOut, Cancelled."""
        if steps.count > 1 and id(node) in self._plan.constant:
            return _spread(self.value(node, Steps.at(steps.start_ms)), steps.count)
        held = self._budget.samples
        out = self._compute(node, steps)
        self._budget.release(self._budget.samples - held)
        if isinstance(out, StepMatrix):
            buckets = 0 if out.histograms is None else len(out.histograms.bucket)
            self._budget.charge(out.values.size + buckets)
        return out

    def _compute(self, node: ast.Expr, steps: Steps) -> Value:
        match node:
            case ast.NumberLiteral():
                return np.full(steps.count, node.value)
            case ast.StringLiteral():
                return node.value
            case ast.Paren():
                return self.value(node.expr, steps)
            case ast.VectorSelector():
                return self.samples.at_steps(node, steps, self.notes)
            case ast.Unary():
                return self._unary(node, steps)
            case ast.Binary():
                return self._binary(node, steps)
            case ast.Aggregate():
                return self._aggregate(node, steps)
            case ast.Call():
                return self._call(node, steps)
            case ast.MatrixSelector() | ast.Subquery():
                raise Bug("a range vector was evaluated outside of a function")

    def matrix(self, node: ast.Expr, steps: Steps) -> StepMatrix:
        """The value of an expression that is an instant vector."""
        out = self.value(node, steps)
        if not isinstance(out, StepMatrix):
            raise Bug(f"expected an instant vector, got {type(out).__name__}")
        return out

    def scalar(self, node: ast.Expr, steps: Steps) -> NDArray[np.float64]:
        """The value of an expression that is a scalar."""
        out = self.value(node, steps)
        if not isinstance(out, np.ndarray):
            raise Bug(f"expected a scalar, got {type(out).__name__}")
        return out

    def _unary(self, node: ast.Unary, steps: Steps) -> Value:
        out = self.value(node.expr, steps)
        if node.op == "+" or isinstance(out, str):
            return out
        if isinstance(out, StepMatrix):
            return binary.renamed(binary.negated(out), self.delayed)
        return -out

    def _binary(self, node: ast.Binary, steps: Steps) -> Value:
        left = self.value(node.left, steps)
        right = self.value(node.right, steps)
        if isinstance(left, StepMatrix) and isinstance(right, StepMatrix):
            matching = node.matching or ast.VectorMatching()
            if node.op in ast.SET_OPERATORS:
                return binary.sets(node.op, left, right, matching)
            return binary.vectors(node, left, right, matching, notes=self.notes, delayed=self.delayed)
        if isinstance(left, StepMatrix) and isinstance(right, np.ndarray):
            return binary.with_scalar(
                node, left, right, swapped=False, notes=self.notes, delayed=self.delayed
            )
        if isinstance(right, StepMatrix) and isinstance(left, np.ndarray):
            return binary.with_scalar(node, right, left, swapped=True, notes=self.notes, delayed=self.delayed)
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return binary.scalars(node.op, left, right)
        raise Bug("an operator met a string")

    def _aggregate(self, node: ast.Aggregate, steps: Steps) -> StepMatrix:
        param: NDArray[np.float64] | str | None = None
        if node.param is not None:
            given = self.value(node.param, steps)
            if isinstance(given, StepMatrix):
                raise Bug("the parameter of an aggregation is a vector")
            param = given
        return aggregation.evaluate(node, self.matrix(node.expr, steps), param, self.notes)

    def _call(self, node: ast.Call, steps: Steps) -> Value:
        form = special.FORMS.get(node.name)
        if form is not None:
            return form(self, node, steps)
        for at, arg in enumerate(node.args):
            if isinstance(arg, (ast.MatrixSelector, ast.Subquery)):
                return self._range_function(node, at, arg, steps)
        args = [self.value(arg, steps) for arg in node.args]
        if node.name not in TAKES_HISTOGRAMS:
            args = [floats_only(arg) if isinstance(arg, StepMatrix) else arg for arg in args]
        kernel = INSTANT_FUNCTIONS.get(node.name)
        if kernel is None:
            raise BadQuery(f"unknown function with name {node.name!r}", start=node.start, end=node.end)
        out = kernel(args, self.context(node, steps))
        if isinstance(out, StepMatrix):
            given = next((arg for arg in args if isinstance(arg, StepMatrix)), None)
            if _may_have_merged(out, given):
                out = merge_equal(out)
            return without_absent(out)
        return out

    def _range_function(
        self, node: ast.Call, at: int, arg: ast.MatrixSelector | ast.Subquery, steps: Steps
    ) -> StepMatrix:
        if isinstance(arg, ast.MatrixSelector):
            _check_modifier("anchored", arg.vector.anchored, ANCHORED_SAFE, node.name)
            _check_modifier("smoothed", arg.vector.smoothed, SMOOTHED_SAFE, node.name)
        args: list[NDArray[np.float64] | str] = []
        for position, other in enumerate(node.args):
            if position != at:
                given = self.value(other, steps)
                if isinstance(given, StepMatrix):
                    raise Bug("a function of a range vector has an instant vector as argument")
                args.append(given)
        out = self.over_windows(node, arg, args, steps)
        if node.name in ("rate", "increase"):
            self._doubt_counters(out, arg)
        if node.name not in KEEPS_NAME:
            ambiguous = not self.delayed and may_be_equal(out.labels)
            out = drop_names(out, self.delayed)
            if ambiguous:
                refuse_equal(out.labels)
        return out

    def over_windows(
        self,
        node: ast.Call,
        arg: ast.MatrixSelector | ast.Subquery,
        args: list[NDArray[np.float64] | str],
        steps: Steps,
    ) -> StepMatrix:
        """A range function over all blocks of its range vector; metric names are still there."""
        kernel = RANGE_FUNCTIONS.get(node.name)
        if kernel is None:
            raise BadQuery(f"unknown function with name {node.name!r}", start=node.start, end=node.end)
        context = self.context(node, steps)
        parts: list[StepMatrix] = []
        for view, drop in self.windows(arg, steps):
            self._budget.check()
            histograms = None
            if view.block.histograms is None:
                values, present = kernel(view, args, context)
            else:
                values, present, histograms = over_histograms(node.name, kernel, view, args, context)
            parts.append(without_absent(StepMatrix(view.block.labels, values, present, drop, histograms)))
        parts = [part for part in parts if part.series_count]
        if not parts:
            return StepMatrix(EMPTY, np.empty((steps.count, 0)))
        return binary.concat(parts)

    def windows(
        self, arg: ast.MatrixSelector | ast.Subquery, steps: Steps
    ) -> list[tuple[Window, NDArray[np.bool_] | None]]:
        """The windows of a range vector at every step, block by block, and which series will lose their name."""
        if isinstance(arg, ast.MatrixSelector):
            return [(view, None) for view in self.samples.windows(arg, steps)]
        inner = subquery_grid(arg, steps, self._default_step_ms)
        if inner.count == 0:
            return []
        matrix = self.matrix(arg.expr, inner)
        if matrix.series_count == 0:
            return []
        out: list[tuple[Window, NDArray[np.bool_] | None]] = []
        for series, block in floats_apart(as_block(matrix, inner)):
            drop = matrix.drop_name
            drop = drop if drop is None or series is None else drop[series]
            out.append((window(block, ends(arg, steps), arg.range_ms), drop))
        return out

    def context(self, node: ast.Call, steps: Steps) -> Context:
        return Context(
            steps=steps,
            ends_ms=steps.times_ms(),
            notes=self.notes,
            call=node,
            budget=self._budget,
            lookback_ms=self.samples.lookback_ms,
            delayed_name_removal=self.delayed,
        )

    def _doubt_counters(self, matrix: StepMatrix, arg: ast.Expr) -> None:
        """Rates of what is no counter by its name (or by its type, where types are labels). Histograms are not in doubt."""
        if matrix.histograms is not None:
            floats = ~is_boxed(matrix.values) & matrix.present_mask()
            matrix = matrix.take(np.flatnonzero(floats.any(axis=0)))
        names = matrix.labels.column(METRIC_NAME)
        types = matrix.labels.column("__type__")
        pairs = np.unique(names.codes.astype(np.int64) * len(types.values) + types.codes)
        for pair in pairs.tolist():
            name, kind = names.values[pair // len(types.values)], types.values[pair % len(types.values)]
            if not name:
                continue
            if self._typed:
                if kind not in ("counter", "histogram"):
                    self.notes.inform(
                        f'metric might not be a counter, __type__ label is not set to "counter" or "histogram",'
                        f' got "{kind}": "{name}"',
                        arg.start,
                        arg.end,
                    )
            elif not name.endswith(_COUNTER_SUFFIXES):
                self.notes.inform(
                    f'metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "{name}"',
                    arg.start,
                    arg.end,
                )


def _check_modifier(modifier: str, used: bool, safe: frozenset[str], name: str) -> None:
    if used and name not in safe:
        allowed = ", ".join(sorted(safe))
        raise ExecutionError(f"{modifier} modifier can only be used with: {allowed} - not with {name}")


def as_block(matrix: StepMatrix, steps: Steps) -> SampleBlock:
    """The values of a subquery as samples at its steps."""
    values = matrix.values
    if matrix.present is not None:
        values = np.where(matrix.present, values, ABSENT)
    return SampleBlock(
        matrix.labels,
        steps.times_ms()[:, None],
        np.zeros(matrix.series_count, np.intp),
        np.ascontiguousarray(values),
        clean=matrix.present is None and matrix.histograms is None,
        histograms=None if matrix.histograms is None else _unsure(matrix.histograms),
    )


def _unsure(h: Histograms) -> Histograms:
    """The values of a subquery are not neighbours as samples are: what they say of resets no longer holds."""
    return replace(h, hint=np.where(h.hint == ResetHint.GAUGE, h.hint, ResetHint.UNKNOWN).astype(np.uint8))


def _spread(value: Value, count: int) -> Value:
    """A value of one step at `count` steps."""
    if isinstance(value, StepMatrix):
        present = (
            None if value.present is None else np.broadcast_to(value.present, (count, value.series_count))
        )
        return replace(
            value, values=np.broadcast_to(value.values, (count, value.series_count)), present=present
        )
    if isinstance(value, np.ndarray):
        return np.full(count, value[0])
    return value


def _may_have_merged(out: StepMatrix, given: StepMatrix | None) -> bool:
    """Whether a function may have made label sets equal; no when it only took names away that were all the same."""
    if given is None or out.labels is given.labels:
        return False
    if out.labels.size != given.labels.size:
        return True
    before, after = given.labels.columns, out.labels.columns
    if any(before.get(name) is not column for name, column in after.items()):
        return True
    lost = before.keys() - after.keys()
    return not lost <= set(RESERVED) or may_be_equal(given.labels)
