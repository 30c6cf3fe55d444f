"""The open end of the head: rows of wide arrays that samples are written into as they come.

A *strip* is a set of series that are scraped together: neighbouring columns of a pool, one column of timestamps, its own
count of rows. A scrape is one row written; scattered samples are written by look-up. Not locked: the head locks around it.
"""

import numpy as np
from numpy.typing import NDArray

from otero.model.samples import ABSENT, NO_TIME

ROWS = 64
POOL_COLUMNS = 8192
NEVER = -NO_TIME


class Pool:
    """Values [ROWS, width], ABSENT where nothing was written, and its free ranges of columns."""

    def __init__(self, width: int) -> None:
        self.values: NDArray[np.float64] = np.full((ROWS, width), ABSENT)
        self.free: list[tuple[int, int]] = [(0, width)]
        self.strips: dict[int, None] = {}

    def take(self, width: int) -> int:
        """The first of `width` columns, or -1 when no range is large enough."""
        for at, (start, size) in enumerate(self.free):
            if size >= width:
                if size == width:
                    del self.free[at]
                else:
                    self.free[at] = (start + width, size - width)
                return start
        return -1

    def give(self, start: int, width: int) -> None:
        """Return columns; neighbouring ranges join."""
        merged: list[tuple[int, int]] = []
        for low, size in sorted([*self.free, (start, width)]):
            if merged and merged[-1][0] + merged[-1][1] == low:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((low, size))
        self.free = merged


class OpenGrid:
    """All strips.

    By reference: `strip_of` (-1: none) and `column_of`, the column in the strip's pool.
    By strip: `rows` written, `last_ms` (newest time; rows only follow later ones), `full_ms` (newest row that has every
    column), `times_ms` [ROWS, strip], `pool_of`, `first_column`, `members` (refs in column order).
    """

    def __init__(self) -> None:
        self.strip_of: NDArray[np.int32] = np.full(1024, -1, np.int32)
        self.column_of: NDArray[np.int32] = np.zeros(1024, np.int32)
        self.rows: NDArray[np.int64] = np.zeros(64, np.int64)
        self.last_ms: NDArray[np.int64] = np.full(64, NEVER, np.int64)
        self.full_ms: NDArray[np.int64] = np.full(64, NEVER, np.int64)
        self.times_ms: NDArray[np.int64] = np.full((ROWS, 64), NO_TIME, np.int64)
        self.pool_of: NDArray[np.int64] = np.zeros(64, np.int64)
        self.first_column: NDArray[np.int64] = np.zeros(64, np.int64)
        self.members: list[NDArray[np.int64]] = []
        self.pools: dict[int, Pool] = {}
        self._free: list[int] = []
        self._next_pool = 0

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        pools = sum(pool.values.nbytes for pool in self.pools.values())
        by_strip = self.times_ms.nbytes + self.rows.nbytes * 5 + sum(m.nbytes + 150 for m in self.members)
        return pools + by_strip + self.strip_of.nbytes + self.column_of.nbytes

    def reserve(self, bound: int) -> None:
        """Make room for references below `bound`."""
        size = len(self.strip_of)
        if bound > size:
            room = max(bound, size * 3 // 2)
            strip_of = np.full(room, -1, np.int32)
            strip_of[:size] = self.strip_of
            column_of = np.zeros(room, np.int32)
            column_of[:size] = self.column_of
            self.strip_of, self.column_of = strip_of, column_of

    def open(self, refs: NDArray[np.int64], after_ms: int) -> int:
        """A new strip of series that have none; its rows are later than `after_ms`."""
        width = len(refs)
        number, start = -1, -1
        for candidate, pool in self.pools.items():
            start = pool.take(width)
            if start >= 0:
                number = candidate
                break
        if number < 0:
            number = self._next_pool
            self._next_pool += 1
            # Pools grow with what is there, so that few series cost little.
            held = sum(pool.values.shape[1] for pool in self.pools.values())
            size = min(max(held // 4, 1024), POOL_COLUMNS)
            pool = self.pools[number] = Pool(max(size, width))
            start = pool.take(width)
        if self._free:
            strip = self._free.pop()
            self.members[strip] = refs
        else:
            strip = len(self.members)
            self.members.append(refs)
            if strip == len(self.rows):
                self._grow()
        self.pools[number].strips[strip] = None
        self.rows[strip] = 0
        self.last_ms[strip] = after_ms
        self.full_ms[strip] = NEVER
        self.pool_of[strip] = number
        self.first_column[strip] = start
        self.strip_of[refs] = strip
        self.column_of[refs] = np.arange(start, start + width)
        return strip

    def _grow(self) -> None:
        size = len(self.rows)
        more = size // 2
        self.rows = np.concatenate([self.rows, np.zeros(more, np.int64)])
        self.last_ms = np.concatenate([self.last_ms, np.full(more, NEVER, np.int64)])
        self.full_ms = np.concatenate([self.full_ms, np.full(more, NEVER, np.int64)])
        self.pool_of = np.concatenate([self.pool_of, np.zeros(more, np.int64)])
        self.first_column = np.concatenate([self.first_column, np.zeros(more, np.int64)])
        self.times_ms = np.concatenate([self.times_ms, np.full((ROWS, more), NO_TIME, np.int64)], axis=1)

    def values_of(self, refs: NDArray[np.int64], rows: slice) -> NDArray[np.float64]:
        """Values [rows, len(refs)] of series that all have strips; `rows` has both its ends."""
        columns = self.column_of[refs]
        pool_of = self.pool_of[self.strip_of[refs]]
        pools = np.unique(pool_of).tolist()
        if len(pools) == 1:
            return self.pools[pools[0]].values[rows].take(columns, axis=1)
        out = np.empty((rows.stop - rows.start, len(refs)))
        for number in pools:
            own = np.flatnonzero(pool_of == number)
            out[:, own] = self.pools[number].values[rows].take(columns[own], axis=1)
        return out

    def release(self, strip: int) -> None:
        """Give back a strip that has no rows; its series have none then."""
        members = self.members[strip]
        number = int(self.pool_of[strip])
        pool = self.pools[number]
        self.strip_of[members] = -1
        pool.give(int(self.first_column[strip]), len(members))
        del pool.strips[strip]
        if not pool.strips:
            del self.pools[number]
        self.members[strip] = np.zeros(0, np.int64)
        self._free.append(strip)

    def clear_rows(self, strip: int) -> None:
        """Forget the rows of a strip, which are sealed elsewhere."""
        start = int(self.first_column[strip])
        pool = self.pools[int(self.pool_of[strip])]
        pool.values[:, start : start + len(self.members[strip])] = ABSENT
        self.times_ms[:, strip] = NO_TIME
        self.rows[strip] = 0
