"""Templates of labels and annotations, beside promtool's, which prints what it got."""

import ast
import json
import re
import shutil
import subprocess

import pytest

from otero.gotemplate import TemplateError
from otero.rules.alert_rule import AlertingRule
from otero.rules.config import Rule
from otero.rules.template import AlertTemplates, check_template
from tests.rules.memory import START_MS, MemoryStore

LABELS = {"instance": "db-1.example.org:9100", "job": "node", "path": "/a b/ñ"}
VALUE = 1234567.0
TEXTS = [
    "plain",
    "{{ $value }} {{ $labels.instance }} {{ $labels.absent }}|{{ .Value }} {{ .Labels.job }}",
    "{{ $externalURL }} {{ $externalLabels.none }}",
    *(
        f"{{{{ {number} | {function} }}}}"
        for function in (
            "humanize",
            "humanize1024",
            "humanizeDuration",
            "humanizePercentage",
            "humanizeTimestamp",
        )
        for number in (
            "0",
            "1",
            "-1",
            "0.5",
            "12.345",
            "999.9",
            "1000",
            "1024",
            "123456.7",
            "-98765.4321",
            "1e21",
            "1e30",
            "0.000123",
            "-0.0456",
            "1e-27",
            "86400",
            "93784.5",
            "-3601",
            "59.99",
            "60",
            '"12.5"',
            "1700000000.25",
        )
        if not (function in ("humanizeTimestamp", "humanizeDuration") and number in ("1e21", "1e30"))
    ),
    "{{ humanize $value }} {{ humanizeTimestamp 1.435781430e9 }}",
    '{{ humanize "x" }}',
    '{{ title "hello big-world" }} {{ toUpper "aé" }} {{ toLower "AÉ" }}',
    '{{ match "^a.c$" "abc" }} {{ match "b" "abc" }} {{ if match "x" "abc" }}y{{ else }}n{{ end }}',
    '{{ reReplaceAll "(a)(?P<n>b)?" "<$1-$2x-${2}-${n}-$$>" "abcab" }} {{ reReplaceAll ":.*" "" $labels.instance }}',
    '{{ graphLink "up == 0 and x{a=\\"b\\"}" }} {{ tableLink "rate(x[5m]) > 1" }}',
    '{{ stripPort $labels.instance }} {{ stripPort "[::1]:80" }} {{ stripPort "a" }} {{ stripPort "a:b:c" }}',
    '{{ stripDomain $labels.instance }} {{ stripDomain "1.2.3.4:80" }} {{ stripDomain "a.b" }} {{ stripDomain "[::1]:8" }}',
    '{{ safeHtml "<b>" }} {{ "<i>" }}',
    '{{ parseDuration "1h30m" }}',
    '{{ with query "sort(up)" }}{{ . | first | value }} {{ . | first | label "job" }}{{ end }}',
    '{{ range query "sort(up)" | sortByLabel "instance" }}{{ .Labels.instance }}={{ .Value }};{{ end }}',
    '{{ query "absent_metric" | first | value }}',
    '{{ query "up{" | len }}',
    '{{ range $i, $s := query "up" | sortByLabel "instance" }}{{ $i }}{{ strvalue $s }}{{ end }}',
    '{{ query "scalar(vector(4.5))" | first | value | printf "%.3f" }}',
    '{{ define "t" }}[{{ .arg0 }} {{ .arg1 }}]{{ end }}{{ template "t" (args 1 "b") }}',
    '{{ toTime 1435781430.5 }} {{ (toTime "1435781430").Year }}',
    '{{ printf "%.2f %s %v" $value $labels.job $value }}',
    "{{ $labels }} {{ len $labels }} {{ range $k, $v := $labels }}{{ $k }}={{ $v }},{{ end }}",
]


OTHER = {"instance": "app-1:80", "job": "app"}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("promtool")
    annotations = {f"a{at:03d}": text for at, text in enumerate(TEXTS)}
    rule = {"alert": "A", "expr": "up > 10", "annotations": annotations}
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    series = [
        {
            "series": f"up{{{','.join(f'{k}={json.dumps(v)}' for k, v in labels.items())}}}",
            "values": f"{value}",
        }
        for labels, value in ((LABELS, VALUE), (OTHER, 1))
    ]
    case = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": "0m", "alertname": "A", "exp_alerts": []}],
    }
    (folder / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [case]}))
    done = subprocess.run(
        [promtool, "test", "rules", folder / "test.yml"], capture_output=True, text=True, check=False
    )
    got = (done.stdout + done.stderr).split("got:", 1)[1]
    shown = re.search(r"Annotations:\{(.*)\}$", got, re.MULTILINE | re.DOTALL)
    assert shown is not None, got
    pairs = re.findall(r'(a\d\d\d)=("(?:[^"\\]|\\.)*")', shown[1])
    return {name: ast.literal_eval(text) for name, text in pairs}


@pytest.fixture(scope="module")
def ours() -> dict[str, str]:
    store = MemoryStore()
    named = {"__name__": "up"}
    store.give(START_MS, ({**named, **LABELS}, VALUE), ({**named, **OTHER}, 1))
    annotations = {f"a{at:03d}": text for at, text in enumerate(TEXTS)}
    rule = AlertingRule(Rule(alert="A", expr="up > 10", annotations=annotations), {}, {}, "", frozenset())
    rule.evaluate(START_MS, store.queries, 0)
    [alert] = rule.active.values()
    return dict(alert.annotations)


@pytest.mark.parametrize(("at", "text"), list(enumerate(TEXTS)), ids=TEXTS)
def test_a_template_gives_what_promtool_gives(
    at: int, text: str, ours: dict[str, str], theirs: dict[str, str]
) -> None:
    name = f"a{at:03d}"
    mine, wanted = ours[name], theirs.get(name, "")
    if (
        "<error" in wanted
    ):  # the words before the colons are the same; what follows names the parts of Go's tree
        assert mine.startswith("<error expanding template: error executing template __alert_A: template: ")
        return
    assert mine == wanted


def test_what_later_versions_have() -> None:
    templates = AlertTemplates("A", {"zone": "eu"}, "http://example.org/otero")

    def expand(text: str) -> str:
        return templates.expand(text, {}, 1.0, 90_000, lambda _query, _time_ms: [])

    assert expand("{{ now }} {{ toDuration 90.5 }}") == "90 1m30.5s"
    assert expand('{{ urlQueryEscape "a b&c" }} {{ pathPrefix }}') == "a+b%26c /otero"
    assert expand("{{ $externalLabels.zone }} {{ externalURL }}") == "eu http://example.org/otero"
    assert "too deeply" in expand('{{ define "t" }}{{ tmpl "t" . }}{{ end }}{{ tmpl "t" . }}')


def test_faults_are_found_without_running() -> None:
    check_template(
        "A", "{{ $labels.x }} {{ $externalLabels.y }} {{ query $externalURL | first | value }} {{ now }}"
    )
    for text in ("{{ nothing }}", "{{ $other }}", "{{ if }}", "{{ end"):
        with pytest.raises(TemplateError, match="__alert_A:1"):
            check_template("A", text)
