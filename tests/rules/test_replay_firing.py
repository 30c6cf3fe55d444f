"""The state machine over columns gives what the one of the rules gives, step by step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otero.rules.alerting import Active, Found, State, Timing, advance
from otero.rules.replay_firing import spells_of

LABELS = {"alertname": "A"}


def stepwise(times: list[int], true: list[bool], for_ms: int, keep_ms: int) -> list[tuple[str, ...]]:
    """State, pending since and firing since at each time, as the rules' state machine has them."""
    active: Active = {}
    out: list[tuple[str, ...]] = []
    for time_ms, is_true in zip(times, true, strict=True):
        active = advance(active, [Found(LABELS)] if is_true else [], time_ms, Timing(for_ms, keep_ms))
        [alert] = active.values() or [None]
        if alert is None or alert.state is State.INACTIVE:
            out.append(("inactive",))
        else:
            since = str(alert.fired_ms) if alert.state is State.FIRING else ""
            out.append((str(alert.state), str(alert.active_ms), since))
    return out


@given(
    steps=st.lists(st.tuples(st.sampled_from([10, 10, 10, 20, 70]), st.booleans()), max_size=60),
    for_ms=st.sampled_from([0, 5, 10, 25, 30, 100]),
    keep_ms=st.sampled_from([0, 5, 10, 20, 35, 100]),
)
def test_columns_and_steps_agree(steps: list[tuple[int, bool]], for_ms: int, keep_ms: int) -> None:
    times = [1000 + int(at) for at in np.cumsum([gap for gap, _ in steps])]
    true = [is_true for _, is_true in steps]
    spells = spells_of(np.array(times, np.int64), np.array(true, np.bool_), for_ms, keep_ms)
    states: list[tuple[str, ...]] = [("inactive",)] * len(times)
    for pending, firing, end in zip(spells.pending, spells.firing, spells.end, strict=True):
        for at in range(pending, end):
            assert states[at] == ("inactive",)
            is_firing = at >= firing
            since = str(times[firing]) if is_firing else ""
            states[at] = ("firing" if is_firing else "pending", str(times[pending]), since)
    assert states == stepwise(times, true, for_ms, keep_ms)
