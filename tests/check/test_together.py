"""Files checked against each other: what is certain is said with its line and cure, what is not certain is not."""

from pathlib import Path

import pytest

from otero.check import check_files
from otero.check.rule_labels import labels_of
from otero.query.promql.parser import parse

RULES = """
groups:
- name: g
  rules:
  - alert: Down
    expr: sum by (job) (up) == 0
    labels: {severity: critical}
  - alert: Slow
    expr: latency > 5
    labels: {severity: warning}
"""
AM = """
route:
  receiver: mail
  routes:
  - {matchers: [severity="critical"], receiver: mail}
receivers:
- name: mail
  webhook_configs: [{url: 'http://localhost:1/'}]
"""
PROMETHEUS = "global: {external_labels: {cluster: eu}}\nscrape_configs: []\n"


def said(folder: Path, metrics: set[str] | None = None, **files: str) -> list[str]:
    """The findings on these files, `file:line: text`."""
    paths = [folder / f"{name}.yml" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    found = check_files(paths, {}, metrics=metrics)
    return [
        f"{Path(finding.problem.file).stem}:{finding.problem.line}: {finding.problem.message}"
        for report in found
        for finding in report.findings
    ]


def test_files_that_agree_are_good(tmp_path: Path) -> None:
    assert said(tmp_path, rules=RULES, am=AM, prometheus=PROMETHEUS) == []


def test_the_seed_is_good_together(shared: Path) -> None:
    seed = shared / "seed"
    found = check_files([seed / n for n in ("prometheus.yml", "alert_rules.yml", "alertmanager.yml")], {})
    texts = [str(finding) for report in found for finding in report.findings]
    assert [text for text in texts if "later release" not in text] == []


@pytest.mark.parametrize(
    ("expr", "name", "value"),
    [
        ("up", "job", None),
        ('up{job="a"}', "job", "a"),
        ('up{job=~"a"}', "job", None),
        ("sum by (job) (up)", "job", None),
        ("sum by (job) (up)", "instance", ""),
        ('sum by (job) (up{job="a", x="y"})', "job", "a"),
        ('sum by (job) (up{job="a", x="y"})', "x", ""),
        ("sum without (job) (up)", "job", ""),
        ("sum without (job) (up)", "instance", None),
        ("topk(3, up)", "instance", None),
        ('count_values("version", build)', "version", None),
        ("-(sum(rate(x[5m])) / 2) > 5", "job", ""),
        ("5 < sum(x)", "job", ""),
        ("sum(x) > bool 1 and on () y", "job", ""),
        ("y and sum(x)", "job", None),
        ("sum by (a) (x) or sum by (b) (y)", "a", None),
        ("sum by (a) (x) or sum by (b) (y)", "c", ""),
        ("sum by (a) (x) / on (a) group_left (b) y", "b", None),
        ('label_replace(sum(x), "a", "b", "", "")', "a", None),
        ("histogram_quantile(0.9, sum by (le) (rate(x[1m])))", "le", ""),
        ("histogram_quantile(0.9, sum by (le, job) (rate(x[1m])))", "job", None),
        ('absent(up{job="a", x=~"y"})', "job", "a"),
        ('absent(up{job="a", x=~"y"})', "x", ""),
        ("vector(1)", "job", ""),
        ("max_over_time(sum(x)[5m:])", "job", ""),
        ("rate(x[5m])", "job", None),
        ("info(x)", "job", None),
    ],
)
def test_what_can_be_said_of_a_label(expr: str, name: str, value: str | None) -> None:
    features = frozenset({"promql-experimental-functions"})
    assert labels_of(parse(expr, features=features)).value(name) == value


def routed(*routes: str) -> str:
    listed = "".join(f"\n  - {{{route}}}" for route in routes)
    return AM.replace("""\n  - {matchers: [severity="critical"], receiver: mail}""", listed)


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (
            'matchers: [severity="critcal"]',
            'severity of the rules\' alerts is "critical" or "warning", did you',
        ),
        ('matchers: [team="a"]', None),
        ('matchers: [severity="critical", job="a"]', None),
        ('matchers: [severity="critical", instance="a"]', "none matches all of"),
        ('matchers: [alertname="Up"]', 'alertname of the rules\' alerts is "Down" or "Slow"'),
        ('matchers: [alertname=~"D.*", severity="warning"]', "none matches all of"),
        ('matchers: [cluster="us"], continue: true', None),
        ('matchers: [severity="critical", cluster="us"]', "none matches all of"),
        ('match: {severity: critical}, routes: [{matchers: [severity="warning"]}]', "none matches all of"),
        ('match: {severity: critical}, routes: [{matchers: [x="y"]}]', "none matches all of"),
        ('match: {severity: warning}, routes: [{matchers: [x="y"]}]', None),
        ('matchers: [severity!="critical"], continue: true', None),
    ],
)
def test_routes_that_no_rule_reaches(tmp_path: Path, route: str, text: str | None) -> None:
    found = said(tmp_path, rules=RULES, am=routed(route), prometheus=PROMETHEUS)
    if text is None:
        assert found == []
    elif "routes:" in route:
        assert len(found) == 1
        assert "no alert of the given rules comes here" in found[0]
    else:
        assert len(found) == 1
        assert found[0].startswith("am:5: no alert of the given rules comes here: ")
        assert text in found[0]


