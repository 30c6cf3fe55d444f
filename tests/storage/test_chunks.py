import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, STALE, STALE_BITS, bits
from otero.storage.chunks import Cut, Layout, seal

special = [STALE, ABSENT, float("nan"), -0.0, 0.0, float("inf"), -float("inf"), 2.0**53, 1e308, 0.1]


@given(st.integers(1, 70), st.integers(1, 600), st.integers(0, 1 << 32), st.floats(0, 0.2))
def test_what_is_sealed_comes_back_bit_for_bit(height: int, width: int, seed: int, odd: float) -> None:
    random = np.random.default_rng(seed)
    kind = random.integers(0, 8, width)
    steps = random.poisson(10.0 ** random.integers(0, 6, width), (height, width)).astype(np.float64)
    values = np.where(kind < 3, np.cumsum(steps, axis=0), steps)
    values = np.where(kind == 4, values / 10, values)
    values = np.where(kind == 5, values / 1000, values)
    values = np.where(kind == 6, random.normal(size=(height, width)), values)
    values = np.where(kind == 7, random.integers(-(2**60), 2**60, (height, width)), values)
    hit = random.random((height, width)) < odd
    values[hit] = random.choice(np.array(special), int(hit.sum()))
    times = np.arange(height)[:, None] * 1000 + np.array([[5, 7]])
    times[height // 2 + 1 :, 1] = NO_TIME
    layout = Layout(np.arange(width), np.arange(width, dtype=np.int32) % 2)
    frame = seal(layout, times, values, 3)
    assert (frame.times_ms == times).all()
    assert (frame.first_ms, frame.position) == (5, 3)
    assert frame.last_ms == times[times != NO_TIME].max()
    assert frame.samples == np.count_nonzero(bits(values) != ABSENT_BITS)
    columns = np.sort(random.choice(width, random.integers(1, width + 1), replace=False))
    places = random.permutation(len(columns)) if seed % 2 else np.arange(len(columns))
    low, high = sorted(random.integers(0, height + 1, 2).tolist())
    out = np.empty((high - low, len(columns)))
    frame.read_into(out, slice(low, high), Cut.of(layout, columns, places))
    assert (bits(out)[:, places] == bits(values)[low:high, columns]).all()
    cells = np.isin(bits(values), [STALE_BITS, ABSENT_BITS]) & (times != NO_TIME)[:, layout.group]
    assert frame.gaps.tolist() == np.flatnonzero(cells.any(axis=0)).tolist()


@given(st.integers(1, 60), st.integers(0, 1 << 32))
def test_series_are_found_in_a_layout(width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    layout = Layout(random.permutation(100)[:width], np.zeros(width, np.int32))
    refs = np.sort(random.choice(100, random.integers(0, 100), replace=False))
    columns, places = layout.find(refs)
    assert (np.diff(columns) > 0).all()
    assert layout.refs[columns].tolist() == refs[places].tolist()
    assert set(refs[places].tolist()) == set(refs.tolist()) & set(layout.refs.tolist())
