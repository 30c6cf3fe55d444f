"""Metrics on their way in."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms
from otero.model.labels import LabelBytes


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """One exemplar of one series: `labels` is usually a trace id. Few per scrape, hence objects."""

    ref: int
    labels: LabelBytes
    value: float
    time_ms: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an exposition says of a metric family. `type` is Prometheus' lower-case word, "unknown" when not said."""

    metric: str
    type: str = "unknown"
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class MetricBatch:
    """N samples as columns, ready for the intake.

    refs      int64 [N]: references of the series registry (`storage/registry.py`). A scraper hands over the very same
              array object at each scrape of an unchanged target, which is what the head's fast path looks for.
    times_ms  int64 [N].
    values    float64 [N]; STALE marks the end of a series.
    start_ms  int64 [N] or None: start timestamps, 0 where unknown.
    histograms  what boxed values (`model.histograms.box`) point into; None when every sample is a float.
    Ownership passes to the receiver with the call; neither side mutates the arrays afterwards.
    """

    refs: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64] | None = None
    exemplars: tuple[Exemplar, ...] = ()
    metadata: tuple[Metadata, ...] = field(default=())
    histograms: Histograms | None = None

    def __len__(self) -> int:
        return len(self.refs)

    def keep(self, rows: NDArray[np.bool_]) -> "MetricBatch":
        """Only the samples where `rows` (bool [N]) is True."""
        return replace(
            self,
            refs=self.refs[rows],
            times_ms=self.times_ms[rows],
            values=self.values[rows],
            start_ms=None if self.start_ms is None else self.start_ms[rows],
        )
