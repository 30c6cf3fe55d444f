"""Alerts of a real Alertmanager come in by its webhook, firing and resolved, and survive a crash."""

import asyncio
import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.alerting.sink import Sink
from tests.e2e.conftest import program
from tests.e2e.server import ServerProcess, free_port

pytestmark = pytest.mark.e2e

OTERO = """
route: {receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s}
receivers:
- {name: hook, webhook_configs: [{url: 'SINK/hook'}]}
"""
UPSTREAM = """
route: {receiver: otero, group_by: [alertname], group_wait: 1s, group_interval: 1s}
receivers:
- {name: otero, webhook_configs: [{url: 'OTERO/api/otero/v1/webhook'}]}
"""
STEPS = frozenset({"received", "resolved", "delivered"})


def send(url: str, body: Any) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        return json.loads(response.read() or b"null")


async def test_a_real_alertmanager_tells_otero(tmp_path: Path) -> None:
    path = program("prometheus-alertmanager")
    async with Sink() as sink:
        (tmp_path / "otero-am.yml").write_text(OTERO.replace("SINK", sink.url))
        server = ServerProcess(["--alertmanager", tmp_path / "otero-am.yml"], data=tmp_path / "data")
        await asyncio.to_thread(server.start)
        (tmp_path / "am.yml").write_text(UPSTREAM.replace("OTERO", server.url))
        port = free_port()
        upstream = await asyncio.to_thread(
            subprocess.Popen,
            [
                path, f"--config.file={tmp_path / 'am.yml'}", f"--storage.path={tmp_path / 'am'}",
                f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

        def told(status: str) -> list[Any]:
            return [body for body in sink.bodies("/hook") if body["status"] == status]

        try:
            alert = {
                "labels": {"alertname": "DiskFull", "instance": "a"},
                "annotations": {"summary": "97 %"},
                "generatorURL": "http://prometheus/graph",
            }
            await asyncio.to_thread(until_answers, f"http://127.0.0.1:{port}/-/ready")
            await asyncio.to_thread(send, f"http://127.0.0.1:{port}/api/v2/alerts", [alert])
            await sink.until(lambda: told("firing"), 60)
            [got] = told("firing")[0]["alerts"]
            assert got["labels"] == alert["labels"]
            assert got["annotations"] == alert["annotations"]
            assert got["generatorURL"] == alert["generatorURL"]
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            ended = {**alert, "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            await asyncio.to_thread(send, f"http://127.0.0.1:{port}/api/v2/alerts", [ended])
            await sink.until(lambda: told("resolved"), 60)
            [got] = told("resolved")[0]["alerts"]
            assert got["labels"] == alert["labels"]
            assert got["status"] == "resolved"
            [story] = (await asyncio.to_thread(server.get, "/api/otero/v1/alerts/why", alertname="DiskFull"))[
                "alerts"
            ]
            kinds = [one["kind"] for one in story["decisions"] if one["kind"] in STEPS]
            # The crash may have come before the first notification was written down: then it was sent twice.
            assert [kind for kind, _ in itertools.groupby(kinds)] == [
                "received", "delivered", "resolved", "delivered",
            ]  # fmt: skip
            assert len(kinds) <= 5
            assert story["state"] == "inactive"
            assert story["told"]
        finally:
            upstream.terminate()
            await asyncio.to_thread(upstream.wait, 30)
            if server.running:
                await asyncio.to_thread(server.stop)


def until_answers(url: str) -> None:
    deadline_s = time.monotonic() + 60
    while True:
        try:
            urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline_s, f"{url} does not answer"
            time.sleep(0.1)
