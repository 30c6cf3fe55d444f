"""Native histograms through storage: append, journal, flush, bytes, reading. `python benchmarks/bench_histograms.py`.

50 targets with 20 histograms each, as a service has them by path: schema 3, 30 to 60 buckets of a log-normal latency, each
with some hundred new observations a scrape; 60 scrapes at 15 s.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.histograms import Histograms, box, positive
from otero.model.labels import encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import MetricBatch
from otero.storage.metrics import MetricStore, StorageSettings

TARGETS, SERIES, SCRAPES, STEP_MS, WIDTH = 50, 20, 60, 15_000, 60


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Target:
    """Counters of buckets that grow."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._first = self._random.integers(-60, -30, SERIES)
        width = self._random.integers(30, WIDTH, SERIES)
        self._inside = np.arange(WIDTH) < width[:, None]
        centre = width[:, None] / 2
        self._share = np.exp(-(((np.arange(WIDTH) - centre) / (width[:, None] / 5)) ** 2))
        self._counts = np.zeros((SERIES, WIDTH))
        self._sums = np.zeros(SERIES)

    def step(self) -> Histograms:
        self._counts += self._random.poisson(40 * self._share) * self._inside
        self._sums += self._random.random(SERIES) * 100
        row, column = np.nonzero(self._counts)
        none = np.zeros(SERIES)
        return Histograms(
            np.full(SERIES, 3, np.int8),
            np.full(SERIES, 2.0**-128),
            none,
            self._counts.sum(axis=1),
            self._sums.copy(),
            np.zeros(SERIES, np.uint8),
            np.full(SERIES, -1, np.int32),
            (),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(np.count_nonzero(self._counts, axis=1))]),
            positive(self._first[row] + column),
            self._counts[row, column],
        )


def disk_bytes(store: MetricStore, table: str) -> int:
    store.engine.command(f"OPTIMIZE TABLE {table} FINAL")
    found = store.engine.table(
        "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND table = {t:String}",
        {"t": table},
    )
    return int(found["bytes"][0].as_py())


def show(text: str, figure: float, unit: str) -> None:
    print(f"{text:<58}{figure:>12,.1f} {unit}")


def select(store: MetricStore, matchers: list[Matcher], start_ms: int, end_ms: int) -> tuple[float, int]:
    began = cpu_s()
    blocks = store.select(
        matchers, start_ms, end_ms, Budget(SystemClock(), timeout_s=600, max_samples=1 << 40)
    )
    held = sum(len(block.histograms) for block in blocks if block.histograms is not None)
    return cpu_s() - began, held


def main() -> None:
    clock = SystemClock()
    start_ms = clock.now_ms() - SCRAPES * STEP_MS
    with tempfile.TemporaryDirectory() as folder:
        settings = StorageSettings(path=Path(folder), retention_ms=0, flush_interval_ms=10**9)
        store = MetricStore(settings, clock)
        store.start()
        targets = [Target(seed) for seed in range(TARGETS)]
        refs: list[NDArray[np.int64]] = []
        for target in range(TARGETS):
            labels = [
                {"__name__": "latency_seconds", "instance": f"host-{target:02d}", "path": f"/{n}"}
                for n in range(SERIES)
            ]
            refs.append(store.registry.resolve([encode_labels(row) for row in labels]))
        total, buckets, append_s = TARGETS * SERIES * SCRAPES, 0, 0.0
        journal = store.status().journal_bytes
        idle = store.head.nbytes
        boxes = box(np.arange(SERIES))
        wall_s = 0.0
        for scrape in range(SCRAPES):
            times = np.full(SERIES, start_ms + scrape * STEP_MS)
            for own, target in zip(refs, targets, strict=True):
                rows = target.step()
                buckets += len(rows.bucket)
                began, began_wall = cpu_s(), time.perf_counter()
                store.append(MetricBatch(own, times, boxes, histograms=rows))
                append_s += cpu_s() - began
                wall_s += time.perf_counter() - began_wall
        show("buckets of a histogram", buckets / total, "")
        show("append with journal", append_s / total * 1e6, "us of CPU a histogram")
        show("journal", (store.status().journal_bytes - journal) / total, "bytes a histogram")
        show("head", (store.head.nbytes - idle) / total, "bytes a histogram")
        began = cpu_s()
        store.flush()
        flush_s = cpu_s() - began
        show("flush", flush_s / total * 1e6, "us of CPU a histogram")
        show("append, journal and flush", total / (append_s + flush_s), "histograms a CPU second")
        whole, part = [], [Matcher("path", MatchOp.EQUAL, "/3")]
        end_ms = clock.now_ms()
        for name, matchers in (("all series", whole), ("50 series", part)):
            used, held = select(store, matchers, start_ms, end_ms)
            show(f"read from the head, {name}", used / held * 1e6, f"us of CPU a histogram ({held:,})")
        show("table histograms", disk_bytes(store, "histograms") / total, "bytes a histogram")
        show("table samples", disk_bytes(store, "samples") / total, "bytes a histogram")
        columns = store.engine.table(
            "SELECT name, data_compressed_bytes AS bytes FROM system.columns WHERE table = 'histograms' ORDER BY bytes DESC"
        )
        for row in columns.to_pylist():
            print(f"    {row['name']!s:<20}{row['bytes'] / total:10.2f}")
        store.stop()
        settings = StorageSettings(path=Path(folder), retention_ms=0, flush_interval_ms=10**9)
        began = cpu_s()
        store = MetricStore(settings, clock)
        store.start()
        show("restart", (cpu_s() - began) * 1000, "ms of CPU")
        store.head.evict(clock.now_ms() + 30 * 3_600_000)
        for name, matchers in (("all series", whole), ("50 series", part)):
            used, held = select(store, matchers, start_ms, end_ms)
            show(f"read from the engine, {name}", used / held * 1e6, f"us of CPU a histogram ({held:,})")
        store.stop()


if __name__ == "__main__":
    main()
