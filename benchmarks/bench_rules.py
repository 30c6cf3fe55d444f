"""1,000 alerting rules at 15 s over 100,000 series in the head. Run it: `python benchmarks/bench_rules.py [--profile]`.

500 rules of the rate of a counter by job, 100 series each; 150 thresholds on one gauge and 150 on ten; 200 ratios of two
sums of rates by job, 100 series each. One alert in twenty is firing. Figures are CPU seconds of the evaluation of all
rules, their writing included, so that a busy machine does not change them much.
"""

import argparse
import cProfile
import pstats
import statistics
import time

import numpy as np

from otero.clock import ManualClock, SystemClock
from otero.ingest.intake import Intake
from otero.model.labels import encode_labels
from otero.model.metrics import MetricBatch
from otero.query.promql.engine import Engine
from otero.rules.config import Rule, RuleGroup
from otero.rules.group import Group, Surroundings
from otero.rules.rule import RuleQueries
from otero.storage.memory import MemoryStore

STEP_MS = 15_000
TICKS = 40
ROUNDS = 5
PER_GROUP = 20
START_MS = 1_700_000_000_000


def series(name: str, jobs: int, per_job: int) -> list[list[bytes]]:
    return [
        [
            encode_labels(
                {"__name__": name, "job": f"j{job}", "instance": f"10.0.{job % 250}.{at}:80", "zone": f"z{at // 10}"}
            )
            for at in range(per_job)
        ]
        for job in range(jobs)
    ]  # fmt: skip


def rules() -> list[Rule]:
    def rule(at: int, expr: str) -> Rule:
        return Rule(
            alert=f"Rule{at}",
            expr=expr,
            for_=60_000,  # pyright: ignore[reportArgumentType]
            labels={"severity": "page"},
            annotations={"summary": "{{ $labels.job }} is at {{ $value }}"},
        )

    out = [rule(n, f'rate(requests_total{{job="j{n}"}}[5m]) > {1.9 if n % 20 else 0.1}') for n in range(500)]
    out += [
        rule(500 + n, f'memory{{job="j{n}",instance="10.0.{n % 250}.7:80"}} > {90 if n % 20 else 1}')
        for n in range(150)
    ]
    out += [
        rule(650 + n, f'memory{{job="j{150 + n}",zone="z3"}} > {99.9 if n % 20 else 1}') for n in range(150)
    ]
    out += [
        rule(
            800 + n,
            f'sum by (job) (rate(errors_total{{job="j{n}"}}[5m])) / sum by (job) (rate(requests_total{{job="j{n}"}}[5m]))'
            f" > {0.9 if n % 20 else 0.01}",
        )
        for n in range(200)
    ]
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    profile = parser.parse_args().profile
    clock = ManualClock(START_MS)
    store = MemoryStore(clock, max_bytes=4 << 30)
    intake = Intake(store)
    rng = np.random.default_rng(1)
    targets: list[tuple[np.ndarray, np.ndarray, bool]] = []
    for name, jobs, counts in (
        ("requests_total", 500, True),
        ("errors_total", 200, True),
        ("memory", 300, False),
    ):
        targets += [
            (intake.resolve(keys, "bench"), rng.uniform(0, 80, len(keys)), counts)
            for keys in series(name, jobs, 100)
        ]

    def scrape(time_ms: int) -> None:
        for refs, values, counts in targets:
            values = values + (rng.integers(0, 30, len(refs)) if counts else 0)
            for at, (known, _, _) in enumerate(targets):
                if known is refs:
                    targets[at] = (refs, values, counts)
                    break
            intake.write_metrics(MetricBatch(refs, np.full(len(refs), time_ms), values), "bench")

    time_ms = START_MS
    for _ in range(TICKS):
        scrape(time_ms)
        time_ms += STEP_MS
    engine = Engine(store)
    queries = RuleQueries({"promql": engine}, SystemClock(), timeout_s=120, max_samples=50_000_000)
    given = rules()
    groups = [
        Group("bench.yml", RuleGroup(name=f"g{at}", rules=tuple(given[at : at + PER_GROUP])), Surroundings(), clock)
        for at in range(0, len(given), PER_GROUP)
    ]  # fmt: skip
    seconds: list[float] = []
    for round_ in range(ROUNDS + 2):
        clock.advance(time_ms - clock.now_ms())
        profiler = cProfile.Profile()
        began_s = time.process_time()
        if profile and round_ == ROUNDS:
            profiler.enable()
        for group in groups:
            group.evaluate(time_ms, queries, intake)
        profiler.disable()
        if round_ >= 2:  # the first fills the caches
            seconds.append(time.process_time() - began_s)
        if profile and round_ == ROUNDS:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(28)
        time_ms += STEP_MS
        scrape(time_ms - 1)
    failed = [rule.health.error for group in groups for rule in group.rules if rule.health.error]
    alerts = sum(len(rule.active) for group in groups for rule in group.rules)  # pyright: ignore[reportAttributeAccessIssue]
    cpu_s = statistics.median(seconds)
    print(
        f"{len(store.registry):,} series, {len(given):,} rules, {alerts:,} alerts, {len(failed)} failed {failed[:1]}"
    )
    print(
        f"one round, median of {ROUNDS}: {cpu_s:.2f} CPU seconds, {100 * cpu_s / 15:.1f} % of one core at 15 s"
    )
    print("rounds: " + " ".join(f"{second:.2f}" for second in seconds))


if __name__ == "__main__":
    main()
