"""What one exposition body holds, as columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms
from otero.model.metrics import Exemplar, Metadata


@dataclass(frozen=True, slots=True)
class WantedHistograms:
    """Which forms of histograms a reader of expositions wants.

    native   native histograms as such; else only their classic parts are read.
    classic  classic series also of what is stored as a native histogram, be it native or converted.
    nhcb     classic histograms as native ones with custom bounds.
    """

    native: bool = False
    classic: bool = False
    nhcb: bool = False


CLASSIC_ONLY = WantedHistograms()


@dataclass(frozen=True, slots=True, eq=False)
class Exposition:
    """N samples in the order of the body.

    keys      N series texts: what stands before the value, fit for a cache and for `parse_series`. As exposed, but for
              `le` and `quantile` values of histograms and summaries, which are in Prometheus 3's normal form ("1.0").
              A series may occur more than once.
    values    float64 [N]; a NaN always has the bits of an ordinary NaN, never those of a staleness marker, or is boxed.
    times_ms  int64 [N] explicit timestamps, NO_TIME where the sample has none; None when no sample has one.
    start_ms  int64 [N] when the counter began, 0 where unknown; None when nothing is known.
    exemplars `ref` is the row; `time_ms` is NO_TIME where the exemplar has no timestamp.
    metadata  one entry per family that says something of itself.
    histograms  what boxed values point into; None when there is none.
    """

    keys: list[bytes]
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64] | None = None
    start_ms: NDArray[np.int64] | None = None
    exemplars: tuple[Exemplar, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    histograms: Histograms | None = None

    def __len__(self) -> int:
        return len(self.keys)
