"""Where the head keeps native histograms: cells of its grid, frames and side log hold their ids as boxed values.

Ids rise and are never given twice. What is old goes in whole segments, when no sample that the head still holds can
point into them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, box, boxed_rows
from otero.model.metrics import MetricBatch
from otero.storage.histogram_columns import NarrowHistograms, narrow

_ROWS = 2048
_PARTS = 500
_SPAN_MS = 15 * 60_000
"""A segment closes when it has as many rows or parts, or covers more time: it goes only as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    first: int
    rows: NarrowHistograms | Histograms
    first_ms: int
    last_ms: int
    position: int


class HeapView:
    """The histograms of a moment; never changes."""

    def __init__(self, segments: tuple[_Segment, ...]) -> None:
        self._segments = segments
        self._first = np.array([segment.first for segment in segments], np.int64)

    def __len__(self) -> int:
        return sum(len(segment.rows) for segment in self._segments)

    def take(self, ids: NDArray[np.int64]) -> Histograms:
        """The histograms of distinct, ascending ids."""
        edges = np.searchsorted(ids, self._first)
        parts: list[Histograms] = []
        for segment, low, high in zip(self._segments, edges, [*edges[1:], len(ids)], strict=True):
            if low < high:
                parts.append(segment.rows.take(ids[low:high] - segment.first))
        return Histograms.concat(parts)


class HistogramHeap:
    """Append-only. Not locked: the head locks around it."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._open: list[_Segment] = []
        self._open_rows = 0
        self._next = 0
        self._closed_bytes = 0
        self._open_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._segments or self._open)

    @property
    def nbytes(self) -> int:
        """Memory of the histograms."""
        return self._closed_bytes + self._open_bytes

    @property
    def row_bytes(self) -> float:
        """Memory that goes with one old histogram, on average."""
        rows = sum(len(segment.rows) for segment in self._segments)
        return self._closed_bytes / rows if rows else 0.0

    def take_in(self, batch: MetricBatch, position: int) -> MetricBatch:
        """The batch with ids in place of rows, its histograms kept here."""
        if batch.histograms is None:
            return batch
        values = self.add(batch.values, batch.times_ms, batch.histograms, position)
        return replace(batch, values=values, histograms=None)

    def add(
        self,
        values: NDArray[np.float64],
        times_ms: NDArray[np.int64],
        histograms: Histograms,
        position: int,
    ) -> NDArray[np.float64]:
        """N samples at their times, with ids in place of rows of `histograms`."""
        rows = boxed_rows(values)
        cells = np.flatnonzero(rows >= 0)
        if not len(cells):
            return values
        order = np.argsort(times_ms[cells], kind="stable")
        cells = cells[order]
        for low in range(0, len(cells), _ROWS):
            some = cells[low : low + _ROWS]
            first, last = int(times_ms[some[0]]), int(times_ms[some[-1]])
            self._add(histograms.take(rows[some]), first, last, position)
        out = np.array(values)
        out[cells] = box(np.arange(self._next - len(cells), self._next))
        return out

    def _add(self, rows: Histograms, first_ms: int, last_ms: int, position: int) -> None:
        if self._open and (
            self._open_rows + len(rows) > _ROWS
            or len(self._open) >= _PARTS
            or last_ms - self._open[0].first_ms > _SPAN_MS
        ):
            self._close()
        self._open.append(_Segment(self._next, rows, first_ms, last_ms, position))
        self._open_rows += len(rows)
        self._open_bytes += 64 * len(rows) + 16 * len(rows.bucket) + 1500
        self._next += len(rows)

    def _close(self) -> None:
        joined = self._joined()
        rows = narrow(joined.rows) if isinstance(joined.rows, Histograms) else joined.rows
        self._segments.append(replace(joined, rows=rows))
        self._closed_bytes += rows.nbytes
        self._open, self._open_rows, self._open_bytes = [], 0, 0

    def _joined(self) -> _Segment:
        """The open parts as one, which then takes their place."""
        parts = self._open
        if len(parts) > 1:
            rows = Histograms.concat([part.rows for part in parts if isinstance(part.rows, Histograms)])
            joined = _Segment(
                parts[0].first,
                rows,
                min(part.first_ms for part in parts),
                max(part.last_ms for part in parts),
                max(part.position for part in parts),
            )
            self._open = [joined]
        return self._open[0]

    def view(self) -> HeapView:
        """What there is now."""
        return HeapView((*self._segments, *([self._joined()] if self._open else [])))

    def free(self, before_ms: int, flushed_position: int) -> None:
        """Drop segments that are flushed and hold nothing at or after `before_ms`."""
        if self._open:
            last = self._joined()
            if last.last_ms < before_ms and last.position <= flushed_position:
                self._open, self._open_rows, self._open_bytes = [], 0, 0
        kept = [s for s in self._segments if s.last_ms >= before_ms or s.position > flushed_position]
        if len(kept) != len(self._segments):
            self._segments = kept
            self._closed_bytes = sum(s.rows.nbytes for s in kept if isinstance(s.rows, NarrowHistograms))


def unboxed(values: NDArray[np.float64], heap: HeapView) -> tuple[NDArray[np.float64], Histograms | None]:
    """Values with rows of their own `Histograms` in place of ids; None when there is no box."""
    ids = boxed_rows(values)
    inside = ids >= 0
    if not inside.any():
        return values, None
    distinct, at = np.unique(ids[inside], return_inverse=True)
    out = np.array(values)
    out[inside] = box(at)
    return out, heap.take(distinct)
