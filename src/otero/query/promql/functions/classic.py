"""Classic histograms, series with a label `le`: which series make one, its quantiles and fractions.

Series that differ in `le` only are one histogram. Histograms with the same bounds are computed together: counts as
[bounds, cells], a cell being one histogram at one step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from otero.model.labels import METRIC_NAME, LabelTable
from otero.query.promql.functions.context import Context
from otero.query.promql.functions.numbers import parse_float
from otero.query.promql.numbers import go_number
from otero.query.series import StepMatrix

Floats = NDArray[np.float64]

BOUND = "le"

TOLERANCE = 1e-12
"""Counts of neighbouring buckets that differ by less than this share of their sum are taken as equal."""

_SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
_LARGEST = float(np.finfo(np.float64).max)

NOT_MONOTONIC = (
    "input to histogram_quantile needed to be fixed for monotonicity"
    " (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Cells with the same bounds, ascending and distinct."""

    bounds: Floats  # [B]
    counts: Floats  # [B, cells]
    steps: NDArray[np.intp]  # [cells]
    histograms: NDArray[np.intp]  # [cells]


@dataclass(frozen=True, slots=True, eq=False)
class ClassicHistograms:
    """The histograms of an instant vector. `members[h]` are its series, by ascending bound."""

    labels: LabelTable
    buckets: StepMatrix
    bounds: Floats  # [S]
    members: list[NDArray[np.intp]]

    def compute(self, kernel: Callable[[Batch], Floats]) -> StepMatrix:
        """The matrix of one value per histogram and step that has a bucket."""
        shape = (self.buckets.step_count, len(self.members))
        values = np.full(shape, np.nan)
        present = np.zeros(shape, np.bool_)
        with np.errstate(all="ignore"):
            for batch in self._batches():
                values[batch.steps, batch.histograms] = kernel(batch)
                present[batch.steps, batch.histograms] = True
        return StepMatrix(self.labels, values, None if present.all() else present)

    def _batches(self) -> Iterator[Batch]:
        alike: dict[bytes, list[int]] = {}
        for histogram, series in enumerate(self.members):
            alike.setdefault(self.bounds[series].tobytes(), []).append(histogram)
        steps = self.buckets.step_count
        for histograms in alike.values():
            series = np.stack([self.members[histogram] for histogram in histograms])  # [n, B]
            bounds = self.bounds[series[0]]
            counts = self.buckets.values.take(series.T, axis=1)  # [steps, B, n]
            counts = np.ascontiguousarray(counts.transpose(1, 0, 2)).reshape(len(bounds), -1)
            cell_steps = np.repeat(np.arange(steps), len(histograms))
            cell_histograms = np.tile(np.array(histograms, np.intp), steps)
            if self.buckets.present is None:
                yield _merged(bounds, counts, cell_steps, cell_histograms)
                continue
            present = self.buckets.present.take(series.T, axis=1)
            present = np.ascontiguousarray(present.transpose(1, 0, 2)).reshape(len(bounds), -1)
            if present.all():
                yield _merged(bounds, counts, cell_steps, cell_histograms)
                continue
            packed = np.ascontiguousarray(np.packbits(present, axis=0).T)
            whole = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
            _, example, pattern = np.unique(whole, return_index=True, return_inverse=True)
            for number, cell in enumerate(example.tolist()):
                rows = np.flatnonzero(present[:, cell])
                if len(rows):
                    cells = np.flatnonzero(pattern == number)
                    yield _merged(
                        bounds[rows], counts[np.ix_(rows, cells)], cell_steps[cells], cell_histograms[cells]
                    )


def _merged(bounds: Floats, counts: Floats, steps: NDArray[np.intp], histograms: NDArray[np.intp]) -> Batch:
    """A batch in which buckets with equal bounds (`1` and `1.0`) are added up."""
    first = np.concatenate([[True], bounds[1:] != bounds[:-1]])
    if not first.all():
        counts = np.add.reduceat(counts, np.flatnonzero(first), axis=0)
        bounds = bounds[first]
    return Batch(bounds, counts, steps, histograms)


