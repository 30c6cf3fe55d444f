"""Kernels over ranges: `python benchmarks/bench_functions.py [NAME…]` prints milliseconds, best of five.

10,000 series x 1,440 samples (15 s apart, 1,000 targets with a phase of their own), 360 steps of 60 s, ranges of 5 min;
counters with restarts; then the same as fractions, with gaps in every tenth series, with a column per series, and one step.
"""

import sys
import time

import numpy as np

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, SampleBlock
from otero.query.notes import Notes
from otero.query.promql import ast
from otero.query.promql.functions import RANGE_FUNCTIONS
from otero.query.promql.functions.context import Context
from otero.query.promql.windows import lookback, window
from otero.query.series import Steps

SERIES, SAMPLES, TARGETS, RANGE_MS = 10_000, 1_440, 1_000, 300_000
GRID = Steps(RANGE_MS, 60_000, 360)
ONE = Steps(SAMPLES * 15_000, 1, 1)
ARGS = {"quantile_over_time": (0.9,), "predict_linear": (600.0,), "double_exponential_smoothing": (0.5, 0.5)}


def shapes() -> dict[str, SampleBlock]:
    random = np.random.default_rng(1)
    times = np.arange(SAMPLES)[:, None] * 15_000 + random.integers(0, 15_000, TARGETS)
    group = np.arange(SERIES) // (SERIES // TARGETS)
    counters = np.cumsum(random.integers(0, 100, (SAMPLES, SERIES)), axis=0).astype(np.float64)
    for series in range(0, SERIES, 50):
        row = int(random.integers(1, SAMPLES))
        counters[row:, series] -= counters[row, series]
    gaps = counters.copy()
    for series in range(0, SERIES, 10):
        gaps[random.integers(0, SAMPLES, 5), series] = ABSENT
    labels = LabelTable(SERIES, {})
    fractions = counters * 0.1 + random.random(SERIES)
    own = times.take(group, axis=1) + random.integers(0, 1_000, SERIES)
    alone = np.arange(SERIES)
    return {
        "counters": SampleBlock(labels, times, group, counters, True),
        "one column": SampleBlock(labels, times[:, :1], np.zeros(SERIES, np.intp), counters, True),
        "fractions": SampleBlock(labels, times, group, fractions, True),
        "gaps in 10 %": SampleBlock(labels, times, group, gaps),
        "own columns": SampleBlock(labels, own, alone, counters, True),
    }


def run(name: str, block: SampleBlock, steps: Steps) -> None:
    if name == "lookback":
        lookback(block, steps.times_ms(), RANGE_MS)
        return
    budget = Budget(SystemClock(), timeout_s=600, max_samples=1 << 40)
    context = Context(steps, steps.times_ms(), Notes(), ast.Call(name, ()), budget, RANGE_MS)
    args = [np.full(steps.count, value) for value in ARGS.get(name, ())]
    RANGE_FUNCTIONS[name](window(block, steps.times_ms(), RANGE_MS), args, context)


def best_ms(name: str, block: SampleBlock, steps: Steps, times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run(name, block, steps)
        best = min(best, time.perf_counter() - start)
    return best * 1000


def main() -> None:
    names = sys.argv[1:] or ["lookback", "rate", "delta", "irate", "sum_over_time", "avg_over_time", "max_over_time",
                             "stddev_over_time", "quantile_over_time", "deriv", "changes"]  # fmt: skip
    blocks = shapes()
    small = blocks["counters"]
    small = SampleBlock(
        LabelTable(10, {}), small.times_ms[:, :1], np.zeros(10, np.intp), small.values[:, :10].copy(), True
    )
    print(f"{'':22}" + "".join(f"{shape:>14}" for shape in blocks) + f"{'one step':>12}{'10 x 1 step':>14}")
    for name in names:
        slow = name in ("stddev_over_time", "quantile_over_time", "deriv")
        row = [best_ms(name, block, GRID, 1 if slow else 3) for block in blocks.values()]
        row += [best_ms(name, blocks["counters"], ONE, 5), best_ms(name, small, ONE, 200)]
        print(
            f"{name:22}" + "".join(f"{value:14.0f}" for value in row[:-2]) + f"{row[-2]:12.2f}{row[-1]:14.3f}"
        )


if __name__ == "__main__":
    main()
