"""Functions of histograms. Quantiles and fractions are of classic and of native histograms, the others of native ones.

An instant vector is taken apart first: boxed values are native histograms, floats with a label `le` are buckets of
classic ones. Where both say something of the same labels, neither is believed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, boxed_rows
from otero.model.labels import METRIC_NAME, LabelColumn, LabelTable
from otero.query.promql.functions.args import InstantArg, matrix, scalar, text
from otero.query.promql.functions.classic import (
    ClassicHistograms,
    Repairs,
    classic_histograms,
    for_metric,
    fractions,
    quantiles,
)
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.numbers import doubt_quantiles, label_number
from otero.query.promql.native.quantiles import fraction, quantile, variance
from otero.query.series import StepMatrix

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

NAN_RESULT = "input to histogram_quantile has NaN observations, result is NaN"
NAN_SKEWS = "input to histogram_quantile has NaN observations, result is skewed higher"
NAN_EXCLUDED = "input to histogram_fraction has NaN observations, which are excluded from all fractions"
MIXED = "vector contains a mix of classic and native histograms"


def histogram_count(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _each(matrix(args), context, lambda histograms: histograms.count)


def histogram_sum(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _each(matrix(args), context, lambda histograms: histograms.sum)


def histogram_avg(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _each(matrix(args), context, lambda histograms: histograms.sum / histograms.count)


def histogram_stdvar(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _each(matrix(args), context, variance)


def histogram_stddev(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    return _each(matrix(args), context, lambda histograms: np.sqrt(variance(histograms)))


def _each(given: StepMatrix, context: Context, of: Callable[[Histograms], Floats]) -> StepMatrix:
    """One number for each native histogram; floats are left out."""
    found = _native(given)
    with np.errstate(all="ignore"):
        return context.drop_name(found.scattered(of(found.histograms)[found.which]))


def histogram_quantile(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    q = scalar(args, 0)
    doubt_quantiles(q, context, 0)
    found = _apart(matrix(args, 1), context, 1)
    repairs = Repairs()
    out = found.quantiles(q, repairs, context, 1)
    repairs.tell(context, 1)
    return context.drop_name(out)


def histogram_quantiles(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """Several quantiles at once, told apart by a label."""
    name = text(args, 1)
    found = _apart(matrix(args), context, 0)
    repairs = Repairs()
    parts: list[StepMatrix] = []
    for index in range(2, len(args)):
        q = scalar(args, index)
        doubt_quantiles(q, context, index)
        out = found.quantiles(q, repairs, context, 0)
        for value in np.unique(q).tolist():
            here = np.isnan(q) if np.isnan(value) else q == value
            column = LabelColumn.constant(label_number(value), out.series_count)
            present = out.present if here.all() else out.present_mask() & here[:, None]
            parts.append(StepMatrix(out.labels.with_column(name, column), out.values, present))
    repairs.tell(context, 0)
    return context.drop_name(_joined(parts))


def histogram_fraction(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """The share of observations between two values."""
    return context.drop_name(
        _apart(matrix(args, 2), context, 2).fractions(scalar(args, 0), scalar(args, 1), context)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Native:
    """The native histograms of an instant vector: cell i of `shape` is at steps[i], series[i] and has row which[i]."""

    labels: LabelTable
    shape: tuple[int, int]
    steps: NDArray[np.intp]
    series: NDArray[np.intp]
    which: Rows
    histograms: Histograms

    def scattered(self, values: Floats) -> StepMatrix:
        """The matrix of one value per cell."""
        out = np.full(self.shape, np.nan)
        present = np.zeros(self.shape, np.bool_)
        out[self.steps, self.series] = values
        present[self.steps, self.series] = True
        return StepMatrix(self.labels, out, present)

    def chosen(self, cells: NDArray[np.bool_]) -> "_Native":
        """Only some of the cells."""
        return replace(self, steps=self.steps[cells], series=self.series[cells], which=self.which[cells])

    def asked(self, *scalars: Floats) -> tuple[Histograms, list[Floats], NDArray[np.intp] | slice]:
        """Histograms and the scalars to be asked of each, and which answer is that of each cell; nothing twice where
        the scalars are the same at every step."""
        if all((one == one[0]).all() for one in scalars):
            return (
                self.histograms,
                [np.full(len(self.histograms), one[0]) for one in scalars],
                self.which.astype(np.intp),
            )
        return self.histograms.take(self.which), [one[self.steps] for one in scalars], slice(None)

    def note(self, cells: NDArray[np.bool_], about: str, context: Context, argument: int) -> None:
        """An info for each metric name among some cells."""
        if cells.any():
            names = self.labels.column(METRIC_NAME)
            for code in np.unique(names.codes[self.series[cells]]).tolist():
                context.inform(about + for_metric(names.values[code]), argument)


def _native(given: StepMatrix) -> _Native:
    """The native histograms of an instant vector; its `histograms` are those that occur."""
    shape = (given.step_count, given.series_count)
    if given.histograms is None:
        nothing = np.zeros(0, np.intp)
        return _Native(given.labels, shape, nothing, nothing, nothing.astype(np.int64), Histograms.empty())
    rows = boxed_rows(given.values)
    here = rows >= 0
    if given.present is not None:
        here &= given.present
    steps, series = np.nonzero(here)
    occurring, which = np.unique(rows[here], return_inverse=True)
    return _Native(given.labels, shape, steps, series, which, given.histograms.take(occurring))


@dataclass(frozen=True, slots=True, eq=False)
class _Apart:
    """An instant vector, taken apart."""

    native: _Native | None
    classic: ClassicHistograms

    def quantiles(self, q: Floats, repairs: Repairs, context: Context, argument: int) -> StepMatrix:
        classic = quantiles(self.classic, q, repairs, context)
        if self.native is None:
            return classic
        histograms, (each,), back = self.native.asked(q)
        found = quantile(histograms, each)
        self.native.note(found.lost[back], NAN_RESULT, context, argument)
        self.native.note(found.skewed[back], NAN_SKEWS, context, argument)
        return _joined([self.native.scattered(found.values[back]), classic])

    def fractions(self, lower: Floats, upper: Floats, context: Context) -> StepMatrix:
        classic = fractions(self.classic, lower, upper)
        if self.native is None:
            return classic
        histograms, (low, high), back = self.native.asked(lower, upper)
        values, narrowed = fraction(histograms, low, high)
        self.native.note(narrowed[back], NAN_EXCLUDED, context, 2)
        return _joined([self.native.scattered(values[back]), classic])


def _apart(given: StepMatrix, context: Context, argument: int) -> _Apart:
    """Native and classic histograms of a vector; warns where both have the same labels and leaves both out."""
    if given.histograms is None:
        return _Apart(None, classic_histograms(given, context, argument))
    native = _native(given)
    floats = given.present_mask().copy()
    floats[native.steps, native.series] = False
    some = np.flatnonzero(floats.any(axis=0))
    buckets = StepMatrix(given.labels, given.values, floats).take(some)
    return _Apart(
        *_without_conflicts(native, classic_histograms(buckets, context, argument), context, argument)
    )


def _without_conflicts(
    native: _Native, classic: ClassicHistograms, context: Context, argument: int
) -> tuple[_Native, ClassicHistograms]:
    groups, representatives = LabelTable.concat([classic.labels, native.labels]).group()
    first = classic.labels.size
    owner = np.full(len(representatives), -1, np.intp)
    owner[groups[:first]] = np.arange(first)
    rival = owner[groups[first:]]  # per native series the classic histogram with its labels
    suspects = np.flatnonzero(rival >= 0)
    if len(suspects) == 0:
        return native, classic
    has_native = np.zeros(native.shape, np.bool_)
    has_native[native.steps, native.series] = True
    present = classic.buckets.present_mask().copy()
    conflict = np.zeros(native.shape, np.bool_)
    names = native.labels.column(METRIC_NAME)
    for series in suspects.tolist():
        members = classic.members[rival[series]]
        both = has_native[:, series] & present[:, members].any(axis=1)
        if both.any():
            conflict[both, series] = True
            present[np.ix_(both, members)] = False
            context.warn(MIXED + for_metric(names.values[names.codes[series]]), argument)
    kept = native.chosen(~conflict[native.steps, native.series])
    return kept, replace(classic, buckets=replace(classic.buckets, present=present))


def _joined(parts: list[StepMatrix]) -> StepMatrix:
    """The series of all parts."""
    if len(parts) == 1:
        return parts[0]
    return StepMatrix(
        LabelTable.concat([part.labels for part in parts]),
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.present_mask() for part in parts], axis=1),
    )
