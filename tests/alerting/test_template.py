"""Notifications as text. What Alertmanager sent of the same alert is in the recorded texts."""

from pathlib import Path
from typing import Any

import pytest

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.template import Templates, Text
from otero.errors import BadConfig
from otero.gotemplate.json_text import to_json
from otero.model.alerts import Alert

STARTED_MS = 1_732_276_980_499
NOW_MS = STARTED_MS + 90_000

LABELS = {"alertname": "A", "severity": "page"}
FIRING = Alert(LABELS, {"summary": "s"}, STARTED_MS, 0, "http://g")
RESOLVED = Alert(LABELS, {}, STARTED_MS, STARTED_MS + 1000)


def notification(*alerts: Alert, **more: Any) -> Notification:
    given: dict[str, Any] = {
        "receiver": "all",
        "integration": "slack[0]",
        "group_key": '{}:{alertname="A"}',
        "group_labels": {"alertname": "A"},
        "now_ms": NOW_MS,
        "external_url": "http://vm:28193",
    }
    return Notification(alerts=alerts, **given | more)


def bound(*alerts: Alert, **more: Any) -> Text:
    return Templates.builtin().bind(notification(*alerts, **more))


def default(name: str, *alerts: Alert, **more: Any) -> str:
    return bound(*alerts, **more).text(f'{{{{ template "{name}" . }}}}')


LIST = "Labels:\n - alertname = A\n - severity = page\nAnnotations:\n - summary = s\nSource: http://g\n"
ENDED = "Labels:\n - alertname = A\n - severity = page\nAnnotations:\nSource: \n"
URL = "http://vm:28193/#/alerts?receiver=all"

# name, of a firing alert, of a resolved one; None where nothing was recorded
RECORDED = [
    ("slack.default.title", "[FIRING:1] A (page)", "[RESOLVED] A (page)"),
    ("slack.default.titlelink", URL, URL),
    ("slack.default.fallback", f"[FIRING:1] A (page) | {URL}", f"[RESOLVED] A (page) | {URL}"),
    ("slack.default.username", "Alertmanager", "Alertmanager"),
    ("slack.default.color", "danger", "good"),
    ("slack.default.text", "", ""),
    ("pagerduty.default.client", "Alertmanager", "Alertmanager"),
    ("victorops.default.state_message", f"s\nAlerts Firing:\n{LIST}\n", f"\n\nAlerts Resolved:\n{ENDED}"),
    ("opsgenie.default.description", f"s\nAlerts Firing:\n{LIST}\n", None),
    ("sns.default.message", f"s\n\nAlerts Firing:\n{LIST}\n\n\n", f"\n\n\nAlerts Resolved:\n{ENDED}\n\n"),
    ("webex.default.message", f"s\n\nAlerts Firing:\n{LIST}\n\n\n", f"\n\n\nAlerts Resolved:\n{ENDED}\n\n"),
    ("telegram.default.message", f"\n\nAlerts Firing:\n{LIST}\n\n\n", f"\n\n\nAlerts Resolved:\n{ENDED}\n\n"),
    ("discord.default.message", f"\n\nAlerts Firing:\n{LIST}\n\n\n", f"\n\n\nAlerts Resolved:\n{ENDED}\n\n"),
    (
        "wechat.default.message",
        f"[FIRING:1] A (page)\ns\nAlerts Firing:\n{LIST}\n\nAlertmanagerUrl:\n{URL}",
        None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "firing", "resolved"), RECORDED)
def test_default_templates_say_what_alertmanagers_do(name: str, firing: str, resolved: str | None) -> None:
    assert default(name, FIRING) == firing
    if resolved is not None:
        assert default(name, RESOLVED) == resolved


def test_pagerduty_lists_the_alerts_that_it_is_given() -> None:
    assert bound(FIRING).text('{{ template "pagerduty.default.instances" .Alerts.Firing }}') == LIST
    assert bound(RESOLVED).text('{{ template "pagerduty.default.instances" .Alerts.Firing }}') == ""


def test_a_subject_has_no_blanks_where_nothing_is_left_to_say() -> None:
    assert default("__subject", Alert({"alertname": "A"})) == "[FIRING:1] A"
    assert default("__subject", Alert({"alertname": "A"}), group_labels={}) == "[FIRING:1] (A)"
    assert default("__subject", Alert({"alertname": "A"}), Alert({"alertname": "B"}), group_labels={}) == (
        "[FIRING:2]"
    )


@pytest.mark.parametrize(
    ("firing", "resolved", "priority"),
    [
        (["info", "critical", "warning"], [], "High"),
        (["info", "warning"], ["critical"], "Medium"),
        (["info", "page"], [], "Low"),
        ([], ["warning"], "Medium"),
        (["page"], [], ""),
    ],
)
def test_jiras_priority_is_that_of_the_worst_alert(
    firing: list[str], resolved: list[str], priority: str
) -> None:
    alerts = [Alert({"severity": one}) for one in firing]
    alerts += [Alert({"severity": one}, ends_ms=NOW_MS) for one in resolved]
    assert default("jira.default.priority", *alerts) == priority


