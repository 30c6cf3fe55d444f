"""Otero's Alertmanager API beside Debian's Alertmanager: the same requests, the same statuses and the same JSON."""

import http.client
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.server import ServerProcess, free_port

pytestmark = pytest.mark.e2e

CONFIG = """
route:
  receiver: all
  group_by: [alertname]
  group_wait: 50ms
  routes:
  - matchers: ['severity="page"']
    receiver: pager
    routes: [{match: {team: db}, continue: true, receiver: db}, {match_re: {team: d.*}, receiver: chat}]
inhibit_rules:
- {source_matchers: [severity="page"], target_matchers: [severity="warn"], equal: [cluster]}
receivers: [{name: all}, {name: pager}, {name: db}, {name: chat}]
"""


class Server:
    """One of the two, by its port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded body; a text is sent as it stands."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = body if isinstance(body, str) else None if body is None else json.dumps(body)
        given = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, f"/api/v2{path}", data, {**given, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text else None


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Debian's Alertmanager and ours on its own port."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("prometheus-alertmanager is not installed: apt-get install prometheus-alertmanager")
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "alertmanager.yml").write_text(CONFIG)
    theirs, ours = free_port(), free_port()
    process = subprocess.Popen(
        [
            program, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'theirs'}",
            f"--web.listen-address=127.0.0.1:{theirs}", "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (folder / "otero.yml").write_text(
        f"alertmanager: alertmanager.yml\nreceivers: {{alertmanager: {{endpoint: '127.0.0.1:{ours}'}}}}\n"
        "host: {enabled: false}\n"
    )
    otero = ServerProcess(["--config", folder / "otero.yml"], data=folder / "data")
    try:
        otero.start()
        deadline_s = time.monotonic() + 30
        while True:
            try:
                assert Server(theirs).ask("GET", "/status")[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline_s, "the Alertmanager does not answer"
                time.sleep(0.05)
        yield Server(theirs), Server(ours)
    finally:
        otero.kill()
        process.terminate()
        process.wait(10)


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:\d\d)")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def normal(value: Any) -> Any:
    """Without what may differ: times near now, ids, the time zone of a time; and without `mutedBy`, which is younger than
    Debian's."""
    match value:
        case dict():
            return {key: normal(child) for key, child in value.items() if key != "mutedBy"}
        case list():
            children = [normal(child) for child in value]
            in_groups = any("alerts" in child for child in children if isinstance(child, dict))
            for child in children if in_groups else ():  # Alertmanager's are in the order of a Go map
                child["alerts"].sort(key=lambda alert: alert["fingerprint"])
            return children
        case str() if _TIME.fullmatch(value):
            moment = datetime.fromisoformat(value)
            return "about now" if abs(datetime.now(UTC) - moment) < timedelta(hours=1) else moment
        case str() if _ID.fullmatch(value):
            return "id"
        case _:
            return value


def both(servers: tuple[Server, Server], method: str, path: str, body: object = None) -> Any:
    """Asks both, expects the same, and gives our answer."""
    (their_status, theirs), (status, ours) = (server.ask(method, path, body) for server in servers)
    assert status == their_status, (path, body, theirs, ours)
    if status < 300:
        assert normal(ours) == normal(theirs), (path, body)
        return ours
    assert type(ours) is type(theirs), (theirs, ours)
    if isinstance(ours, dict):
        assert ours["code"] == theirs["code"], (theirs, ours)
        if status == 422:
            assert ours["message"] == theirs["message"]
    return ours


def settled(servers: tuple[Server, Server], count: int) -> None:
    """Until both show so many alerts in groups."""
    deadline_s = time.monotonic() + 30
    for server in servers:
        while sum(len(group["alerts"]) for group in server.ask("GET", "/alerts/groups")[1]) < count:
            assert time.monotonic() < deadline_s, server.ask("GET", "/alerts/groups")
            time.sleep(0.05)


ALERTS = [
    {
        "labels": {"alertname": "Down", "severity": "page", "team": "db", "cluster": "a", "empty": ""},
        "annotations": {"summary": "it is down", "void": ""},
        "generatorURL": "http://prometheus.example/graph?g0.expr=up",
        "startsAt": "2024-02-29T12:00:00.123456789+02:00",
        "endsAt": "2039-01-01T00:00:00Z",
    },
    {"labels": {"alertname": "Slow", "severity": "warn", "cluster": "a"}},
    {
        "labels": {"alertname": "Slow", "severity": "warn", "cluster": "b"},
        "startsAt": "0001-01-01T00:00:00.000Z",
    },
    {"labels": {"alertname": "Over"}, "endsAt": "2020-01-01T00:00:00Z"},
    {"labels": {"alertname": "Odd", "severity": "page", "instance": 'h"x\\y\n'}, "unknown": {"a": 1}},
]


