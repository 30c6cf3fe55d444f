"""Remote write out of Otero: to a real Prometheus and to another Otero, through outages and `kill -9`."""

import functools
import json
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import cramjam
import pytest

from otero.wire.pb import remote_write_v1_pb2 as v1
from tests.e2e.conftest import running_prometheus
from tests.e2e.server import ServerProcess, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

SERIES = 50
START_MS = time.time_ns() // 1_000_000 // 1000 * 1000 - 600_000


def write(server: ServerProcess, first: int, count: int) -> None:
    """Samples number `first` and following of each series, one a second, the number as value."""
    request = v1.WriteRequest(
        timeseries=[
            v1.TimeSeries(
                labels=[
                    v1.Label(name=b"__name__", value=b"sent"),
                    v1.Label(name=b"n", value=str(n).encode()),
                ],
                samples=[
                    v1.Sample(value=number, timestamp=START_MS + number * 1000)
                    for number in range(first, first + count)
                ],
            )
            for n in range(SERIES)
        ]
        + [
            v1.TimeSeries(
                labels=[v1.Label(name=b"__name__", value=b"secret")],
                samples=[v1.Sample(value=1, timestamp=START_MS + first * 1000)],
            )
        ]
    )
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        body = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
        connection.request("POST", "/api/v1/write", body, {"Content-Type": "application/x-protobuf"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (204, b"")
    finally:
        connection.close()


def stored(url: str, selector: str = "sent") -> dict[str, list[list[Any]]]:
    """Every raw sample by series."""
    moment = (START_MS + 590_000) / 1000
    query = urlencode({"query": f"{selector}[20m]", "time": moment})
    with urlopen(f"{url}/api/v1/query?{query}", timeout=60) as response:
        answer = json.load(response)
    return {json.dumps(r["metric"], sort_keys=True): r["values"] for r in answer["data"]["result"]}


def wait_until_all(url: str, count: int, timeout_s: float = 90) -> dict[str, list[list[Any]]]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = stored(url)
        if len(found) == SERIES and all(len(values) >= count for values in found.values()):
            return found
        assert time.monotonic() < deadline_s, {key: len(values) for key, values in found.items()}
        time.sleep(0.2)


def check_whole(url: str, count: int) -> None:
    expected = [[START_MS / 1000 + number, str(number)] for number in range(count)]
    found = wait_until_all(url, count)
    for key, values in found.items():
        assert json.loads(key)["cluster"] == "a"
        assert values == expected
    assert not stored(url, "secret")


def configuration(port: int, protobuf_message: str = "prometheus.WriteRequest") -> str:
    return f"""\
global: {{external_labels: {{cluster: a}}}}
scrape_configs: []
remote_write:
  - url: http://127.0.0.1:{port}/api/v1/write
    protobuf_message: {protobuf_message}
    write_relabel_configs: [{{source_labels: [__name__], regex: secret, action: drop}}]
    queue_config: {{batch_send_deadline: 200ms, max_backoff: 500ms, max_samples_per_send: 300, max_shards: 4}}
    metadata_config: {{send: false}}
"""


def sender_of(folder: Path, text: str) -> ServerProcess:
    (folder / "sender.yml").write_text(text)
    sender = ServerProcess(["--prometheus", folder / "sender.yml"], data=folder / "sender")
    sender.start(180)
    return sender


@pytest.mark.parametrize("message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])
def test_an_outage_and_a_crash_lose_and_double_nothing(tmp_path: Path, message: str) -> None:
    port = free_port()
    (tmp_path / "receiver.yml").write_text("scrape_configs: []\n")
    receiver = ServerProcess(
        ["--prometheus", tmp_path / "receiver.yml"], data=tmp_path / "receiver", port=port
    )
    sender = sender_of(tmp_path, configuration(port, message))
    try:
        write(sender, 0, 100)  # nobody is there to receive
        sender.kill()
        sender.start(180)
        write(sender, 100, 100)
        receiver.start(180)
        check_whole(receiver.url, 200)
        write(sender, 200, 100)
        sender.kill()  # most likely while it sends
        sender.start(180)
        check_whole(receiver.url, 300)
        receiver.stop()
        write(sender, 300, 100)
        receiver.start(180)
        check_whole(receiver.url, 400)
        text = sender.text("/metrics")
        assert "prometheus_remote_storage_samples_total{" in text
        assert "prometheus_remote_storage_samples_failed_total{" not in text
    finally:
        sender.kill()
        if receiver.running:
            receiver.kill()


def test_a_real_prometheus_receives(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs: []\n")
    receiver = functools.partial(running_prometheus, config, "--web.enable-remote-write-receiver", port=port)
    sender = sender_of(tmp_path, configuration(port))
    try:
        write(sender, 0, 100)
        with receiver() as url:
            check_whole(url, 100)
        write(sender, 100, 100)
        sender.kill()
        sender.start(180)
        with receiver() as url:
            check_whole(url, 200)
    finally:
        sender.kill()
