"""Start timestamps, which change rarely: a log of changes per series, made only when a series has one."""

import numpy as np
from numpy.typing import NDArray


class StartLog:
    """From which sample time on a series has which start timestamp. Not locked: the head locks around it."""

    def __init__(self) -> None:
        self.current: NDArray[np.int64] = np.zeros(0, np.int64)
        """By reference: the start timestamp of the newest sample in order; 0 is unknown."""
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        empty = np.zeros(0, np.int64)
        self._sorted = (empty, empty, empty)

    def __bool__(self) -> bool:
        return bool(len(self.current))

    @property
    def nbytes(self) -> int:
        """Memory of the entries."""
        return self.current.nbytes + 24 * (
            len(self._sorted[0]) + sum(len(refs) for refs, _, _ in self._pending)
        )

    def note(
        self,
        refs: NDArray[np.int64],
        times_ms: NDArray[np.int64],
        start_ms: NDArray[np.int64] | None,
        bound: int,
    ) -> None:
        """Samples that follow all earlier ones of their series, each series in order of time."""
        if start_ms is None:
            if not len(self.current):
                return
            start_ms = np.zeros(len(refs), np.int64)
        elif not len(self.current) and not start_ms.any():
            return
        if bound > len(self.current):
            grown = np.zeros(max(bound, len(self.current) * 3 // 2), np.int64)
            grown[: len(self.current)] = self.current
            self.current = grown
        changed = start_ms != self.current[refs]
        if not changed.any():
            # Several samples of one series may go back and forth within a batch; then one of them differs from now.
            return
        touched = np.isin(refs, refs[changed])
        self._pending.append((refs[touched], times_ms[touched], start_ms[touched]))
        self.current[refs[touched]] = start_ms[touched]

    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(refs, times, starts) by reference and time; never mutated afterwards."""
        if self._pending:
            refs, times, starts = (
                np.concatenate(parts) for parts in zip(self._sorted, *self._pending, strict=True)
            )
            order = np.lexsort((times, refs))
            self._sorted = (refs[order], times[order], starts[order])
            self._pending = []
        return self._sorted

    def prune(self, before_ms: int, alive: NDArray[np.bool_]) -> None:
        """Drop entries that no sample at or after `before_ms` needs, and those of series that are not alive."""
        refs, times, starts = self.entries()
        if not len(refs):
            return
        superseded = np.zeros(len(refs), np.bool_)
        superseded[:-1] = (refs[1:] == refs[:-1]) & (times[1:] <= before_ms)
        keep = ~superseded & alive[refs]
        self._sorted = (refs[keep], times[keep], starts[keep])


def starts_at(
    entries: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    refs: NDArray[np.int64],
    times_ms: NDArray[np.int64],
) -> NDArray[np.int64]:
    """int64, shape of `times_ms`: the start timestamp of samples at those times; `refs` broadcasts against them."""
    entry_refs, entry_times, entry_starts = entries
    lowest = int(entry_times.min())
    span = max(int(entry_times.max()) - lowest + 2, 1)
    keys = entry_refs * span + (entry_times - lowest + 1)
    wanted = refs * span + np.clip(times_ms - lowest + 1, 0, span - 1)
    at = np.searchsorted(keys, wanted, side="right") - 1
    found = (at >= 0) & (entry_refs[at] == refs)
    return np.where(found, entry_starts[at], 0)
