"""A real Prometheus reads from Otero by remote read; Otero from Otero and from a real Prometheus."""

import json
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import running_prometheus
from tests.e2e.server import ServerProcess, free_port
from tests.e2e.test_remote_write_sender import SERIES, START_MS, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_a_real_prometheus_reads(tmp_path: Path) -> None:
    (tmp_path / "otero.yml").write_text("global: {external_labels: {cluster: a}}\nscrape_configs: []\n")
    server = ServerProcess(["--prometheus", tmp_path / "otero.yml"], data=tmp_path / "data")
    server.start(180)
    try:
        config = tmp_path / "prometheus.yml"
        config.write_text(
            f"scrape_configs: []\nremote_read: [{{url: '{server.url}/api/v1/read', read_recent: true}}]\n"
        )
        write(server, 0, 100)
        query = urlencode({"query": 'sent{cluster="a"}[20m]', "time": (START_MS + 590_000) / 1000})
        with (
            running_prometheus(config) as prometheus,
            urlopen(f"{prometheus}/api/v1/query?{query}", timeout=60) as response,
        ):
            answer = json.load(response)
        assert answer["status"] == "success", answer
        assert "warnings" not in answer, answer
        assert len(answer["data"]["result"]) == SERIES
        for found in answer["data"]["result"]:
            assert found["values"] == [[START_MS / 1000 + n, str(n)] for n in range(100)]
    finally:
        server.kill()


def test_otero_reads_from_otero(tmp_path: Path) -> None:
    (tmp_path / "far.yml").write_text("global: {external_labels: {cluster: a}}\nscrape_configs: []\n")
    far = ServerProcess(["--prometheus", tmp_path / "far.yml"], data=tmp_path / "far")
    far.start(180)
    near_yml = tmp_path / "near.yml"
    endpoint = f"{{url: '{far.url}/api/v1/read', read_recent: true, name: far}}"
    near_yml.write_text(f"scrape_configs: []\nremote_read: [{endpoint}]\n")
    near = ServerProcess(["--prometheus", near_yml], data=tmp_path / "near")
    near.start(180)
    moment = str((START_MS + 590_000) / 1000)
    try:
        assert not any(line.startswith("warning: ") for line in near.lines), near.lines
        write(far, 0, 60)
        write(near, 30, 70)
        found = near.query('sent{cluster="a"}[20m]', time=moment)
        assert len(found) == SERIES
        for series in found:
            assert series["values"] == [[START_MS / 1000 + n, str(n)] for n in range(60)]
        assert near.query("count(sent)", time=str(START_MS / 1000 + 40))[0]["value"][1] == str(2 * SERIES)
        # Its own external labels are asked for and taken off: the two servers' series are the same.
        near_yml.write_text(
            "global: {external_labels: {cluster: a}}\n" + near_yml.read_text(),
        )
        with urlopen(Request(f"{near.url}/-/reload", method="POST"), timeout=60) as response:
            assert response.status == 200
        found = near.query("sent[20m]", time=moment)
        assert len(found) == SERIES
        for series in found:
            assert series["values"] == [[START_MS / 1000 + n, str(n)] for n in range(100)]
        assert near.query('sent{cluster="a"}', time=moment) == []
        far.kill()
        answer = near.get("/api/v1/query", query="sent[20m]", time=moment)
        assert [len(series["values"]) for series in answer["data"]["result"]] == [70] * SERIES
        [warning] = answer["warnings"]
        assert warning.startswith("remote_read: far: ")
        near_yml.write_text("scrape_configs: []\n")
        with urlopen(Request(f"{near.url}/-/reload", method="POST"), timeout=60) as response:
            assert response.status == 200
        assert "warnings" not in near.get("/api/v1/query", query="sent[20m]", time=moment)
        assert near.stop() == 0
    finally:
        for server in (far, near):
            if server.running:
                server.kill()


def test_otero_reads_from_a_real_prometheus(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {external_labels: {replica: b}}\nscrape_configs:\n- job_name: self\n  scrape_interval: 1s\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    )
    (tmp_path / "otero.yml").write_text(
        f"scrape_configs: []\nremote_read: [{{url: 'http://127.0.0.1:{port}/api/v1/read'}}]\n"
    )
    server = ServerProcess(["--prometheus", tmp_path / "otero.yml"], data=tmp_path / "data")
    with running_prometheus(config, port=port) as prometheus:
        try:
            server.start(180)
            server.wait_for('up{replica="b"} == 1', timeout_s=120)
            [scraped] = server.query('timestamp(up{job="self",replica="b"})')
            moment = float(scraped["value"][1])  # of a whole scrape: all its samples carry this time
            query = urlencode({"query": '{job="self"}[1m]', "time": moment})
            with urlopen(f"{prometheus}/api/v1/query?{query}", timeout=60) as response:
                theirs = json.load(response)["data"]["result"]
            answer = server.get("/api/v1/query", query='{job="self",replica="b"}[1m]', time=str(moment))
            assert "warnings" not in answer, answer["warnings"]
            assert len(theirs) > 200
            expected = {
                json.dumps({**s["metric"], "replica": "b"}, sort_keys=True): s["values"] for s in theirs
            }
            found = {json.dumps(s["metric"], sort_keys=True): s["values"] for s in answer["data"]["result"]}
            assert found == expected
        finally:
            server.kill()
