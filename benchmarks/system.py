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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["scrape", "idle", "memory", "restart"])
    parser.add_argument("--duration", type=int, default=60, help="seconds of measurement")
    parser.add_argument("--series", type=int, default=100_000)
    arguments = parser.parse_args()
    match arguments.what:
        case "scrape":
            report = scrape(arguments.duration)
        case "idle":
            report = idle(arguments.duration)
        case "memory":
            report = memory(arguments.duration, arguments.series)
        case _:
            raise SystemExit("restart: not written yet")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
