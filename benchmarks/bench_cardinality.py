"""Very many series: `python benchmarks/bench_cardinality.py [--series 1000000]`.

A store in memory with three samples a series: instant queries over all of them, and how long it takes to refuse a query
that needs more samples than it may hold. Milliseconds of wall time, third of three runs.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from otero.clock import SystemClock
from otero.errors import LimitExceeded
from otero.model.budget import Budget
from otero.model.labels import encode_labels
from otero.model.metrics import MetricBatch
from otero.query.promql.engine import Engine
from otero.storage.metrics import MetricStore, StorageSettings

TARGET = 10_000
SCRAPES = 3
STEP_MS = 15_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1_000_000)
    series = parser.parse_args().series
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        store = MetricStore(StorageSettings(path=Path(folder), flush_interval_ms=10**9), clock)
        store.start()
        engine = Engine(store)
        now_ms = fill(store, series, clock.now_ms())

        def budget(most: int) -> Budget:
            return Budget(clock, timeout_s=60, max_samples=most)

        for query in ("sum by (job) (m)", "count(m)"):
            for _ in range(3):
                start_s = time.perf_counter()
                engine.instant(query, now_ms, budget(50_000_000))
            print(f"instant {query}: {(time.perf_counter() - start_s) * 1000:.0f} ms")
        start_s = time.perf_counter()
        try:
            engine.instant(f"sum(sum_over_time(m[{SCRAPES}m]))", now_ms, budget(series))
            raise SystemExit("a query over its limit was not refused")
        except LimitExceeded as refusal:
            print(f"refused after {(time.perf_counter() - start_s) * 1000:.0f} ms: {refusal}")
        store.stop()


def fill(store: MetricStore, series: int, now_ms: int) -> int:
    """Three scrapes of targets of 10,000 series; the time of the last one."""
    random = np.random.default_rng(7)
    targets = [
        store.registry.resolve(
            [
                encode_labels({"__name__": "m", "job": f"job{at // TARGET % 20}", "instance": str(number)})
                for number in range(at, min(at + TARGET, series))
            ]
        )
        for at in range(0, series, TARGET)
    ]
    for scrape in range(SCRAPES):
        for refs in targets:
            times = np.full(len(refs), now_ms + (scrape - SCRAPES + 1) * STEP_MS)
            store.append(MetricBatch(refs, times, random.poisson(100, len(refs)).astype(float)))
    return now_ms


if __name__ == "__main__":
    main()
