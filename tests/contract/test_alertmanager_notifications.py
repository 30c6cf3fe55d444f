"""The same alerts to Debian's Alertmanager and to the one inside: receivers are told the same, in the same order.

Each step waits until both have told what one of them would, so that nothing here depends on how fast either is.
"""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.config import read_alertmanager
from otero.alerting.matchers import parse_matchers
from otero.alerting.template import Templates
from otero.clock import SystemClock
from otero.errors import Unavailable
from otero.http_client import HttpClient, HttpClientConfig
from otero.model.alerts import Alert
from otero.model.decisions import forget
from otero.model.silences import Silence
from otero.source import Reader, parse_yaml
from otero.storage.state import State
from tests.alerting.sink import Sink
from tests.e2e.server import free_port

pytestmark = pytest.mark.e2e

CONFIG = """
route:
  receiver: default
  group_by: [alertname]
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 1h
  routes:
  - {matchers: ['severity="page"'], receiver: page, continue: true}
  - {matchers: ['team=~"a|b"'], receiver: team, group_by: ['...']}
receivers:
- {name: default, webhook_configs: [{url: 'SINK/default'}]}
- {name: page, webhook_configs: [{url: 'SINK/page'}, {url: 'SINK/page-firing', send_resolved: false}]}
- {name: team, webhook_configs: [{url: 'SINK/team'}]}
inhibit_rules:
- {source_matchers: ['alertname="NodeDown"'], target_matchers: ['alertname!="NodeDown"'], equal: [node]}
"""
HOUR = 3_600_000


class Debian:
    """Debian's Alertmanager, spoken to by its API."""

    def __init__(self, url: str, client: HttpClient) -> None:
        self.url = url
        self._client = client

    async def put(self, alerts: Sequence[Alert]) -> None:
        await self._post(
            "alerts",
            [
                {
                    "labels": dict(alert.labels),
                    "annotations": dict(alert.annotations),
                    "startsAt": _time(alert.starts_ms),
                    "endsAt": _time(alert.ends_ms),
                    "generatorURL": alert.generator_url,
                }
                for alert in alerts
            ],
        )

    async def silence(self, name: str, value: str, starts_ms: int, ends_ms: int) -> None:
        matcher = {"name": name, "value": value, "isRegex": False, "isEqual": True}
        await self._post(
            "silences",
            {
                "matchers": [matcher], "startsAt": _time(starts_ms), "endsAt": _time(ends_ms),
                "createdBy": "ann", "comment": "",
            },
        )  # fmt: skip

    async def _post(self, what: str, body: Any) -> None:
        response = await self._client.request(
            "POST", f"{self.url}/api/v2/{what}", body=orjson.dumps(body),
            headers={"Content-Type": "application/json"}, timeout_s=20, max_bytes=1 << 20,
        )  # fmt: skip
        assert response.status == 200, response.body


@asynccontextmanager
async def debian(folder: Path, sink: Sink) -> AsyncIterator[Debian]:
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("prometheus-alertmanager is not installed: apt-get install prometheus-alertmanager")
    file = folder / "alertmanager.yml"
    file.write_text(CONFIG.replace("SINK", sink.url))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program, f"--config.file={file}", f"--storage.path={folder / 'am'}", "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}", stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    client = HttpClient(HttpClientConfig())
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(30):
            while True:
                try:
                    await client.request("GET", f"{url}/-/ready", timeout_s=5, max_bytes=1000)
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        yield Debian(url, client)
    finally:
        await client.close()
        process.terminate()
        await process.wait()


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(sink: Sink) -> dict[tuple[str, str], list[Any]]:
    """What each receiver was told of each group, in order, without what must differ."""
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for path, body in sink.got:
        found[path, body["groupKey"]].append(
            {key: value for key, value in body.items() if key != "externalURL"}
        )
    return found


def count(sink: Sink) -> dict[tuple[str, str], int]:
    return {key: len(bodies) for key, bodies in told(sink).items()}


def same_instant(value: Any) -> Any:
    """JSON with times to the millisecond: both write as many digits as they need."""
    if isinstance(value, dict):
        return {key: same_instant(one) for key, one in value.items()}
    if isinstance(value, list):
        return [same_instant(one) for one in value]
    if isinstance(value, str) and value[4:5] == "-" and value[10:11] == "T":
        return datetime.fromisoformat(value).timestamp()
    return value


async def test_receivers_are_told_the_same(tmp_path: Path) -> None:
    state = State.beside(tmp_path)
    async with Sink() as theirs, Sink() as ours, debian(tmp_path, theirs) as other:
        config = read_alertmanager(parse_yaml(CONFIG.replace("SINK", ours.url)), Reader())
        clock = SystemClock()
        alertmanager = Alertmanager(state, clock, forget, config, Templates.builtin())
        await alertmanager.start()
        starts_ms = clock.now_ms()

        def alert(name: str, instance: str, ends: bool = False, **labels: str) -> Alert:
            all_labels = {"alertname": name, "instance": instance, **labels}
            ends_ms = clock.now_ms() if ends else starts_ms + HOUR
            return Alert(
                dict(sorted(all_labels.items())),
                {"summary": f"{name} of {instance}"},
                starts_ms,
                ends_ms,
                "http://x/",
            )

        async def step(alerts: Sequence[Alert], **wanted: int) -> None:
            await other.put(alerts)
            alertmanager.inbox.put(alerts)
            for sink in (theirs, ours):
                try:
                    await sink.until(lambda sink=sink: _numbers(sink) == wanted)
                except TimeoutError:
                    raise AssertionError(
                        f"wanted {wanted}; Debian's told {_numbers(theirs)}, Otero's {_numbers(ours)}"
                    ) from None

        await step(
            [
                alert("A", "1", node="a"), alert("A", "2", node="b"), alert("B", "1", severity="page", team="a"),
                alert("C", "1", severity="page"), alert("C", "2", team="b"),
            ],
            A=1, B=3, C=3,
        )  # fmt: skip
        await step([alert("A", "3", node="c")], A=2, B=3, C=3)
        # A/1 is inhibited from here on; A/3 ends.
        await step(
            [alert("NodeDown", "n", node="a"), alert("A", "3", ends=True, node="c")],
            A=3,
            B=3,
            C=3,
            NodeDown=1,
        )
        await other.silence("instance", "2", clock.now_ms(), starts_ms + HOUR)
        alertmanager.silences.create(
            Silence(parse_matchers('instance="2"').matchers, clock.now_ms(), starts_ms + HOUR, "ann")
        )
        await step([alert("NodeDown", "n", ends=True, node="a")], A=4, B=3, C=3, NodeDown=2)
        await step(
            [
                # A/2 goes on: that it ends, Alertmanager does not tell while it is silenced, Otero does.
                alert("A", "1", ends=True, node="a"),
                alert("B", "1", ends=True, severity="page", team="a"), alert("C", "1", ends=True, severity="page"),
            ],
            A=5, B=5, C=4, NodeDown=2,
        )  # fmt: skip
        await alertmanager.stop()
    state.close()
    assert same_instant(told(ours)) == same_instant(told(theirs))


def _numbers(sink: Sink) -> dict[str, int]:
    """How often somebody was told, by the name of the alert."""
    found: dict[str, int] = defaultdict(int)
    for _, body in sink.got:
        found[body["commonLabels"]["alertname"]] += 1
    return found
