"""`otero replay` over a month: alerting rules over what the engine has stored. `python benchmarks/bench_replay.py`.

100 series at 15 s for 30 days: 50 `up`, each down for some minutes every few days, and 50 request counters by status.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.labels import encode_labels
from otero.model.metrics import MetricBatch
from otero.query.promql.engine import Engine
from otero.rules.config import RuleFile
from otero.rules.group import Surroundings
from otero.rules.replay import replay
from otero.source import Reader, parse_yaml
from otero.storage.metrics import MetricStore, StorageSettings

STEP_MS, TARGETS = 15_000, 50
RULES = """
groups:
- name: month
  rules:
  - {alert: ServiceDown, expr: up == 0, for: 2m}
  - {alert: OneDown, expr: 'up{instance="host-07"} == 0', for: 2m}
  - {alert: HighErrorRate, expr: 'rate(errors_total[5m]) > 0.1', for: 5m}
  - {alert: ErrorsOfAll, expr: 'sum(rate(errors_total[5m])) > 1', for: 5m}
"""


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def fill(store: MetricStore, days: int) -> int:
    """Stores the days up to now; the end in milliseconds."""
    random = np.random.default_rng(7)
    steps = days * 86_400_000 // STEP_MS
    end_ms = SystemClock().now_ms() // STEP_MS * STEP_MS
    refs = store.registry.resolve(
        [
            encode_labels({"__name__": name, "instance": f"host-{n:02d}", "job": "app"})
            for name in ("up", "errors_total")
            for n in range(TARGETS)
        ]
    )
    up = np.ones((steps, TARGETS))
    for target in range(TARGETS):
        for begin in random.integers(0, steps - 100, days // 5):
            up[begin : begin + random.integers(2, 40), target] = 0
    errors = np.cumsum(random.poisson(np.where(up == 0, 5.0, 0.05)), axis=0)
    values = np.hstack([up, errors])
    for step in range(steps):
        time_ms = end_ms - (steps - 1 - step) * STEP_MS
        store.append(MetricBatch(refs, np.full(len(refs), time_ms), values[step]))
        if step % 5760 == 5759:
            store.flush()
    store.flush()
    return end_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    days = parser.parse_args().days
    with tempfile.TemporaryDirectory() as folder:
        store = MetricStore(StorageSettings(path=Path(folder), retention_ms=0), SystemClock())
        store.start()
        end_ms = fill(store, days)
        file = Reader().require(parse_yaml(RULES), RuleFile)
        engine = Engine(store)
        for rule in file.groups[0].rules:
            budget = Budget(SystemClock(), timeout_s=3600, max_samples=500_000_000)
            begin_s, begin_cpu_s = time.perf_counter(), cpu_s()
            [report] = replay(
                file, engine, budget, end_ms - days * 86_400_000, end_ms,
                Surroundings(interval_ms=STEP_MS), alert=rule.alert,
            )  # fmt: skip
            print(
                f"{report.alert}: {report.steps:,} steps, {len(report.episodes)} episodes in"
                f" {time.perf_counter() - begin_s:.2f} s ({cpu_s() - begin_cpu_s:.2f} s of CPU)"
            )
        store.stop()


if __name__ == "__main__":
    main()
