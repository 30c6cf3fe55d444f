"""Which strips are sealed together: those that gain rows at the same pace, wherever they lie.

Series of one metric then lie side by side in few large frames, and a query reads few pieces.
"""

import math

import numpy as np
from numpy.typing import NDArray

from otero.storage.grid import POOL_COLUMNS, ROWS, OpenGrid

_NONE = -1
_PACE = math.log(1.3)
"""Paces that differ by less than this share count as one."""


class Cohorts:
    """A cohort has at most POOL_COLUMNS series, so that sealing it takes some tens of milliseconds. Not locked."""

    def __init__(self) -> None:
        self._of: NDArray[np.int64] = np.full(64, _NONE, np.int64)
        self._width: dict[int, int] = {}
        self._pace: dict[int, int] = {}
        self._next = 0

    def forget(self, strip: int, width: int) -> None:
        """The strip was dissolved, or keeps another pace now."""
        if strip < len(self._of) and self._of[strip] != _NONE:
            cohort = int(self._of[strip])
            self._of[strip] = _NONE
            self._width[cohort] -= width
            if not self._width[cohort]:
                del self._width[cohort], self._pace[cohort]

    def together(self, grid: OpenGrid, strip: int) -> list[int]:
        """The strips to seal now that `strip` is full, itself among them: of its cohort, at least half full."""
        if len(grid.rows) > len(self._of):
            grown = np.full(len(grid.rows), _NONE, np.int64)
            grown[: len(self._of)] = self._of
            self._of = grown
        ready = np.flatnonzero(grid.rows >= ROWS // 2)
        spans = grid.last_ms[ready] - grid.times_ms[0, ready]
        paces = np.rint(np.log(np.maximum(spans / (grid.rows[ready] - 1), 1.0)) / _PACE).astype(np.int64)
        pace_of = dict(zip(ready.tolist(), paces.tolist(), strict=True))
        width = len(grid.members[strip])
        cohort = int(self._of[strip])
        if cohort != _NONE and abs(self._pace[cohort] - pace_of[strip]) > 1:
            self.forget(strip, width)
            cohort = _NONE
        if cohort == _NONE:
            cohort = self._join(strip, width, pace_of[strip])
        for other in ready[self._of[ready] == _NONE].tolist():
            more = len(grid.members[other])
            if abs(self._pace[cohort] - pace_of[other]) <= 1 and self._width[cohort] + more <= POOL_COLUMNS:
                self._of[other] = cohort
                self._width[cohort] += more
        return ready[self._of[ready] == cohort].tolist()

    def _join(self, strip: int, width: int, pace: int) -> int:
        for cohort, own in self._pace.items():
            if abs(own - pace) <= 1 and self._width[cohort] + width <= POOL_COLUMNS:
                break
        else:
            cohort = self._next
            self._next += 1
            self._pace[cohort] = pace
            self._width[cohort] = 0
        self._of[strip] = cohort
        self._width[cohort] += width
        return cohort
