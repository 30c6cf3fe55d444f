"""Webhooks."""

from pathlib import Path

import pytest

from otero.alerting.notification import DeliveryError
from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import NOW_MS, alert, notification


async def test_the_payload(receivers: Receivers) -> None:
    told = notification(
        alert(instance="a"),
        alert(instance="b", ends_ms=NOW_MS - 1000),
        receiver="web.hook",
        integration="webhook[0]",
    )
    (request,) = await receivers.send("webhook_configs", "url: SINK/hook", told)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("Otero/")
    firing, ended = request.json["alerts"]
    assert (firing["status"], ended["status"]) == ("firing", "resolved")
    assert firing["startsAt"] == "2026-11-22T12:03:00.499Z"
    assert (firing["endsAt"], ended["endsAt"]) == ("0001-01-01T00:00:00Z", "2026-11-22T12:03:00Z")
    assert firing["fingerprint"] == f"{told.alerts[0].fingerprint:016x}"
    assert {name: value for name, value in request.json.items() if name != "alerts"} == {
        "receiver": "web\\.hook",
        "status": "firing",
        "groupLabels": {"alertname": "A"},
        "commonLabels": {"alertname": "A", "severity": "page"},
        "commonAnnotations": {"summary": "s"},
        "externalURL": "http://vm:28193",
        "version": "4",
        "groupKey": '{}:{alertname="A"}',
        "truncatedAlerts": 0,
    }


async def test_more_alerts_than_wanted(receivers: Receivers) -> None:
    told = notification(*(alert(instance=str(number)) for number in range(5)))
    (request,) = await receivers.send("webhook_configs", "{url: SINK/hook, max_alerts: 2}", told)
    assert [item["labels"]["instance"] for item in request.json["alerts"]] == ["0", "1"]
    assert request.json["truncatedAlerts"] == 3


async def test_a_payload_of_ones_own(receivers: Receivers) -> None:
    config = """
url: SINK/hook
payload:
  text: '{{ .CommonLabels.alertname }} is {{ .Status }}'
  count: '{{ .Alerts | len }}'
  '{{ .GroupLabels.alertname }}': ['{{ .CommonLabels.severity }}', 5, true]
  alerts: '{{ .CommonLabels | toJson }}'
"""
    (request,) = await receivers.send("webhook_configs", config)
    assert request.json == {
        "text": "A is firing",
        "count": 1,
        "A": ["page", 5, True],
        "alerts": {"alertname": "A", "severity": "page"},
    }


async def test_what_labels_say_is_not_taken_for_a_template(receivers: Receivers) -> None:
    config = "{url: SINK/hook, payload: {a: ['{{ .CommonLabels.team }}', '{{ .CommonLabels | toJson }}']}}"
    told = notification(alert(team="{{ .Status }}"))
    (request,) = await receivers.send("webhook_configs", config, told)
    assert request.json["a"][1]["team"] == "{{ .Status }}"


async def test_the_url_may_be_a_template_or_in_a_file(receivers: Receivers, tmp_path: Path) -> None:
    (request,) = await receivers.send("webhook_configs", "url: 'SINK/{{ .CommonLabels.severity }}'")
    assert request.path == "/page"
    path = tmp_path / "url"
    for name in ("a", "b"):  # read anew for each notification
        path.write_text(f"{receivers.sink.url}/{name}\n")
        (request,) = await receivers.send("webhook_configs", f"url_file: {path}")
        assert request.path == f"/{name}"
    path.unlink()
    with pytest.raises(DeliveryError, match=r"cannot read .*url: No such file"):
        await receivers.send("webhook_configs", f"url_file: {path}")


@pytest.mark.parametrize(
    ("template", "problem"),
    [("{{ .CommonLabels.nothing }}", "is empty"), ('SINK/{{ template "nothing" . }}', "nothing")],
)
async def test_urls_that_their_template_spoils(template: str, problem: str, receivers: Receivers) -> None:
    with pytest.raises(DeliveryError, match=problem) as caught:
        await receivers.send("webhook_configs", f"url: '{template}'")
    assert not caught.value.retry
