"""The test files of Prometheus 3.14 and our own, through the runner.

`EXPECTED` holds how many evaluations each of Prometheus' files has; all of them pass.
"""

from pathlib import Path

import pytest

from otero.query.promql.spec import run_file

EXPECTED = {
    "aggregators": 160,
    "at_modifier": 78,
    "collision": 2,
    "duration_expression": 59,
    "extended_vectors": 169,
    "fill-modifier": 46,
    "functions": 431,
    "histograms": 185,
    "info": 53,
    "limit": 37,
    "literals": 25,
    "name_label_dropping": 30,
    "native_histograms": 522,
    "operators": 214,
    "range_queries": 18,
    "selectors": 31,
    "staleness": 17,
    "start_timestamps": 26,
    "subquery": 34,
    "trig_functions": 19,
    "type_and_unit": 58,
}

OWN = sorted((Path(__file__).parents[2] / "spec" / "promql").glob("*.test"))


@pytest.mark.parametrize("name", EXPECTED)
def test_conformance_file_passes(shared: Path, name: str) -> None:
    report = run_file(shared / "conformance" / "promqltest" / f"{name}.test")
    failures = "\n".join(f"{f.line}: {f.expr}: {f.reason}" for f in report.failures)
    assert not report.failures, failures
    assert report.unsupported == []
    assert report.passed == EXPECTED[name]


def test_every_conformance_file_is_listed(shared: Path) -> None:
    files = (shared / "conformance" / "promqltest").glob("*.test")
    assert {path.stem for path in files} == set(EXPECTED)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_spec_file_passes(path: Path) -> None:
    report = run_file(path)
    assert report.failures == []
    assert report.unsupported == []
    assert report.passed > 0
