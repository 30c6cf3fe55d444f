"""Otero's Prometheus API beside a real Prometheus that scrapes the same exporter: same statuses, same JSON."""

import contextlib
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Exporter, running_prometheus
from tests.e2e.server import ServerProcess

pytestmark = pytest.mark.e2e

BODY = b"""\
# HELP shop_orders_total Orders.
# TYPE shop_orders_total counter
shop_orders_total{product="lamp",region="eu"} 10
shop_orders_total{product="chair",region="eu"} 20.5
shop_orders_total{product="lamp",region="us"} 1e+21
# HELP shop_stock Items in stock.
# TYPE shop_stock gauge
shop_stock{product="lamp"} NaN
shop_stock{product="chair"} -Inf
shop_stock{product="table \\"big\\" \\\\ \xc3\xb1"} 0.00001
# TYPE shop_seconds histogram
shop_seconds_bucket{le="0.1"} 1
shop_seconds_bucket{le="1"} 7
shop_seconds_bucket{le="+Inf"} 8
shop_seconds_sum 12.75
shop_seconds_count 8
"""
CONFIG = """\
global: {scrape_interval: 1s, scrape_timeout: 1s, external_labels: {cluster: test}}
scrape_configs:
  - job_name: shop
    static_configs: [{targets: ["127.0.0.1:%d"], labels: {team: one}}]
    metric_relabel_configs:
      - {source_labels: [region], regex: eu, target_label: continent, replacement: europe}
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of (Prometheus, Otero), both with at least two scrapes of the same exporter."""
    folder = tmp_path_factory.mktemp("contract")
    exporter = Exporter(lambda: BODY)
    config = folder / "prometheus.yml"
    config.write_text(CONFIG % exporter.port)
    server = ServerProcess(["--prometheus", config], data=folder / "data")
    with contextlib.closing(exporter), running_prometheus(config) as reference:
        try:
            server.start()
            for url in (reference, server.url):
                _wait_for_scrapes(url)
            yield reference, server.url
        finally:
            server.kill()


def _wait_for_scrapes(url: str) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, KeyError, IndexError):
            answer = ask(url, "GET", "/api/v1/query", {"query": "count_over_time(up[1m]) >= 3"})[1]
            if answer["data"]["result"]:
                return
        time.sleep(0.2)
    raise AssertionError(f"{url} has no scrapes")


def ask(url: str, method: str, path: str, params: Any = ()) -> tuple[int, Any]:
    """Status code and decoded JSON."""
    query = urlencode(params, doseq=True)
    if method == "GET":
        request = Request(f"{url}{path}?{query}")
    else:
        request = Request(f"{url}{path}", query.encode(), method=method)
    try:
        with urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def canonical(data: Any) -> Any:
    """Order of series is not meant, except after sort()."""
    if isinstance(data, dict) and "result" in data and data.get("resultType") in ("vector", "matrix"):
        return {
            **data,
            "result": sorted(data["result"], key=lambda row: json.dumps(row["metric"], sort_keys=True)),
        }
    if isinstance(data, list):
        return sorted(data, key=lambda row: json.dumps(row, sort_keys=True))
    return data


INSTANT = [
    "shop_orders_total",
    'shop_orders_total{product=~"l.*", region!="us"}',
    "shop_stock",
    "sum by (product) (shop_orders_total)",
    "sum without (region, continent) (shop_orders_total) > 5",
    "topk(1, shop_orders_total)",
    "count_values('v', shop_orders_total)",
    "quantile(0.3, shop_orders_total)",
    "shop_orders_total / on (product) group_left sum by (product) (shop_orders_total)",
    "shop_orders_total and on (product) shop_stock",
    "shop_orders_total or shop_stock",
    "shop_orders_total unless on (product) shop_stock{product='lamp'}",
    "-shop_orders_total ^ 2 % 7",
    "shop_orders_total >= bool 20.5",
    "histogram_quantile(0.9, shop_seconds_bucket)",
    "histogram_quantile(0.9, sum by (le) (rate(shop_seconds_bucket[1m])))",
    "rate(shop_orders_total[1m])",
    "avg_over_time(shop_stock{product=~'table.*'}[30s])",
    "max_over_time(shop_orders_total[1m:1s])",
    "label_replace(shop_stock, 'x', '$1-$2', 'product', '(.)(.*)')",
    "label_join(shop_stock, 'x', '/', 'job', 'team')",
    "absent(nothing{a='b'})",
    "absent_over_time(shop_stock[1m])",
    "scalar(shop_seconds_sum)",
    "vector(1)",
    "1 + 2 * 3",
    "'a string'",
    "clamp(shop_orders_total, 15, 30)",
    "day_of_week(vector(1700000000))",
    "sort_desc(shop_orders_total)",
    "shop_seconds_sum offset 1s",
    "{__name__=~'shop_.*', le=''}",
    "1e30",
    "NaN",
    "nothing",
]