def test_alerts_and_groups(servers: tuple[Server, Server]) -> None:
    assert both(servers, "POST", "/alerts", ALERTS) is None
    settled(servers, 5)  # the one of two receivers is in two groups
    alerts = both(servers, "GET", "/alerts")
    assert [alert["labels"]["alertname"] for alert in alerts].count("Slow") == 2
    down = next(alert for alert in alerts if alert["labels"]["alertname"] == "Down")
    assert down["startsAt"] == "2024-02-29T10:00:00.123Z"
    assert {receiver["name"] for receiver in down["receivers"]} == {"db", "chat"}
    both(servers, "GET", "/alerts/groups")
    for query in (
        {"active": "false"},
        {"inhibited": "false"},
        {"inhibited": "no"},
        {"silenced": "0"},
        {"unprocessed": "false"},
        {"filter": 'alertname="Slow"'},
        {"filter": ['alertname=~"S.*|D.*"', "cluster!=b"]},
        {"filter": 'team!=""'},
        {"filter": "team="},
        {"receiver": "db|all"},
        {"receiver": "d"},
        {"receiver": "pager", "filter": "alertname=Odd"},
    ):
        text = urlencode(query, doseq=True)
        both(servers, "GET", f"/alerts?{text}")
        both(servers, "GET", f"/alerts/groups?{text}")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "{}",
        "[]",
        "null",
        [{}],
        [{"labels": None}],
        [{"labels": {}}],
        [{"labels": {"a": ""}}],
        [{"labels": {"a": 1}}],
        [{"labels": {"a": "b"}}, {"annotations": {}}],
        [{"labels": {"a": "b"}, "startsAt": "yesterday"}],
        [{"labels": {"a": "b"}, "startsAt": "2031-01-01T00:00:00Z", "endsAt": "2030-01-01T00:00:00Z"}],
        [{"labels": {"a": "b"}, "startsAt": "2031-01-01T00:00:00Z"}],
        [{"labels": {"a": "b"}, "generatorURL": "foo bar"}],
        [{"labels": {"": "b"}}],
        [{"labels": {"a": "b"}, "annotations": {"": "b"}}],
    ],
    ids=str,
)
def test_alerts_that_are_refused(servers: tuple[Server, Server], body: object) -> None:
    both(servers, "POST", "/alerts", body)


def test_the_words_for_alerts_that_are_refused(servers: tuple[Server, Server]) -> None:
    bad = [
        {"labels": {}},
        {"labels": {"alertname": "Good"}},
        {"labels": {"a": "b"}, "startsAt": "2031-01-01T00:00:00Z"},
    ]
    for server in servers:
        assert server.ask("POST", "/alerts", bad) == (
            400,
            "at least one label pair required; start time must be before end time",
        )
        found = server.ask("GET", "/alerts?filter=alertname=Good")[1]
        assert len(found) == 1, "the good one among them was taken"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/alerts"),
        ("POST", "/alerts/groups"),
        ("DELETE", "/silences"),
        ("POST", "/silence/00000000-0000-4000-8000-000000000000"),
        ("GET", "/alerts?filter=a"),
        ("GET", "/alerts?filter={a=b}"),
        ("GET", "/alerts?receiver=("),
        ("GET", "/alerts/groups?filter=a=~*"),
        ("GET", "/alerts/groups?receiver=*"),
        ("GET", "/silences?filter=a"),
        ("GET", "/silence/nope"),
        ("DELETE", "/silence/nope"),
        ("GET", "/silence/00000000-0000-4000-8000-000000000000"),
        ("GET", "/nope"),
        ("GET", "/receivers"),
    ],
)
def test_paths_methods_and_parameters(servers: tuple[Server, Server], method: str, path: str) -> None:
    both(servers, method, path)


def test_bodies_of_another_type_are_refused(servers: tuple[Server, Server]) -> None:
    for path in ("/alerts", "/silences"):
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            for server in servers:
                status, said = server.ask("POST", path, "[]", **{"Content-Type": kind})
                assert (status, said["code"]) == (415, 415)


