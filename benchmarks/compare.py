"""Otero beside Prometheus: the same samples by remote write into both, then answers and latency, query by query.

python benchmarks/compare.py                      10,000 series x 6 h at 15 s and the demo series, the perf set
python benchmarks/compare.py --samples-per-series 10

It starts `prometheus` (with its remote write receiver) and `otero serve` on free ports with empty data, loads both with
`rwload.py` and compares them with `promcompare.py`, both of the shared bench folder beside this checkout. The rules that
Prometheus 3 changed show as differences against a Prometheus 2: zero as the start of a counter is taken only within half a
distance of its first sample when the window begins before it, and ranges are open on the left, which a subquery whose steps
fall on both ends can tell. `--end-before 90` asks for moments between two minutes, where the latter does not show, and
`--hours 6.2` keeps the former out of the ranges.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from system import BENCH, otero, process, wait_ready
from system import free_port as port_of


def load(url: str, pid: int, end_s: int, manifest: Path, options: argparse.Namespace) -> dict[str, object]:
    """Send the samples to one server; the loader's report."""
    subprocess.run(
        [sys.executable, str(BENCH / "rwload.py"), "--url", f"{url}/api/v1/write", "--end", str(end_s),
         "--pid", str(pid), "--manifest", str(manifest), "--series", str(options.series), "--hours", str(options.hours),
         "--samples-per-series", str(options.samples_per_series), "--settle", str(options.settle)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    report = json.loads(manifest.read_text())
    keep = (
        "samples",
        "rejected",
        "samples_per_s",
        "cpu_s_per_million",
        "settled_cpu_s_per_million",
        "memory_mb",
    )
    return {name: report[name] for name in keep if name in report}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--samples-per-series", type=int, default=1)
    parser.add_argument(
        "--settle", type=float, default=20, help="seconds after the load in which CPU still counts"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--end-before", type=int, default=120, help="queries end so many seconds before the data"
    )
    parser.add_argument("--only", help="regular expression on queries")
    options = parser.parse_args()
    end_s = int(time.time()) // 60 * 60
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = folder / "prometheus.yml"
        config.write_text("scrape_configs: []\n")
        ports = {name: port_of() for name in ("prometheus", "otero")}
        commands = {
            "prometheus": ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                           f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
                           "--web.enable-remote-write-receiver", "--log.level=error"],
            "otero": otero(folder, ports["otero"], "--prometheus", str(config)),
        }  # fmt: skip
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        with (
            process(commands["prometheus"], folder / "prometheus.log") as reference,
            process(commands["otero"], folder / "otero.log") as candidate,
        ):
            for name, server in (("prometheus", reference), ("otero", candidate)):
                wait_ready(urls[name])
                print(
                    name,
                    json.dumps(load(urls[name], server.pid, end_s, folder / f"{name}.json", options)),
                    flush=True,
                )
            return subprocess.run(
                [sys.executable, str(BENCH / "promcompare.py"), "--reference", urls["prometheus"],
                 "--candidate", urls["otero"], "--set", "perf", "--end", str(end_s - options.end_before),
                 "--runs", str(options.runs), *(["--only", options.only] if options.only else [])],
                check=False,
            ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
