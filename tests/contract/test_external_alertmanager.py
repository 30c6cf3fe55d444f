"""A real Alertmanager is told by Otero what a real Prometheus tells it, and both list it alike."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.server import ServerProcess, free_port

pytestmark = pytest.mark.e2e

CONFIG = """\
global: {evaluation_interval: 1s, external_labels: {cluster: test, replica: "%s"}}
rule_files: [rules.yml]
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: replica}, {target_label: told_by, replacement: "%s"}]
  alertmanagers:
    - path_prefix: /am
      static_configs: [{targets: ["127.0.0.1:%d", "left.out:9093", "no.port"]}]
      relabel_configs: [{source_labels: [__address__], regex: "left.*", action: drop}]
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Always, expr: vector(1) > 0, labels: {severity: page}, annotations: {summary: "{{ $value }} is 1"}}
      - {alert: Later, expr: vector(1), for: 1h}
"""


def fetched(url: str) -> Any:
    with urlopen(url, timeout=20) as answer:
        return json.load(answer)


def until(ask: Callable[[], Any], timeout_s: float = 60) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, KeyError):
            if found := ask():
                return found
        time.sleep(0.2)
    raise AssertionError("it does not come true")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """URLs of (Alertmanager, Prometheus, Otero), the latter two with the same rules."""
    programs = [shutil.which("prometheus-alertmanager"), shutil.which("prometheus")]
    if None in programs:
        pytest.skip(
            "not installed: apt-get install prometheus prometheus-alertmanager",
        )
    folder = tmp_path_factory.mktemp("alertmanager")
    am_port, port = free_port(), free_port()
    (folder / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    configs: dict[str, Path] = {}
    for who in ("prometheus", "otero"):
        (folder / who).mkdir()
        (folder / who / "rules.yml").write_text(RULES)
        configs[who] = folder / who / "prometheus.yml"
        configs[who].write_text(CONFIG % (who, who, am_port))
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [
        subprocess.Popen(
            [
                str(programs[0]), f"--config.file={folder / 'am.yml'}", f"--storage.path={folder / 'am'}",
                f"--web.listen-address=127.0.0.1:{am_port}", "--web.route-prefix=/am", "--cluster.listen-address=",
            ],
            **quiet,
        ),
        subprocess.Popen(
            [
                str(programs[1]), f"--config.file={configs['prometheus']}", f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            **quiet,
        ),
    ]  # fmt: skip
    server = ServerProcess(["--prometheus", configs["otero"]], data=folder / "data")
    try:
        server.start()
        yield f"http://127.0.0.1:{am_port}/am", f"http://127.0.0.1:{port}", server.url
    finally:
        server.kill()
        for process in processes:
            process.terminate()
            process.wait(20)


def test_the_alerts_are_those_of_prometheus(told: tuple[str, str, str]) -> None:
    alertmanager, _, _ = told

    def both() -> dict[str, dict[str, Any]] | None:
        found = {alert["labels"]["told_by"]: alert for alert in fetched(f"{alertmanager}/api/v2/alerts")}
        return found if len(found) == 2 else None

    found = until(both)
    ours, theirs = found["otero"], found["prometheus"]
    assert {**ours["labels"], "told_by": ""} == {**theirs["labels"], "told_by": ""}
    assert ours["labels"] == {
        "alertname": "Always", "cluster": "test", "severity": "page", "told_by": "otero",
    }  # fmt: skip
    assert ours["annotations"] == theirs["annotations"] == {"summary": "1 is 1"}
    path = ours["generatorURL"].partition("/graph")[2]
    assert path == theirs["generatorURL"].partition("/graph")[2]


def test_both_list_it_alike(told: tuple[str, str, str]) -> None:
    _, prometheus, otero = told
    theirs = until(
        lambda: (
            (answer := fetched(f"{prometheus}/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
            and answer
        )
    )
    ours = fetched(f"{otero}/api/v1/alertmanagers")
    for answer in (ours, theirs):
        answer["data"]["activeAlertmanagers"].sort(key=str)
    assert ours == theirs


def test_what_was_sent_is_counted(told: tuple[str, str, str]) -> None:
    _, _, otero = told

    def sent() -> bool:
        with urlopen(f"{otero}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        counted = [line for line in lines if line.startswith("prometheus_notifications_sent_total{")]
        return any("127.0.0.1" in line and not line.endswith(" 0.0") for line in counted)

    assert until(sent)
