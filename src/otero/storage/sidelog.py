"""What does not fit the grid: samples out of order, corrections, late samples, series without a rhythm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SideRows:
    """Samples as rows, in order of arrival: a later row of the same series and time replaces an earlier one.

    `start_ms` is 0 where unknown; `position` is the journal position that the sample came with.
    """

    refs: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64]
    position: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.refs)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "SideRows":
        """Only the given rows."""
        return SideRows(
            self.refs[rows],
            self.times_ms[rows],
            self.values[rows],
            self.start_ms[rows],
            self.position[rows],
        )


class SideLog:
    """An appended list of SideRows. Not locked: the head locks around it."""

    def __init__(self) -> None:
        empty = np.zeros(0, np.int64)
        self._rows = SideRows(empty, empty, np.zeros(0, np.float64), empty, empty)
        self._pending: list[SideRows] = []
        self.size = 0

    @property
    def nbytes(self) -> int:
        """Memory of the rows."""
        return self.size * 40 + len(self._pending) * 700

    def append(self, rows: SideRows) -> None:
        """Add rows; they replace earlier ones of the same series and time."""
        if len(rows):
            self._pending.append(rows)
            self.size += len(rows)
            if len(self._pending) >= 1000:
                self.rows()

    def rows(self) -> SideRows:
        """All rows, in order of arrival; never mutated afterwards."""
        if self._pending:
            parts = [self._rows, *self._pending]
            self._rows = SideRows(
                np.concatenate([part.refs for part in parts]),
                np.concatenate([part.times_ms for part in parts]),
                np.concatenate([part.values for part in parts]),
                np.concatenate([part.start_ms for part in parts]),
                np.concatenate([part.position for part in parts]),
            )
            self._pending = []
        return self._rows

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all but the given rows of `rows()`, and what later rows replaced."""
        self._rows = self.rows().take(rows)
        self.size = len(self._rows)
