"""Merging answers with local blocks against the obvious: a dictionary that later writers overwrite."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otero.model.histograms import Histograms, ResetHint, box, boxed_rows
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT_BITS, NO_TIME, STALE, SampleBlock, bits
from otero.remote.merge import Answer, merge
from otero.storage.blocks import build_blocks
from tests.histogram_samples import one

Rows = list[tuple[int, int, float]]
SERIES = 7
some_rows = st.lists(
    st.tuples(
        st.integers(0, SERIES - 1),
        st.integers(0, 9),
        st.one_of(st.integers(0, 99).map(float), st.just(STALE)),
    ),
    max_size=40,
)
TABLE = LabelTable.of([{"__name__": "m", "s": str(n), "odd": "y" if n % 2 else ""} for n in range(SERIES)])


def answer(rows: Rows, histograms: Histograms | None = None) -> Answer:
    """Only the series that occur, as a decoder gives them."""
    used = sorted({series for series, _, _ in rows})
    return Answer(
        TABLE.take(np.array(used, np.intp)),
        np.array([used.index(series) for series, _, _ in rows], np.intp),
        np.array([time for _, time, _ in rows], np.int64),
        np.array([value for _, _, value in rows], np.float64),
        None,
        histograms,
    )


def blocks_of(rows: Rows, histograms: Histograms | None = None) -> list[SampleBlock]:
    given = answer(rows, histograms)
    return build_blocks(given.labels, given.series, given.times_ms, given.values, histograms=given.histograms)


def cells(blocks: list[SampleBlock]) -> dict[tuple[int, int], int]:
    """Bits by series and time."""
    out: dict[tuple[int, int], int] = {}
    seen: set[str] = set()
    for block in blocks:
        raw = bits(np.ascontiguousarray(block.values))
        for at, labels in enumerate(block.labels.rows()):
            assert labels["s"] not in seen
            seen.add(labels["s"])
            for row, time in enumerate(block.times_ms[:, block.group[at]].tolist()):
                if time != NO_TIME and raw[row, at] != ABSENT_BITS:
                    out[int(labels["s"]), time] = int(raw[row, at])
    return out


@given(some_rows, st.lists(some_rows, max_size=3))
def test_local_samples_win_then_those_of_the_first_answer(local: Rows, remote: list[Rows]) -> None:
    expected = {
        (series, time): int(bits(np.array([value]))[0])
        for rows in [*reversed(remote), local]
        for series, time, value in rows
    }
    assert cells(merge(blocks_of(local), [answer(rows) for rows in remote])) == expected


def test_native_histograms_of_two_places_know_nothing_of_each_other() -> None:
    held = Histograms.concat([one(buckets={1: n + 1.0}, hint=ResetHint.NOT_RESET) for n in range(3)])
    gauge = Histograms.concat([one(buckets={1: 9.0}, hint=ResetHint.GAUGE)])
    boxes = box(np.arange(3)).tolist()
    local = blocks_of([(0, 5, boxes[0])], gauge)
    merged = merge(local, [answer([(0, 4, boxes[0]), (0, 5, boxes[1]), (1, 4, boxes[2])], held)])
    found: dict[tuple[str, int], tuple[float, int]] = {}
    for block in merged:
        assert block.histograms is not None
        rows = boxed_rows(block.values)
        for at, labels in enumerate(block.labels.rows()):
            for row, time in enumerate(block.times_ms[:, block.group[at]].tolist()):
                if time != NO_TIME and rows[row, at] >= 0:
                    place = rows[row, at]
                    found[labels["s"], time] = (
                        float(block.histograms.count[place]),
                        int(block.histograms.hint[place]),
                    )
    assert found == {
        ("0", 4): (1.0, ResetHint.UNKNOWN),
        ("0", 5): (9.0, ResetHint.GAUGE),
        ("1", 4): (3.0, ResetHint.NOT_RESET),
    }


def test_series_that_are_not_shared_keep_their_block() -> None:
    local = blocks_of([(0, 5, 1.0)])
    merged = merge(local, [answer([(1, 5, 2.0)])])
    assert merged[0] is local[0]
