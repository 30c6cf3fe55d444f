"""The demo's configuration files: good, tested by their own unit tests, and of one mind with the code."""

import json
import socket
from pathlib import Path

import pytest

from otero.check import check_files
from otero.cli.rule_tests import run_rule_tests
from otero.config import load
from otero.demo.faults import SERVICES
from otero.demo.layout import PREFERRED, STACK, lay_out, write_configuration
from otero.errors import BadConfig
from otero.query.promql.parser import parse

DASHBOARDS = sorted((STACK / "dashboards").glob("*.json"))


def test_the_rules_pass_their_unit_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_rule_tests([STACK / "rules_test.yml"]) == 0, capsys.readouterr().out


def test_every_alert_has_a_unit_test() -> None:
    rules, tests = ((STACK / name).read_text() for name in ("rules.yml", "rules_test.yml"))
    alerts = [line.split()[-1] for line in rules.splitlines() if line.strip().startswith("- alert:")]
    assert len(alerts) == 9
    assert [name for name in alerts if f"alertname: {name}\n" not in tests] == []


def test_otero_check_finds_nothing() -> None:
    for report in check_files(sorted(STACK.glob("*.yml")), {}):
        assert report.good, (report.path, [str(finding) for finding in report.findings])


def test_names_lead_to_where_the_demo_listens(tmp_path: Path) -> None:
    layout = lay_out("127.0.0.1:0")
    try:
        config = load(write_configuration(tmp_path, layout), listen=layout.listen)
        targets = [
            target
            for scrape in config.prometheus.scrape_configs
            for group in scrape.static_configs
            for target in group.targets
        ]
        assert set(targets) <= set(config.hosts)
        assert {f"{name}:{PREFERRED[name]}" for name in SERVICES} < set(targets)
        assert config.hosts["messages:8004"] == f"127.0.0.1:{layout.door.getsockname()[1]}"
        text = (tmp_path / "alertmanager.yml").read_text()
        assert "http://messages:8004/" in text
        assert f"mail:{PREFERRED['mail']}" in text
    finally:
        layout.close()


def test_a_port_that_is_taken_is_replaced() -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", PREFERRED["messages"]))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        layout = lay_out("127.0.0.1:9090")
        door_url = layout.door_url
        layout.close()
    assert door_url != f"http://127.0.0.1:{PREFERRED['messages']}"


@pytest.mark.parametrize("listen", ["0.0.0.0:9090", "9090", "127.0.0.1:x", "example.com:80"])
def test_the_demo_listens_on_loopback_only(listen: str) -> None:
    with pytest.raises(BadConfig, match="loopback only"):
        lay_out(listen)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie over each other"
    assert all(at["x"] + at["w"] <= 24 for at in places)
    for panel in panels:
        for target in panel["targets"]:
            parse(target["expr"].replace("$job", ".+").replace("$__rate_interval", "20s"))
