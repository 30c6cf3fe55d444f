"""Webhook notifications to a local sink: `python benchmarks/bench_notify.py [--count 10000] [--alerts 20]`.

Sends notifications as the pipeline does, some at a time over kept connections, to an aiohttp server in another process, and
divides by seconds and by the sender's own CPU seconds.
"""

import argparse
import asyncio
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from otero.alerting.notification import Notification
from otero.alerting.notify import webhook
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import TemplateUrl
from otero.alerting.template import Templates
from otero.model.alerts import Alert
from tests.e2e.server import free_port


def sink(port: int, ready: Event, total: Any) -> None:
    """Takes requests and counts them."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        total.value += 1
        return web.Response()

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/hook", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(run())


def notification(group: int, alerts: int) -> Notification:
    """One group of alerts with six labels and two annotations each."""
    now_ms = 1_795_348_981_000
    return Notification(
        receiver="web.hook",
        integration="webhook[0]",
        group_key=f'{{}}:{{alertname="Down", group="{group}"}}',
        group_labels={"alertname": "Down", "group": str(group)},
        alerts=[
            Alert(
                labels={
                    "alertname": "Down", "group": str(group), "instance": f"host-{number}:9100", "job": "node",
                    "region": "eu-west-1", "severity": "page",
                },
                annotations={"description": f"host-{number} does not answer", "summary": "a host is down"},
                starts_ms=now_ms - 60_000,
                generator_url="http://otero.example/graph?g0.expr=up%20%3D%3D%200",
            )
            for number in range(alerts)
        ],
        now_ms=now_ms,
        external_url="http://otero.example",
    )  # fmt: skip


async def send(port: int, count: int, alerts: int, at_a_time: int) -> tuple[float, float]:
    """Seconds and CPU seconds of sending."""
    config = webhook.complete(webhook.Config(url=TemplateUrl(f"http://127.0.0.1:{port}/hook")), Global())
    client, templates = Client(), Templates.builtin()
    notifications = [notification(group, alerts) for group in range(500)]
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            told = notifications[number % 500]
            await webhook.send(config, told, templates.bind(told), client)

    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(work())
    taken = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    await client.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--alerts", type=int, default=20)
    parser.add_argument("--at-a-time", type=int, default=64)
    options = parser.parse_args()
    port, ready, total = free_port(), multiprocessing.Event(), multiprocessing.Value("q", 0)
    process = multiprocessing.Process(target=sink, args=(port, ready, total), daemon=True)
    process.start()
    ready.wait(30)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the server has it
        seconds, cpu_s = runner.run(send(port, options.count, options.alerts, options.at_a_time))
    process.terminate()
    assert total.value == options.count, (total.value, options.count)
    print(
        f"{options.count} notifications of {options.alerts} alerts: {options.count / seconds:,.0f} a second,"
    )
    print(f"{options.count / cpu_s:,.0f} a CPU second of the sender")


if __name__ == "__main__":
    main()
