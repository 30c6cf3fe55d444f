"""What a whole running server costs. Each command prints one JSON object.

python benchmarks/system.py scrape       20 targets x 1,000 series each second, beside Debian's Prometheus
python benchmarks/system.py idle         CPU and memory of a server that scrapes itself and this host
python benchmarks/system.py memory       resident memory with 100,000 active series at 15 s, against idle
python benchmarks/system.py restart      time to ready with 10,000 series x 100 h at 15 s stored
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[psutil.Process]:
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield psutil.Process(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()


def otero(folder: Path, port: int, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "otero", "serve", "--data", str(folder / "data"),
            "--listen", f"127.0.0.1:{port}", "--log-level", "warning", *arguments]  # fmt: skip


def wait_ready(url: str, timeout_s: float = 120) -> float:
    start_s = time.monotonic()
    while time.monotonic() - start_s < timeout_s:
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
            return time.monotonic() - start_s
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{url} is not ready after {timeout_s} s")


def cpu_s(server: psutil.Process) -> float:
    times = server.cpu_times()
    return times.user + times.system


def scrape(duration_s: int) -> dict[str, object]:
    """CPU per million samples of Otero and of Prometheus, one after the other on the same load."""
    servers: dict[str, object] = {}
    for name in ("otero", "prometheus"):
        if name == "prometheus" and shutil.which("prometheus") is None:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder, port, first = Path(temporary), free_port(), 21000 + (os.getpid() % 400) * 25
            config = folder / "prometheus.yml"
            tool = [
                sys.executable,
                str(BENCH / "ingest_scrape.py"),
                "--targets",
                "20",
                "--series",
                "1000",
                "--port",
                str(first),
            ]
            subprocess.run([*tool, "--scrape-interval", "1s", "--write-config", str(config)], check=True)
            url = f"http://127.0.0.1:{port}"
            command = (
                otero(folder, port, "--prometheus", str(config))
                if name == "otero"
                else ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                      f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
            )  # fmt: skip
            with process(command, folder / "log") as server:
                wait_ready(url)
                report = folder / "report.json"
                subprocess.run(
                    [*tool, "--pid", str(server.pid), "--url", url, "--duration", str(duration_s), "--json", str(report)],
                    check=True, stdout=subprocess.DEVNULL,
                )  # fmt: skip
                servers[name] = json.loads(report.read_text())
    return servers


def idle(duration_s: int) -> dict[str, object]:
    """Share of one core and resident memory of `otero serve` without any file."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = Path(temporary), free_port()
        with process(otero(folder, port), folder / "log") as server:
            wait_ready(f"http://127.0.0.1:{port}")
            time.sleep(20)
            before_s, start_s = cpu_s(server), time.monotonic()
            time.sleep(duration_s)
            share = (cpu_s(server) - before_s) / (time.monotonic() - start_s)
            return {
                "cpu_percent_of_a_core": round(share * 100, 2),
                "rss_mb": round(server.memory_info().rss / 1e6),
            }


def memory(duration_s: int, series: int) -> dict[str, object]:
    """Resident memory with many active series against idle."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, port, first = Path(temporary), free_port(), 21000 + (os.getpid() % 400) * 25
        config = folder / "prometheus.yml"
        tool = [sys.executable, str(BENCH / "ingest_scrape.py"), "--targets", "20", "--series", str(series // 20),
                "--port", str(first)]  # fmt: skip
        subprocess.run([*tool, "--scrape-interval", "15s", "--write-config", str(config)], check=True)
        with process(otero(folder, port, "--prometheus", str(config)), folder / "log") as server:
            wait_ready(f"http://127.0.0.1:{port}")
            idle_mb = server.memory_info().rss / 1e6
            with process(tool, folder / "targets"):
                time.sleep(duration_s)
                loaded_mb = server.memory_info().rss / 1e6
                status = json.load(
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/otero/v1/status", timeout=30)
                )
        stored = status["storage"]
        return {
            "idle_mb": round(idle_mb), "loaded_mb": round(loaded_mb), "series": stored["series"],
            "head_samples": stored["head_samples"], "head_bytes": stored["head_bytes"],
            "bytes_per_series_above_idle": round((loaded_mb - idle_mb) * 1e6 / max(stored["series"], 1)),
        }  # fmt: skip


def restart(series: int, hours: int) -> dict[str, object]:
    """Seconds from start to ready, and bytes per sample, with counters and gauges stored at 15 s for `hours`."""
    import numpy as np

    from otero.clock import SystemClock
    from otero.model.labels import encode_labels, series_id
    from otero.storage.engine import Column
    from otero.storage.metrics import MetricStore, StorageSettings

    with tempfile.TemporaryDirectory() as temporary:
        folder, port = Path(temporary), free_port()
        store = MetricStore(StorageSettings(path=folder / "data"), SystemClock())
        keys = [
            encode_labels({"__name__": f"m{n % 100}", "n": str(n), "job": "bench"}) for n in range(series)
        ]
        ids = np.array([series_id(key) for key in keys], np.uint64)
        codes, names = np.arange(series) % 100, [f"m{n}".encode() for n in range(100)]
        end_ms = time.time_ns() // 1_000_000 - 60_000
        rng = np.random.default_rng(1)
        level = rng.integers(0, 10**6, series).astype(float)
        for day in range((end_ms - hours * 3_600_000) // 86_400_000, end_ms // 86_400_000 + 1):
            columns = [Column("metric", "LowCardinality(String)", codes, names), Column("id", "UInt64", ids),
                       Column("day", "Int32", np.full(series, day, np.int32)), Column("key", "String", keys)]  # fmt: skip
            store.engine.insert("series", columns, token=f"bench-{day}")
        begin_s = time.monotonic()
        for hour in range(hours, 0, -1):
            times = end_ms - hour * 3_600_000 + np.arange(240) * 15_000
            values = level[:, None] + np.cumsum(rng.integers(0, 20, (series, 240)), axis=1)
            level = values[:, -1]
            columns = [
                Column("metric", "LowCardinality(String)", np.repeat(codes, 240), names),
                Column("series", "UInt64", np.repeat(ids, 240)),
                Column("time", "Int64", np.tile(times, series)),
                Column("value", "Float64", values.ravel()),
                Column("start", "Int64", np.zeros(values.size, np.int64)),
            ]
            store.engine.insert("samples", columns, token=f"bench-{hour}")
        insert_s = time.monotonic() - begin_s
        size = store.engine.table(
            "SELECT sum(bytes_on_disk) AS size, sum(rows) AS n FROM system.parts WHERE active AND table = 'samples'"
        )
        store.start()
        store.stop()
        started_s = time.monotonic()
        with process(otero(folder, port), folder / "log") as server:
            wait_ready(f"http://127.0.0.1:{port}")
            ready_s = time.monotonic() - started_s
            rss = server.memory_info().rss
        return {
            "samples": int(size["n"][0].as_py()), "insert_s": round(insert_s, 1), "ready_s": round(ready_s, 2),
            "bytes_per_sample": round(size["size"][0].as_py() / size["n"][0].as_py(), 3), "rss_mb": round(rss / 1e6),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["scrape", "idle", "memory", "restart"])
    parser.add_argument("--duration", type=int, default=60, help="seconds of measurement")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--hours", type=int, default=100)
    arguments = parser.parse_args()
    match arguments.what:
        case "scrape":
            report = scrape(arguments.duration)
        case "idle":
            report = idle(arguments.duration)
        case "memory":
            report = memory(arguments.duration, arguments.series)
        case _:
            report = restart(arguments.series if arguments.series != 100_000 else 10_000, arguments.hours)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
