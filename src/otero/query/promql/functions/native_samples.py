"""Which samples of windows are native histograms and which are floats."""

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, box, boxed_rows
from otero.query.promql import doubts
from otero.query.promql.functions.context import Context
from otero.query.promql.native.layout import Floats
from otero.query.promql.windows import Window

Outcome = tuple[Floats, "NDArray[np.bool_] | None", "Histograms | None"]
"""Values and where they are present, as kernels of floats answer them; boxed values point into the histograms."""


class Kinds:
    """Which samples of each window are histograms; arrays [steps, S] unless said otherwise.

    which  int64 [T, S]: the histogram of each sample, -1 for floats.
    lo, hi, size   the rows of the window and their number. histograms, floats   how many are which.
    """

    def __init__(self, window: Window) -> None:
        block = window.block
        if block.histograms is None:
            raise ValueError("a window without histograms")
        self.window = window
        self.h = block.histograms
        self.which = boxed_rows(block.values)
        self.series = np.arange(block.series_count)
        self.lo = window.lo.take(block.group, axis=1)
        self.hi = window.hi.take(block.group, axis=1)
        self.size = self.hi - self.lo
        self.histograms = self.number(self.which >= 0)
        self.floats = self.size - self.histograms

    def number(self, samples: NDArray[np.bool_], skip: NDArray[np.intp] | int = 0) -> NDArray[np.int64]:
        """How many samples of each window (but the first `skip`) are among `samples` [T, S]."""
        before = np.zeros((samples.shape[0] + 1, samples.shape[1]), np.int64)
        np.cumsum(samples, axis=0, out=before[1:])
        return before[self.hi, self.series] - before[np.minimum(self.lo + skip, self.hi), self.series]

    def flags(self, of_row: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A property of histograms at samples [T, S]; False at floats."""
        return np.where(self.which >= 0, of_row[np.maximum(self.which, 0)], False)

    def pure_floats(self) -> NDArray[np.bool_]:
        return (self.floats > 0) & (self.histograms == 0)

    def float_ends(self) -> NDArray[np.bool_]:
        """Where the last two samples are floats."""
        last, before = np.maximum(self.hi - 1, 0), np.maximum(self.hi - 2, 0)
        floats = (self.which[last, self.series] < 0) & (self.which[before, self.series] < 0)
        return floats & (self.size >= 2)

    def mixed(self) -> NDArray[np.bool_]:
        return (self.floats > 0) & (self.histograms > 0)


def tell_mixed_types(kinds: Kinds, context: Context, mixed: NDArray[np.bool_]) -> None:
    series = np.flatnonzero(mixed.any(axis=0))
    doubts.warn_of(
        context.notes, context.range_place(), doubts.MIXED_TYPES, kinds.window.block.labels, series
    )


def with_histograms(
    values: Floats,
    present: NDArray[np.bool_] | None,
    step: NDArray[np.intp],
    series: NDArray[np.intp],
    h: Histograms,
) -> Outcome:
    present = np.ones(values.shape, np.bool_) if present is None else present.copy()
    values[step, series] = box(np.arange(len(h)))
    present[step, series] = True
    return values, present, h
