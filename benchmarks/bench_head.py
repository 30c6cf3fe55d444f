"""The head: appending, sealing, selecting, loading, memory per series. Run it: `python benchmarks/bench_head.py`."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from otero.clock import ManualClock, SystemClock
from otero.model.budget import Budget
from otero.model.labels import encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import MetricBatch
from otero.storage.head import Head
from otero.storage.registry import SeriesRegistry

STEP_MS = 15_000
TICKS = 480
BASE_MS = 1_700_000_000_000


def resident() -> int:
    """Resident memory in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def report(text: str, figure: float, unit: str) -> None:
    print(f"{text:<58}{figure:>10.2f} {unit}")


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def series_of(target: int, count: int) -> list[bytes]:
    return [
        encode_labels(
            {
                "__name__": f"http_metric_{i // 10}_total",
                "job": "app",
                "instance": f"10.0.{target // 250}.{target % 250}:8080",
                "path": f"/api/v1/things/{i % 10}",
                "method": "GET",
                "code": str(200 + i % 5),
            }
        )
        for i in range(count)
    ]


def values_of(rng: np.random.Generator, count: int) -> Callable[[], np.ndarray]:
    """A step of counters (50 %), constants (20 %), decimals (20 %) and full doubles (10 %)."""
    kind = np.arange(count) % 10
    current = rng.integers(0, 100_000, count).astype(np.float64)

    def step() -> np.ndarray:
        nonlocal current
        current = current + rng.poisson(20, count) * (kind < 5)
        out = current.copy()
        decimal, full = (kind == 7) | (kind == 8), kind == 9
        out[decimal] = rng.integers(0, 1000, int(decimal.sum())) / 10
        out[full] = rng.normal(size=int(full.sum()))
        return out

    return step


def fill(targets: int, per_target: int) -> tuple[Head, list[np.ndarray]]:
    clock = ManualClock(BASE_MS)
    registry = SeriesRegistry(clock)
    head = Head(registry, clock, max_bytes=4 << 30)
    before = resident()
    refs = [registry.resolve(series_of(target, per_target)) for target in range(targets)]
    registered = resident()
    total = targets * per_target
    steps = [values_of(np.random.default_rng(target), per_target) for target in range(targets)]
    spent = slowest = 0.0
    for tick in range(TICKS):
        for target, own in enumerate(refs):
            now = BASE_MS + tick * STEP_MS + target * (STEP_MS // targets)
            batch = MetricBatch(own, np.full(per_target, now), steps[target]())
            start = time.perf_counter()
            head.append(head.admit(batch), tick)
            once = time.perf_counter() - start
            spent += once
            slowest = max(slowest, once)
    status = head.status()
    report(
        f"{targets} targets x {per_target}: append, sealing included",
        spent * 1e9 / (total * TICKS),
        "ns/sample",
    )
    report("  one scrape", spent * 1e6 / (targets * TICKS), "us")
    report("  slowest scrape (it seals a pool)", slowest * 1e3, "ms")
    report("  head's own count", status.bytes / total, "B/series")
    report("  labels and index, resident", (registered - before) / total, "B/series")
    report("  all, resident above idle", (resident() - before) / total, "B/series")
    report(
        "  sealed samples",
        sum(f.nbytes for f in head._frames) / sum(f.samples for f in head._frames),
        "B/sample",
    )  # pyright: ignore[reportPrivateUsage]
    return head, refs


def read(head: Head, matchers: list[Matcher], span_ms: int, text: str) -> None:
    end = BASE_MS + TICKS * STEP_MS
    best, samples, blocks = 1e9, 0, 0
    for _ in range(5):
        budget = Budget(SystemClock(), timeout_s=60, max_samples=1 << 40)
        start = time.process_time()
        found = head.select(matchers, end - span_ms, end, budget)
        best = min(best, time.process_time() - start)
        samples, blocks = sum(b.values.size for b in found.blocks), len(found.blocks)
    report(f"select {text} ({samples:,} cells, {blocks} blocks)", best * 1e3, "ms")


def main() -> None:
    head, refs = fill(100, 1000)
    some = [Matcher("__name__", MatchOp.REGEX, "http_metric_1._total")]
    read(head, some, 2 * 3_600_000, "10,000 series x 2 h")
    read(head, some, 3_600_000, "10,000 series x 1 h")
    read(head, some, 300_000, "10,000 series x 5 min")
    one = [
        Matcher("__name__", MatchOp.EQUAL, "http_metric_3_total"),
        Matcher("path", MatchOp.EQUAL, "/api/v1/things/4"),
    ]
    read(head, one, 3_600_000, "100 series x 1 h")
    read(head, one, 300_000, "100 series x 5 min")

    rng = np.random.default_rng(1)
    everything = np.concatenate(refs)
    spent = 0.0
    for turn in range(8):
        now = BASE_MS + (TICKS + 1 + turn) * STEP_MS
        order = rng.permutation(len(everything))
        for at in range(0, len(order), 2000):
            own = everything[order[at : at + 2000]]
            batch = MetricBatch(own, np.full(len(own), now), np.ones(len(own)))
            spent += timed(lambda batch=batch: head.append(head.admit(batch), TICKS))
    report(
        "scattered append, 2,000 of 100,000 series a request",
        spent * 1e9 / (8 * len(everything)),
        "ns/sample",
    )
    own = everything[:10_000]
    late = MetricBatch(own, np.full(len(own), BASE_MS + 7), np.ones(len(own)))
    report("out of order append", timed(lambda: head.append(late, TICKS)) * 1e9 / len(own), "ns/sample")
    read(head, some, 3_600_000, "10,000 series x 1 h after scattered appends")

    clock = ManualClock(BASE_MS)
    registry = SeriesRegistry(clock)
    keys = [key for target in range(10) for key in series_of(target, 1000)]
    report("resolve, new series", timed(lambda: registry.resolve(keys)) * 1e6 / len(keys), "us/series")
    report("resolve, known series", timed(lambda: registry.resolve(keys)) * 1e6 / len(keys), "us/series")
    fresh = Head(registry, clock, max_bytes=1 << 30)
    series, row = np.divmod(np.arange(10_000 * TICKS), TICKS)
    times, values = BASE_MS + row * STEP_MS + series // 1000, (row * (series % 7)).astype(np.float64)
    report("load 10,000 series x 2 h at 15 s", timed(lambda: fresh.load(series, times, values)) * 1e3, "ms")

    fill(1000, 10)


if __name__ == "__main__":
    main()
