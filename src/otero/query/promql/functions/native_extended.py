"""`anchored` and `smoothed` ranges and selectors of native histograms, as `extended` has them for floats.

A value between two samples lies on the line between them; across a reset of a counter, on the line from zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, ResetHint
from otero.query.promql import doubts
from otero.query.promql.functions import resets
from otero.query.promql.functions.args import Args, Modifier, RangeKernel
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.native_samples import Kinds, Outcome, tell_mixed_types, with_histograms
from otero.query.promql.native.arithmetic import scale, sum_rows
from otero.query.promql.native.layout import Floats, with_hint
from otero.query.promql.windows import Window, count_until, floats_of, window


def extended(
    name: str, kernel: RangeKernel, found: Window, args: Args, context: Context, kind: Modifier
) -> Outcome:
    """rate, increase and delta between the edges of the range, without extrapolation."""
    counter, smoothed = name != "delta", kind == "smoothed"
    ahead_ms = context.lookback_ms if smoothed else 0
    wide = window(found.source, found.ends_ms + ahead_ms, found.range_ms + context.lookback_ms + ahead_ms)
    values, present = kernel(floats_of(found), args, context)
    present = np.ones(found.shape, np.bool_) if present is None else present.copy()
    values = values.copy()
    if wide.block.values.size == 0 or wide.block.histograms is None:
        return values, present, None
    kinds = Kinds(wide)
    edges = _Edges.of(kinds, found, smoothed)
    mixed = edges.mixed_types(kinds)
    used = np.zeros(found.shape, np.bool_)
    used[edges.step, edges.series] = mixed
    tell_mixed_types(kinds, context, used)
    used[edges.step, edges.series] = edges.floats(kinds)
    present &= used
    edges = edges.take(np.flatnonzero(edges.histograms(kinds)))
    h, good = edges.differences(kinds, context, counter)
    if name == "rate":
        h = scale(h, np.full(len(h), 1.0 / (found.range_ms / 1000)))
    h = with_hint(h, ResetHint.GAUGE)
    return with_histograms(values, present, edges.step[good], edges.series[good], h)


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """The rows used by windows that have an answer, one entry per window.

    first, last  rows of the samples at or around the edges.
    left, right  how far on the way from `first` to the next, and from the one before `last` to `last`, an edge lies;
                 NaN where the edge is a sample itself.
    """

    step: NDArray[np.intp]
    series: NDArray[np.intp]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    left: Floats
    right: Floats

    @staticmethod
    def of(kinds: Kinds, found: Window, smoothed: bool) -> "_Edges":
        wide = kinds.window
        times = wide.block.times_ms
        start_ms = (found.ends_ms - found.range_ms)[:, None]
        end_ms = found.ends_ms[:, None]
        last = wide.hi - 1
        first = np.maximum(np.minimum(count_until(times, start_ms[:, 0]), last) - 1, wide.lo)
        if smoothed:
            last = np.minimum(np.maximum(count_until(times, end_ms[:, 0] - 1), wide.lo), last)
        first_ms, last_ms = wide.times(first), wide.times(last)
        present = (wide.hi > wide.lo) & (last_ms > start_ms) & (first_ms <= end_ms)
        left = np.full(first.shape, np.nan)
        right = left.copy()
        if smoothed:
            between = present & (first_ms < start_ms)
            whole = (wide.times(first + 1) - first_ms)[between]
            left[between] = (start_ms - first_ms)[between] / whole
            between = present & (last > wide.lo) & (last_ms > end_ms)
            before_ms = wide.times(last - 1)
            right[between] = (end_ms - before_ms)[between] / (last_ms - before_ms)[between]
        group = wide.block.group
        step, series = np.nonzero(present.take(group, axis=1))
        cell = step, group[series]
        return _Edges(step, series, first[cell], last[cell], left[cell], right[cell])

    def take(self, chosen: NDArray[np.intp]) -> "_Edges":
        return _Edges(
            self.step[chosen],
            self.series[chosen],
            self.first[chosen],
            self.last[chosen],
            self.left[chosen],
            self.right[chosen],
        )

    def number(self, samples: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of the samples that are used are among `samples` [T, S]."""
        before = np.zeros((samples.shape[0] + 1, samples.shape[1]), np.int64)
        np.cumsum(samples, axis=0, out=before[1:])
        return before[self.last + 1, self.series] - before[self.first, self.series]

    def histograms(self, kinds: Kinds) -> NDArray[np.bool_]:
        return self.number(kinds.which >= 0) == self.last + 1 - self.first

    def floats(self, kinds: Kinds) -> NDArray[np.bool_]:
        return self.number(kinds.which >= 0) == 0

    def mixed_types(self, kinds: Kinds) -> NDArray[np.bool_]:
        return ~self.histograms(kinds) & ~self.floats(kinds)

    def differences(
        self, kinds: Kinds, context: Context, counter: bool
    ) -> tuple[Histograms, NDArray[np.intp]]:
        """The value at the right edge minus that at the left one, and of which windows."""
        h, place, labels = kinds.h, context.range_place(), kinds.window.block.labels
        first, last = kinds.which[self.first, self.series], kinds.which[self.last, self.series]
        if counter:
            doubtful = self.number(kinds.flags(h.hint == ResetHint.GAUGE)) > 0
            text = doubts.NOT_COUNTER
        else:
            doubtful = (h.hint[first] != ResetHint.GAUGE) | (h.hint[last] != ResetHint.GAUGE)
            text = doubts.NOT_GAUGE
        doubts.warn_of(context.notes, place, text, labels, np.unique(self.series[doubtful]))
        custom = self.number(kinds.flags(h.schema == CUSTOM))
        mixed = (custom > 0) & (custom < self.last + 1 - self.first)
        doubts.warn_of(context.notes, place, doubts.MIXED_BUCKETS, labels, np.unique(self.series[mixed]))
        good = np.flatnonzero(~mixed)
        rows, cells, weights = self.take(good)._terms(kinds, counter)
        sums = sum_rows(h, rows, cells, len(good), weights)
        if sums.reconciled.any():
            doubts.reconciled(context.notes, place, "subtraction")
        return sums.histograms, good

    def _terms(self, kinds: Kinds, counter: bool) -> tuple[NDArray[np.int64], NDArray[np.intp], Floats]:
        """Rows of histograms, the window of each, and its weight."""
        happened = resets.find_happened(kinds.window) if counter else None
        count = len(self.step)
        cells = np.arange(count)
        rows: list[NDArray[np.int64]] = []
        owners: list[NDArray[np.intp]] = []
        weights: list[Floats] = []

        def term(of: NDArray[np.intp], row: NDArray[np.intp], weight: Floats) -> None:
            keep = weight != 0
            rows.append(kinds.which[row[keep], self.series[of[keep]]])
            owners.append(of[keep])
            weights.append(weight[keep])

        def edge(on_way: Floats, alone: NDArray[np.intp], before: NDArray[np.intp], sign: float) -> None:
            between = np.flatnonzero(~np.isnan(on_way))
            exact = np.flatnonzero(np.isnan(on_way))
            term(exact, alone[exact], np.full(len(exact), sign))
            share = on_way[between]
            from_zero = np.zeros(len(between), np.bool_)
            if happened is not None:
                from_zero = happened.at(before[between] + 1, self.series[between])
            term(between, before[between], np.where(from_zero, 0.0, sign * (1.0 - share)))
            term(between, before[between] + 1, sign * share)

        edge(self.left, self.first, self.first, -1.0)
        edge(self.right, self.last, self.last - 1, 1.0)
        if happened is not None:
            # A value between samples already knows of a reset between them.
            start = self.first + 1 + ~np.isnan(self.left)
            sizes = np.maximum(self.last + 1 - start, 0)
            of = np.repeat(cells, sizes)
            row = start[of] + np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            hit = happened.at(row, self.series[of])
            term(of[hit], row[hit] - 1, np.ones(int(hit.sum())))
        return np.concatenate(rows), np.concatenate(owners), np.concatenate(weights)