def test_without_prometheus_yml_external_labels_are_not_known(tmp_path: Path) -> None:
    am = routed('matchers: [cluster="us"]', 'matchers: [severity="critical", instance="a"]')
    assert said(tmp_path, rules=RULES, am=am) == []


@pytest.mark.parametrize(
    ("first", "second", "shadows"),
    [
        ('matchers: [a="b"]', 'matchers: [a="b", c="d"]', True),
        ('matchers: [a=~"b|c"]', 'matchers: [a="c"]', True),
        ("receiver: mail", 'matchers: [a="c"]', True),
        ('matchers: [a=~"b|c"]', 'matchers: [a="d"]', False),
        ('matchers: [a="b"], continue: true', 'matchers: [a="b"]', False),
        ('matchers: [a="b", c="d"]', 'matchers: [a="b"]', False),
        ('matchers: [a=~"b"]', 'matchers: [a=~"b|c"]', False),
    ],
)
def test_routes_behind_one_that_takes_all(tmp_path: Path, first: str, second: str, shadows: bool) -> None:
    found = said(tmp_path, am=routed(first, second))
    if shadows:
        [text] = found
        assert text.startswith("am:6: no alert comes here: route.routes[0] takes all of them")
    else:
        assert found == []


def test_what_nothing_uses(tmp_path: Path) -> None:
    more = """
- name: spare
time_intervals:
- name: night
  time_intervals: [{months: ['1']}]
"""
    assert said(tmp_path, am=AM.rstrip() + more) == [
        'am:9: no route leads to the receiver "spare"; name it in a route, or delete it',
        'am:11: no route uses the time interval "night"; name it in a route, or delete it',
    ]


