"""Alerts in, notifications out: the Alertmanager inside with a real state on disk and a real webhook receiver.

`python -m benchmarks.bench_alerting` prints: how long `Inbox.put` takes, and how many notifications a second arrive at a
receiver in another process, deduplication and the notification log included.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.config import read_alertmanager
from otero.alerting.template import Templates
from otero.clock import SystemClock
from otero.model.alerts import Alert
from otero.model.decisions import forget
from otero.source import Reader, parse_yaml
from otero.storage.state import State
from otero.telemetry import REGISTRY

CONFIG = """
route: {{receiver: hook, group_by: [group], group_wait: {wait}, group_interval: 5m, repeat_interval: 4h}}
receivers:
- name: hook
  webhook_configs: [{{url: 'http://127.0.0.1:{port}/'}}]
"""


def alerts(count: int, groups: int) -> list[Alert]:
    return [
        Alert(
            {
                "alertname": "HighLatency", "group": f"g{number % groups}", "instance": f"10.0.0.{number}:9100",
                "job": "node", "severity": "page", "team": "infra",
            },
            {"summary": f"latency of instance {number} is high", "runbook": "https://example.org/runbooks/latency"},
        )
        for number in range(count)
    ]  # fmt: skip


async def run(count: int, groups: int) -> None:
    sink = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.alert_sink", stdout=subprocess.PIPE
    )
    assert sink.stdout is not None
    port = int(await sink.stdout.readline())
    with tempfile.TemporaryDirectory() as folder:
        state = State.beside(Path(folder))
        config = read_alertmanager(parse_yaml(CONFIG.format(port=port, wait="1s")), Reader())
        alertmanager = Alertmanager(state, SystemClock(), forget, config, Templates.builtin())
        await alertmanager.start()
        given = alerts(count, groups)
        start_s, begin_cpu_s = time.perf_counter(), time.process_time()
        await asyncio.to_thread(alertmanager.inbox.put, given)
        put_s, put_cpu_s = time.perf_counter() - start_s, time.process_time() - begin_cpu_s
        cpu_s, first_s, last_s, got = 0.0, 0.0, 0.0, 0
        while got < groups:
            got = int(await sink.stdout.readline())
            now_s = time.perf_counter()
            first_s = first_s or now_s
            if not cpu_s:
                cpu_s = time.process_time()
            last_s = now_s
        cpu_s = time.process_time() - cpu_s
        await asyncio.sleep(0.5)
        begin_s = time.perf_counter()
        await asyncio.to_thread(alertmanager.inbox.put, given)
        again_s = time.perf_counter() - begin_s
        delivered = REGISTRY.get_sample_value("alertmanager_notifications_total", {"integration": "webhook"})
        wall_s = last_s - start_s - 1.0  # without group_wait
        print(
            f"{count:>6} alerts in {groups:>5} groups: put {put_s * 1000:.0f} ms ({put_cpu_s * 1000:.0f} ms CPU), said again"
            f" {again_s * 1000:.0f} ms; {groups} notifications of {count / groups:.0f} alerts in {wall_s:.2f} s after"
            f" group_wait: {groups / wall_s:,.0f}/s ({cpu_s / groups * 1e6:.0f} µs CPU each), {delivered:.0f} in all"
        )
        await alertmanager.stop()
        state.close()
    sink.terminate()
    await sink.wait()


async def main() -> None:
    for count, groups in ((10_000, 500), (5_000, 5_000), (10_000, 10_000)):
        await run(count, groups)


if __name__ == "__main__":
    uvloop.run(main())