# -- data ---------------------------------------------------------------------------------------------------------------


def test_data_is_alertmanagers() -> None:
    text = bound(FIRING, RESOLVED, receiver="web.hook", reason="first notification")
    assert to_json(text.data) == (
        '{"receiver":"web\\\\.hook","status":"firing","alerts":['
        '{"status":"firing","labels":{"alertname":"A","severity":"page"},"annotations":{"summary":"s"},'
        '"startsAt":"2024-11-22T12:03:00.499Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://g",'
        '"fingerprint":"f2f95d02269594eb"},'
        '{"status":"resolved","labels":{"alertname":"A","severity":"page"},"annotations":{},'
        '"startsAt":"2024-11-22T12:03:00.499Z","endsAt":"2024-11-22T12:03:01.499Z","generatorURL":"",'
        '"fingerprint":"f2f95d02269594eb"}],'
        '"notification_reason":"first notification","groupLabels":{"alertname":"A"},'
        '"commonLabels":{"alertname":"A","severity":"page"},"commonAnnotations":{},"routeLabels":{},'
        '"externalURL":"http://vm:28193"}'
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ .Status }} {{ .Receiver }} {{ len .Alerts }} {{ len .Alerts.Firing }}", "firing all 2 1"),
        ("{{ .NotificationReason }}", "new alerts"),
        ("{{ range .Alerts.Resolved }}{{ .EndsAt.Unix }} {{ .Fingerprint }}{{ end }}", "1732276981 f2f95d02269594eb"),
        ("{{ .CommonLabels.SortedPairs.Names }}", "[alertname severity]"),
        ("{{ .CommonLabels }}", "alertname=A, severity=page"),
        ("{{ .CommonLabels.SortedPairs }}", "alertname=A, severity=page"),
        ('{{ .CommonLabels.Names.Join "+" }} {{ .CommonLabels.Values | join "-" }}', "alertname+severity A-page"),
        ('{{ (.CommonLabels.Remove (stringSlice "severity")).Names }}', "[alertname]"),
        ("{{ .CommonLabels.nothing }}|{{ .CommonAnnotations.summary }}", "|"),
        ("{{ .RouteLabels }}{{ routeLabels \"team\" }}", ""),
        ("{{ range $name, $value := .CommonLabels }}{{ $name }}:{{ $value }} {{ end }}", "alertname:A severity:page "),
    ],
)  # fmt: skip
def test_data_in_templates(source: str, text: str) -> None:
    assert bound(FIRING, RESOLVED, reason="new alerts").text(source) == text


def test_the_alerts_name_is_before_other_labels() -> None:
    alert = Alert({"a": "1", "alertname": "N", "b": "2"})
    assert bound(alert).text("{{ .CommonLabels.Values }}") == "[N 1 2]"


# -- functions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{{ title "fOO bar-baz don\'t 3rd x_y éA a.b" }}', "Foo Bar-Baz Don't 3Rd X_y Éa A.b"),
        ('{{ trimSpace " \u00a0x\u2003\\n" }}', "x"),
        ('{{ reReplaceAll "(a+)(b)" "${2}$1" "xaab" }} {{ match "^x.*b$" "xaab" }}', "xbaa true"),
        ('{{ (index .Alerts 0).StartsAt | tz "Europe/Madrid" | date "15:04 MST" }}', "13:03 CET"),
        ('{{ now.UTC.Format "15:04:05" }} {{ (index .Alerts 0).StartsAt | since }}', "12:04:30 1m30s"),
        ("{{ humanizeDuration (since (index .Alerts 0).StartsAt).Seconds }} {{ humanizeDuration 0.0015 }}", "1m 30s 1.5ms"),
        ('{{ (toDate "2006-01-02" "2024-02-29").Weekday }} {{ (toDate "2006" "x").IsZero }}', "Thursday true"),
        ('{{ (mustToDate "02 Jan 06 15:04 -0700" "01 Feb 70 03:04 +0200").Unix }}', "2682240"),
        ('{{ urlUnescape "a%20b+c%2F" }}', "a b c/"),
        ('{{ base64encode "a?>~" }} {{ base64decode "YT8-fg==" }}', "YT8-fg== a?>~"),
        ('{{ $l := list 1 "b" }}{{ append $l 2.5 | toJson }} {{ len list }}', '[1,"b",2.5] 0'),
        ('{{ (dict "a" 1 "b" (list)).a }} {{ dict "b" "<" "a" nil | toJson }}', '1 {"a":null,"b":"\\u003c"}'),
        ("{{ .CommonLabels | toJson }} {{ toJson 1e21 }} {{ toJson 0.5 }}", '{"alertname":"A","severity":"page"} 1e+21 0.5'),
        ("{{ safeHtml `<b>` }}{{ safeUrl `javascript:x` }}", "<b>javascript:x"),
    ],
)  # fmt: skip
def test_functions(source: str, text: str) -> None:
    assert bound(FIRING).text(source) == text


