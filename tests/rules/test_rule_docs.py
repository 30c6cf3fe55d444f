"""What the page on rules says is true: its rule file loads, it names every function of templates."""

import re
from pathlib import Path

from otero.check import Kind, check_files
from otero.rules.metrics import RuleCollector
from otero.rules.template import FUNCTIONS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text()


def test_the_documented_files_are_good(tmp_path: Path) -> None:
    kinds = []
    for block in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        path = tmp_path / f"{len(kinds)}.yml"
        path.write_text(block)
        [report] = check_files([path], {})
        assert report.good, [str(finding) for finding in report.findings]
        kinds.append(report.kind)
    assert kinds == [Kind.PROMETHEUS, Kind.RULES, Kind.PROMETHEUS]


def test_every_function_and_metric_is_named() -> None:
    names = [family.name for family in RuleCollector(list).collect()]
    assert [name for name in (*FUNCTIONS, *names) if f"`{name}" not in TEXT] == []
