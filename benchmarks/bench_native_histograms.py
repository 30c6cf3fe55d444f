"""PromQL on native histograms in memory: python -m benchmarks.bench_native_histograms [--series N] [--json].

100 counters with exponential buckets (schema 3, about 20 populated buckets each, 15 s apart), 1 h at 15 s, unless said
otherwise. CPU milliseconds of the best of some runs. `unknown hints`: nothing says which histograms continue the one
before, so that every pair of neighbours is compared.
"""

import argparse
import json
from dataclasses import replace

import numpy as np

from benchmarks.bench_query import HOUR_MS, STEP_MS, Source, budget, cpu_ms
from otero.model.histograms import Histograms, ResetHint, box, positive
from otero.model.labels import LabelTable
from otero.model.samples import SampleBlock
from otero.query.promql.engine import Engine


def histograms(name: str, series: int, ticks: int, hint: ResetHint) -> SampleBlock:
    """Counters of durations around 100 ms."""
    random = np.random.default_rng(11)
    buckets = 20
    grown = random.poisson(3.0, (ticks, series, buckets)).cumsum(axis=0).astype(np.float64)
    count = grown.sum(axis=2)
    rows = ticks * series
    columns = Histograms(
        np.full(rows, 3, np.int8),
        np.full(rows, 2.0**-128),
        np.zeros(rows),
        count.ravel(),
        (count * 0.1).ravel(),
        np.full(rows, hint, np.uint8),
        np.full(rows, -1, np.int32),
        (),
        np.arange(0, rows * buckets + 1, buckets, dtype=np.int64),
        np.tile(positive(np.arange(-40, -40 + buckets, dtype=np.int64)), rows),
        grown.ravel(),
    )
    labels = [
        {"__name__": name, "job": f"job-{at % 4}", "instance": f"host-{at // 10}", "path": f"/{at}"}
        for at in range(series)
    ]
    times = np.arange(ticks, dtype=np.int64)[:, None] * STEP_MS
    values = box(np.arange(rows)).reshape(ticks, series)
    group = np.zeros(series, np.intp)
    return SampleBlock(LabelTable.of(labels), times, group, values, histograms=columns)


def measure(series: int) -> dict[str, float]:
    ticks = 2 * HOUR_MS // STEP_MS
    known = histograms("latency", series, ticks, ResetHint.NOT_RESET)
    unknown = replace(histograms("unsure", series, ticks, ResetHint.UNKNOWN))
    engine = Engine(Source({"latency": [known], "unsure": [unknown]}))
    end_ms = (ticks - 1) * STEP_MS
    out: dict[str, float] = {}
    for text in (
        "histogram_quantile(0.9, sum(rate(latency[5m])))",
        "histogram_quantile(0.9, sum by (job) (rate(latency[5m])))",
        "histogram_quantile(0.9, rate(latency[5m]))",
        "sum(rate(latency[5m]))",
        "rate(latency[5m])",
        "rate(unsure[5m])",
        "histogram_count(rate(latency[5m]))",
        "sum_over_time(latency[5m])",
        "latency",
        "sum(latency)",
        "latency * 2",
    ):
        out[text] = cpu_ms(
            lambda text=text: engine.range(text, end_ms - HOUR_MS, end_ms, STEP_MS, budget()), 3
        )
    text = "histogram_quantile(0.9, sum(rate(latency[5m])))"
    out[f"instant {text}"] = cpu_ms(lambda: engine.instant(text, end_ms, budget()), 20)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.series)
    if given.json:
        print(json.dumps(found))
    else:
        for text, ms in found.items():
            print(f"{ms:9.2f} ms  {text}")
