"""Rules beside a real Prometheus that runs the same rule files: same alerts, same JSON, same evaluation times."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from tests.contract.test_prometheus_api import ask, shape
from tests.e2e.conftest import Exporter, running_prometheus
from tests.e2e.server import ServerProcess

pytestmark = pytest.mark.e2e

BODY = b"""\
# TYPE shop_stock gauge
shop_stock{product="lamp"} 3
shop_stock{product="chair"} 0
"""
CONFIG = """\
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s, external_labels: {cluster: test}}
rule_files: [rules/*.yml]
scrape_configs:
  - job_name: shop
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""
RULES = """\
groups:
  - name: recorded
    rules:
      - {record: "job:shop_stock:sum", expr: "sum by(job)(shop_stock)", labels: {team: one}}
      - {record: "job:shop_stock:double", expr: "job:shop_stock:sum{team='one'}*2", labels: {team: one}}
      - {record: broken, expr: "shop_stock + on(job) shop_stock", labels: {team: one}}
  - name: alerting
    interval: 1s
    limit: 10
    rules:
      - alert: SoldOut
        expr: shop_stock<1
        for: 1s
        keep_firing_for: 5m
        labels: {severity: page, place: "{{ $labels.job }}"}
        annotations:
          summary: "{{ $labels.product }} is at {{ $value }} in {{ $externalLabels.cluster }}"
          ratio: '{{ with query "sum(shop_stock)" }}{{ . | first | value | humanizePercentage }}{{ end }}'
      - {alert: Later, expr: shop_stock > 1, for: 1h, labels: {severity: ticket}}
      - {alert: Never, expr: shop_stock > 100, labels: {severity: ticket}}
"""
OTHER = "groups: [{name: other, rules: [{record: r, expr: vector(1), labels: {team: two}}]}]\n"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of (Prometheus, Otero) whose alerts have reached their states."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules").mkdir()
    (folder / "rules" / "a.yml").write_text(RULES)
    (folder / "rules" / "b.yml").write_text(OTHER)
    exporter = Exporter(lambda: BODY)
    config = folder / "prometheus.yml"
    config.write_text(CONFIG % exporter.port)
    server = ServerProcess(["--prometheus", config], data=folder / "data")
    with contextlib.closing(exporter), running_prometheus(config) as reference:
        try:
            server.start()
            for url in (reference, server.url):
                until(url, lambda answer: len(answer["data"]["result"]) == 2, 'ALERTS{alertstate!="x"}')
                until(url, lambda answer: len(answer["data"]["result"]) == 1, 'ALERTS{alertstate="firing"}')
            yield reference, server.url
        finally:
            server.kill()


def until(url: str, condition: Callable[[Any], bool], query: str) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, KeyError, TypeError):
            if condition(ask(url, "GET", "/api/v1/query", {"query": query})[1]):
                return
        time.sleep(0.2)
    raise AssertionError(f"{query} does not come true at {url}")


TIMES = {"evaluationTime", "lastEvaluation", "activeAt"}


def timeless(value: Any) -> Any:
    """Without the times, which differ; alerts in one order; errors by their presence, as each words its own."""
    if isinstance(value, dict):
        return {
            key: bool(inner) if key == "lastError" else timeless(inner)
            for key, inner in value.items()
            if key not in TIMES
        }
    if isinstance(value, list):
        return (
            sorted(map(timeless, value), key=str)
            if value and "value" in value[0]
            else list(map(timeless, value))
        )
    return value


QUESTIONS: list[dict[str, Any]] = [{}, {"type": "alert"}, {"type": "record"}]


@pytest.mark.parametrize("params", QUESTIONS, ids=str)
def test_rules(servers: tuple[str, str], params: dict[str, Any]) -> None:
    reference, ours = (ask(url, "GET", "/api/v1/rules", params) for url in servers)
    groups = reference[1]["data"]["groups"]
    groups[:] = [group for group in groups if group["rules"]]  # as versions after the one beside us do
    assert (ours[0], timeless(ours[1])) == (reference[0], timeless(reference[1]))
    assert shape(ours[1]) == shape(reference[1])


def test_alerts(servers: tuple[str, str]) -> None:
    reference, ours = (ask(url, "GET", "/api/v1/alerts") for url in servers)
    assert len(ours[1]["data"]["alerts"]) == 2
    assert (ours[0], timeless(ours[1])) == (reference[0], timeless(reference[1]))
    for answer in (reference, ours):
        for alert in answer[1]["data"]["alerts"]:
            assert alert["activeAt"].endswith("Z")


@pytest.mark.parametrize("query", ['{__name__=~"ALERTS|job:.*|r"}', "count({__name__='ALERTS_FOR_STATE'})"])
def test_series_of_rules(servers: tuple[str, str], query: str) -> None:
    reference, ours = (ask(url, "GET", "/api/v1/query", {"query": query}) for url in servers)

    def rows(answer: Any) -> list[Any]:
        return sorted(([row["metric"], row["value"][1]] for row in answer[1]["data"]["result"]), key=str)

    assert len(rows(ours)) > 0
    assert rows(ours) == rows(reference)


def test_groups_are_evaluated_at_the_same_moments(servers: tuple[str, str]) -> None:
    for query in ("job:shop_stock:sum[5s]", "r[5s]", 'ALERTS{alertstate="firing"}[5s]'):
        phases = []
        for url in servers:
            [series] = ask(url, "GET", "/api/v1/query", {"query": query})[1]["data"]["result"]
            phases.append({round(at * 1000) % 1000 for at, _ in series["values"]})
        assert len(phases[1]) == 1
        assert phases[1] == phases[0]


def names(url: str, **params: Any) -> list[str]:
    status, answer = ask(
        url, "GET", "/api/v1/rules", {name.replace("__", "[]"): v for name, v in params.items()}
    )
    assert status == 200, answer
    return [rule["name"] for group in answer["data"]["groups"] for rule in group["rules"]]


def test_what_later_versions_filter_by(servers: tuple[str, str]) -> None:
    url = servers[1]
    assert names(url, rule_name__=["SoldOut", "broken"]) == ["SoldOut", "broken"]
    assert names(url, rule_group__="other") == ["r"]
    files = [group["file"] for group in ask(url, "GET", "/api/v1/rules")[1]["data"]["groups"]]
    assert names(url, file__=files[-1]) == ["r"]
    assert names(url, match__='{team="two"}') == ["r"]
    assert names(url, match__=['{severity="page",place=""}', '{team="two"}']) == ["SoldOut", "r"]
    assert names(url, type="alert", rule_group__="other") == []
    [group] = ask(url, "GET", "/api/v1/rules", {"type": "alert", "exclude_alerts": "true"})[1]["data"][
        "groups"
    ]
    assert {rule["alerts"] for rule in group["rules"]} == {None}


def test_groups_come_in_pages(servers: tuple[str, str]) -> None:
    seen: list[str] = []
    token: dict[str, str] = {}
    for _ in range(3):
        data = ask(servers[1], "GET", "/api/v1/rules", {"group_limit": "1", **token})[1]["data"]
        seen += [group["name"] for group in data["groups"]]
        token = {"group_next_token": data.get("groupNextToken", "")}
    assert seen == ["alerting", "recorded", "other"]
    assert token == {"group_next_token": ""}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"type": "x"}, "not supported value"),
        ({"exclude_alerts": "maybe"}, "exclude_alerts"),
        ({"group_limit": "0"}, "positive integer"),
        ({"group_next_token": "x"}, "group_limit needs to be set"),
        ({"group_next_token": "x", "group_limit": "1"}, "were rule groups changed?"),
        ({"match[]": "{"}, "match[]"),
    ],
)
def test_bad_questions(servers: tuple[str, str], params: dict[str, str], words: str) -> None:
    status, answer = ask(servers[1], "GET", "/api/v1/rules", params)
    assert (status, answer["errorType"]) == (400, "bad_data")
    assert words in answer["error"]


def test_metrics_have_the_names_of_prometheus(servers: tuple[str, str]) -> None:
    reference, ours = (names_of_metrics(url) for url in servers)
    quantiles = {"prometheus_rule_group_duration_seconds", "prometheus_rule_evaluation_duration_seconds"}
    assert reference - ours <= quantiles
    assert len(ours) > 10


def names_of_metrics(url: str) -> set[str]:
    with urlopen(f"{url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if line.startswith("prometheus_rule_")}
