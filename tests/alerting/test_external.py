"""Alerts to Alertmanagers elsewhere: batches, bounds, relabelling, discovery, what is lost and counted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from otero.alerting.external import BATCH, QUEUE, ExternalAlertmanagers
from otero.alerting.external_config import AlertingConfig
from otero.clock import SystemClock
from otero.http_client import Hosts
from otero.model.alerts import Alert
from otero.source import Reader, parse_yaml


class Sink:
    """An Alertmanager that keeps what it is sent; `status` is what it answers, `gate` holds it up."""

    def __init__(self) -> None:
        self.bodies: list[list[dict[str, Any]]] = []
        self.paths: list[str] = []
        self.headers: list[Any] = []
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()
        self._came = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        await self.gate.wait()
        async with self._came:
            self.bodies.append(await request.json())
            self._came.notify_all()
        return web.Response(status=self.status, text="said")

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [alert for body in self.bodies for alert in body]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20), self._came:
            await self._came.wait_for(lambda: len(self.alerts) >= count)


class Running:
    """A sink at an address."""

    def __init__(self, sink: Sink, port: int) -> None:
        self.sink = sink
        self.address = f"127.0.0.1:{port}"


@pytest.fixture
async def sinks() -> AsyncIterator[list[Running]]:
    runners: list[web.AppRunner] = []
    out: list[Running] = []
    for _ in range(2):
        sink = Sink()
        app = web.Application()
        app.router.add_post("/{path:.*}", sink.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        out.append(Running(sink, runner.addresses[0][1]))
    yield out
    for one in out:
        one.sink.gate.set()
    for runner in runners:
        await runner.cleanup()


def config(text: str, folder: Path | None = None) -> AlertingConfig:
    return Reader("p.yml", folder).require(parse_yaml(text), AlertingConfig)


def alerts(count: int, **labels: str) -> list[Alert]:
    return [
        Alert({"alertname": f"A{at}", **labels}, {"summary": "s"}, 1_700_000_000_000, 1_700_000_240_500, "http://g/")
        for at in range(count)
    ]  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 — of what tells nobody
            await asyncio.sleep(0.01)


def counted(external: ExternalAlertmanagers) -> dict[str, float]:
    return {
        sample.name.removeprefix("prometheus_notifications_"): sample.value
        for metric in external.collect()
        for sample in metric.samples
    }


async def test_alerts_come_in_batches_with_relabelled_labels(sinks: list[Running]) -> None:
    external = ExternalAlertmanagers(SystemClock(), hosts=Hosts({"am.example:9093": sinks[0].address}))
    await external.apply(
        config(f"""
alert_relabel_configs: [{{action: labeldrop, regex: replica}}]
alertmanagers:
- path_prefix: /am/
  basic_auth: {{username: u, password: p}}
  static_configs: [{{targets: ["am.example:9093"]}}]
- alert_relabel_configs: [{{source_labels: [alertname], regex: A0, action: keep}}]
  static_configs: [{{targets: ["{sinks[1].address}", "left.out:1"]}}]
  relabel_configs: [{{source_labels: [__address__], regex: "left.*", action: drop}}]
""")
    )
    assert external.active == [
        "http://am.example:9093/am/api/v2/alerts",
        f"http://{sinks[1].address}/api/v2/alerts",
    ]
    assert external.dropped == ["http://left.out:1/api/v2/alerts"]
    external.put(alerts(2 * BATCH + 1, replica="1", job="j"))
    await sinks[0].sink.until(2 * BATCH + 1)
    await sinks[1].sink.until(1)
    await external.stop()
    assert [len(body) for body in sinks[0].sink.bodies] == [BATCH, BATCH, 1]
    assert sinks[0].sink.bodies[0][0] == {
        "labels": {"alertname": "A0", "job": "j"},
        "annotations": {"summary": "s"},
        "startsAt": "2023-11-14T22:13:20.000Z",
        "endsAt": "2023-11-14T22:17:20.500Z",
        "generatorURL": "http://g/",
    }
    assert sinks[0].sink.paths[0] == "/am/api/v2/alerts"
    assert sinks[0].sink.headers[0]["Authorization"].startswith("Basic ")
    assert [alert["labels"]["alertname"] for alert in sinks[1].sink.alerts] == ["A0"]


async def test_one_that_hangs_loses_its_oldest_and_harms_no_other(sinks: list[Running]) -> None:
    external = ExternalAlertmanagers(SystemClock())
    targets = json.dumps([running.address for running in sinks])
    await external.apply(config(f"alertmanagers: [{{static_configs: [{{targets: {targets}}}]}}]"))
    slow, quick = (running.sink for running in sinks)
    slow.gate.clear()
    external.put(alerts(BATCH))
    await quick.until(BATCH)  # and the slow one has its first batch by now
    await until(lambda: bool(slow.paths))
    for round_ in range(1, 12):
        external.put(alerts(1000))
        await quick.until(round_ * 1000 + BATCH)
    slow.gate.set()
    await slow.until(QUEUE + BATCH)
    await external.stop()
    assert len(slow.alerts) == QUEUE + BATCH
    assert len(quick.alerts) == 11_000 + BATCH


async def test_what_is_refused_is_counted_and_not_sent_again(sinks: list[Running]) -> None:
    external = ExternalAlertmanagers(SystemClock())
    await external.apply(
        config(f"alertmanagers: [{{static_configs: [{{targets: ['{sinks[0].address}']}}]}}]")
    )
    sink = sinks[0].sink
    sink.status = 500
    external.put(alerts(3))
    await sink.until(3)
    sink.status = 200
    external.put(alerts(2))
    await sink.until(5)
    await until(lambda: counted(external)["latency_seconds_count"] == 2)
    found = counted(external)
    assert (found["sent_total"], found["errors_total"], found["dropped_total"]) == (5, 3, 3)
    assert (found["queue_length"], found["queue_capacity"], found["alertmanagers_discovered"]) == (
        0,
        QUEUE,
        1,
    )
    await external.stop()


async def test_what_waits_is_sent_before_the_end_and_kept_over_a_reload(sinks: list[Running]) -> None:
    external = ExternalAlertmanagers(SystemClock())
    text = f"alertmanagers: [{{timeout: %s, static_configs: [{{targets: ['{sinks[0].address}']}}]}}]"
    await external.apply(config(text % "10s"))
    external.put(alerts(100))
    await external.apply(config(text % "9s"))  # nothing was sent yet: no task has run
    await external.stop()
    assert len(sinks[0].sink.alerts) == 100


async def test_alertmanagers_are_discovered_from_files(sinks: list[Running], tmp_path: Path) -> None:
    external = ExternalAlertmanagers(SystemClock())
    (tmp_path / "am.yml").write_text(f"- targets: ['{sinks[0].address}']\n")
    await external.apply(config("alertmanagers: [{file_sd_configs: [{files: [am.yml]}]}]", tmp_path))
    await until(lambda: bool(external.active))
    external.put(alerts(1))
    await sinks[0].sink.until(1)
    await external.stop()
