"""What `otero check` says of files: kind, faults with their lines, exit code."""

from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from hypothesis import given
from hypothesis import strategies as st

from otero.check import Kind, Severity, check_files
from otero.check.kinds import kind_of
from otero.cli.check import check
from otero.errors import BadConfig
from otero.query.promql.engine import FEATURES
from otero.source import parse_yaml
from tests.conftest import SHARED

SEED = {
    "prometheus.yml": Kind.PROMETHEUS,
    "alert_rules.yml": Kind.RULES,
    "alertmanager.yml": Kind.ALERTMANAGER,
    "slis.yml": Kind.SLIS,
    "slos.yml": Kind.SLOS,
    "dashboard.json": Kind.DASHBOARD,
}


@pytest.mark.parametrize(("name", "kind"), SEED.items())
def test_seed_files_are_recognised_and_good(name: str, kind: Kind, shared: Path) -> None:
    [report] = check_files([shared / "seed" / name])
    assert (report.kind, report.good) == (kind, True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Kind.EMPTY),
        ("scrape_configs: []", Kind.PROMETHEUS),
        ("global: {}\nroute: {}\nreceivers: []", Kind.ALERTMANAGER),
        ("receivers: {otlp: {}}\nlisten: a:1", Kind.OTERO),
        ("storage: {path: x}", Kind.OTERO),
        ("storage: {tsdb: {}}", Kind.PROMETHEUS),
        ("slis: slis.yml\nslos: slos.yml\nrules: []", Kind.OTERO),
        ("basic_auth_users: {}", Kind.WEB),
        ("groups: []", Kind.RULES),
        ("rule_files: [a]\ntests: []", Kind.RULE_TESTS),
        ("- targets: ['a:1']", Kind.TARGETS),
        ("[]", Kind.TARGETS),
        ('{"dashboard": {}}', Kind.DASHBOARD),
        ("services: {}\nversion: 3", Kind.UNKNOWN),
        ("text", Kind.UNKNOWN),
    ],
)
def test_the_kind_follows_from_the_content(text: str, kind: Kind) -> None:
    assert kind_of(parse_yaml(text)) is kind


FAULTS = {
    "promtool/authorization_credentials_file.bad.yml": (4, "does not exist"),
    "promtool/bad-input-series.yml": (3, 'unexpected character "0"'),
    "promtool/bad-rules-syntax-test.yml": (7, "could not parse expression"),
    "promtool/rules_run_extrafields.yml": (7, 'unknown field "namespace"'),
    "promtool/config_with_tls_files.yml": (4, "does not exist"),
    "promtool/bad-sd-file-format.yml": (1, 'did you mean "targets"?'),
    "promtool/bad-rules-syntax.yml": (7, "could not parse expression"),
    "promtool/prometheus-config.bad.yml": (1, "not a file that Otero knows"),
    "promtool/rules-bad.yml": (12, 'undefined variable "$label"'),
    "promtool/rules_extrafields.yml": (7, 'unknown field "namespace"'),
    "promtool/url_in_alert_targetgroup_with_relabel_config.bad.yml": (8, "not a valid hostname"),
    "promtool/url_in_scrape_targetgroup_with_relabel_config.bad.yml": (8, "not a valid hostname"),
    "rulefmt/bad_expr.bad.yaml": (5, "expected type range vector"),
    "rulefmt/bad_field.bad.yaml": (8, 'did you mean "annotations"?'),
    "rulefmt/duplicate_grp.bad.yaml": (3, "repeated in the same file"),
    "rulefmt/invalid_label_name.bad.yaml": (7, "invalid label name"),
    "rulefmt/invalid_record_name.bad.yaml": (4, "invalid recording rule name"),
    "rulefmt/no_rec_alert.bad.yaml": (4, "one of 'record' or 'alert'"),
    "rulefmt/noexpr.bad.yaml": (4, "'expr' must be set"),
    "rulefmt/record_and_alert.bad.yaml": (5, "only one of 'record' and 'alert'"),
    "rulefmt/record_and_for.bad.yaml": (6, "invalid field 'for'"),
    "rulefmt/record_and_keep_firing_for.bad.yaml": (6, "invalid field 'keep_firing_for'"),
}
CANNOT = {
    "rulefmt/legacy_validation_annotation.bad.yaml": "bad only under the legacy naming scheme, good in Prometheus 3's",
}


def conformance_files() -> list[ParameterSet]:
    return [
        pytest.param(
            name, marks=[pytest.mark.xfail(reason=CANNOT[name], strict=True)] if name in CANNOT else []
        )
        for folder in ("promtool", "rulefmt")
        for path in sorted((SHARED / "conformance" / folder).glob("*.y*ml"))
        for name in [f"{folder}/{path.name}"]
    ]


@pytest.mark.parametrize("name", conformance_files())
def test_files_of_promtool_are_judged_as_promtool_judges_them(name: str, shared: Path) -> None:
    features = FEATURES if name == "promtool/features.yml" else frozenset[str]()
    [report] = check_files([shared / "conformance" / name], {}, features=features)
    if name in CANNOT:
        assert not report.good
        return
    if name not in FAULTS:
        assert report.good, [str(finding) for finding in report.findings]
        return
    line, message = FAULTS[name]
    assert any(
        finding.problem.line == line and message in finding.problem.message for finding in report.findings
    ), [str(finding) for finding in report.findings]
    assert not report.good


def test_the_command_prints_one_line_per_file_and_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text("scrape_configs: [{job_name: a}]\ntracing: {endpoint: h}\n")
    bad.write_text("scrape_configs:\n- job_name: a\n  metric_path: /x\n")
    assert check([good]) == 0
    assert check([good, bad]) == 1
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines[0] == f"{good}: Prometheus configuration: 1 warning"
    assert lines[1].startswith(f"{good}:2: tracing: warning: Otero cannot serve this yet")
    assert lines[2] == f"{bad}: Prometheus configuration: 1 error"
    assert (
        lines[3]
        == f'{bad}:3: scrape_configs[0].metric_path: unknown field "metric_path", did you mean "metrics_path"?'
    )
    assert len(lines) == 4


def test_an_unusable_call_is_told_from_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check([tmp_path / "absent.yml"]) == 2
    assert check([]) == 2
    assert "no such file" in capsys.readouterr().err


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_no_bytes_make_the_check_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.yml"
    path.write_bytes(data)
    [report] = check_files([path], {})
    assert isinstance(report.kind, Kind)


@given(st.text(alphabet="[]{}:,\n -ab'&*", max_size=40))
def test_every_node_has_a_kind(text: str) -> None:
    try:
        node = parse_yaml(text)
    except BadConfig:
        return
    assert isinstance(kind_of(node), Kind)


def test_an_alertmanager_yml_is_checked_with_its_templates(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(
        "route:\n  receiver: team\n  routes:\n  - receiver: taem\n    matchers: ['a = b c']\n"
        "receivers:\n- name: team\ntemplates: ['*.tmpl']\n"
    )
    [report] = check_files([path])
    assert report.checked
    assert [(finding.severity, finding.problem.line) for finding in report.findings] == [
        (Severity.ERROR, 4),
        (Severity.WARNING, 5),
    ]
    path.write_text("route: {receiver: team}\nreceivers: [{name: team}]\ntemplates: ['*.tmpl']\n")
    (tmp_path / "broken.tmpl").write_text("\n{{ define }}")
    [report] = check_files([path])
    assert [(finding.problem.file, finding.problem.line) for finding in report.findings] == [
        (str(tmp_path / "broken.tmpl"), 2)
    ]
