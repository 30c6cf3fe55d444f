"""PagerDuty, Opsgenie, VictorOps, Pushover, incident.io."""

import hashlib
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from otero.alerting.notification import DeliveryError
from otero.alerting.notify import pagerduty, pushover
from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import NOW_MS, Answer, alert, notification

ENDED = notification(alert(ends_ms=NOW_MS))
GROUP = hashlib.sha256(b'{}:{alertname="A"}').hexdigest()


async def test_pagerduty(receivers: Receivers) -> None:
    """https://developer.pagerduty.com/docs/send-alert-event"""
    config = """
url: SINK/v2/enqueue
routing_key: '{{ .CommonLabels.severity }}-key'
description: summary
severity: '{{ .CommonLabels.severity }}'
class: c
component: o
group: g
client: me
client_url: http://me
details: {firing: f, resolved: r, labels: '{{ .CommonLabels | toJson }}', nested: {a: '{{ .Alerts | len }}'}}
images: [{src: 'http://i', alt: a}, {src: '{{ .CommonLabels.nothing }}', alt: dropped}]
links: [{href: 'http://l', text: t}, {text: dropped}]
"""
    (request,) = await receivers.send("pagerduty_configs", config)
    assert request.json == {
        "routing_key": "page-key",
        "dedup_key": GROUP,
        "event_action": "trigger",
        "payload": {
            "summary": "summary",
            "source": "me",
            "severity": "page",
            "class": "c",
            "component": "o",
            "group": "g",
            "custom_details": {
                "firing": "f",
                "resolved": "r",
                "num_firing": "1",
                "num_resolved": "0",
                "labels": {"alertname": "A", "severity": "page"},
                "nested": {"a": 1},
            },
        },
        "client": "me",
        "client_url": "http://me",
        "images": [{"src": "http://i", "alt": "a", "href": ""}],
        "links": [{"href": "http://l", "text": "t"}],
    }


async def test_pagerdutys_old_events(receivers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagerduty, "V1_URL", f"{receivers.sink.url}/generic")
    config = "{service_key: k, client: c, client_url: u, description: d, details: {firing: '', resolved: ''}}"
    (request,) = await receivers.send("pagerduty_configs", config)
    assert request.json == {
        "service_key": "k",
        "incident_key": GROUP,
        "event_type": "trigger",
        "description": "d",
        "details": {"firing": "", "resolved": "", "num_firing": "1", "num_resolved": "0"},
        "client": "c",
        "client_url": "u",
    }
    (request,) = await receivers.send("pagerduty_configs", config, ENDED)
    assert request.json["event_type"] == "resolve"
    assert "client" not in request.json


async def test_pagerduty_takes_512_kilobytes(receivers: Receivers) -> None:
    config = "{url: SINK/v2/enqueue, routing_key: k}"
    told = notification(alert(summary="é" * 300_000))
    (request,) = await receivers.send("pagerduty_configs", config, told)
    assert len(request.body) <= 512_000
    assert request.json["payload"]["custom_details"].keys() == {"error"}


async def test_pagerduty_says_what_is_wrong(receivers: Receivers) -> None:
    config = "{url: SINK/v2/enqueue, routing_key: k}"
    body = '{"status": "invalid event", "message": "Event object is invalid", "errors": ["Length of X", "Y"]}'
    error = await receivers.refused("pagerduty_configs", config, Answer(400, body))
    assert str(error).endswith("answered 400 Bad Request: Event object is invalid: Length of X, Y")
    with pytest.raises(DeliveryError, match="routing key is empty") as caught:
        await receivers.send("pagerduty_configs", "{url: SINK, routing_key: '{{ .CommonLabels.nothing }}'}")
    assert not caught.value.retry


async def test_opsgenie(receivers: Receivers) -> None:
    """https://docs.opsgenie.com/docs/alert-api#create-alert"""
    config = f"""
api_url: SINK/base/
api_key: '{{{{ .CommonLabels.severity }}}}-key'
message: '{"m" * 131}'
description: d
source: s
details: {{runbook: r, severity: mine}}
entity: e
responders:
- {{name: '{{{{ .CommonLabels.severity }}}}', type: team}}
- {{name: 'a,b,', type: teams}}
- {{id: '{{{{ .CommonLabels.nothing }}}}', type: '{{{{ .CommonLabels.nothing }}}}'}}
actions: 'restart,look'
tags: 'x,,y'
note: n
priority: P2
update_alerts: true
"""
    create, message, description = await receivers.send("opsgenie_configs", config)
    assert (create.method, create.path) == ("POST", "/base/v2/alerts")
    assert create.headers["Authorization"] == "GenieKey page-key"
    assert create.json == {
        "alias": GROUP, "message": "m" * 129 + "…", "description": "d",
        "details": {"alertname": "A", "severity": "mine", "runbook": "r"}, "source": "s",
        "responders": [
            {"name": "page", "type": "team"}, {"name": "a", "type": "team"}, {"name": "b", "type": "team"},
        ],
        "tags": ["x", "y"], "note": "n", "priority": "P2", "entity": "e", "actions": ["restart", "look"],
    }  # fmt: skip
    assert (message.method, message.path) == ("PUT", f"/base/v2/alerts/{GROUP}/message?identifierType=alias")
    assert message.json == {"message": "m" * 129 + "…"}
    assert (description.path, description.json) == (
        f"/base/v2/alerts/{GROUP}/description?identifierType=alias",
        {"description": "d"},
    )


