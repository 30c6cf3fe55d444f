"""Webhook bodies become alerts; what cannot be one is refused with its place."""

import msgspec
import pytest

from otero.api.native.webhook import HOLD_MS, Webhook, _alert
from otero.errors import BadInput
from otero.model.alerts import Alert

NOW_MS = 1_800_000_000_000
START, START_MS = "2026-11-24T20:00:00.123456789Z", 1_795_550_400_123


def taken(**alert: object) -> Alert:
    body = msgspec.json.encode({"version": "4", "receiver": "x", "alerts": [alert]})
    [given] = msgspec.json.decode(body, type=Webhook).alerts
    return _alert(given, "alerts[0]", NOW_MS)


def test_a_firing_alert_of_alertmanager_holds_for_a_day() -> None:
    alert = taken(
        status="firing",
        labels={"b": "2", "alertname": "A"},
        annotations={"summary": "s"},
        startsAt=START,
        endsAt="0001-01-01T00:00:00Z",
        generatorURL="http://p/graph",
        fingerprint="0123",
    )
    assert list(alert.labels.items()) == [("alertname", "A"), ("b", "2")]
    assert alert.annotations == {"summary": "s"}
    assert (alert.starts_ms, alert.ends_ms) == (START_MS, NOW_MS + HOLD_MS)
    assert alert.generator_url == "http://p/graph"


def test_a_firing_alert_of_grafana_keeps_the_end_that_it_gives() -> None:
    alert = taken(
        status="firing", labels={"a": "b"}, startsAt=START, endsAt="2027-01-15T08:05:00Z", values={"A": 1}
    )
    assert alert.ends_ms == NOW_MS + 5 * 60_000


@pytest.mark.parametrize("end", ["2026-11-24T21:00:00+01:00", "0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_a_resolved_alert_has_ended(end: str) -> None:
    alert = taken(status="resolved", labels={"a": "b"}, startsAt="2026-11-24T19:00:00Z", endsAt=end)
    assert alert.resolved_at(NOW_MS)
    assert alert.ends_ms == (1_795_550_400_000 if end.startswith("2026") else NOW_MS)


@pytest.mark.parametrize(
    ("alert", "error"),
    [
        ({"status": "firing", "labels": {}}, r"alerts\[0\] has no labels"),
        ({"status": "firing", "labels": {"a": ""}}, r"alerts\[0\] has no labels"),
        ({"status": "firing", "labels": {"a": "b", "": "c"}}, r"alerts\[0\] has a label without a name"),
        (
            {"status": "resolved", "labels": {"a": "b"}, "startsAt": START, "endsAt": "2026-11-24T19:00:00Z"},
            r"alerts\[0\] ends before it starts",
        ),
    ],
)
def test_what_is_no_alert(alert: dict[str, object], error: str) -> None:
    with pytest.raises(BadInput, match=error):
        taken(**alert)


@pytest.mark.parametrize(
    ("alert", "error"),
    [
        (
            {"status": "down", "labels": {"a": "b"}},
            r"Invalid enum value 'down' - at `\$\.alerts\[0\]\.status`",
        ),
        ({"labels": {"a": "b"}}, "missing required field `status`"),
        ({"status": "firing", "labels": {"a": 1}}, r"Expected `str`, got `int`"),
        ({"status": "firing", "labels": {"a": "b"}, "startsAt": "2026-11-24T20:00:00"}, "timezone"),
    ],
)
def test_what_is_no_webhook(alert: dict[str, object], error: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=error):
        taken(**alert)
