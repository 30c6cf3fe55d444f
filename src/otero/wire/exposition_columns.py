"""What one exposition body holds, as columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.metrics import Exemplar, Metadata


@dataclass(frozen=True, slots=True, eq=False)
class Exposition:
    """N samples in the order of the body.

    keys      N series texts: what stands before the value, fit for a cache and for `parse_series`. As exposed, but for
              `le` and `quantile` values of histograms and summaries, which are in Prometheus 3's normal form ("1.0").
              A series may occur more than once.
    values    float64 [N]; a NaN always has the bits of an ordinary NaN, never those of a staleness marker.
    times_ms  int64 [N] explicit timestamps, NO_TIME where the sample has none; None when no sample has one.
    start_ms  int64 [N] when the counter began, 0 where unknown; None when nothing is known.
    exemplars `ref` is the row; `time_ms` is NO_TIME where the exemplar has no timestamp.
    metadata  one entry per family that says something of itself.
    native_histograms  how many native histograms the body holds; they are not stored yet.
    """

    keys: list[bytes]
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64] | None = None
    start_ms: NDArray[np.int64] | None = None
    exemplars: tuple[Exemplar, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    native_histograms: int = 0

    def __len__(self) -> int:
        return len(self.keys)