def classic_histograms(given: StepMatrix, context: Context, argument: int) -> ClassicHistograms:
    """Put series with a readable `le` together; warn about the others."""
    column = given.labels.column(BOUND)
    numbers = [parse_float(value) for value in column.values]
    readable = np.array([number is not None for number in numbers], np.bool_)[column.codes]
    names = given.labels.column(METRIC_NAME)
    doubtful = np.flatnonzero(~readable)
    for code, name in sorted({(int(column.codes[s]), int(names.codes[s])) for s in doubtful}):
        context.warn(
            f'bucket label "le" is missing or has a malformed value of {_quoted(column.values[code])}'
            + for_metric(names.values[name]),
            argument,
        )
    if len(doubtful):
        given = given.take(np.flatnonzero(readable))
        column = given.labels.column(BOUND)
    bounds = np.array([np.nan if number is None else number for number in numbers])[column.codes]
    rest = given.labels.drop([BOUND])
    groups, representatives = rest.group()
    order = np.lexsort((bounds, groups))
    edges = np.searchsorted(groups[order], np.arange(1, len(representatives)))
    members = [part.astype(np.intp) for part in np.split(order, edges)] if given.series_count else []
    return ClassicHistograms(rest.take(representatives), given, bounds, members)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def for_metric(name: str) -> str:
    return f" for metric name {_quoted(name)}" if name else ""


class Repairs:
    """What had to be repaired, per metric name, to be told in one note each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, float, float, int, int, int]] = {}

    def add(self, name: str, low: float, high: float, difference: float, times_ms: NDArray[np.int64]) -> None:
        new = (low, high, difference, len(times_ms), int(times_ms.min()), int(times_ms.max()))
        old = self._found.get(name, (*new[:3], 0, *new[4:]))
        self._found[name] = (
            min(old[0], new[0]),
            max(old[1], new[1]),
            max(old[2], new[2]),
            old[3] + new[3],
            min(old[4], new[4]),
            max(old[5], new[5]),
        )

    def tell(self, context: Context, argument: int) -> None:
        for name, (low, high, difference, count, first_ms, last_ms) in self._found.items():
            context.inform(
                f"{NOT_MONOTONIC}{for_metric(name)}, from buckets {go_number(low)} to {go_number(high)},"
                f" with a max diff of {go_number(float(f'{difference:.2g}'))}, over {count} samples"
                f" from {_rfc3339(first_ms)} to {_rfc3339(last_ms)}",
                argument,
            )


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def quantiles(found: ClassicHistograms, q: Floats, repairs: Repairs, context: Context) -> StepMatrix:
    """The q-quantile (float64 [steps]) of every histogram."""
    names = found.labels.column(METRIC_NAME)
    times_ms = context.steps.times_ms()

    def quantiles(batch: Batch) -> Floats:
        quantile = q[batch.steps]
        values, low, high, difference = _bucket_quantile(quantile, batch.bounds, batch.counts)
        forced = np.flatnonzero((difference > 0) & (quantile >= 0) & (quantile <= 1))
        if len(forced):
            code_of = names.codes[batch.histograms[forced]]
            for code in np.unique(code_of).tolist():
                mine = forced[code_of == code]
                repairs.add(
                    names.values[code] if context.delayed_name_removal else "",
                    float(low[mine].min()),
                    float(high[mine].max()),
                    float(difference[mine].max()),
                    times_ms[batch.steps[mine]],
                )
        return values

    return found.compute(quantiles)


def _monotonic(counts: Floats, bounds: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Counts that never fall with growing bounds, and per cell what was forced: first bound, last bound, largest fall.

    A difference that rounding explains is levelled silently.
    """
    cells = counts.shape[1]
    low, high, difference = np.full(cells, np.inf), np.full(cells, -np.inf), np.zeros(cells)
    rising = counts[1:] >= counts[:-1]
    if rising.all() and not _close(counts[1:], counts[:-1]).any():
        return counts, low, high, difference
    counts = counts.copy()
    previous = counts[0].copy()
    for row in range(1, len(counts)):
        current = counts[row]
        close = _close(current, previous)
        fell = ~close & (current < previous)
        if fell.any():
            low[fell] = np.minimum(low[fell], bounds[row])
            high[fell] = np.maximum(high[fell], bounds[row])
            difference[fell] = np.maximum(difference[fell], (previous - current)[fell])
        current = np.where(close | fell, previous, current)
        counts[row] = current
        previous = current
    return counts, low, high, difference