@pytest.mark.parametrize("query", INSTANT)
def test_instant_queries(servers: tuple[str, str], query: str) -> None:
    at = f"{time.time() - 0.5:.3f}"
    for method in ("GET", "POST"):
        reference, ours = (ask(url, method, "/api/v1/query", {"query": query, "time": at}) for url in servers)
        ours[1]["data"].pop("stats", None)
        assert (ours[0], canonical(ours[1]["data"])) == (reference[0], canonical(reference[1]["data"]))


@pytest.mark.parametrize(
    "query", [q for q in INSTANT if q not in ("'a string'", "sort_desc(shop_orders_total)")]
)
def test_range_queries(servers: tuple[str, str], query: str) -> None:
    now = time.time()
    params = {"query": query, "start": f"{now - 1:.3f}", "end": f"{now - 0.5:.3f}", "step": "0.25"}
    reference, ours = (ask(url, "GET", "/api/v1/query_range", params) for url in servers)
    assert (ours[0], canonical(ours[1]["data"])) == (reference[0], canonical(reference[1]["data"]))


FAULTS = [
    ("/api/v1/query", {}),
    ("/api/v1/query", {"query": "sum("}),
    ("/api/v1/query", {"query": "up", "time": "noon"}),
    ("/api/v1/query", {"query": "up", "timeout": "long"}),
    ("/api/v1/query", {"query": "rate(up)"}),
    ("/api/v1/query", {"query": "{}"}),
    ("/api/v1/query", {"query": "shop_orders_total + on (region) shop_stock * on () shop_orders_total"}),
    ("/api/v1/query", {"query": 'label_replace(shop_stock, "a", "b", "c", "(")'}),
    ("/api/v1/query_range", {"query": "up"}),
    ("/api/v1/query_range", {"query": "up", "start": "1", "end": "0", "step": "1"}),
    ("/api/v1/query_range", {"query": "up", "start": "0", "end": "1", "step": "0"}),
    ("/api/v1/query_range", {"query": "up", "start": "0", "end": "1", "step": "x"}),
    ("/api/v1/query_range", {"query": "up", "start": "0", "end": "20000", "step": "1"}),
    ("/api/v1/query_range", {"query": "up[1m]", "start": "0", "end": "1", "step": "1"}),
    ("/api/v1/series", {}),
    ("/api/v1/series", {"match[]": "up{"}),
    ("/api/v1/series", {"match[]": '{a=""}'}),
    ("/api/v1/labels", {"match[]": "{"}),
    ("/api/v1/labels", {"start": "x"}),
    ("/api/v1/label/a/values", {"match[]": "1"}),
    ("/api/v1/targets/metadata", {"match_target": "{"}),
    ("/api/v1/metadata", {"limit": "x"}),
]


@pytest.mark.parametrize(("path", "params"), FAULTS, ids=[f"{p}?{urlencode(q)}" for p, q in FAULTS])
def test_faults_have_the_same_status_and_type(
    servers: tuple[str, str], path: str, params: dict[str, str]
) -> None:
    reference, ours = (ask(url, "GET", path, params) for url in servers)
    assert (ours[0], ours[1]["errorType"]) == (reference[0], reference[1]["errorType"]), (ours, reference)
    assert ours[1]["status"] == "error"
    assert len(ours[1]["error"]) > 10