def test_html_is_escaped_by_place() -> None:
    alert = Alert(
        {"alertname": "<A>"}, {"link": "javascript:x", "page": "<b>"}, generator_url="http://g/?a=1&b=2"
    )
    text = bound(alert)
    source = (
        "{{ .CommonLabels.alertname }} {{ safeHtml .CommonAnnotations.page }}"
        '<a href="{{ .CommonAnnotations.link }}"><a href="{{ safeUrl .CommonAnnotations.link }}">'
    )
    assert text.html(source) == '&lt;A&gt; <b><a href="#ZgotmplZ"><a href="javascript:x">'


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{{ .Missing }}", "template: :1:3: executing \"\" at <.Missing>: can't evaluate field Missing in type template.Data"),
        ("a\n{{ if }}", "template: :2:6: missing value for if"),
        ('{{ template "none" . }}', 'template "none" not defined'),
        ('{{ tz "Mars/Base" .Alerts }}', "expected time.Time"),
        ('{{ tz "Mars/Base" now }}', "error calling tz: unknown time zone Mars/Base"),
        ('{{ mustToDate "2006" "x" }}', 'error calling mustToDate: parsing time "x" as "2006": cannot parse "x" as "2006"'),
        ('{{ dict "a" }}', "dict requires an even number of arguments"),
        ('{{ urlUnescape "%zz" }}', 'invalid URL escape "%zz"'),
        ('{{ base64decode "?" }}', "illegal base64 data"),
        ('{{ join "," .CommonLabels }}', "expected []string; got template.KV"),
        ('{{ reReplaceAll "(" "" "x" }}', "error calling reReplaceAll"),
        ("{{ range $x := 1000000000 }}x{{ end }}", "the template does more than 1,000,000 steps"),
    ],
)  # fmt: skip
def test_a_template_that_fails_says_where_and_is_not_retried(source: str, error: str) -> None:
    with pytest.raises(DeliveryError) as failed:
        bound(FIRING).text(source)
    assert error in str(failed.value)
    assert not failed.value.retry


# -- files --------------------------------------------------------------------------------------------------------------


def test_files_of_users_replace_default_templates_and_call_them(tmp_path: Path) -> None:
    (tmp_path / "a.tmpl").write_text(
        '{{ define "slack.default.text" }}first{{ end }}{{ define "mine" }}{{ template "__subject" . }}!{{ end }}'
    )
    (tmp_path / "b.tmpl").write_text(
        '{{ define "slack.default.text" }}second{{ end }}{{ define "mine" }} {{ end }}'
    )
    (tmp_path / "whole.tmpl").write_text("<{{ .Status }}>")
    (tmp_path / "c.tmpl").mkdir()
    templates = Templates.load([str(tmp_path / "*.tmpl"), str(tmp_path / "nothing" / "*")])
    text = templates.bind(notification(FIRING))
    assert text.text('{{ template "slack.default.text" . }}') == "second"
    assert text.text('{{ template "mine" . }}') == "[FIRING:1] A (page)!"  # blanks replace nothing
    assert text.text('{{ template "whole.tmpl" . }}') == "<firing>"
    assert {"mine", "whole.tmpl", "email.default.html"} <= set(templates.names)
    assert "a.tmpl" not in templates.names
    assert "mine" not in Templates.builtin().names


def test_bad_files_are_all_named_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.tmpl").write_text('{{ define "x" }}\n  {{ .A | nofun }}{{ end }}')
    (tmp_path / "b.tmpl").write_bytes(b"\xff")
    (tmp_path / "c.tmpl").write_text('{{ define "fine" }}{{ end }}')
    with pytest.raises(BadConfig) as failed:
        Templates.load([str(tmp_path / "*.tmpl")])
    first, second = failed.value.problems
    assert (first.file, first.line, first.column) == (str(tmp_path / "a.tmpl"), 2, 11)
    assert first.message == 'function "nofun" not defined'
    assert "not UTF-8" in str(second)


def test_check_names_what_can_never_work(tmp_path: Path) -> None:
    (tmp_path / "a.tmpl").write_text(
        '{{ define "outer" }}{{ range .Alerts }}{{ template "gone" . }}{{ end }}{{ end }}'
    )
    templates = Templates.load([str(tmp_path / "a.tmpl")])
    assert templates.check('{{ template "slack.default.title" . }}') == []
    assert templates.check('{{ template "outer" . }}') == ['template "gone" is not defined']
    assert templates.check("{{ .A | nofun }}") == ['template: :1:8: function "nofun" not defined']
