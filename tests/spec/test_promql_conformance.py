"""Prometheus' own test files of PromQL, run against the engine."""

from pathlib import Path

import pytest

from otero.query.promql.spec import run_file

COMPLETE = (
    "aggregators",
    "at_modifier",
    "collision",
    "duration_expression",
    "extended_vectors",
    "fill-modifier",
    "functions",
    "histograms",
    "info",
    "limit",
    "literals",
    "name_label_dropping",
    "native_histograms",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "start_timestamps",
    "subquery",
    "trig_functions",
    "type_and_unit",
)
"""Files in which nothing fails (native histograms are not judged yet)."""


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_files_stay_complete(shared: Path, name: str) -> None:
    report = run_file(shared / "conformance" / "promqltest" / f"{name}.test")
    assert report.failures == []
    assert report.passed > 0


def test_no_evaluation_crashes(shared: Path) -> None:
    crashes = [
        f"{path.name}:{failure.line}: {failure.reason}"
        for path in sorted((shared / "conformance" / "promqltest").glob("*.test"))
        for failure in run_file(path).failures
        if failure.reason.startswith("crash")
    ]
    assert crashes == []
