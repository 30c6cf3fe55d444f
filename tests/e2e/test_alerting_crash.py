"""`kill -9` while 500 groups are being told of: afterwards each has been told of, and at most once too often."""

import asyncio
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import orjson
import pytest

from otero.storage.state import FILE
from tests.alerting.sink import Sink
from tests.e2e.server import ServerProcess

pytestmark = pytest.mark.e2e

CONFIG = """
route: {receiver: hook, group_by: [group], group_wait: 8s, group_interval: 5m, repeat_interval: 4h}
receivers:
- name: hook
  webhook_configs: [{url: 'SINK/hook'}]
"""
GROUPS, ALERTS = 500, 10_000


def post(server: ServerProcess, numbers: range) -> None:
    alerts = [
        {
            "labels": {"alertname": "A", "group": str(number % GROUPS), "instance": str(number)},
            "annotations": {"summary": f"number {number}"},
        }
        for number in numbers
    ]
    request = Request(
        f"{server.url}/api/v2/alerts",
        orjson.dumps(alerts),
        {"Content-Type": "application/json"},
        method="POST",
    )
    with urlopen(request, timeout=60) as response:
        assert response.status == 200


def in_log(data: Path) -> set[str]:
    """The groups in the notification log on disk."""
    with closing(sqlite3.connect(f"file:{data / FILE}?mode=ro", uri=True)) as connection:
        keys = connection.execute("SELECT group_key FROM notification_log").fetchall()
    return {key.partition('group="')[2].rstrip('"}') for (key,) in keys}


async def test_each_group_is_told_of_after_a_crash(tmp_path: Path) -> None:
    async with Sink() as sink:

        def groups() -> set[str]:
            return {body["groupLabels"]["group"] for _, body in sink.got}

        alertmanager = tmp_path / "alertmanager.yml"
        alertmanager.write_text(CONFIG.replace("SINK", sink.url))
        server = ServerProcess(["--alertmanager", alertmanager], data=tmp_path / "data")
        await asyncio.to_thread(server.start)
        for start in range(0, ALERTS, 1000):
            await asyncio.to_thread(post, server, range(start, start + 1000))
        logged: set[str] = set()
        for wanted in range(100, GROUPS, 25):
            await sink.until(lambda wanted=wanted: len(groups()) >= wanted, 60)
            logged = in_log(server.data)
            if len(logged) >= 25:
                break
        await asyncio.to_thread(server.kill)
        before = len(sink.got)
        assert logged
        assert len(groups()) < GROUPS, "all were told of before the crash: nothing was tried"
        await asyncio.to_thread(server.start)
        await sink.until(lambda: len(groups()) == GROUPS, 120)
        # A stop lets what is under way end, so that nothing more comes.
        assert await asyncio.to_thread(server.stop) == 0
    told: dict[str, list[int]] = defaultdict(list)
    for place, (_, body) in enumerate(sink.got):
        group = body["groupLabels"]["group"]
        told[group].append(place)
        instances = {one["labels"]["instance"] for one in body["alerts"]}
        assert instances == {str(number) for number in range(int(group), ALERTS, GROUPS)}
    doubled = [places for places in told.values() if len(places) > 1]
    assert all(len(places) == 2 and places[0] < before <= places[1] for places in doubled)
    # Told twice is what was under way at the crash, and nothing that the log has.
    assert not [group for group in logged if len(told[group]) > 1]