def _close(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Different, but so little that rounding explains it."""
    together = np.abs(a) + np.abs(b)
    apart = np.abs(a - b)
    tiny = (a == 0) | (b == 0) | (together < _SMALLEST_NORMAL)
    close = np.where(
        tiny, apart < TOLERANCE * _SMALLEST_NORMAL, apart / np.minimum(together, _LARGEST) < TOLERANCE
    )
    return ((a != b) & close) | (np.isnan(a) & np.isnan(b))


def _bucket_quantile(q: Floats, bounds: Floats, counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Quantiles [cells], interpolated within the bucket that holds the rank; and what `_monotonic` forced.

    In the last bucket the answer is the highest finite bound, in a first bucket at or below zero its bound.
    """
    cells = counts.shape[1]
    outside = np.where(np.isnan(q), np.nan, np.where(q < 0, -np.inf, np.inf))
    inside = (q >= 0) & (q <= 1)
    nothing = np.zeros(cells)
    if bounds[-1] != np.inf:
        return np.where(inside, np.nan, outside), nothing, nothing, nothing
    counts, low, high, difference = _monotonic(counts, bounds)
    if len(bounds) < 2:
        return np.where(inside, np.nan, outside), low, high, difference
    observations = counts[-1]
    rank = q * observations
    last = len(bounds) - 1
    bucket = np.count_nonzero(~(counts[:last] >= rank), axis=0)
    cell = np.arange(cells)
    below = np.maximum(bucket - 1, 0)
    start = np.where(bucket > 0, bounds[below], 0.0)
    count = counts[bucket, cell]
    before = counts[below, cell]
    count = np.where(bucket > 0, count - before, count)
    rank = np.where(bucket > 0, rank - before, rank)
    values = start + (bounds[bucket] - start) * (rank / count)
    if bounds[0] <= 0:
        values = np.where(bucket == 0, bounds[0], values)
    values = np.where(bucket == last, bounds[last - 1], values)
    values = np.where(observations == 0, np.nan, values)
    return np.where(inside, values, outside), low, high, difference


def fractions(found: ClassicHistograms, lower: Floats, upper: Floats) -> StepMatrix:
    """The share of observations between two values (float64 [steps]) of every histogram."""
    return found.compute(
        lambda batch: _fraction(lower[batch.steps], upper[batch.steps], batch.bounds, batch.counts)
    )


def _fraction(lower: Floats, upper: Floats, bounds: Floats, counts: Floats) -> Floats:
    """The share of observations between `lower` and `upper` [cells], interpolated within buckets."""
    total = counts[-1]
    if bounds[-1] != np.inf:
        return np.full(counts.shape[1], np.nan)
    out = (_rank(upper, bounds, counts) - _rank(lower, bounds, counts)) / total
    out = np.where(lower >= upper, 0.0, out)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, out)


def _rank(value: Floats, bounds: Floats, counts: Floats) -> Floats:
    """How many observations lie below a value [cells].

    A first bucket above zero begins at zero. One that has no lower end counts as a whole wherever the value lies in it,
    the last one not at all, as nothing can be interpolated there.
    """
    total = counts[-1]
    bucket = np.minimum(np.searchsorted(bounds, value, "right"), len(bounds) - 1)
    cell = np.arange(counts.shape[1])
    below = np.maximum(bucket - 1, 0)
    before = np.where(bucket > 0, counts[below, cell], 0.0)
    start = np.where(bucket > 0, bounds[below], 0.0)
    within = counts[bucket, cell] - before
    rank = before + within * (value - start) / (bounds[bucket] - start)
    rank = np.where((value <= start) | (bucket == len(bounds) - 1), before, rank)
    if bounds[0] <= 0:
        rank = np.where((bucket == 0) & (value > -np.inf), counts[0], rank)
    rank = np.where(value >= bounds[-1], total, rank)
    return np.where(rank > total, total, rank)
