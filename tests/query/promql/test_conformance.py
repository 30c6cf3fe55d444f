"""The test files of Prometheus 3.14 and our own, through the runner; range and instant queries must agree throughout.

`FILES` holds how many evaluations each of Prometheus' files has; all of them pass. `NOT_ON_A_GRID` holds how many of
them are not asked both ways, and why.
"""

from collections import Counter
from pathlib import Path

import pytest

from otero.query.promql.spec import run_file

FILES = {
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

STRING = "a string is no answer to a range query"
RANGE_VECTOR = "a range vector is no answer to a range query"
QUERY_TIMES = "start(), end(), step() and range() are those of the query"
NOT_ON_A_GRID = {
    "duration_expression": {QUERY_TIMES: 30},
    "functions": {QUERY_TIMES: 35},
    "literals": {STRING: 5},
    "native_histograms": {QUERY_TIMES: 1},
    "range_queries": {RANGE_VECTOR: 5},
}

OWN = sorted((Path(__file__).parents[2] / "spec" / "promql").glob("*.test"))


@pytest.mark.parametrize("name", FILES)
def test_conformance_file_passes(shared: Path, name: str) -> None:
    path = shared / "conformance" / "promqltest" / f"{name}.test"
    report = run_file(path, grid=True)
    assert "\n".join(f"{f.line}: {f.expr}: {f.reason}" for f in report.failures) == ""
    evaluations = [
        line for line in path.read_text(encoding="utf-8").split("\n") if line.strip().startswith("eval")
    ]
    assert report.passed == FILES[name] == len(evaluations)
    assert Counter(left_out.reason for left_out in report.not_on_grid) == NOT_ON_A_GRID.get(name, {})


def test_every_conformance_file_is_listed(shared: Path) -> None:
    files = (shared / "conformance" / "promqltest").glob("*.test")
    assert {path.stem for path in files} == set(FILES)
    assert sum(FILES.values()) == 2214


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_spec_file_passes(path: Path) -> None:
    report = run_file(path, grid=True)
    assert report.failures == []
    assert report.passed > 0
