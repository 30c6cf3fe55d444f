"""Columns of samples, as storage hands them to queries.

Two NaN payloads are not values. STALE is Prometheus' staleness marker: the series ended here. ABSENT fills the cells of
a block in which a series has no sample at all. Both are told apart from an ordinary NaN by their bits only: compare on
`bits()`, and remember that arithmetic, rounding and float32 casts quieten STALE, while copies, takes and concatenations
keep it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms
from otero.model.labels import LabelTable

STALE_BITS = np.uint64(0x7FF0_0000_0000_0002)
ABSENT_BITS = np.uint64(0x7FF8_0000_0AB5_E247)
NAN_BITS = np.uint64(0x7FF8_0000_0000_0001)

STALE = float(np.array([STALE_BITS], np.uint64).view(np.float64)[0])
ABSENT = float(np.array([ABSENT_BITS], np.uint64).view(np.float64)[0])

NO_TIME = np.iinfo(np.int64).max
"""Pads the end of a timestamp column; later than any sample."""


def bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The same memory as unsigned integers."""
    return values.view(np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class SampleBlock:
    """Samples of S series in columns; series that are scraped together share their timestamps.

    labels   S label sets.
    times_ms int64 [T, G]: G timestamp columns, each strictly ascending, padded at its end with NO_TIME.
    group    intp [S]: the timestamp column of each series.
    values   float64 [T, S]: values[t, s] was sampled at times_ms[t, group[s]]; ABSENT where the series has no sample
             at that time (always where the time is NO_TIME), STALE where it ended.
    clean    True when no cell that has a time is STALE or ABSENT, so that a kernel may skip looking for them.
    start_ms int64 [T, S] or None: start timestamps (when the counter began), 0 where unknown.
    histograms  what boxed values (`model.histograms.box`) point into; None when there is none. A block with boxes is
             never `clean`.

    Series that share nothing are the case G == S. Owned by nobody and shared by all: never mutated.
    """

    labels: LabelTable
    times_ms: NDArray[np.int64]
    group: NDArray[np.intp]
    values: NDArray[np.float64]
    clean: bool = False
    start_ms: NDArray[np.int64] | None = None
    histograms: Histograms | None = None

    @property
    def series_count(self) -> int:
        return self.values.shape[1]

    @property
    def sample_count(self) -> int:
        """Samples including staleness markers."""
        if self.clean:
            return int(np.count_nonzero(self.times_ms != NO_TIME, axis=0)[self.group].sum())
        return int(np.count_nonzero(bits(self.values) != ABSENT_BITS))