LISTS = [
    ("/api/v1/series", {"match[]": ["shop_orders_total", "shop_stock"]}),
    ("/api/v1/labels", {}),
    ("/api/v1/labels", {"match[]": "shop_orders_total"}),
    ("/api/v1/label/product/values", {}),
    ("/api/v1/label/__name__/values", {}),
    ("/api/v1/label/region/values", {"match[]": '{job="shop"}'}),
    ("/api/v1/label/nothing/values", {}),
    ("/api/v1/metadata", {"metric": "shop_stock"}),
    ("/api/v1/metadata", {}),
    ("/api/v1/targets/metadata", {"metric": "shop_orders_total"}),
    ("/api/v1/query_exemplars", {"query": "shop_stock", "start": "0", "end": "9999999999"}),
    ("/api/v1/format_query", {"query": "sum  by(a) (rate(x[5m])) /  on() group_left y"}),
]


@pytest.mark.parametrize(("path", "params"), LISTS, ids=[f"{p}?{urlencode(q, doseq=True)}" for p, q in LISTS])
def test_lists(servers: tuple[str, str], path: str, params: dict[str, Any]) -> None:
    reference, ours = (ask(url, "GET", path, params) for url in servers)
    assert (ours[0], canonical(ours[1]["data"])) == (reference[0], canonical(reference[1]["data"]))


def shape(value: Any) -> Any:
    """Types and keys of JSON, values left out."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__ if not isinstance(value, int | float) or isinstance(value, bool) else "number"


@pytest.mark.parametrize(
    "path", ["/api/v1/status/buildinfo", "/api/v1/status/config", "/api/v1/targets", "/api/v1/scrape_pools"]
)
def test_shapes(servers: tuple[str, str], path: str) -> None:
    reference, ours = (ask(url, "GET", path) for url in servers)
    expected = shape(reference[1]["data"])
    got = shape(ours[1]["data"])
    if path == "/api/v1/targets":
        got.pop("droppedTargetCounts")  # newer than the Prometheus beside us
    assert got == expected


@pytest.mark.parametrize("path", ["/api/v1/status/runtimeinfo", "/api/v1/status/tsdb"])
def test_status_has_at_least_the_same_keys(servers: tuple[str, str], path: str) -> None:
    reference, ours = (ask(url, "GET", path) for url in servers)
    missing = set(reference[1]["data"]) - set(ours[1]["data"])
    assert missing <= {"timeSeriesCount"}, missing


def test_federation_reads_the_same(servers: tuple[str, str]) -> None:
    params = urlencode({"match[]": ['{job="shop",le="",__name__=~"shop_.*"}']}, doseq=True)
    bodies = []
    for url in servers:
        with urlopen(f"{url}/federate?{params}", timeout=30) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            bodies.append(sorted(line.rsplit(" ", 1)[0] for line in response.read().decode().splitlines()))
    assert bodies[1] == bodies[0]


def test_answers_are_gzipped_when_asked(servers: tuple[str, str]) -> None:
    request = Request(f"{servers[1]}/api/v1/label/__name__/values", headers={"Accept-Encoding": "gzip"})
    with urlopen(f"{servers[1]}/metrics", timeout=30) as plain:
        assert plain.headers.get("Content-Encoding") is None
    request = Request(f"{servers[1]}/metrics", headers={"Accept-Encoding": "gzip"})
    with urlopen(request, timeout=30) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert b"otero_" in gzip.decompress(response.read())


def test_limits_warn(servers: tuple[str, str]) -> None:
    for path, params in [
        ("/api/v1/query", {"query": "shop_orders_total", "limit": "1"}),
        ("/api/v1/series", {"match[]": "shop_orders_total", "limit": "1"}),
        ("/api/v1/labels", {"limit": "1"}),
        ("/api/v1/label/__name__/values", {"limit": "1"}),
    ]:
        status, answer = ask(servers[1], "GET", path, params)
        rows = answer["data"]["result"] if path == "/api/v1/query" else answer["data"]
        assert (status, len(rows), answer["warnings"]) == (200, 1, ["results truncated due to limit"])


def test_ready_and_healthy_pages(servers: tuple[str, str], tmp_path: Path) -> None:
    for path in ("/-/healthy", "/-/ready", "/health", "/health/live", "/health/ready", "/"):
        with urlopen(f"{servers[1]}{path}", timeout=30) as response:
            assert response.status == 200
