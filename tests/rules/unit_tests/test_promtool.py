"""Debian's `promtool test rules` as the oracle: what our rules give must pass there, and anything else must fail."""

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from otero.rules.unit_tests.run import run_file

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: apt install prometheus"
)

# No sample lies at the very edge of a range or a lookback of any evaluation, where Prometheus 3 differs from Debian's 2.42
# (there it belongs to it): none is at the start, all others are off whole seconds, and the last go on to the end.
INTERVAL = "40s1ms"
VALUES = st.lists(
    st.sampled_from(["0", "1", "5", "-2", "0+1x4", "10-3x3", "1x2", "_", "_x2", "stale", "3.5", "NaN"]),
    min_size=8,
    max_size=12,
).map(lambda items: " ".join(["_", *items, "2x60"]))
SERIES = st.dictionaries(
    st.sampled_from([f'{name}{{job="{job}",i="{i}"}}' for name in "xy" for job in "ab" for i in "01"]),
    VALUES,
    min_size=1,
    max_size=5,
)
EXPRESSIONS = st.sampled_from(
    ["x > 1", "y == 0", "sum by (job) (x) > 2", "x - on (job, i) y", "rate(x[150s]) > 0", "x unless y", "count(y)",
     "absent(y)", 'x{job="a"} or y', "vector(1)", "avg_over_time(y[110s])", "r0 > 0", "changes(x[130s])", "r1",
     'ALERTS{alertstate="firing"}', "time() % 120 == 0"]
)  # fmt: skip
TEXTS = st.sampled_from(
    [
        "page",
        "{{ $labels.job }}",
        "{{ $value | humanize }}",
        "{{ printf `%.2f` $value }}",
        "v{{ $labels.nope }}",
    ]
)
RULES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"record": st.just("r"), "expr": EXPRESSIONS}),
        st.fixed_dictionaries(
            {"alert": st.sampled_from(["A", "B"]), "expr": EXPRESSIONS},
            optional={
                "for": st.sampled_from(["0s", "1m", "3m", "150s"]),
                "keep_firing_for": st.sampled_from(["1m", "2m"]),
                "labels": st.dictionaries(st.sampled_from(["severity", "job"]), TEXTS, max_size=2),
                "annotations": st.dictionaries(st.just("summary"), TEXTS),
            },
        ),
    ),
    min_size=1,
    max_size=4,
)
TIMES = st.integers(0, 14).map(lambda minutes: f"{minutes}m")


def passes(path: Path) -> tuple[bool, str]:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", path], capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def answers(path: Path, content: dict[str, Any]) -> dict[str, Any] | None:
    """The same file with our answers as expectations; None when a rule cannot be evaluated."""
    path.write_text(yaml.safe_dump(content))
    captured: dict[tuple[str, str], list[Any]] = {}

    def keep(kind: str) -> Any:
        def compare(_expected: Any, got: Any, *_close: Any) -> Any:
            captured.setdefault((kind, "all"), []).append(got)
            return None

        return compare

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otero.rules.unit_tests.run.compare_alerts", keep("alert"))
        patch.setattr("otero.rules.unit_tests.run.compare_samples", keep("expr"))
        report = run_file(path)
    if report.failed:
        return None
    [test] = content["tests"]
    alerts = iter(captured.get(("alert", "all"), []))
    exprs = iter(captured.get(("expr", "all"), []))
    return {
        **content,
        "tests": [
            {
                **test,
                "alert_rule_test": [
                    {
                        **asked,
                        "exp_alerts": [
                            {"exp_labels": labels, "exp_annotations": annotations}
                            for labels, annotations in next(alerts)
                        ],
                    }
                    for asked in test["alert_rule_test"]
                ],
                "promql_expr_test": [
                    {
                        **asked,
                        "exp_samples": [{"labels": _series(labels), "value": value} for labels, value in next(exprs)],
                    }
                    for asked in test["promql_expr_test"]
                ],
            }
        ],
    }  # fmt: skip


def _series(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


@needs_promtool
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # each example runs a program: shrinking takes minutes
)
@given(
    series=SERIES,
    groups=st.lists(RULES, min_size=1, max_size=2),
    alert_times=st.lists(TIMES, min_size=1, max_size=3, unique=True),
    asked=st.lists(st.tuples(EXPRESSIONS, TIMES), min_size=1, max_size=3),
)
def test_promtool_agrees(
    tmp_path: Path,
    series: dict[str, str],
    groups: list[list[dict[str, Any]]],
    alert_times: list[str],
    asked: list[tuple[str, str]],
) -> None:
    for at, rule in enumerate(itertools.chain.from_iterable(groups)):
        if "record" in rule:  # Prometheus refuses a second value of a series at a time, Otero takes the last
            rule["record"] = f"r{at}"
        else:
            rule["labels"] = {**rule.get("labels", {}), "rule": str(at)}
    rules = [{"name": f"g{at}", "rules": rules} for at, rules in enumerate(groups)]
    (tmp_path / "r.yml").write_text(yaml.safe_dump({"groups": rules}))
    alert_times.sort(key=lambda text: int(text[:-1]))
    content = {
        "rule_files": ["r.yml"],
        "group_eval_order": [group["name"] for group in rules],
        "tests": [
            {
                "interval": INTERVAL,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": time, "alertname": name} for time in alert_times for name in ("A", "B")
                ],
                "promql_expr_test": [{"expr": expr, "eval_time": time} for expr, time in asked],
            }
        ],
    }
    path = tmp_path / "t.yml"
    answered = answers(path, content)
    event("a rule cannot be evaluated" if answered is None else "every rule can be evaluated")
    if answered is None:
        assert not passes(path)[0]
        return
    if any(
        sample["value"] != sample["value"]  # promtool takes no NaN for another
        for asked_one in answered["tests"][0]["promql_expr_test"]
        for sample in asked_one["exp_samples"]
    ):
        return
    path.write_text(yaml.safe_dump(answered))
    good, told = passes(path)
    assert good, told
    report = run_file(path)
    assert report.failed == 0, [failure for test in report.tests for failure in test.failures]
    [test] = answered["tests"]
    for kind, key in (("alert_rule_test", "exp_alerts"), ("promql_expr_test", "exp_samples")):
        for question in test[kind]:
            if question[key]:
                event(f"there are {key}")
                question[key] = question[key][1:]
                path.write_text(yaml.safe_dump(answered))
                assert not passes(path)[0]
                assert run_file(path).failed == 1
                return
