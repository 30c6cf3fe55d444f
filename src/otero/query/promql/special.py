"""Functions that are no kernels, because they look at the expression, at time itself or at whole vectors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from otero.model.labels import METRIC_NAME, LabelTable
from otero.model.matchers import MatchOp
from otero.query.promql import ast
from otero.query.promql.binary import renamed
from otero.query.promql.boxes import floats_only
from otero.query.promql.info import info
from otero.query.promql.naming import without_absent
from otero.query.series import StepMatrix, Steps, Value

if TYPE_CHECKING:
    from otero.query.promql.evaluate import Evaluator

Form = Callable[["Evaluator", ast.Call, Steps], Value]


def _time(_evaluator: "Evaluator", _node: ast.Call, steps: Steps) -> Value:
    return steps.times_ms() / 1000.0


def _edge(attribute: str) -> Form:
    def form(evaluator: "Evaluator", _node: ast.Call, steps: Steps) -> Value:
        edges = evaluator.edges
        milliseconds = {
            "start": edges.start_ms,
            "end": edges.end_ms,
            "step": edges.step_ms,
            "range": edges.end_ms - edges.start_ms,
        }[attribute]
        return np.full(steps.count, milliseconds / 1000.0)

    return form


def _vector(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    return StepMatrix(LabelTable(1, {}), evaluator.scalar(node.args[0], steps)[:, None])


def _scalar(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    """The value of the only series, NaN where there is none or more than one."""
    matrix = floats_only(evaluator.matrix(node.args[0], steps))
    if matrix.present is None:
        return matrix.values[:, 0].copy() if matrix.series_count == 1 else np.full(steps.count, np.nan)
    alone = matrix.present.sum(axis=1) == 1
    return np.where(alone, np.where(matrix.present, matrix.values, 0.0).sum(axis=1), np.nan)


def _timestamp(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    """Of a selector the time of its samples, of anything else the time of the step."""
    arg = node.args[0]
    if isinstance(arg, ast.VectorSelector):
        return renamed(evaluator.samples.times_at_steps(arg, steps), evaluator.delayed)
    matrix = evaluator.matrix(arg, steps)
    times = np.broadcast_to((steps.times_ms() / 1000.0)[:, None], matrix.values.shape)
    return renamed(StepMatrix(matrix.labels, times, matrix.present, matrix.drop_name), evaluator.delayed)


def _start_timestamp(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    """When the counters of a selector began, where their samples say so; of anything else nothing is known."""
    arg = node.args[0]
    if isinstance(arg, ast.VectorSelector):
        return renamed(evaluator.samples.starts_at_steps(arg, steps), evaluator.delayed)
    evaluator.matrix(arg, steps)
    return StepMatrix(LabelTable(0, {}), np.empty((steps.count, 0)))


def _absent(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    matrix = evaluator.matrix(node.args[0], steps)
    return _ones_absent(matrix, steps, node.args[0])


def _absent_over_time(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    arg = node.args[0]
    if not isinstance(arg, (ast.MatrixSelector, ast.Subquery)):
        raise TypeError("absent_over_time of something that is no range vector")
    call = ast.Call("present_over_time", node.args, start=node.start, end=node.end)
    matrix = evaluator.over_windows(call, arg, [], steps)
    return _ones_absent(matrix, steps, arg.vector if isinstance(arg, ast.MatrixSelector) else arg)


def _ones_absent(matrix: StepMatrix, steps: Steps, arg: ast.Expr) -> StepMatrix:
    """1 at the steps at which no series has a value."""
    absent = np.ones(steps.count, np.bool_)
    if matrix.series_count:
        absent &= ~matrix.present_mask().any(axis=1)
    out = StepMatrix(LabelTable.of([absent_labels(arg)]), np.ones((steps.count, 1)), absent[:, None])
    return without_absent(out)


def absent_labels(arg: ast.Expr) -> dict[str, str]:
    """The labels that an absent selector would surely have: those with one `=` matcher and no other."""
    if not isinstance(arg, ast.VectorSelector):
        return {}
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in arg.matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
            labels[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return labels


FORMS: dict[str, Form] = {
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "end": _edge("end"),
    "info": info,
    "range": _edge("range"),
    "scalar": _scalar,
    "start": _edge("start"),
    "start_timestamp": _start_timestamp,
    "step": _edge("step"),
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
}
