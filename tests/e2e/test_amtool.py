"""Debian's amtool against Otero: alerts, silences, configuration, as an on-call engineer uses it."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED
from tests.e2e.server import ServerProcess

pytestmark = pytest.mark.e2e

SEED = SHARED / "seed" / "alertmanager.yml"


class Amtool:
    """The program, told where the server is. `folder` is for the files that it reads."""

    def __init__(self, program: str, url: str, folder: Path) -> None:
        self._program = program
        self.url = url
        self.folder = folder

    def run(self, *arguments: str | Path, code: int = 0) -> str:
        """What it prints; its exit code must be as expected."""
        done = subprocess.run(
            [self._program, f"--alertmanager.url={self.url}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))

    def alerts(self, *arguments: str, count: int) -> list[dict[str, Any]]:
        """The alerts that it shows, once there are so many."""
        deadline_s = time.monotonic() + 30
        while len(found := self.json("alert", "query", *arguments)) != count:
            assert time.monotonic() < deadline_s, found
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def amtool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amtool]:
    program = shutil.which("amtool")
    if program is None:
        pytest.skip("amtool is not installed: apt-get install prometheus-alertmanager")
    if not SEED.is_file():
        pytest.skip("the folder ../shared with the seed files is not beside this checkout")
    folder = tmp_path_factory.mktemp("amtool")
    (folder / "otero.yml").write_text(
        f"alertmanager: {SEED}\nhost: {{enabled: false}}\n"
        "hosts: {smtp.gmail.com: 127.0.0.1, hooks.slack.com: 127.0.0.1}\n"
    )
    server = ServerProcess(["--config", folder / "otero.yml"], data=folder / "data")
    try:
        server.start()
        yield Amtool(program, server.url, folder)
    finally:
        server.kill()


def test_alerts_are_added_and_found(amtool: Amtool) -> None:
    amtool.run("alert", "add", "Down", "severity=info", "instance=one", "--annotation=summary=it is down")
    amtool.run("alert", "add", "alertname=Down", "severity=info", "instance=two", "--generator-url=http://g/")
    found = amtool.alerts("alertname=Down", count=2)
    assert {alert["labels"]["instance"] for alert in found} == {"one", "two"}
    (one,) = amtool.alerts("alertname=Down", "instance=~o.*", count=1)
    assert one["annotations"] == {"summary": "it is down"}
    assert one["receivers"] == [{"name": "web.hook"}]
    assert amtool.alerts("Down", "--receiver=critical.*", count=0) == []
    table = amtool.run("alert", "query", "Down")
    assert table.count("it is down") == 1
    assert "active" in table
    assert "bad matcher format" in amtool.run("alert", "query", "a!b", "c", code=1)


def test_silences_are_added_found_changed_and_ended(amtool: Amtool) -> None:
    amtool.run("alert", "add", "Quiet", "severity=info", "team=a")
    id_ = amtool.run(
        "silence", "add", "Quiet", "team=~a|b", "--comment=upgrade", "--author=me", "--duration=2h"
    ).strip()
    (silence,) = amtool.json("silence", "query", "alertname=Quiet")
    assert (silence["id"], silence["status"]["state"], silence["createdBy"]) == (id_, "active", "me")
    assert [alert["status"]["silencedBy"] for alert in amtool.alerts("Quiet", "--silenced", count=1)] == [
        [id_]
    ]
    amtool.alerts("Quiet", count=0)
    amtool.run("silence", "update", id_, "--comment=longer", "--duration=3h")
    (silence,) = amtool.json("silence", "query", "alertname=Quiet")
    assert (silence["id"], silence["comment"]) == (id_, "longer")
    assert id_ in amtool.run("silence", "query")
    amtool.run("silence", "expire", id_)
    assert amtool.json("silence", "query", "alertname=Quiet") == []
    (silence,) = amtool.json("silence", "query", "--expired", "alertname=Quiet")
    assert silence["status"]["state"] == "expired"
    amtool.alerts("Quiet", count=1)
    amtool.run("silence", "expire", "00000000-0000-4000-8000-000000000000", code=1)


def test_silences_are_imported(amtool: Amtool) -> None:
    amtool.run("silence", "add", "team=import", "instance!=x", "--comment=a", "--duration=1h")
    amtool.run("silence", "add", "team=import", "instance!~y.*", "--comment=b", "--duration=1h")
    exported = amtool.json("silence", "query", "team=import")
    assert len(exported) == 2
    file = amtool.folder / "silences.json"
    file.write_text(json.dumps(exported))
    for silence in exported:
        amtool.run("silence", "expire", silence["id"])
    amtool.run("silence", "import", "--force", file)
    again = amtool.json("silence", "query", "team=import")
    assert sorted(silence["comment"] for silence in again) == ["a", "b"]
    assert [silence["matchers"] for silence in again] != []
    assert "must not match the empty string" in amtool.run("silence", "add", "a=~.*", "--comment=c", code=1)


def test_the_configuration_is_shown_without_secrets_and_routes_are_tested(amtool: Amtool) -> None:
    shown = amtool.run("config", "show")
    assert "receiver: critical-alerts" in shown
    assert "smtp_auth_password: <secret>" in shown
    tree = amtool.run("config", "routes", "show")
    assert '{severity="critical"}  receiver: critical-alerts' in tree
    for server, labels in (("critical-alerts", "severity=critical"), ("web.hook", "severity=info")):
        assert amtool.run("config", "routes", "test", labels).strip() == server
        amtool.run("config", "routes", "test", f"--verify.receivers={server}", labels)
        file = f"--config.file={SHARED / 'conformance' / 'alertmanager-config' / 'conf.good.yml'}"
        assert amtool.run("config", "routes", "test", file, "service=files").strip() == "team-Y-mails"
    amtool.run("config", "routes", "test", "--verify.receivers=nobody", "severity=info", code=1)


def test_what_is_shown_is_a_configuration(amtool: Amtool) -> None:
    file = amtool.folder / "shown.yml"
    file.write_text(amtool.run("config", "show"))
    assert "SUCCESS" in amtool.run("check-config", file)


def test_the_cluster(amtool: Amtool) -> None:
    assert "disabled" in amtool.run("cluster", "show")