def test_alerts_of_which_nobody_is_told(tmp_path: Path) -> None:
    am = routed('matchers: [severity="critical"], receiver: nobody', "matchers: [a=b], receiver: nobody")
    found = said(tmp_path, rules=RULES, am=am + "- name: nobody\n")
    assert found == [
        'rules:5: nobody is told of this alert: it goes to the receiver "nobody", which has no integrations'
    ]


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ('source_matchers: [severity="critical"], target_matchers: [severity="warning"], equal: [job]', []),
        (
            'source_matchers: [severity="page"], target_matchers: [severity="warning"]',
            ['it inhibits nothing: no alert of the given rules is a source: severity="page"'],
        ),
        (
            'source_matchers: [severity="critical"], target_matchers: [severity="warnin"]',
            [
                'no alert of the given rules is a target: severity="warnin", but severity of',
                'mean "warning"?',
            ],
        ),
        (
            'source_matchers: [severity="critical"], target_matchers: [severity="warning"], equal: [severity]',
            ['severity is "critical" on sources and "warning" on targets, never equal'],
        ),
        (
            'source_matchers: [alertname="Down"], target_matchers: [alertname="Down"], equal: [node]',
            ["has a label node: absent on both sides is equal"],
        ),
        ('source_matchers: [alertname="Slow"], target_matchers: [alertname="Down"], equal: [node]', []),
    ],
)
def test_inhibitions_that_inhibit_nothing(tmp_path: Path, rule: str, texts: list[str]) -> None:
    am = f"{AM}inhibit_rules:\n- {{{rule}}}\n"
    found = said(tmp_path, rules=RULES, am=am, prometheus=PROMETHEUS)
    assert len(found) == bool(texts)
    for text in texts:
        assert text in found[0]
        assert found[0].startswith("am:10: ")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("{{ $labels.job }} {{ $value | humanize }}", ""),
        (
            "{{ $labels.instance }}",
            "$labels.instance is always empty: the expression gives no label instance; it",
        ),
        ("{{ humanize $labels.job }}", ""),
        ("{{ humanize $labels.job $value }}", "wrong number of args for humanize"),
        ('{{ reReplaceAll "(" "" $labels.job }}', "the template fails on the alerts of this rule"),
        ('{{ with query "up" }}{{ . | first | value }}{{ end }}', ""),
        ("{{ parseDuration $labels.job }}", ""),
        ("{{ index $labels 1 }}", "the template fails on the alerts of this rule"),
    ],
)
def test_templates_of_rules(tmp_path: Path, annotation: str, text: str) -> None:
    rules = RULES.replace(
        "{severity: critical}", f"{{severity: critical}}\n    annotations: {{a: '{annotation}'}}"
    )
    found = said(tmp_path, rules=rules)
    assert len(found) == bool(text)
    if text:
        assert text in found[0]
        assert found[0].startswith("rules:8: ")


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("{{ .CommonLabels.alertname }} {{ (index .Alerts 0).Labels.instance }}", ""),
        ("{{ .CommonLabels.alertname.x }}", "the template fails on every alert that comes here"),
        ('{{ template "nix" . }}', 'template "nix" not defined'),
        ("{{ (index .Alerts 3).Labels.instance }}", "the template fails on every alert that comes here"),
    ],
)
def test_templates_of_receivers(tmp_path: Path, title: str, text: str) -> None:
    hook = f"slack_configs: [{{api_url: 'http://localhost:1/', channel: x, title: '{title}'}}]"
    am = AM.replace("webhook_configs: [{url: 'http://localhost:1/'}]", hook)
    found = said(tmp_path, rules=RULES, am=am)
    assert len(found) == bool(text)
    if text:
        assert text in found[0]
        assert found[0].startswith("am:8: ")
    assert said(tmp_path, am=am) == [], "without a rule nothing comes there"


def test_metrics_that_a_server_does_not_have(tmp_path: Path) -> None:
    rules = """
groups:
- name: g
  rules:
  - {record: job:up, expr: sum by (job) (up)}
  - {alert: A, expr: job:up < 1 or absent(gone) or ALERTS > 0 or http_request_total > 1}
"""
    found = said(tmp_path, {"up", "http_requests_total"}, rules=rules)
    assert found == [
        'rules:6: the server has no metric http_request_total, did you mean "http_requests_total"?'
    ]
    assert said(tmp_path, rules=rules) == []


def test_files_that_another_one_names_are_looked_at_with_it(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES.replace("sum by (job) (up) == 0", "vector(1)"))
    (tmp_path / "am.yml").write_text(routed('matchers: [severity="page"]'))
    otero = "prometheus: {rule_files: [rules.yml], global: {external_labels: {severity: x}}}\nalertmanager: am.yml\n"
    found = said(tmp_path, otero=otero)
    assert [text[:45] for text in found] == ["am:5: no alert of the given rules comes here:"]
    inline = f"rules: [rules.yml]\nalertmanager:{routed('matchers: [severity=x]').replace(chr(10), chr(10) + '  ')}\n"
    [text] = said(tmp_path, otero=inline)
    assert text.startswith("otero:6: no alert of the given rules comes here")
