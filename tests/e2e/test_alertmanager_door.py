"""The Alertmanager's own port: configured by otero.yml, reloaded wholly or not at all, silences kept through a restart."""

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.e2e.server import ServerProcess, free_port

pytestmark = pytest.mark.e2e

ALERTMANAGER = "route: {{receiver: {0}}}\nreceivers: [{{name: {0}}}]\n"


def ask(url: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    try:
        with urlopen(Request(url, data, headers, method=method), timeout=30) as response:
            text = response.read().decode()
            return response.status, json.loads(text) if text.startswith(("[", "{", '"')) else text
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_port_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "alertmanager.yml").write_text(ALERTMANAGER.format("one"))
    (tmp_path / "otero.yml").write_text(
        f"alertmanager: alertmanager.yml\nreceivers: {{alertmanager: {{endpoint: '127.0.0.1:{port}'}}}}\n"
        "host: {enabled: false}\n"
    )
    server = ServerProcess(["--config", tmp_path / "otero.yml"], data=tmp_path / "data")
    door = f"http://127.0.0.1:{port}"
    try:
        server.start()
        assert f"alertmanager: {door}\n" in server.lines
        assert ask(f"{door}/-/healthy") == ask(f"{door}/-/ready") == (200, "OK")
        for base in (door, server.url):
            assert ask(f"{base}/api/v2/receivers") == (200, [{"name": "one"}])
        (tmp_path / "alertmanager.yml").write_text(ALERTMANAGER.format("two"))
        assert ask(f"{door}/-/reload", "POST")[0] == 200
        assert ask(f"{door}/api/v2/receivers") == (200, [{"name": "two"}])
        (tmp_path / "alertmanager.yml").write_text("route: {receiver: three}\nreceivers: [{name: two}]\n")
        status, text = ask(f"{door}/-/reload", "POST")
        assert status == 400
        assert 'undefined receiver "three"' in text
        assert ask(f"{door}/api/v2/receivers") == (200, [{"name": "two"}])
        silence = {
            "matchers": [{"name": "a", "value": "b", "isRegex": False}],
            "startsAt": "2020-01-01T00:00:00Z",
            "endsAt": "2039-01-01T00:00:00Z",
            "createdBy": "me",
            "comment": "kept",
        }
        status, made = ask(f"{door}/api/v2/silences", "POST", silence)
        assert status == 200
        assert ask(f"{door}/api/v2/alerts", "POST", [{"labels": {"a": "b"}}]) == (200, "")
        (tmp_path / "alertmanager.yml").write_text(ALERTMANAGER.format("two"))
        server.kill()
        server.start()
        status, silences = ask(f"{door}/api/v2/silences")
        assert [(each["id"], each["comment"]) for each in silences] == [(made["silenceID"], "kept")]
        (alert,) = ask(f"{door}/api/v2/alerts")[1]
        assert (alert["labels"], alert["status"]["silencedBy"]) == ({"a": "b"}, [made["silenceID"]])
        assert ask(f"{door}/api/v1/query")[0] == 404, "nothing else is on this port"
    finally:
        server.kill()


def test_bodies_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "otero.yml").write_text("host: {enabled: false}\n")
    server = ServerProcess(["--config", tmp_path / "otero.yml"], data=tmp_path / "data")
    try:
        server.start()
        body = {"comment": "x" * (1 << 20)}
        status, text = ask(f"{server.url}/api/v2/silences", "POST", body)
        assert status == 413
        assert "longer than 1,048,576 bytes" in text
        assert ask(f"{server.url}/api/v2/receivers") == (200, [{"name": "default"}])
    finally:
        server.kill()