async def test_opsgenie_reads_its_key_from_a_file(receivers: Receivers, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of-a-file\n")
    (request,) = await receivers.send(
        "opsgenie_configs", f"{{api_url: SINK, api_key_file: {tmp_path}/key}}", ENDED
    )
    assert request.headers["Authorization"] == "GenieKey of-a-file"
    assert request.path == f"/v2/alerts/{GROUP}/close?identifierType=alias"


async def test_victorops(receivers: Receivers) -> None:
    config = f"""
api_url: SINK/alert
api_key: k
routing_key: '{{{{ .CommonLabels.severity }}}} team'
message_type: '{{{{ .CommonLabels.kind }}}}'
state_message: '{"s" * 20481}'
entity_display_name: e
monitoring_tool: m
custom_fields: {{status: '{{{{ .Status }}}}'}}
"""
    for kind, written in (("", "CRITICAL"), ("WARNING", "WARNING"), ("odd", "CRITICAL")):
        (request,) = await receivers.send("victorops_configs", config, notification(alert(kind=kind)))
        assert request.json["message_type"] == written
    assert request.path == "/alert/k/page%20team"
    assert request.json == {
        "message_type": "CRITICAL", "entity_id": GROUP, "entity_display_name": "e",
        "state_message": "s" * 20479 + "…", "monitoring_tool": "m", "status": "firing",
    }  # fmt: skip
    (request,) = await receivers.send("victorops_configs", config, ENDED)
    assert request.json["message_type"] == "RECOVERY"


async def test_pushover(receivers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://pushover.net/api"""
    monkeypatch.setattr(pushover, "URL", f"{receivers.sink.url}/1/messages.json")
    config = f"""
user_key: u
token: t
title: '{"t" * 251}'
message: '<b>{{{{ .CommonLabels.team }}}}</b>'
url: '{"u" * 513}'
url_title: ut
device: d
sound: s
retry: 90s
expire: 2h
ttl: 1m
html: true
"""
    (request,) = await receivers.send("pushover_configs", config, notification(alert(team="<&")))
    assert (request.method, request.headers["Content-Type"], request.body) == ("POST", "text/plain", b"")
    query = urlsplit(request.path).query
    assert dict(parse_qsl(query, keep_blank_values=True)) == {
        "token": "t", "user": "u", "title": "t" * 249 + "…", "message": "<b>&lt;&amp;</b>", "url": "u" * 511 + "…",
        "url_title": "ut", "priority": "2", "retry": "90", "expire": "7200", "device": "d", "sound": "s",
        "html": "1", "ttl": "60",
    }  # fmt: skip
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    assert names == sorted(names)


async def test_pushover_takes_no_empty_message(receivers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushover, "URL", receivers.sink.url)
    (request,) = await receivers.send(
        "pushover_configs", "{user_key: u, token: t, message: ' ', monospace: true}", ENDED
    )
    parameters = dict(parse_qsl(urlsplit(request.path).query))
    assert (parameters["message"], parameters["monospace"], parameters["priority"]) == (
        "(no details)",
        "1",
        "0",
    )


INCIDENTIO = "url: SINK/v2/alert_events/alertmanager/1, alert_source_token: t"


async def test_incidentio(receivers: Receivers) -> None:
    told = notification(alert(instance="a"), alert(instance="b"))
    (request,) = await receivers.send("incidentio_configs", f"{{{INCIDENTIO}, max_alerts: 1}}", told)
    assert request.headers["Authorization"] == "Bearer t"
    assert (request.json["version"], request.json["truncatedAlerts"]) == ("1", 1)
    assert [item["labels"]["instance"] for item in request.json["alerts"]] == ["a"]


async def test_incidentio_takes_512_kibibytes(receivers: Receivers) -> None:
    told = notification(*(alert(instance=str(number), summary="x" * 300_000) for number in range(3)))
    (request,) = await receivers.send("incidentio_configs", f"{{{INCIDENTIO}}}", told)
    assert len(request.json["alerts"]) == 1


async def test_incidentio_says_what_is_wrong(receivers: Receivers) -> None:
    body = '{"message": "invalid", "error": "e", "errors": ["a", "b"]}'
    error = await receivers.refused("incidentio_configs", f"{{{INCIDENTIO}}}", Answer(422, body))
    assert str(error).endswith(": invalid: e: a, b")
