"""The heap gives each id's histogram back until everything that could point at it is gone."""

import numpy as np

from otero.model.histograms import Histograms, box, boxed_rows
from otero.model.samples import STALE, bits
from otero.storage.histogram_heap import HistogramHeap, unboxed
from tests.histogram_samples import described, one

MINUTE_MS = 60_000


def numbered(first: int, count: int) -> Histograms:
    return Histograms.concat([one(0, {n % 5: 1.0, 9: float(n)}) for n in range(first, first + count)])


def test_ids_take_the_place_of_rows_and_come_back_as_rows() -> None:
    heap = HistogramHeap()
    values: list[np.ndarray] = []
    for turn in range(1300):
        rows = numbered(turn * 7, 7)
        cells = np.array([1.5, STALE, *box(np.array([6, 0, 3]))])
        times = np.full(5, turn * 1000)
        values.append(heap.add(cells, times, rows, turn))
    assert not heap.nbytes > 1300 * 3 * 700
    view = heap.view()
    heap.free(10**9, 10**9)
    assert not heap, "nothing points into it any more"
    assert heap.nbytes == 0
    picked = np.concatenate([values[1299], values[3], values[700]])
    out, rows = unboxed(picked, view)
    assert rows is not None
    assert bits(out)[[0, 1]].tolist() == bits(picked)[[0, 1]].tolist()
    at = boxed_rows(out)
    assert len(rows) == 9
    expected = [turn * 7 + n for turn in (1299, 3, 700) for n in (6, 0, 3)]
    for row, n in zip(at[at >= 0].tolist(), expected, strict=True):
        assert described(rows, row) == described(numbered(n, 1), 0)


def test_segments_go_when_they_are_flushed_and_old() -> None:
    heap = HistogramHeap()
    for minute in range(60):
        cells = box(np.arange(100))
        heap.add(cells, np.full(100, minute * MINUTE_MS), numbered(0, 100), minute)
    before = heap.nbytes
    heap.free(30 * MINUTE_MS, 5)
    assert heap.nbytes == before, "a segment is longer than what is flushed"
    heap.free(33 * MINUTE_MS, 60)
    assert 0.4 * before < heap.nbytes < 0.8 * before
    kept = heap.view().take(np.arange(3300, 6000))
    assert len(kept) == 2700


def test_samples_of_a_long_time_are_cut_by_time() -> None:
    heap = HistogramHeap()
    times = np.tile(np.arange(1000) * MINUTE_MS, 10)
    values = heap.add(box(np.arange(10_000)), times, numbered(0, 10_000), 1)
    _, rows = unboxed(values, heap.view())
    assert rows is not None
    for n in (0, 999, 1000, 9_999):
        assert described(rows, int(boxed_rows(unboxed(values, heap.view())[0])[n])) == described(
            numbered(n, 1), 0
        )
    whole = heap.nbytes
    heap.free(500 * MINUTE_MS, 1)
    assert heap.nbytes < 0.8 * whole
