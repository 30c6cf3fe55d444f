"""Functions of single values, and scalars made of scalars."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.query.promql.functions.args import InstantArg, InstantKernel, matrix, scalar
from otero.query.promql.functions.context import Context
from otero.query.series import StepMatrix

Floats = NDArray[np.float64]


def each(operation: Callable[[Floats], Floats]) -> InstantKernel:
    """The kernel that applies an operation to every value."""

    def kernel(args: Sequence[InstantArg], context: Context) -> StepMatrix:
        given = matrix(args)
        with np.errstate(all="ignore"):
            return context.drop_name(replace(given, values=operation(given.values)))

    return kernel


def sgn(values: Floats) -> Floats:
    """-1, 1, or the value itself where it is zero or NaN."""
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


def deg(values: Floats) -> Floats:
    return values * 180 / np.pi


def rad(values: Floats) -> Floats:
    return values * np.pi / 180


def round_to(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """round(v, to_nearest=1): halves go up."""
    given = matrix(args)
    with np.errstate(all="ignore"):
        inverse = 1.0 / scalar(args, 1)[:, None] if len(args) > 1 else np.ones((1, 1))
        return context.drop_name(replace(given, values=np.floor(given.values * inverse + 0.5) / inverse))


def clamp(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _clamped(matrix(args), scalar(args, 1), scalar(args, 2), context)


def clamp_min(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    low = scalar(args, 1)
    return _clamped(matrix(args), low, np.full(low.shape, np.inf), context)


def clamp_max(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    high = scalar(args, 1)
    return _clamped(matrix(args), np.full(high.shape, -np.inf), high, context)


def _clamped(given: StepMatrix, low: Floats, high: Floats, context: Context) -> StepMatrix:
    """Values within bounds; nothing at steps at which the bounds are the wrong way round."""
    values = np.maximum(low[:, None], np.minimum(high[:, None], given.values))
    empty = high < low
    present = given.present
    if empty.any():
        present = given.present_mask() & ~empty[:, None]
    return context.drop_name(replace(given, values=values, present=present))


def pi(args: Sequence[InstantArg], context: Context) -> Floats:
    return np.full(context.steps.count, np.pi)


def max_of(args: Sequence[InstantArg], context: Context) -> Floats:
    return np.maximum(scalar(args, 0), scalar(args, 1))


def min_of(args: Sequence[InstantArg], context: Context) -> Floats:
    return np.minimum(scalar(args, 0), scalar(args, 1))