def smoothed_values(view: Window, after: NDArray[np.intp], share: Floats) -> "Smoothed":
    """Values of an instant selector at moments between samples.

    after [steps, G] is the row of the sample at or after each moment, share [steps, G] how far the moment lies on the
    way to it from the one before; 0 where the sample before alone counts, 1 where this one does, NaN where none.
    """
    kinds = Kinds(view)
    group = view.block.group
    after, share = after.take(group, axis=1), share.take(group, axis=1)
    inside = kinds.size > 0
    mixed = inside & kinds.mixed()
    step, series = np.nonzero(inside & (kinds.floats == 0) & ~np.isnan(share))
    way, row = share[step, series], after[step, series]
    before = np.maximum(row - 1, 0)
    second = kinds.which[np.minimum(row, kinds.which.shape[0] - 1), series]
    first = kinds.which[before, series]
    line = (way > 0) & (way < 1)
    custom = kinds.h.schema == CUSTOM
    odd = line & (custom[first] != custom[second])
    gauge = kinds.h.hint[second] == ResetHint.GAUGE
    fell = np.zeros(len(step), np.bool_)
    counters = np.flatnonzero(line & ~odd & ~gauge)
    fell[counters] = resets.find_happened(view).at(row[counters], series[counters])
    good = np.flatnonzero(~odd)
    cell = np.arange(len(good))
    weight_first = np.where(fell, 0.0, 1.0 - way)[good]
    weights = np.concatenate([weight_first, way[good]])
    rows = np.concatenate([first[good], second[good]])
    keep = weights != 0
    sums = sum_rows(kinds.h, rows[keep], np.tile(cell, 2)[keep], len(good), weights[keep])
    values = np.full(view.shape, np.nan)
    present = np.zeros(view.shape, np.bool_)
    values, _, h = with_histograms(values, present, step[good], series[good], sums.histograms)
    present[step[good], series[good]] = True
    odd_series = np.unique(series[odd])
    floats = inside & (kinds.histograms == 0)
    return Smoothed(values, present, h, floats, np.flatnonzero(mixed.any(axis=0)), odd_series)


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed:
    """Values between samples, where all in sight are histograms; where all are floats; series whose windows mix floats
    and histograms, and those that mix kinds of buckets."""

    values: Floats
    present: NDArray[np.bool_]
    histograms: Histograms | None
    floats: NDArray[np.bool_]
    mixed_types: NDArray[np.intp]
    mixed_buckets: NDArray[np.intp]
