"""The official client pushes to both ports; what was answered with 200 is there after `kill -9`."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    delete_from_gateway,
    push_to_gateway,
    pushadd_to_gateway,
)

from tests.e2e.server import ServerProcess, free_port, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

KEYS = (
    {},
    {"instance": "host-1"},
    {"path": "/var/tmp"},
    {"path": "", "zone": "é ü/"},
    {"instance": "a/b", "shard": "1"},
)


def registry(value: float, *, also: bool = False) -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("backup_size_bytes", "Size of the backup.", ["kind"], registry=made).labels("full").set(value)
    if also:
        Counter("backup_files", "Files.", registry=made).inc(value)
        Histogram("backup_seconds", "Duration.", registry=made, buckets=(1, 60)).observe(value)
    return made


def sizes(server: ServerProcess) -> dict[tuple[tuple[str, str], ...], float]:
    """Value by labels, of the series that are there now."""
    return {
        tuple(
            sorted((name, text) for name, text in row["metric"].items() if name not in ("__name__", "kind"))
        ): float(row["value"][1])
        for row in server.query("backup_size_bytes")
    }


def labels(job: str, key: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, text) for name, text in {"job": job, **key}.items() if text))


def eventually(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_the_official_client(tmp_path: Path) -> None:
    own = free_port()
    config = tmp_path / "otero.yml"
    config.write_text(f"receivers: {{pushgateway: {{endpoint: '127.0.0.1:{own}', interval: 500ms}}}}\n")
    with running(["--config", config], tmp_path / "data") as server:
        assert any(f"pushgateway: http://127.0.0.1:{own}" in line for line in server.lines)
        for gateway, job in ((f"127.0.0.1:{own}", "own"), (f"127.0.0.1:{server.port}", "main/port")):
            for number, key in enumerate(KEYS):
                compression = "gzip" if number % 2 else None
                push_to_gateway(gateway, job, registry(number, also=True), key, compression=compression)
                assert sizes(server)[labels(job, key)] == number  # at once
            pushadd_to_gateway(gateway, job, registry(7), KEYS[2])
            selector = f'{{job="{job}",path="/var/tmp"}}'
            assert sizes(server)[labels(job, KEYS[2])] == 7
            [row] = server.query(f"backup_files_total{selector}")
            assert row["value"][1] == "2"
            push_to_gateway(gateway, job, registry(8), KEYS[2])
            assert server.query(f"backup_files_total{selector}") == []
            assert server.query(f"backup_seconds_count{selector}") == []
            delete_from_gateway(gateway, job, KEYS[1])
            assert labels(job, KEYS[1]) not in sizes(server)
            with pytest.raises(HTTPError) as refused:
                push_to_gateway(gateway, "other", registry_of_wrong_type(), {})
            assert refused.value.code == 400
            refused.value.close()
        before = len(server.query('backup_size_bytes{job="own",instance="a/b"}[10m]')[0]["values"])
        eventually(
            lambda: (
                len(server.query('backup_size_bytes{job="own",instance="a/b"}[10m]')[0]["values"])
                >= before + 3
            )
        )
        told = server.get("/api/v1/metadata", metric="backup_size_bytes")["data"]["backup_size_bytes"]
        assert told == [{"type": "gauge", "unit": "", "help": "Size of the backup."}]
        assert server.query("count(push_time_seconds)")[0]["value"][1] == "9"  # with the refused one


def registry_of_wrong_type() -> CollectorRegistry:
    made = CollectorRegistry()
    Histogram("backup_size_bytes", "No gauge.", registry=made).observe(1)
    return made


def test_a_group_that_was_acknowledged_survives_kill_9(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = tmp_path / "otero.yml"
    config.write_text("receivers: {pushgateway: {endpoint: '127.0.0.1:0', interval: 500ms}}\n")
    server = ServerProcess(["--config", config], data=tmp_path / "data")
    request.addfinalizer(server.kill)
    expected: dict[tuple[tuple[str, str], ...], float] = {}
    gateway = f"127.0.0.1:{server.port}"
    for round_ in range(2):
        server.start()
        for key in KEYS:
            push_to_gateway(gateway, "killed", registry(round_), key)
            expected[labels("killed", key)] = round_
        dropped = KEYS[round_]
        delete_from_gateway(gateway, "killed", dropped)
        del expected[labels("killed", dropped)]
        server.kill()
    server.start()
    eventually(lambda: sizes(server) == expected)
    first = server.query("max(timestamp(backup_size_bytes))")[0]["value"][1]
    eventually(lambda: float(server.query("min(timestamp(backup_size_bytes))")[0]["value"][1]) > float(first))
    assert server.stop() == 0
