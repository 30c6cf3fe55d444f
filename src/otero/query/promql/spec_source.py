"""What `load` commands put into memory, as a source of samples for the engine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

import numpy as np

from otero.model.budget import Budget
from otero.model.histograms import CUSTOM, ResetHint, box
from otero.model.labels import METRIC_NAME, LabelTable
from otero.model.matchers import Matcher
from otero.model.samples import ABSENT_BITS, NO_TIME, STALE_BITS, SampleBlock
from otero.query.promql.spec_histograms import Histogram, as_columns
from otero.query.promql.spec_language import Load
from otero.query.promql.spec_series import SeriesLine, SpecError

_Key = tuple[tuple[str, str], ...]
_Bits = int
T = TypeVar("T")
_STALE: _Bits = int(STALE_BITS)


@dataclass(slots=True)
class _Series:
    labels: dict[str, str]
    samples: dict[int, "tuple[_Bits | Histogram, int]"] = field(default_factory=dict)
    """Time -> bits of the float or a histogram, start timestamp."""


class MemorySource:
    """The samples of `load` commands: a SampleSource."""

    def __init__(self) -> None:
        self._series: dict[_Key, _Series] = {}
        self._blocks: dict[tuple[_Key, ...], SampleBlock] = {}
        """Blocks handed out since the last `load`: a file asks for the same series over and over."""

    def load(self, command: Load) -> None:
        """Add what the command holds. Raises SpecError for buckets that make no histogram."""
        self._blocks.clear()
        classic = _Classic()
        for line in command.series:
            starts = line.start_offsets_ms or [None] * len(line.items)
            for index, (item, stale, start) in enumerate(zip(line.items, line.stale, starts, strict=True)):
                time_ms = index * command.step_ms
                if item is None:
                    continue
                value = item if isinstance(item, Histogram) else _bits(item, stale)
                self._of(line.labels).samples[time_ms] = (value, time_ms + start if start is not None else 0)
            if command.with_nhcb:
                classic.add(line, command.step_ms)
        for labels, time_ms, histogram in classic.converted():
            self._of(labels).samples[time_ms] = (histogram, 0)

    def _of(self, labels: dict[str, str]) -> _Series:
        return self._series.setdefault(tuple(sorted(labels.items())), _Series(labels))

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        """Every sample of the series that match, in one block."""
        budget.check()
        chosen = tuple(
            key
            for key, series in self._series.items()
            if all(matcher.matches(series.labels.get(matcher.name, "")) for matcher in matchers)
            and any(start_ms <= time_ms <= end_ms for time_ms in series.samples)
        )
        if not chosen:
            return []
        if chosen not in self._blocks:
            self._blocks[chosen] = _block([self._series[key] for key in chosen])
        return [self._blocks[chosen]]


def _bits(value: float, stale: bool) -> _Bits:
    return _STALE if stale else int(np.float64(value).view(np.uint64))


def _block(chosen: list[_Series]) -> SampleBlock:
    columns: dict[tuple[int, ...], int] = {}
    group = [columns.setdefault(tuple(sorted(series.samples)), len(columns)) for series in chosen]
    height = max(len(times) for times in columns)
    times_ms = np.full((height, len(columns)), NO_TIME, np.int64)
    for times, column in columns.items():
        times_ms[: len(times), column] = times
    values = np.full((height, len(chosen)), ABSENT_BITS, np.uint64)
    starts = np.zeros((height, len(chosen)), np.int64)
    histograms: list[Histogram] = []
    cells: list[tuple[int, int]] = []
    for index, series in enumerate(chosen):
        samples = [series.samples[time_ms] for time_ms in sorted(series.samples)]
        starts[: len(samples), index] = [start for _, start in samples]
        for at, value in enumerate(with_hints([value for value, _ in samples])):
            if isinstance(value, Histogram):
                cells.append((at, index))
                histograms.append(value)
            else:
                values[at, index] = value
    if cells:
        where = np.array(cells)
        values[where[:, 0], where[:, 1]] = box(np.arange(len(cells))).view(np.uint64)
    return SampleBlock(
        LabelTable.of([series.labels for series in chosen]),
        times_ms,
        np.array(group, np.intp),
        values.view(np.float64),
        start_ms=starts if starts.any() else None,
        histograms=as_columns(histograms) if histograms else None,
    )


def with_hints(values: Sequence[T | Histogram]) -> list[T | Histogram]:
    """The samples of one series with the counter reset hints that a storage gives back.

    A gauge stays one. Any other histogram is known to be no reset when it continues the one before it; at the start of
    the series, after a float, a gauge or a gap, after a reset or a change of the buckets, nothing is known.
    """
    out: list[T | Histogram] = []
    before: T | Histogram | None = None
    for value in values:
        if isinstance(value, Histogram) and value.hint is not ResetHint.GAUGE:
            known = isinstance(before, Histogram) and _continues(before, value)
            out.append(replace(value, hint=ResetHint.NOT_RESET if known else ResetHint.UNKNOWN))
        else:
            out.append(value)
        before = value
    return out


def _continues(before: Histogram, now: Histogram) -> bool:
    """Whether `now` can follow `before` as the same counter, with the same buckets."""
    return (
        now.hint is not ResetHint.RESET
        and before.hint is not ResetHint.GAUGE
        and now.schema == before.schema
        and now.bounds == before.bounds
        and now.zero_threshold == before.zero_threshold
        and not now.count < before.count
        and not now.zero_count < before.zero_count
        and all(not now.positive.get(index, 0.0) < count for index, count in before.positive.items())
        and all(not now.negative.get(index, 0.0) < count for index, count in before.negative.items())
    )


class _Classic:
    """Series of classic histograms, put together to histograms with custom bounds."""

    def __init__(self) -> None:
        self._found: dict[_Key, tuple[dict[str, str], dict[int, _Parts]]] = {}

    def add(self, line: SeriesLine, step_ms: int) -> None:
        name = line.labels.get(METRIC_NAME, "")
        suffix = next((suffix for suffix in ("_bucket", "_count", "_sum") if name.endswith(suffix)), None)
        if suffix is None:
            return
        bound = _bound(line.labels.get("le")) if suffix == "_bucket" else 0.0
        if math.isnan(bound):
            return
        labels = {key: text for key, text in line.labels.items() if key != "le"}
        labels[METRIC_NAME] = name.removesuffix(suffix)
        _, by_time = self._found.setdefault(tuple(sorted(labels.items())), (labels, {}))
        for index, item in enumerate(line.items):
            if not isinstance(item, float):
                continue
            parts = by_time.setdefault(index * step_ms, _Parts())
            match suffix:
                case "_bucket":
                    parts.buckets.setdefault(bound, item)
                case "_count":
                    parts.count = item
                case _:
                    parts.sum = item

    def converted(self) -> list[tuple[dict[str, str], int, Histogram]]:
        """Labels, time and histogram of each. Raises SpecError."""
        out: list[tuple[dict[str, str], int, Histogram]] = []
        for labels, by_time in self._found.values():
            for time_ms, parts in by_time.items():
                out.append((labels, time_ms, parts.histogram(labels[METRIC_NAME], time_ms)))
        return out


def _bound(text: str | None) -> float:
    if text is None:
        raise SpecError('load_with_nhcb: a series "…_bucket" has no label "le"')
    try:
        return float(text)
    except ValueError:
        return math.nan


@dataclass(slots=True)
class _Parts:
    """One classic histogram at one time: cumulative counts by upper bound, and what its other series say."""

    buckets: dict[float, float] = field(default_factory=dict)
    count: float | None = None
    sum: float = 0.0

    def histogram(self: Self, name: str, time_ms: int) -> Histogram:
        bounds = sorted(self.buckets)
        cumulative = [self.buckets[bound] for bound in bounds]
        count = self.count if self.count is not None else cumulative[-1] if cumulative else 0.0
        if not bounds or bounds[-1] != math.inf:
            bounds.append(math.inf)
            cumulative.append(count)
        counts = [after - before for before, after in zip([0.0, *cumulative], cumulative, strict=False)]
        if any(number < 0 for number in counts) or (cumulative[-1] != count and not math.isnan(count)):
            raise SpecError(
                f'load_with_nhcb: the buckets of "{name}" at {time_ms} ms are no histogram: '
                f"cumulative counts {cumulative}, count {count}"
            )
        return Histogram(
            schema=CUSTOM,
            sum=self.sum,
            count=count,
            positive=dict(enumerate(counts)),
            bounds=tuple(bounds[:-1]),
        )
