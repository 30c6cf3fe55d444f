"""The shapes of kernels: what they take and what they answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from otero.query.promql import ast
from otero.query.promql.functions.context import Context
from otero.query.promql.windows import Window
from otero.query.series import StepMatrix, Steps

Args = Sequence["NDArray[np.float64] | str"]
"""Scalar arguments, one value per step, and string arguments, in the order of the signature without the matrix."""

RangeResult = tuple[NDArray[np.float64], "NDArray[np.bool_] | None"]
"""Values [steps, S] and where they are present; None when everywhere."""

RangeKernel = Callable[[Window, Args, Context], RangeResult]

InstantArg = StepMatrix | NDArray[np.float64] | str
InstantKernel = Callable[[Sequence[InstantArg], Context], StepMatrix | NDArray[np.float64]]


_MANY_STEPS = 64

Modifier = Literal["anchored", "smoothed"]


def modifier(call: ast.Call) -> Modifier | None:
    """How the range selector of a call wants its edges."""
    for node in call.args:
        if isinstance(node, ast.MatrixSelector):
            if node.vector.anchored:
                return "anchored"
            return "smoothed" if node.vector.smoothed else None
    return None


def nothing(window: Window) -> RangeResult:
    """No series has a value at any step."""
    return np.full(window.shape, np.nan), np.zeros(window.shape, np.bool_)


def scalar(args: Args | Sequence[InstantArg], index: int) -> NDArray[np.float64]:
    """A scalar argument, one value per step."""
    return cast("NDArray[np.float64]", args[index])


def text(args: Args | Sequence[InstantArg], index: int) -> str:
    """A string argument."""
    return cast("str", args[index])


def matrix(args: Sequence[InstantArg], index: int = 0) -> StepMatrix:
    """An instant vector argument."""
    return cast("StepMatrix", args[index])


def in_parts(kernel: RangeKernel) -> RangeKernel:
    """The kernel applied to the steps that see any sample only, and to series without and with gaps apart."""

    def run(window: Window, args: Args, context: Context) -> RangeResult:
        if window.lo.shape[0] > _MANY_STEPS:
            busy = np.flatnonzero((window.hi > window.lo).any(axis=1))
            if len(busy) and int(busy[-1]) - int(busy[0]) + 1 < 0.75 * window.lo.shape[0]:
                return _at_some_steps(run, slice(int(busy[0]), int(busy[-1]) + 1), window, args, context)
        parts = window.parts() if modifier(context.call) is None else []
        if not parts:
            return kernel(window, args, context)
        values = np.empty(window.shape)
        present = np.ones(window.shape, np.bool_)
        for series, part in parts:
            out, shown = kernel(part, args, context)
            values[:, series] = out
            if shown is not None:
                present[:, series] = shown
        return values, None if present.all() else present

    return run


def _at_some_steps(
    kernel: RangeKernel, steps: slice, window: Window, args: Args, context: Context
) -> RangeResult:
    """The kernel at a run of steps; at the others nothing is present."""
    grid = context.steps
    part = replace(window, ends_ms=window.ends_ms[steps], lo=window.lo[steps], hi=window.hi[steps])
    own = replace(
        context,
        steps=Steps(grid.start_ms + steps.start * grid.step_ms, grid.step_ms, steps.stop - steps.start),
        ends_ms=context.ends_ms[steps],
    )
    out, shown = kernel(part, [arg if isinstance(arg, str) else arg[steps] for arg in args], own)
    values = np.full(window.shape, np.nan)
    values[steps] = out
    present = np.zeros(window.shape, np.bool_)
    present[steps] = True if shown is None else shown
    return values, present
