import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otero.model.labels import LabelTable
from otero.model.samples import ABSENT_BITS, NAN_BITS, NO_TIME, STALE, SampleBlock, bits
from otero.storage.blocks import build_blocks

rows = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.one_of(st.integers(0, 8), st.integers(0, 1 << 45)),
        st.one_of(st.floats(width=64), st.just(STALE)),
        st.integers(0, 3),
    ),
    max_size=120,
)


def contents(blocks: list[SampleBlock]) -> dict[tuple[str, int], tuple[int, int]]:
    """(series, time) -> (bits, start), checking the invariants of blocks on the way."""
    out: dict[tuple[str, int], tuple[int, int]] = {}
    seen: set[str] = set()
    for block in blocks:
        height, width = block.values.shape
        assert block.times_ms.shape[0] == height
        assert block.labels.size == width == len(block.group)
        raw = bits(block.values)
        for column in block.times_ms.T:
            real = column[column != NO_TIME]
            assert (np.diff(real) > 0).all()
            assert (column[len(real) :] == NO_TIME).all()
        for at, labels in enumerate(block.labels.rows()):
            name = labels["s"]
            assert name not in seen
            seen.add(name)
            for row in range(height):
                time = int(block.times_ms[row, block.group[at]])
                cell = int(raw[row, at])
                if time == NO_TIME:
                    assert cell == ABSENT_BITS
                if cell != ABSENT_BITS:
                    start = 0 if block.start_ms is None else int(block.start_ms[row, at])
                    out[name, time] = (cell, start)
        if block.clean:
            assert not np.isin(raw, [ABSENT_BITS, bits(np.array([STALE]))[0]]).any()
    return out


@given(rows)
def test_blocks_hold_the_last_row_of_each_series_and_time(samples: list[tuple[int, int, float, int]]) -> None:
    labels = LabelTable.of([{"s": str(i)} for i in range(13)])
    values = np.array([value for _, _, value, _ in samples], np.float64)
    raw = bits(values)
    raw[raw == ABSENT_BITS] = NAN_BITS
    blocks = build_blocks(
        labels,
        np.array([s for s, _, _, _ in samples], np.intp),
        np.array([t for _, t, _, _ in samples], np.int64),
        values,
        np.array([start for _, _, _, start in samples], np.int64),
    )
    wanted = {
        (str(s), t): (int(cell), start) for (s, t, _, start), cell in zip(samples, raw.tolist(), strict=True)
    }
    assert contents(blocks) == wanted
    padded = sum(block.values.size for block in blocks)
    assert padded <= 3 * len(wanted)


def test_series_scraped_together_share_one_column() -> None:
    series, times = np.divmod(np.arange(3 * 50), 50)
    blocks = build_blocks(
        LabelTable.of([{"s": "0"}, {"s": "1"}, {"s": "2"}]),
        series,
        times * 15_000 + (series == 2),
        np.arange(150, dtype=np.float64),
    )
    assert len(blocks) == 1
    assert blocks[0].clean
    assert blocks[0].times_ms.shape == (50, 2)
    assert len(contents(blocks)) == 150
