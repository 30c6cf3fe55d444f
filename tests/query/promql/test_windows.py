"""Fast paths over windows give what the plain ones give."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otero.query.promql.windows import Runs, pick


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 12), st.integers(1, 30), st.integers(0, 1 << 32))
def test_runs_pick_what_pick_picks(count: int, columns: int, steps: int, height: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    length = int(random.choice([8, 9, 24]))
    group = np.repeat(random.integers(0, columns, count), length)
    values = random.normal(size=(height, len(group)))
    rows = random.integers(-2, height + 2, (steps, columns))
    runs = Runs.of(group)
    if runs is None:
        assert count > len(group) // 8
        return
    assert (runs.pick(values, rows).reshape(steps, -1) == pick(values, rows, group)).all()
    wide = np.broadcast_to(runs.spread(rows), (steps, len(runs.group), runs.length)).reshape(steps, -1)
    assert (wide == rows.take(group, axis=1)).all()


def test_short_runs_are_not_worth_it() -> None:
    assert Runs.of(np.arange(50)) is None
    assert Runs.of(np.repeat(np.arange(50), 7)) is None
