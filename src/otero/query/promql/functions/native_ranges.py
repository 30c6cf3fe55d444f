"""Functions over ranges that hold native histograms, alone or among floats.

Some functions only count samples or take one, some pass over histograms, some want all samples of a window to be of one
kind. Floats of these series are computed by the kernels that all floats have.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, ResetHint, box, boxed_rows
from otero.query.promql import doubts
from otero.query.promql.functions import resets
from otero.query.promql.functions.args import Args, RangeKernel, RangeResult, modifier
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.native_extended import extended
from otero.query.promql.functions.native_samples import Kinds, Outcome, tell_mixed_types, with_histograms
from otero.query.promql.functions.rate import doubt_starts
from otero.query.promql.native.arithmetic import divide, scale, subtract, subtract_alike, sum_rows
from otero.query.promql.native.layout import Floats, with_hint
from otero.query.promql.windows import Window, floats_of

_AS_THEY_ARE = frozenset(
    {"changes", "count_over_time", "first_over_time", "last_over_time", "present_over_time", "resets",
     "ts_of_first_over_time", "ts_of_last_over_time"}
)  # fmt: skip
"""Kernels that can be given histograms."""

_CELLS = 1 << 20
"""Windows that are worked on together."""


def over_histograms(name: str, kernel: RangeKernel, window: Window, args: Args, context: Context) -> Outcome:
    """A range function over a window with histograms; `kernel` is the one for floats."""
    if modifier(context.call) is None:
        window = window.shortened()
    steps, series = window.shape
    width = max(_CELLS // max(steps, 1), 1)
    if series <= width or modifier(context.call) is not None:
        return _evaluate(name, kernel, window, args, context)
    values = np.full(window.shape, np.nan)
    present = np.zeros(window.shape, np.bool_)
    found: list[Histograms] = []
    rows = 0
    for start in range(0, series, width):
        context.budget.check()
        chosen = np.arange(start, min(start + width, series))
        out, shown, histograms = _evaluate(name, kernel, window.take(chosen), args, context)
        if histograms is not None:
            which = boxed_rows(out)
            out = np.where(which >= 0, box(np.maximum(which, 0) + rows), out)
            rows += len(histograms)
            found.append(histograms)
        values[:, chosen] = out
        present[:, chosen] = True if shown is None else shown
    return values, present, Histograms.concat(found) if found else None


def _evaluate(name: str, kernel: RangeKernel, window: Window, args: Args, context: Context) -> Outcome:
    if window.block.values.size == 0 or window.lo.size == 0:
        return np.full(window.shape, np.nan), np.zeros(window.shape, np.bool_), None
    if name in _AS_THEY_ARE:
        values, present = kernel(window, args, context)
        return values, present, window.block.histograms
    whole = _WHOLE.get(name)
    kind = modifier(context.call)
    if whole is not None and kind is not None:
        return extended(name, kernel, window, args, context, kind)
    kinds = Kinds(window)
    if whole is None:
        return _floats_only(kernel, window, args, context, kinds)
    at_ends = name in ("idelta", "irate")
    values, present = _floats(
        kernel, window, args, context, kinds.float_ends() if at_ends else kinds.pure_floats()
    )
    return whole(kinds, context, values, present)


def _floats_only(kernel: RangeKernel, window: Window, args: Args, context: Context, kinds: Kinds) -> Outcome:
    """A function that passes over histograms."""
    if not kinds.floats.any():
        return np.full(window.shape, np.nan), np.zeros(window.shape, np.bool_), None
    values, present = kernel(floats_of(window), args, context)
    here = kinds.mixed().any(axis=0)
    for name in doubts.names_of(window.block.labels, np.flatnonzero(here)):
        text = doubts.IGNORED_IN_RANGE.format(doubts.quoted(name))
        context.notes.inform(text, *context.range_place())
    return values, present, None


def _floats(
    kernel: RangeKernel, window: Window, args: Args, context: Context, where: NDArray[np.bool_]
) -> RangeResult:
    """What windows of floats give; `where` says which those are."""
    if not where.any():
        return np.full(window.shape, np.nan), np.zeros(window.shape, np.bool_)
    values, present = kernel(floats_of(window), args, context)
    return values.copy(), where if present is None else where & present


def _summed(mean: bool) -> "Whole":
    def kernel(kinds: Kinds, context: Context, values: Floats, present: NDArray[np.bool_] | None) -> Outcome:
        """sum_over_time and avg_over_time: every sample of a window."""
        tell_mixed_types(kinds, context, kinds.mixed())
        step, series = np.nonzero((kinds.histograms > 0) & (kinds.floats == 0))
        sizes = kinds.size[step, series]
        cells = np.repeat(np.arange(len(step)), sizes)
        within = np.arange(len(cells)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = kinds.which[kinds.lo[step, series][cells] + within, series[cells]]
        sums = sum_rows(kinds.h, rows, cells, len(step), mean=mean)
        place = context.range_place()
        if sums.mixed.any():
            labels = kinds.window.block.labels
            doubts.warn_of(context.notes, place, doubts.MIXED_BUCKETS, labels, np.unique(series[sums.mixed]))
        if sums.conflicting.any():
            doubts.conflicting(context.notes, place, "aggregation")
        if sums.reconciled.any():
            doubts.reconciled(context.notes, place, "aggregation")
        good = np.flatnonzero(~sums.mixed)
        return with_histograms(values, present, step[good], series[good], sums.histograms.take(good))

    return kernel


def _extrapolated(*, counter: bool, per_second: bool) -> "Whole":
    def kernel(kinds: Kinds, context: Context, values: Floats, present: NDArray[np.bool_] | None) -> Outcome:
        """rate, increase and delta: last minus first, plus what was there before each reset, extrapolated."""
        tell_mixed_types(kinds, context, kinds.mixed())
        pure = (kinds.histograms > 0) & (kinds.floats == 0)
        if counter:
            doubt_starts(kinds.window, context)
        ranges = _Ranges(kinds, pure, counter=counter)
        h, good = ranges.differences(context)
        factor = ranges.factor(h.count, good)
        if per_second:
            factor /= kinds.window.range_ms / 1000
        h = with_hint(scale(h, factor), ResetHint.GAUGE)
        return with_histograms(values, present, ranges.step[good], ranges.series[good], h)

    return kernel


class _Ranges:
    """Windows of histograms that have a difference: two samples, or one whose start lies in the range.

    Arrays have one entry per window: step, series, lo and hi (rows), known_ms: the start of the first sample where it
    lies in the range, else 0.
    """

    def __init__(self, kinds: Kinds, pure: NDArray[np.bool_], *, counter: bool) -> None:
        self._kinds = kinds
        self._counter = counter
        window = kinds.window
        starts = window.block.start_ms if counter else None
        step, series = np.nonzero(pure)
        lo, hi = kinds.lo[step, series], kinds.hi[step, series]
        known = np.zeros(len(step), np.int64)
        if starts is not None:
            start = starts[lo, series]
            first_ms = window.block.times_ms[lo, window.block.group[series]]
            inside = (start != 0) & (start > window.ends_ms[step] - window.range_ms) & (start < first_ms)
            known = np.where(inside, start, 0)
        usable = (hi - lo > 1) | (known != 0)
        self.step, self.series = step[usable], series[usable]
        self.lo, self.hi, self.known_ms = lo[usable], hi[usable], known[usable]

    def differences(self, context: Context) -> tuple[Histograms, NDArray[np.intp]]:
        """The histograms, and of which windows; others have no answer, and are told about."""
        kinds, h = self._kinds, self._kinds.h
        lo, hi, series, count = self.lo, self.hi, self.series, len(self.lo)
        labels, place = kinds.window.block.labels, context.range_place()
        first, last = kinds.which[lo, series], kinds.which[hi - 1, series]
        happened = resets.find_happened(kinds.window) if self._counter else None
        nulled = np.zeros(count, np.bool_)
        if happened is not None:
            more = hi - lo > 1
            nulled[more] = happened.at(lo[more] + 1, series[more])
            gauge = kinds.number(kinds.flags(h.hint == ResetHint.GAUGE))[self.step, series] > 0
            doubts.warn_of(context.notes, place, doubts.NOT_COUNTER, labels, np.unique(series[gauge]))
        else:
            counters = (h.hint[first] != ResetHint.GAUGE) | (h.hint[last] != ResetHint.GAUGE)
            doubts.warn_of(context.notes, place, doubts.NOT_GAUGE, labels, np.unique(series[counters]))
        mixed = self._mixed(nulled, first, last)
        if mixed.any():
            doubts.warn_of(context.notes, place, doubts.MIXED_BUCKETS, labels, np.unique(series[mixed]))
        coarsest = self._coarsest(nulled)
        lost, owners = self._lost(happened, nulled) if happened is not None else (lo[:0], lo[:0])
        plain = ~mixed & ~nulled & (self.known_ms == 0) & (coarsest >= h.schema[last])
        plain[owners] = False
        easy = np.flatnonzero(plain)
        pairs, differences = subtract_alike(h, last[easy], first[easy])
        easy = easy[pairs]
        rest = ~mixed
        rest[easy] = False
        good = np.flatnonzero(rest)
        if len(good) == 0:
            return differences, easy
        cell = np.full(count, -1, np.intp)
        cell[good] = np.arange(len(good))
        subtracted = good[~(nulled | (self.known_ms != 0))[good]]
        lost, owners = lost[rest[owners]], owners[rest[owners]]
        rows = [last[good], first[subtracted], lost]
        cells = [np.arange(len(good)), cell[subtracted], cell[owners]]
        weights = np.repeat([1.0, -1.0, 1.0], [len(part) for part in rows])
        sums = sum_rows(
            h, np.concatenate(rows), np.concatenate(cells), len(good), weights, coarsest=coarsest[good]
        )
        if sums.reconciled.any():
            if (h.bounds[first[subtracted]] != h.bounds[last[subtracted]]).any():
                doubts.reconciled(context.notes, place, "subtraction")
            if (h.bounds[lost] != h.bounds[last[owners]]).any():
                doubts.reconciled(context.notes, place, "addition")
        return Histograms.concat([differences, sums.histograms]), np.concatenate([easy, good])

    def _mixed(
        self, nulled: NDArray[np.bool_], first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Where exponential and custom buckets meet; a first sample that does not count may be anything."""
        custom = self._kinds.h.schema == CUSTOM
        if custom.all() or not custom.any():
            return np.zeros(len(nulled), np.bool_)
        if not self._counter:
            return custom[first] != custom[last]
        flags = self._kinds.flags(custom)
        size = self._kinds.window.shape
        skip = np.zeros(size, np.intp)
        skip[self.step, self.series] = nulled
        number = self._kinds.number(flags, skip)[self.step, self.series]
        return (number > 0) & (number < self.hi - self.lo - nulled)

    def _coarsest(self, nulled: NDArray[np.bool_]) -> NDArray[np.int8]:
        """The lowest resolution of all samples of a counter that count; otherwise no bound."""
        schema = self._kinds.h.schema
        out = np.full(len(nulled), np.iinfo(np.int8).max, np.int8)
        if not self._counter or len(schema) == 0 or (schema == schema[0]).all():
            return out
        at = self.lo + nulled
        for offset in range(int((self.hi - at).max(initial=0))):
            here = np.flatnonzero(at + offset < self.hi)
            rows = self._kinds.which[at[here] + offset, self.series[here]]
            out[here] = np.minimum(out[here], schema[rows])
        return out

    def _lost(
        self, happened: "resets.Happened", nulled: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """What was there before each reset inside a window, as rows of histograms, and the window of each.

        A reset right after the first sample takes away what that sample would, unless the first sample counts from its
        own start on.
        """
        sizes = self.hi - self.lo
        resets_inside = happened.number(self.lo, self.hi, self.series)
        busy = np.flatnonzero(resets_inside > 0)
        cells = np.repeat(busy, sizes[busy] - 1)
        within = np.arange(len(cells)) - np.repeat(
            np.cumsum(sizes[busy] - 1) - (sizes[busy] - 1), sizes[busy] - 1
        )
        row = self.lo[cells] + 1 + within
        hit = happened.at(row, self.series[cells])
        hit &= (within > 0) | ~nulled[cells] | (self.known_ms[cells] != 0)
        cells, row = cells[hit], row[hit]
        return self._kinds.which[row - 1, self.series[cells]], cells

    def factor(self, count: Floats, good: NDArray[np.intp]) -> Floats:
        """How much differences are stretched to the edges of the range; `count` is that of the differences."""
        kinds, window = self._kinds, self._kinds.window
        lo, hi, step, series = self.lo[good], self.hi[good], self.step[good], self.series[good]
        known = self.known_ms[good]
        column = window.block.group[series]
        first_ms, last_ms = window.block.times_ms[lo, column], window.block.times_ms[hi - 1, column]
        end_ms = window.ends_ms[step]
        size = hi - lo
        with np.errstate(all="ignore"):
            distance = np.where(size > 1, (last_ms - first_ms) / 1000 / (size - 1), 0.0)
            threshold = distance * 1.1
            sampled = (last_ms - np.where(known != 0, known, first_ms)) / 1000
            to_start = (first_ms - (end_ms - window.range_ms)) / 1000
            to_start = np.where(to_start >= threshold, distance / 2, to_start)
            if self._counter:
                before = kinds.h.count[kinds.which[lo, series]]
                zero = np.where((count > 0) & (before >= 0), sampled * (before / count), to_start)
                to_start = np.minimum(to_start, zero)
            to_start = np.where(known != 0, 0.0, to_start)
            to_end = (end_ms - last_ms) / 1000
            to_end = np.where(to_end >= threshold, distance / 2, to_end)
            return (sampled + to_start + to_end) / sampled


def _last_two(*, counter: bool) -> "Whole":
    def kernel(kinds: Kinds, context: Context, values: Floats, present: NDArray[np.bool_] | None) -> Outcome:
        """irate and idelta: the last two samples of a window, whatever is before them."""
        window, h, place = kinds.window, kinds.h, context.range_place()
        labels = window.block.labels
        two = kinds.size >= 2
        last = np.clip(kinds.hi - 1, 0, None)
        a = kinds.which[last, kinds.series]
        b = kinds.which[np.clip(last - 1, 0, None), kinds.series]
        tell_mixed_types(kinds, context, two & ((a >= 0) != (b >= 0)))
        step, series = np.nonzero(two & (a >= 0) & (b >= 0))
        now, before, row = a[step, series], b[step, series], last[step, series]
        gauges = np.stack([h.hint[now] == ResetHint.GAUGE, h.hint[before] == ResetHint.GAUGE])
        if counter:
            found = np.unique(series[gauges.any(axis=0)])
            doubts.warn_of(context.notes, place, doubts.NOT_COUNTER, labels, found)
            fell = resets.find_happened(window).at(row, series)
        else:
            found = np.unique(series[~gauges.all(axis=0)])
            doubts.warn_of(context.notes, place, doubts.NOT_GAUGE, labels, found)
            fell = np.zeros(len(step), np.bool_)
        alone = ~fell
        mixed = alone & ((h.schema[now] == CUSTOM) != (h.schema[before] == CUSTOM))
        if mixed.any():
            doubts.warn_of(context.notes, place, doubts.MIXED_BUCKETS, labels, np.unique(series[mixed]))
        difference = np.flatnonzero(alone & ~mixed)
        sums = subtract(h.take(now[difference]), h.take(before[difference]))
        if sums.reconciled.any():
            doubts.reconciled(context.notes, place, "subtraction")
        restarted = np.flatnonzero(fell)
        out = Histograms.concat([sums.histograms, h.take(now[restarted])])
        cells = np.concatenate([difference, restarted])
        if counter:
            column = window.block.group[series[cells]]
            times = window.block.times_ms
            seconds = (times[row[cells], column] - times[row[cells] - 1, column]) / 1000
            out = divide(out, seconds)
        out = with_hint(out, ResetHint.GAUGE)
        return with_histograms(values, present, step[cells], series[cells], out)

    return kernel


Whole = Callable[[Kinds, Context, Floats, "NDArray[np.bool_] | None"], Outcome]
"""A function that wants samples of one kind: takes what windows of floats give, and adds the windows of histograms."""

_WHOLE: dict[str, Whole] = {
    "avg_over_time": _summed(mean=True),
    "delta": _extrapolated(counter=False, per_second=False),
    "idelta": _last_two(counter=False),
    "increase": _extrapolated(counter=True, per_second=False),
    "irate": _last_two(counter=True),
    "rate": _extrapolated(counter=True, per_second=True),
    "sum_over_time": _summed(mean=False),
}
