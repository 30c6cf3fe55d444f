"""PromQL queries on samples in memory: python benchmarks/bench_query.py [--series N] [--json].

10,000 counters (100 targets x 100 series; every target has its own timestamps, as scraping gives them) at 15 s, unless
said otherwise. CPU milliseconds of the best of some runs, plan and parse kept as in a dashboard that refreshes.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence

import numpy as np

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.model.matchers import Matcher
from otero.model.samples import SampleBlock
from otero.query.promql.engine import Engine

STEP_MS = 15_000
HOUR_MS = 3_600_000


class Source:
    """One block per `targets_per_block` targets; matches by metric name only, as an index would have done."""

    def __init__(self, blocks: dict[str, list[SampleBlock]]) -> None:
        self._blocks = blocks

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,  # noqa: ARG002
        end_ms: int,  # noqa: ARG002
        budget: Budget,
    ) -> list[SampleBlock]:
        budget.check()
        name = next(matcher.value for matcher in matchers if matcher.name == "__name__")
        return self._blocks.get(name, [])


def counters(targets: int, per_target: int, ticks: int, targets_per_block: int) -> list[SampleBlock]:
    """`requests_total` with job, instance, path, code and method."""
    random = np.random.default_rng(7)
    blocks: list[SampleBlock] = []
    for first in range(0, targets, targets_per_block):
        chosen = range(first, min(first + targets_per_block, targets))
        rows = [
            {
                "__name__": "requests_total",
                "job": f"job-{target % 10}",
                "instance": f"host-{target}:9100",
                "path": f"/path/{series // 10}",
                "code": str(200 + series % 10),
            }
            for target in chosen
            for series in range(per_target)
        ]
        times = np.arange(ticks, dtype=np.int64)[:, None] * STEP_MS + random.integers(0, STEP_MS, len(chosen))
        values = np.cumsum(random.integers(0, 30, (ticks, len(rows))), axis=0).astype(np.float64)
        values += random.random(len(rows))
        group = np.repeat(np.arange(len(chosen), dtype=np.intp), per_target)
        blocks.append(SampleBlock(LabelTable.of(rows), times, group, values, clean=True))
    return blocks


def targets_info(targets: int, ticks: int) -> list[SampleBlock]:
    rows = [
        {"__name__": "target_meta", "instance": f"host-{target}:9100", "team": f"team-{target % 7}"}
        for target in range(targets)
    ]
    times = np.arange(ticks, dtype=np.int64)[:, None] * STEP_MS
    group = np.zeros(targets, np.intp)
    return [SampleBlock(LabelTable.of(rows), times, group, np.ones((ticks, targets)), clean=True)]


def cpu_ms(run: Callable[[], object], repeats: int) -> float:
    run()
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best * 1000


def budget() -> Budget:
    return Budget(SystemClock(), timeout_s=600, max_samples=10**9)


def measure(series: int) -> dict[str, float]:
    ticks = 2 * HOUR_MS // STEP_MS
    targets = max(series // 100, 1)
    source = Source(
        {
            "requests_total": counters(targets, 100, ticks, 10),
            "target_meta": targets_info(targets, ticks),
            "small_total": counters(1, 10, ticks, 1),
            "up": targets_info(20, ticks),
        }
    )
    engine = Engine(source)
    end_ms = (ticks - 1) * STEP_MS

    def ranged(text: str) -> Callable[[], object]:
        return lambda: engine.range(text, end_ms - HOUR_MS, end_ms, STEP_MS, budget())

    def at_once(text: str) -> Callable[[], object]:
        return lambda: engine.instant(text, end_ms, budget())

    many = {
        "sum(rate(x[5m])), 1 h at 15 s": ranged("sum(rate(requests_total[5m]))"),
        "sum by (job) (rate(x[5m])), 1 h at 15 s": ranged("sum by (job) (rate(requests_total[5m]))"),
        "rate(x[5m]), 1 h at 15 s": ranged("rate(requests_total[5m])"),
        "x (selector), 1 h at 15 s": ranged("requests_total"),
        "sum by (path) (x), 1 h at 15 s": ranged("sum by (path) (requests_total)"),
        "max by (path) (x), 1 h at 15 s": ranged("max by (path) (requests_total)"),
        "quantile by (job) (0.9, x), 1 h at 15 s": ranged("quantile by (job) (0.9, requests_total)"),
        "topk(10, x), 1 h at 15 s": ranged("topk(10, requests_total)"),
        "x * on (instance) group_left (team) meta, 1 h at 15 s": ranged(
            "requests_total * on (instance) group_left (team) target_meta"
        ),
        "instant: sum by (job) (rate(x[5m]))": at_once("sum by (job) (rate(requests_total[5m]))"),
    }
    few = {
        "instant, 10 series: rate(x[5m])": at_once("rate(small_total[5m])"),
        "instant, 20 series: up == 0": at_once("up == 0"),
        "instant, 10 series: sum by (code) (rate(x[5m])) / on () group_left sum(rate(x[5m])) > 0.1": at_once(
            "sum by (code) (rate(small_total[5m])) / on () group_left sum(rate(small_total[5m])) > 0.1"
        ),
        "10 series, 1 h at 15 s: rate(x[5m])": ranged("rate(small_total[5m])"),
    }
    figures = {name: cpu_ms(run, 5) for name, run in many.items()}
    return figures | {name: cpu_ms(run, 50) for name, run in few.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.series)
    if given.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{value:10.2f} ms  {name}")


if __name__ == "__main__":
    main()
