"""The same templates in Alertmanager and here: same text, or both refuse. Alertmanager's own default templates too."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.template import Templates
from otero.gotemplate.json_text import to_json
from otero.model.alerts import Alert

DEFAULTS = Path("/usr/share/prometheus/alertmanager")
"""Where Debian's prometheus-alertmanager keeps Alertmanager's default templates."""

NOW_MS = 1_732_276_990_123

pytestmark = [
    pytest.mark.skipif(
        shutil.which("amtool") is None,
        reason="amtool is not installed (apt-get install prometheus-alertmanager): it is the oracle of these tests",
    ),
    pytest.mark.timeout(300),
]


class Amtool:
    """`amtool template render` over the templates of some files."""

    def __init__(self, folder: Path, files: str) -> None:
        self._data = folder / "data.json"
        self._files = files

    def render(self, source: str, told: Notification, *, html: bool = False) -> str | None:
        """What a text becomes; None where amtool refuses."""
        self._data.write_text(to_json(Templates.builtin().bind(told).data))
        done = subprocess.run(
            ["amtool", "template", "render", f"--template.glob={self._files}", f"--template.data={self._data}",
             f"--template.text={source}", f"--template.type={'html' if html else 'text'}"],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.decode() if done.returncode == 0 else None


@pytest.fixture
def amtool(tmp_path: Path) -> Amtool:
    (tmp_path / "none.tmpl").write_text("")
    return Amtool(tmp_path, str(tmp_path / "none.tmpl"))


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Amtool:
    if not (DEFAULTS / "default.tmpl").exists():
        pytest.skip("Alertmanager's default templates are not where Debian's package keeps them")
    return Amtool(tmp_path_factory.mktemp("amtool"), str(DEFAULTS / "*.tmpl"))


def ours(source: str, told: Notification, *, html: bool = False) -> str | None:
    text = Templates.builtin().bind(told)
    try:
        return text.html(source) if html else text.text(source)
    except DeliveryError:
        return None


def notification(alerts: list[Alert], group: Mapping[str, str]) -> Notification:
    return Notification("web.hook", "x[0]", "{}:{}", group, alerts, NOW_MS, "http://otero:9090/a b")


TOLD = notification(
    [
        Alert(
            {"alertname": "High <Latency>", "instance": "web-1:9100", "job": "web", "severity": "page"},
            {"summary": 'p99 is "2 s" & more', "runbook": "https://wiki/x?a=1&b=2"},
            NOW_MS - 90_000,
            0,
            "http://prometheus/graph?g0.expr=a%20b&x=1",
        ),
        Alert(
            {"alertname": "High <Latency>", "instance": "web-2:9100", "job": "web", "severity": "page"},
            {"summary": "ñ 世界", "description": "two\nlines"},
            NOW_MS - 80_000,
            NOW_MS - 1,
        ),
    ],
    {"alertname": "High <Latency>", "job": "web"},
)

TEXTS = [
    "{{ .Receiver }} {{ .Status }} {{ .ExternalURL }} {{ len .Alerts }}", "{{ .Missing }}", "{{ .Status.Missing }}", "{{ .Alerts.Missing }}",
    "{{ range .Alerts }}{{ .Status }} {{ .Fingerprint }} {{ .StartsAt }} {{ .EndsAt }} {{ .GeneratorURL }};{{ end }}",
    "{{ range .Alerts.Firing }}{{ .Labels.instance }}{{ end }}|{{ range .Alerts.Resolved }}{{ .Labels.instance }}{{ end }}",
    "{{ .Alerts.Firing | len }}{{ (index .Alerts 1).Labels.instance }}{{ (index .Alerts.Resolved 0).EndsAt.Unix }}", "{{ index .Alerts 2 }}",
    "{{ .CommonLabels.Names }} {{ .CommonLabels.Values }} {{ .GroupLabels.SortedPairs.Names }} {{ .CommonAnnotations.Values }}",
    "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }},{{ end }}", "{{ range $k, $v := .CommonLabels }}{{ $k }}={{ $v }},{{ end }}",
    "{{ .CommonLabels.Remove .GroupLabels.Names | len }}", "{{ .CommonLabels.Remove }}", "{{ .CommonLabels.Remove 1 }}", "{{ .CommonLabels.Names 1 }}",
    "{{ with .CommonLabels.Remove (stringSlice \"job\" \"x\") }}{{ .Values | join \"+\" }}{{ end }}", "{{ join \",\" .CommonLabels }}", "{{ join 1 2 }}",
    "{{ .CommonLabels.nothing }}|{{ .CommonAnnotations.summary }}|{{ index .CommonLabels \"job\" }}|{{ index .CommonLabels \"none\" }}",
    "{{ .CommonLabels.nothing.more }}", "{{ if .CommonAnnotations.summary }}a{{ else if .CommonLabels.job }}b{{ end }}", "{{ .CommonLabels.alertname | toUpper | toLower | title }}",
    "{{ toUpper 1 }}", "{{ title \"fOO bar-baz don't 3rd o'neil x_y a.b éA\" }}", "{{ title .CommonLabels.alertname }}", "{{ match \"^High .*y>$\" .CommonLabels.alertname }}",
    "{{ match \"(\" \"x\" }}", "{{ reReplaceAll \"([a-z]+)-(\\\\d)\" \"$2:${1}_$0$$\" \"web-1 web-2\" }}", "{{ reReplaceAll \"(?P<n>a)\" \"<$n$m>\" \"banana\" }}",
    "{{ reReplaceAll \"x*\" \"-\" \"abc\" }}", "{{ reReplaceAll \"(\" \"\" \"x\" }}", "{{ stringSlice }}{{ stringSlice \"a\" \"b\" }}", "{{ safeHtml \"<b>\" }}",
    "{{ (index .Alerts 0).StartsAt.Format \"Mon, 02 Jan 2006 15:04:05.000 MST -07:00\" }}", "{{ (index .Alerts 0).StartsAt.Weekday }} {{ (index .Alerts 0).StartsAt.Year }}",
    "{{ ((index .Alerts 1).EndsAt.Sub (index .Alerts 1).StartsAt).Seconds }} {{ (index .Alerts 1).EndsAt.Sub (index .Alerts 1).StartsAt }}",
    "{{ (index .Alerts 0).EndsAt.IsZero }} {{ (index .Alerts 1).EndsAt.After (index .Alerts 1).StartsAt }}", "{{ printf \"%d of %s: %q %v\" (len .Alerts) .Status .CommonLabels.job .CommonLabels.Names }}",
    "{{ define \"x\" }}<{{ . }}>{{ end }}{{ range .Alerts }}{{ template \"x\" .Labels.instance }}{{ end }}", "{{ template \"none\" . }}", "{{ template \"x\" }}", "{{ urlquery .CommonLabels.alertname }}",
    "{{ range $i, $a := .Alerts }}{{ if $i }}, {{ end }}{{ $a.Labels.instance }}{{ end }}", "{{ $x := .CommonLabels.job }}{{ range .Alerts }}{{ $x }}{{ $.Status }}{{ end }}",
    "{{- range .Alerts -}} {{ .Status }} {{- end -}}", "{{ if and (eq .Status \"firing\") (gt (len .Alerts) 1) }}many{{ end }}", "{{ nosuch }}", "{{ .Alerts", "{{ end }}", "{{ div 1 0 }}",
    "{{ slice .CommonLabels.job 0 2 }}", "{{ html .CommonLabels.alertname }} {{ js .CommonLabels.alertname }}", "{{ range .Status }}{{ end }}", "{{ eq .Status 1 }}", "{{ len 3 }}",
]  # fmt: skip

HTML = [
    "<p>{{ .CommonLabels.alertname }}</p>", '<a href="{{ (index .Alerts 0).GeneratorURL }}">x</a>', '<a href="{{ .ExternalURL }}/#/alerts?receiver={{ .Receiver }}">',
    '<a href="{{ (index .Alerts 0).Annotations.runbook }}" title="{{ (index .Alerts 0).Annotations.summary }}">{{ (index .Alerts 0).Annotations.runbook }}</a>',
    "{{ safeHtml .CommonLabels.alertname }}", "<title>{{ .CommonLabels.alertname }}</title><!-- gone -->", "{{ range .Alerts }}<li>{{ .Annotations.summary }}</li>{{ end }}",
    "<p style=\"color:{{ if eq .Status `firing` }}red{{ else }}green{{ end }}\">{{ .Status | toUpper }}</p>",
]  # fmt: skip


@pytest.mark.parametrize("source", TEXTS)
def test_texts_are_amtools(source: str, amtool: Amtool) -> None:
    assert ours(source, TOLD) == amtool.render(source, TOLD)


@pytest.mark.parametrize("source", HTML)
def test_html_is_amtools(source: str, amtool: Amtool) -> None:
    assert ours(source, TOLD, html=True) == amtool.render(source, TOLD, html=True)


# -- any data -----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["alertname", "severity", "instance", "a", "zone", "Z", "é"])
VALUES = st.text(
    st.characters(max_codepoint=0x4FF, exclude_categories=["Cs", "Cn"], exclude_characters="\0"),
    min_size=1,
    max_size=12,
)
LABELS = st.dictionaries(NAMES, VALUES, max_size=5)
ALERTS = st.builds(
    Alert,
    LABELS,
    st.dictionaries(st.sampled_from(["summary", "description", "b"]), VALUES, max_size=3),
    st.integers(0, NOW_MS),
    st.sampled_from([0, NOW_MS - 1, NOW_MS + 1]),
    st.sampled_from(["", "http://p/graph?a=b"]),
)


def grouped(alerts: list[Alert], by: set[str]) -> Notification:
    """Alerts by labels that they all have: what a group is made by."""
    first, *others = (alert.labels for alert in alerts)
    common = {name for name in by & set(first) if all(other.get(name) == first[name] for other in others)}
    return notification(alerts, {name: first[name] for name in common})


NOTIFICATIONS = st.builds(grouped, st.lists(ALERTS, min_size=1, max_size=3), st.sets(NAMES))

EVERYTHING = (
    "{{ .Status }} {{ .CommonLabels.Values | join `;` }} {{ .CommonAnnotations.SortedPairs.Values }} "
    "{{ range .Alerts }}{{ .Fingerprint }} {{ .StartsAt.Format `2006-01-02T15:04:05.999Z07:00` }} {{ .EndsAt }}"
    "{{ range .Labels.SortedPairs }} {{ .Name | toUpper }}={{ .Value | printf `%q` }}{{ end }}{{ end }}"
    "{{ (.CommonLabels.Remove .GroupLabels.Names).Names }} {{ urlquery .CommonLabels.a }} {{ js .CommonLabels.a }}"
)


@given(NOTIFICATIONS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_data_is_printed_as_amtool_does(amtool: Amtool, told: Notification) -> None:
    assert ours(EVERYTHING, told) == amtool.render(EVERYTHING, told)
    page = "<p title='{{ .CommonLabels.a }}'>{{ .CommonLabels.Values | join `;` }}</p>"
    assert ours(page, told, html=True) == amtool.render(page, told, html=True)


# -- default templates --------------------------------------------------------------------------------------------------

OWN_WORDS = {"email.default.html", "__subject"}
"""What is not to be the same: our mail, and a subject without blanks where nothing follows."""


def defined_upstream() -> list[str]:
    texts = [path.read_text() for path in DEFAULTS.glob("*.tmpl")]
    return sorted({name for text in texts for name in re.findall(r'define "([^"]+)"', text)})


def test_every_default_template_exists_here() -> None:
    if not DEFAULTS.exists():
        pytest.skip("Alertmanager's default templates are not where Debian's package keeps them")
    assert set(defined_upstream()) <= set(Templates.builtin().names)


@given(NOTIFICATIONS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_default_templates_say_the_same_of_any_alerts(defaults: Amtool, told: Notification) -> None:
    """All at once; a subject is compared without the blanks at its ends and between its parts."""
    names = [name for name in defined_upstream() if name not in OWN_WORDS and "alert_list" not in name]
    names.remove("pagerduty.default.instances")
    calls = [f'{{{{ template "{name}" . }}}}' for name in names]
    calls.append('{{ template "pagerduty.default.instances" .Alerts }}')
    source = "\n@@\n".join(calls)
    theirs, here = defaults.render(source, told), ours(source, told)
    assert theirs is not None
    assert here is not None
    for name, his, mine in zip(
        [*names, "instances"], theirs.split("\n@@\n"), here.split("\n@@\n"), strict=True
    ):
        assert _subject(mine) == _subject(his), name


def _subject(text: str) -> str:
    return re.sub(r" +", " ", re.sub(r" +(?=$|\n| \|)", "", text))
