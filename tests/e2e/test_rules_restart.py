"""A server dies with alerts pending and firing; the one after it goes on with them."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import ServerProcess, running

pytestmark = pytest.mark.e2e

CONFIG = """\
prometheus:
  global: {evaluation_interval: 500ms}
rules: [rules.yml]
alerts: {for_grace_period: 2s, for_outage_tolerance: 10m, resend_delay: 1s}
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Pending, expr: vector(1), for: 10m}
      - {alert: Firing, expr: vector(1), for: 3s}
      - {alert: Short, expr: vector(1), for: 1s}
"""
BEFORE_S = 8


def since(server: ServerProcess, alert: str, after_s: float) -> float:
    """What ALERTS_FOR_STATE says of an alert, in a sample that is younger than a time."""
    deadline_s = time.monotonic() + 60
    expr = f'ALERTS_FOR_STATE{{alertname="{alert}"}}'
    while time.monotonic() < deadline_s:
        found: list[dict[str, Any]] = server.query(f"{expr} and timestamp({expr}) > {after_s}")
        if found:
            return float(found[0]["value"][1])
        time.sleep(0.1)
    raise AssertionError(f"no state of {alert} after {after_s}")


def test_pending_and_firing_alerts_outlive_the_server(tmp_path: Path) -> None:
    (tmp_path / "otero.yml").write_text(CONFIG)
    (tmp_path / "rules.yml").write_text(RULES)
    arguments = ["--config", tmp_path / "otero.yml"]
    data = tmp_path / "data"
    with running(arguments, data) as server:
        server.wait_for('ALERTS{alertname="Firing", alertstate="firing"}')
        before = {alert: since(server, alert, 0) for alert in ("Pending", "Firing", "Short")}
        while (
            time.time() < before["Pending"] + BEFORE_S
        ):  # it has been pending for so long when the server dies
            time.sleep(0.1)
        since(server, "Pending", time.time() - 2)
        died_s = time.time()
        server.kill()
    started_s = time.time()
    with running(arguments, data) as server:
        after = {alert: since(server, alert, started_s) for alert in before}
        read_s = time.time()
        [alert] = server.wait_for('ALERTS{alertname="Firing", alertstate="firing"}')
        assert alert["metric"]["alertname"] == "Firing"
    assert after["Firing"] == before["Firing"]  # it was firing, and fires at once
    assert after["Short"] >= int(started_s)  # shorter than the grace period: anew
    outage_s = after["Pending"] - before["Pending"]  # that time does not count, all before does
    assert started_s - died_s <= outage_s + 2
    assert outage_s <= read_s - died_s + 3
    assert after["Pending"] < read_s - BEFORE_S + 3
