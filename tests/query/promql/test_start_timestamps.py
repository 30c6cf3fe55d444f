"""Start timestamps count in range functions only where the feature flag says so, as in Prometheus."""

import pytest

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.query.promql.engine import USE_START_TIMESTAMPS, Engine
from otero.query.promql.spec_language import Load, read_commands
from otero.query.promql.spec_source import MemorySource
from otero.query.result import Vector

DATA = """
load 1m
    restarted@st _ _ _ -1s
    restarted    0 60 120 180
"""


@pytest.mark.parametrize(("features", "gain"), [((), 180.0), ((USE_START_TIMESTAMPS,), 300.0)])
def test_a_start_within_the_range_is_a_reset_only_with_the_flag(
    features: tuple[str, ...], gain: float
) -> None:
    source = MemorySource()
    for command in read_commands(DATA):
        assert isinstance(command, Load)
        source.load(command)
    engine = Engine(source, features=features)
    answer = engine.instant(
        "increase(restarted[3m1s])", 180_000, Budget(SystemClock(), timeout_s=10, max_samples=1000)
    )
    assert isinstance(answer.value, Vector)
    assert answer.value.values[0] == pytest.approx(gain, abs=2)
