"""`otero replay` against a server with two days of history: the command, its JSON, its bounds."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import cramjam
import pytest

from otero.cli.client import Client
from otero.cli.replay import replay
from otero.errors import BadInput
from otero.wire.pb import remote_write_v1_pb2 as v1
from tests.e2e.server import ServerProcess, running

pytestmark = pytest.mark.e2e

MINUTE = 60_000
DAY = 1440 * MINUTE
RULES = """\
groups:
  - name: shop
    interval: 1m
    rules:
      - {record: "job:errors:max", expr: max by (job) (errors)}
      - alert: ManyErrors
        expr: job:errors:max > 3
        for: 5m
        labels: {severity: page}
      - {alert: Never, expr: errors > 1000}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, int]]:
    """A server, and the end of its history: every six hours errors for 20 minutes, and for 2 minutes an hour later."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    end_ms = int(time.time() * 1000) // DAY * DAY
    series = v1.TimeSeries(
        labels=[
            v1.Label(name=name, value=value)
            for name, value in ((b"__name__", b"errors"), (b"instance", b"a"), (b"job", b"web"))
        ]
    )
    for minute in range(2 * 1440 + 1):
        of_six_hours = minute % 360
        is_bad = 100 <= of_six_hours < 120 or 180 <= of_six_hours < 182
        series.samples.add(timestamp=end_ms - 2 * DAY + minute * MINUTE, value=5.0 if is_bad else 0.0)
    body = bytes(cramjam.snappy.compress_raw(v1.WriteRequest(timeseries=[series]).SerializeToString()))
    with running(["--prometheus", folder / "prometheus.yml"], folder / "data") as process:
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        with urlopen(Request(f"{process.url}/api/v1/write", body, headers), timeout=30):
            pass
        yield process, end_ms


def asked(server: tuple[ServerProcess, int], tmp_path: Path, *, as_json: bool = True, **options: Any) -> int:
    process, end_ms = server
    (tmp_path / "rules.yml").write_text(options.pop("rules", RULES))
    given = {"since": "2d", "until": str(end_ms / 1000), "alerts": (), "step": "", **options}
    return replay(tmp_path / "rules.yml", Client(process.url), as_json=as_json, **given)


def test_every_firing_is_found(
    server: tuple[ServerProcess, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(server, tmp_path) == 0
    report = json.loads(capsys.readouterr().out)
    many, never = report["rules"]
    assert (many["fired"], many["alerts"], many["only_pending"]) == (8, 1, 8)
    assert many["firing_s"] == 8 * 15 * 60
    assert (many["longest_s"], many["short"], many["changes_per_day"]) == (900, 0, 8)
    assert many["recorded"] == ["job:errors:max"]
    assert many["episodes"][0]["labels"] == {"alertname": "ManyErrors", "job": "web", "severity": "page"}
    assert many["evaluations"] == 2880
    assert set(many["timeline_firing"]) == {0, 1}
    assert 8 <= sum(many["timeline_firing"]) <= 16  # a part of the timeline is 48 minutes
    assert (never["fired"], never["episodes"]) == (0, [])


def test_people_see_a_summary_and_a_timeline(
    server: tuple[ServerProcess, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(server, tmp_path, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "would have fired 8 times (1 alert), 8 times pending without firing" in shown
    assert "firing 2h in all, at most 15m at a time; 8 changes a day, 0 shorter than 5m" in shown
    assert '15m  {job="web", severity="page"}' in shown
    assert "would not have fired" in shown


def test_one_alert_and_another_step(
    server: tuple[ServerProcess, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(server, tmp_path, alerts=("ManyErrors",), step="10m") == 0
    [rule] = json.loads(capsys.readouterr().out)["rules"]
    assert (rule["alert"], rule["evaluations"], rule["step_s"]) == ("ManyErrors", 289, 600)
    with pytest.raises(BadInput, match="has no alert Other"):
        asked(server, tmp_path, alerts=("Other",))


def test_what_cannot_be_is_refused(server: tuple[ServerProcess, int], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="longer step"):
        asked(server, tmp_path, since="10y")
    with pytest.raises(BadInput, match="since: "):
        asked(server, tmp_path, since="soon")
    process, _ = server
    with pytest.raises(BadInput, match="rules:3"):
        Client(process.url).post("/api/otero/v1/replay", {"rules": "groups:\n- name: a\n  rule: []\n"})


def test_a_rule_that_fails_is_told(
    server: tuple[ServerProcess, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "groups: [{name: g, rules: [{alert: A, expr: 'errors * on () (errors or vector(1))'}]}]\n"
    assert asked(server, tmp_path, as_json=False, rules=rules) == 1
    assert "evaluations failed: " in capsys.readouterr().out
