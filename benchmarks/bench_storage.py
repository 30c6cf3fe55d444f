"""Storage: intake to engine, bytes on disk, journal, restart, idle CPU. `python benchmarks/bench_storage.py [--full]`.

The data resembles a host's: half counters that grow by whole steps, a fifth constants, a fifth gauges with decimals, a
tenth full doubles. `--full` stores 10,000 series x 100 h at 15 s (240 M samples) before it measures the restart.
"""

import argparse
import resource
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otero.clock import SystemClock
from otero.model.labels import LabelBytes, encode_labels
from otero.model.metrics import MetricBatch
from otero.storage.metrics import MetricStore, StorageSettings
from otero.wire.exposition import BodyParser, Protocol
from otero.wire.exposition_series import parse_series

TARGETS, SERIES, STEP_MS = 10, 1000, 15_000


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def keys_of(target: int) -> list[LabelBytes]:
    return [
        encode_labels(
            {
                "__name__": f"node_metric_{n % 100:03d}_total",
                "instance": f"host-{target:02d}:9100",
                "job": "node",
                "mode": f"mode{n // 100}",
            }
        )
        for n in range(SERIES)
    ]


class Values:
    """The next values of one target's series."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._kind = np.arange(SERIES) * 10 // SERIES
        self._now = self._random.integers(0, 1_000_000, SERIES).astype(float)

    def step(self) -> NDArray[np.float64]:
        random, kind = self._random, self._kind
        grown = self._now + random.poisson(20, SERIES)
        decimals = np.round(self._now / 1e4 + random.normal(0, 1, SERIES), 2)
        self._now = np.where(kind < 5, grown, self._now)
        out = np.where(kind < 7, self._now, decimals)
        return np.where(kind == 9, random.random(SERIES), out)


def disk_bytes(store: MetricStore, table: str) -> tuple[int, int]:
    found = store.engine.table(
        "SELECT sum(rows) AS n, sum(data_compressed_bytes) AS size FROM system.parts"
        f" WHERE active AND table = '{table}'"
    ).to_pylist()[0]
    return found["n"], found["size"]


def print_columns(store: MetricStore, rows: int) -> None:
    for column in store.engine.table(
        "SELECT column, sum(column_data_compressed_bytes) AS size FROM system.parts_columns"
        " WHERE active AND table = 'samples' GROUP BY column ORDER BY size DESC"
    ).to_pylist():
        print(f"  {column['column'].decode()}: {column['size'] / rows:.4f}")


def intake(folder: Path, scrapes: int) -> None:
    store = MetricStore(StorageSettings(path=folder, retention_ms=0), SystemClock())
    store.start()
    refs = [store.registry.resolve(keys_of(target)) for target in range(TARGETS)]
    values = [Values(target) for target in range(TARGETS)]
    begin_ms = SystemClock().now_ms() - scrapes * STEP_MS
    batches = [
        MetricBatch(refs[t], np.full(SERIES, begin_ms + n * STEP_MS + t * 1400), values[t].step())
        for n in range(scrapes)
        for t in range(TARGETS)
    ]
    samples = scrapes * TARGETS * SERIES
    wall, cpu, journal = time.perf_counter(), cpu_s(), 0
    for batch in batches:
        store.append(batch)
    acknowledged, journal = time.perf_counter() - wall, store.status().journal_bytes
    store.flush()
    stored, used = time.perf_counter() - wall, cpu_s() - cpu
    print(
        f"intake of {samples:,} samples: acknowledged {samples / acknowledged:,.0f}/s, in the engine", end=" "
    )
    print(
        f"{samples / stored:,.0f}/s; CPU {used / samples * 1e6:.2f} s per million; journal left {journal:,} bytes"
    )
    before = disk_bytes(store, "samples")[1]
    store.engine.command("OPTIMIZE TABLE samples FINAL")
    rows, after = disk_bytes(store, "samples")
    print(
        f"on disk: {before / samples:.3f} bytes a sample before merging, {after / rows:.3f} after ({rows:,} rows)"
    )
    print_columns(store, rows)
    cpu, wall = cpu_s(), time.perf_counter()
    time.sleep(20)
    print(f"idle: {(cpu_s() - cpu) / (time.perf_counter() - wall) * 100:.2f} % of a core")
    store.stop()


def journal_alone(folder: Path, scrapes: int) -> None:
    """Bytes of the journal when nothing is flushed."""
    settings = StorageSettings(path=folder, retention_ms=0, flush_interval_ms=3_600_000)
    store = MetricStore(settings, SystemClock())
    refs = store.registry.resolve(keys_of(0))
    values, begin_ms = Values(1), SystemClock().now_ms() - scrapes * STEP_MS
    for n in range(scrapes):
        store.append(MetricBatch(refs, np.full(SERIES, begin_ms + n * STEP_MS), values.step()))
    print(
        f"journal: {store.status().journal_bytes / scrapes / SERIES:.2f} bytes a sample over {scrapes} scrapes"
    )
    store.stop()


def node_exporter(folder: Path, scrapes: int, every_s: float) -> None:
    """Bytes on disk of what a real node_exporter exposes, each column apart; skipped where it is not installed."""
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        print("node_exporter: skipped, apt-get install prometheus-node-exporter")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    exporter = subprocess.Popen(
        [program, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    store = MetricStore(StorageSettings(path=folder, retention_ms=0), SystemClock())
    try:
        store.start()
        parser, keys, refs = BodyParser(), None, np.zeros(0, np.int64)
        for _ in range(scrapes):
            time.sleep(every_s)
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
                found, same = parser.parse(response.read(), Protocol.TEXT_0_0_4)
            if not same or keys is None:
                labels = {"instance": "host:9100", "job": "node"}
                keys = [encode_labels({**parse_series(key), **labels}) for key in found.keys]
                refs = store.registry.resolve(keys)
            store.append(MetricBatch(refs, np.full(len(refs), SystemClock().now_ms()), found.values))
        store.flush()
        store.engine.command("OPTIMIZE TABLE samples FINAL")
        rows, size = disk_bytes(store, "samples")
        print(
            f"node_exporter, {scrapes} scrapes {every_s:g} s apart: {size / rows:.3f} bytes a sample ({rows:,} rows)"
        )
        print_columns(store, rows)
    finally:
        store.stop()
        exporter.terminate()
        exporter.wait()


def restart(folder: Path, hours: int) -> None:
    """How long a start takes with `hours` of 10,000 series stored; the older samples are made by the engine itself."""
    settings = StorageSettings(path=folder, retention_ms=0, flush_interval_ms=3_600_000)
    store = MetricStore(settings, SystemClock())
    store.start()
    now_ms = SystemClock().now_ms()
    for target in range(TARGETS):
        refs = store.registry.resolve(keys_of(target))
        store.append(MetricBatch(refs, np.full(SERIES, now_ms), Values(target).step()))
    store.flush()
    days = f"SELECT metric, id, intDiv({now_ms}, 86400000) - n.number AS day, key FROM series, numbers(1, {hours // 24 + 1}) AS n"
    store.engine.command(f"INSERT INTO series (metric, id, day, key) {days}")
    for hour in range(hours):
        begin_ms = now_ms - (hour + 1) * 3_600_000
        store.engine.command(
            "INSERT INTO samples SELECT metric, id, t, intDiv(t, 1000) * (id % 7), 0 FROM"
            f" (SELECT DISTINCT metric, id FROM series) AS s, (SELECT {begin_ms} + 15000 * number AS t FROM numbers(240)) AS n"
        )
    store.stop()
    for _ in range(2):
        begin = time.perf_counter()
        store = MetricStore(settings, SystemClock())
        opened = time.perf_counter() - begin
        store.start()
        ready, status = time.perf_counter() - begin, store.status()
        rows = disk_bytes(store, "samples")[0]
        print(
            f"restart with {hours} h of {TARGETS * SERIES:,} series ({rows:,} rows): opened in {opened:.2f} s, ready in {ready:.2f} s,"
            f" {status.head_samples:,} samples in the head"
        )
        store.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--part", choices=["intake", "journal", "node", "restart", "all"], default="all")
    arguments = parser.parse_args()
    parts = {
        "intake": lambda folder: intake(folder, 400),
        "journal": lambda folder: journal_alone(folder, 400),
        "node": lambda folder: (
            node_exporter(folder, 180, 2.0) if arguments.full else node_exporter(folder, 60, 0.5)
        ),
        "restart": lambda folder: restart(folder, 100 if arguments.full else 4),
    }
    for name, part in parts.items():
        if arguments.part in (name, "all"):
            folder = Path(tempfile.mkdtemp(prefix="otero-bench-"))
            try:
                part(folder / "data")
            finally:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
