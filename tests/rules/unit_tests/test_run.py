"""Unit tests of rules: promtool's own files, what differs in words, options."""

from pathlib import Path

import pytest

from otero.errors import BadConfig
from otero.rules.unit_tests.run import FileReport, run_file

JUDGED = {
    "unittest.yml": (26, 0),
    "at-modifier-test.yml": (1, 0),
    "negative-offset-test.yml": (1, 0),
    "no-test-group-interval.yml": (2, 0),
    "start-time-test.yml": (9, 0),
    "long-period.yml": (4, 0),
    "bad-rules-error-test.yml": (0, 1),
    "bad-rules-syntax-test.yml": (0, 1),
    "bad-input-series.yml": (0, 1),
    "bad-promql.yml": (0, 1),
    "failing.yml": (0, 4),
    "rules_run.yml": (1, 1),
    "rules_run_fuzzy.yml": (2, 2),
    "rules_run_no_fuzzy.yml": (0, 2),
    "rules_run_extrafields.yml": (0, 1),
}


@pytest.mark.parametrize("name", JUDGED)
def test_files_of_promtool_pass_and_fail_as_there(name: str, shared: Path) -> None:
    report = run_file(shared / "conformance" / "promtool" / name)
    assert (report.passed, report.failed) == JUDGED[name]


def test_unknown_fields_of_rule_files_can_be_passed_over(shared: Path) -> None:
    report = run_file(shared / "conformance" / "promtool" / "rules_run_extrafields.yml", ignore_unknown=True)
    assert (report.passed, report.failed) == (1, 0)


@pytest.mark.parametrize(("only", "passed", "failed"), [("correct", 1, 0), ("wrong", 0, 1), ("^test$", 0, 0)])
def test_tests_are_chosen_by_a_regular_expression(only: str, passed: int, failed: int, shared: Path) -> None:
    report = run_file(shared / "conformance" / "promtool" / "rules_run.yml", only=[only])
    assert (report.passed, report.failed) == (passed, failed)


RULES = """groups:
- name: first
  rules:
  - record: late
    expr: early * 2
  - alert: Errors
    expr: errors > 0
    for: 2m
    labels: {severity: page}
    annotations: {summary: '{{ $value }} in {{ $externalLabels.region }} at {{ $externalURL }}'}
- name: second
  rules:
  - record: early
    expr: sum(errors)
"""


def run(tmp_path: Path, tests: str, rules: str = RULES) -> FileReport:
    (tmp_path / "rules").mkdir(exist_ok=True)
    (tmp_path / "rules" / "r.yml").write_text(rules)
    path = tmp_path / "t.yml"
    path.write_text("rule_files: ['r*/*.yml']\n" + tests)
    return run_file(path)


def findings(report: FileReport) -> list[tuple[int, str, tuple[str, ...]]]:
    return [
        (failure.line, failure.what, failure.differences.findings)
        for test in report.tests
        for failure in test.failures
    ]


def test_differences_are_told_label_by_label(tmp_path: Path) -> None:
    report = run(
        tmp_path,
        """tests:
- interval: 1m
  external_labels: {region: eu}
  external_url: http://here/
  input_series:
  - {series: 'errors{job="a"}', values: '5x10'}
  alert_rule_test:
  - eval_time: 2m
    alertname: Errors
    exp_alerts:
    - exp_labels: {job: a, severity: page}
      exp_annotations: {summary: 5 in eu at http://here/}
  - eval_time: 2m
    alertname: Errors
    exp_alerts:
    - exp_labels: {job: b, severity: page}
  - eval_time: 1m
    alertname: Errors
    exp_alerts:
    - exp_labels: {job: a, severity: page}
  promql_expr_test:
  - expr: errors
    eval_time: 1m
    exp_samples:
    - {labels: 'errors{job="a"}', value: 4}
    - {labels: 'other', value: 1}
  - expr: errors +
    eval_time: 1m
""",
    )
    assert report.passed == 1
    assert findings(report) == [
        (18, "alert Errors at 1m", ('missing: {alertname="Errors", job="a", severity="page"}', "pending, not firing yet: 1")),
        (
            14,
            "alert Errors at 2m",
            (
                'wrong: {alertname="Errors", job="a", severity="page"}\n'
                '  label job: expected "b", got "a"\n'
                '  annotation summary: expected none, got "5 in eu at http://here/"',
            ),
        ),
        (
            23,
            "errors at 1m",
            ('wrong: errors{job="a"}\n  value: expected 4, got 5', "missing: other 1"),
        ),
        (28, "errors + at 1m", ("1:9: parse error: unexpected end of input",)),
    ]  # fmt: skip


@pytest.mark.parametrize(("order", "value"), [("", 2.0), ("group_eval_order: [second, first]\n", 4.0)])
def test_groups_are_evaluated_in_the_order_that_is_given(tmp_path: Path, order: str, value: float) -> None:
    report = run(
        tmp_path,
        order
        + f"""tests:
- interval: 1m
  input_series:
  - {{series: errors, values: '0+1x5'}}
  promql_expr_test:
  - expr: late
    eval_time: 2m
    exp_samples:
    - {{labels: late, value: {value}}}
""",
    )
    assert findings(report) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("tests: [{alert_rule_test: [{eval_time: 1m}]}]", "needs the name of its alert"),
        ("group_eval_order: [a, a]", "group name repeated in evaluation order: a"),
        ("tests: [{start_timestamp: yesterday}]", "write Unix seconds or RFC 3339"),
        ("tests: [{promql_expr_test: [{exp_samples: [{labels: 'a 1'}]}]}]", "expected labels alone"),
        ("tests: [{promql_expr_test: [{exp_samples: [{histogram: '1'}]}]}]", "expected one histogram"),
        ("tests: [{nmae: x}]", 'did you mean "name"?'),
        ("tests: [{input_series: [{series: a, values: '1x9999999'}]}]", "invalid repetition"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, wrong: str, told: str) -> None:
    report = run(tmp_path, wrong)
    assert report.failed == 1
    assert told in report.errors[0]


def test_a_file_that_is_not_there_is_no_test(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        run_file(tmp_path / "absent.yml")


def test_patterns_that_match_nothing_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "t.yml"
    path.write_text("rule_files: [no*.yml]\ntests: []\n")
    assert "no file matches" in run_file(path).warnings[0]
