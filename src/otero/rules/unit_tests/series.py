"""The input series of a test, written as time goes on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import LimitExceeded
from otero.ingest.intake import Intake
from otero.model.histograms import box
from otero.model.labels import encode_labels
from otero.model.metrics import MetricBatch
from otero.model.samples import STALE
from otero.query.promql.spec_histograms import Histogram, as_columns
from otero.query.promql.spec_series import SeriesLine
from otero.query.promql.spec_source import with_hints

MAX_SAMPLES = 20_000_000
"""Of the input series of one test."""

_DOOR = "tests"


class InputSeries:
    """Series that stand side by side, their samples an interval apart. The last of those with the same labels wins.

    Raises LimitExceeded for more samples than MAX_SAMPLES.
    """

    def __init__(self, lines: Sequence[SeriesLine], start_ms: int, interval_ms: int) -> None:
        by_labels = {encode_labels(line.labels): line for line in map(_as_stored, lines)}
        if sum(len(line.items) for line in lines) > MAX_SAMPLES:
            raise LimitExceeded(f"more than {MAX_SAMPLES:,} samples in the input series")
        self._keys = list(by_labels)
        self._lines = list(by_labels.values())
        self._start_ms = start_ms
        self._interval_ms = interval_ms
        self._length = max((len(line.items) for line in self._lines), default=0)
        self._written = 0
        self._refs: NDArray[np.int64] = np.zeros(0, np.int64)
        self._shapes: dict[tuple[int, ...], NDArray[np.int64]] = {}
        """References by the series that have a sample at a time: the head knows the very array again."""

    def write_until(self, time_ms: int, intake: Intake) -> None:
        """Write every sample that is not written yet and not after a time."""
        if not self._written:
            self._refs = intake.resolve(self._keys, _DOOR)
        last = min((time_ms - self._start_ms) // self._interval_ms + 1, self._length)
        for index in range(self._written, last):
            self._write(index, intake)
        self._written = max(self._written, last)

    def _write(self, index: int, intake: Intake) -> None:
        present: list[int] = []
        values: list[float] = []
        histograms: list[Histogram] = []
        boxed: list[int] = []
        for at, line in enumerate(self._lines):
            item = line.items[index] if index < len(line.items) else None
            if item is None:
                continue
            present.append(at)
            if isinstance(item, Histogram):
                boxed.append(len(values))
                histograms.append(item)
                values.append(0.0)
            else:
                values.append(STALE if line.stale[index] else item)
        if not present:
            return
        refs = self._shapes.setdefault(tuple(present), self._refs[present])
        column = np.array(values, np.float64)
        if boxed:
            column[boxed] = box(np.arange(len(boxed)))
        times = np.full(len(present), self._start_ms + index * self._interval_ms)
        owned = as_columns(histograms) if histograms else None
        intake.write_metrics(MetricBatch(refs, times, column, histograms=owned), _DOOR)


def _as_stored(line: SeriesLine) -> SeriesLine:
    """With the counter reset hints that a storage gives back."""
    if not any(isinstance(item, Histogram) for item in line.items):
        return line
    places = [at for at, item in enumerate(line.items) if item is not None]
    items = list(line.items)
    for at, item in zip(places, with_hints([line.items[at] for at in places]), strict=True):
        items[at] = item
    return replace(line, items=items)