def test_status(servers: tuple[Server, Server]) -> None:
    (_, theirs), (_, ours) = (server.ask("GET", "/status") for server in servers)
    assert ours.keys() == theirs.keys()
    assert ours["cluster"] == theirs["cluster"]
    assert ours["versionInfo"].keys() == theirs["versionInfo"].keys()
    assert "receiver: pager" in ours["config"]["original"]


SILENCE = {
    "matchers": [{"name": "alertname", "value": "Slow", "isRegex": False}],
    "startsAt": "2020-01-01T00:00:00Z",
    "endsAt": "2039-01-01T00:00:00Z",
    "createdBy": "me",
    "comment": "why",
}


def changed(**changes: object) -> dict[str, object]:
    return {key: value for key, value in {**SILENCE, **changes}.items() if value is not None}


def test_the_life_of_a_silence(servers: tuple[Server, Server]) -> None:
    both(servers, "POST", "/alerts", ALERTS)
    ids = [server.ask("POST", "/silences", SILENCE)[1]["silenceID"] for server in servers]
    both(servers, "GET", "/silences")
    both(servers, "GET", "/silences?filter=alertname=Slow")
    both(servers, "GET", "/silences?filter=alertname=~Slow")
    both(servers, "GET", "/alerts?silenced=false")
    suppressed = both(servers, "GET", "/alerts?filter=alertname=Slow")
    assert all(alert["status"]["state"] == "suppressed" for alert in suppressed)
    assert suppressed[0]["status"]["silencedBy"] == [ids[1]]
    for matchers in (SILENCE["matchers"], [{"name": "a", "value": ".+", "isRegex": True, "isEqual": False}]):
        kept: list[bool] = []
        for index, server in enumerate(servers):
            starts = server.ask("GET", f"/silence/{ids[index]}")[1]["startsAt"]
            body = changed(id=ids[index], matchers=matchers, startsAt=starts, endsAt="2038-01-01T00:00:00Z")
            status, answer = server.ask("POST", "/silences", body)
            assert status == 200
            kept.append(answer["silenceID"] == ids[index])
            ids[index] = answer["silenceID"]
        assert kept[0] == kept[1] == (matchers is SILENCE["matchers"]), "other matchers make another silence"
    states = [each["status"]["state"] for each in both(servers, "GET", "/silences")]
    assert states == ["active", "expired"]
    for server, id_ in zip(servers, ids, strict=True):
        assert server.ask("GET", f"/silence/{id_}")[1]["id"] == id_
        assert server.ask("DELETE", f"/silence/{id_}") == (200, None)
        assert server.ask("DELETE", f"/silence/{id_}") == (200, None), "one that has ended stays as it is"
        assert server.ask("GET", f"/silence/{id_}")[1]["status"]["state"] == "expired"
        assert server.ask("POST", "/silences", changed(id=id_))[1]["silenceID"] != id_
    pending = changed(startsAt="2037-01-01T00:00:00Z")
    later = changed(startsAt="2036-01-01T00:00:00Z", comment="")
    for body in (pending, later):
        for server in servers:
            assert server.ask("POST", "/silences", body)[0] == 200
    shown = both(servers, "GET", "/silences")
    assert [each["status"]["state"] for each in shown] == [
        "active",
        "pending",
        "pending",
        "expired",
        "expired",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "[]",
        "null",
        {},
        changed(comment=None),
        changed(createdBy=None),
        changed(endsAt=None),
        changed(startsAt=None),
        changed(matchers=None),
        changed(matchers=[]),
        changed(matchers=[{"name": "a", "value": "b"}]),
        changed(matchers=[{"name": "a", "isRegex": False}]),
        changed(matchers=[{"value": "a", "isRegex": False}]),
        changed(matchers=[{"name": "", "value": "b", "isRegex": False}]),
        changed(matchers=[{"name": "a", "value": "", "isRegex": False}]),
        changed(matchers=[{"name": "a", "value": ".*", "isRegex": True}]),
        changed(matchers=[{"name": "a", "value": "(", "isRegex": True}]),
        changed(matchers=[{"name": "a", "value": 1, "isRegex": False}]),
        changed(startsAt="now"),
        changed(startsAt="2039-01-01T00:00:00Z"),
        changed(startsAt="2040-01-01T00:00:00Z"),
        changed(startsAt="2019-01-01T00:00:00Z", endsAt="2020-01-01T00:00:00Z"),
        changed(id="nope"),
        changed(id="00000000-0000-4000-8000-000000000000"),
    ],
    ids=str,
)
def test_silences_that_are_refused(servers: tuple[Server, Server], body: object) -> None:
    both(servers, "POST", "/silences", body)
