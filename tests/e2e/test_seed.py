"""The seed's prometheus.yml runs as it is, and real clients get right answers."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_api_client import PrometheusConnect
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Exporter, program
from tests.e2e.server import ServerProcess, free_port, running

pytestmark = pytest.mark.e2e

CADVISOR = b"""\
# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed.
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{id="/",name="shop"} 12.25
container_cpu_usage_seconds_total{id="/docker/1",name="db"} 3.5e+06
# HELP container_memory_usage_bytes Current memory usage.
# TYPE container_memory_usage_bytes gauge
container_memory_usage_bytes{id="/",name="shop"} 1.048576e+07
container_memory_usage_bytes{id="/docker/1",name="db \\"main\\"\\\\"} +Inf
# TYPE request_size_bytes histogram
request_size_bytes_bucket{le="10"} 1
request_size_bytes_bucket{le="100"} 4
request_size_bytes_bucket{le="+Inf"} 5
request_size_bytes_sum 321.5
request_size_bytes_count 5
"""


@pytest.fixture
def seed(tmp_path: Path, shared: Path, shop: int, node_exporter: int) -> Iterator[ServerProcess]:
    """Otero on the seed's prometheus.yml, its host names led to local targets."""
    exporter = Exporter(lambda: CADVISOR)
    port = free_port()
    hosts = {
        "localhost:9090": f"127.0.0.1:{port}",
        "app:5000": f"127.0.0.1:{shop}",
        "node-exporter:9100": f"127.0.0.1:{node_exporter}",
        "cadvisor:8080": f"127.0.0.1:{exporter.port}",
    }
    config = tmp_path / "otero.yml"
    config.write_text("hosts: " + json.dumps(hosts) + "\n")
    arguments = ["--config", config, "--prometheus", shared / "seed" / "prometheus.yml"]
    with running(arguments, tmp_path / "data", port) as server:
        server.wait_for("up == 1", 4)
        yield server
    exporter.close()


def exposed() -> dict[str, float]:
    """What the exporter of job docker exposes, by series; `le` in the form to which Prometheus 3 brings it (10.0)."""
    return {
        sample.name
        + json.dumps(
            {k: f"{float(v)}" if k == "le" and v != "+Inf" else v for k, v in sample.labels.items()},
            sort_keys=True,
        ): sample.value
        for family in text_string_to_metric_families(CADVISOR.decode())
        for sample in family.samples
    }


def without_target(labels: dict[str, str]) -> str:
    own = {k: v for k, v in labels.items() if k not in ("__name__", "job", "instance")}
    return labels["__name__"] + json.dumps(own, sort_keys=True)


def test_every_target_is_up_and_real_clients_agree_with_the_exposition(seed: ServerProcess) -> None:
    targets = seed.get("/api/v1/targets")["data"]["activeTargets"]
    assert {target["scrapePool"]: target["health"] for target in targets} == {
        "prometheus": "up",
        "application": "up",
        "node-exporter": "up",
        "docker": "up",
    }

    selector = '{job="docker", __name__!~"up|scrape_.*"}'
    stored = {without_target(row["metric"]): float(row["value"][1]) for row in seed.query(selector)}
    assert stored == exposed()

    client = PrometheusConnect(url=seed.url, disable_ssl=True)
    assert client.check_prometheus_connection()
    rows = client.custom_query(selector)
    assert {without_target(row["metric"]): float(row["value"][1]) for row in rows} == exposed()
    assert "container_memory_usage_bytes" in client.all_metrics()
    assert {row["value"][1] for row in client.get_current_metric_value("request_size_bytes_count")} == {"5"}


def test_promtool_gets_the_same_answers(seed: ServerProcess) -> None:
    promtool = program("promtool")

    def ask(*arguments: str) -> str:
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    instant = ask("query", "instant", seed.url, 'container_cpu_usage_seconds_total{name="db"}')
    assert instant.split(" => ")[1].split(" @")[0] == "3500000"
    total = ask("query", "instant", seed.url, "sum(container_cpu_usage_seconds_total)")
    assert total.split(" => ")[1].split(" @")[0] == "3500012.25"
    quantile = ask("query", "instant", seed.url, "histogram_quantile(0.5, request_size_bytes_bucket)")
    assert quantile.split(" => ")[1].split(" @")[0] == "55"

    now = seed.query("time()")[0]
    ranged = ask("query", "range", f"--start={float(now) - 30:.0f}", f"--end={float(now):.0f}", "--step=5s",
                 seed.url, 'container_memory_usage_bytes{name="shop"}')  # fmt: skip
    values = [line.split(" @")[0] for line in ranged.splitlines()[1:]]
    assert values
    assert set(values) == {"10485760"}

    series = ask("query", "series", "--match=request_size_bytes_bucket", seed.url)
    assert sorted(line.split('le="')[1].split('"')[0] for line in series.splitlines()) == [
        "+Inf",
        "10.0",
        "100.0",
    ]
    labels = ask("query", "labels", seed.url, "job")
    assert set(labels.split()) >= {"application", "docker", "node-exporter", "prometheus"}


def test_known_expressions_work_on_the_real_targets(seed: ServerProcess) -> None:
    seed.wait_for("rate(http_requests_total[1m])", 3, timeout_s=40)
    assert seed.query('count(node_cpu_seconds_total{mode="idle"})')[0]["value"][1].isdigit()
    memory = seed.query("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes")
    assert 0 < float(memory[0]["value"][1]) < 1
    assert {row["metric"]["job"] for row in seed.query("scrape_samples_scraped > 0")} == {
        "application", "docker", "node-exporter", "prometheus",
    }  # fmt: skip


def test_it_stops_cleanly_on_sigterm(seed: ServerProcess) -> None:
    assert seed.stop() == 0
