"""`otero test rules` as a command: exit codes, difference, JUnit."""

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from otero.cli.rule_tests import run_rule_tests


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Path:
    for name in ("rules.yml", "failing.yml", "rules_run.yml", "no-test-group-interval.yml"):
        shutil.copy(shared / "conformance" / "promtool" / name, tmp_path)
    return tmp_path


def test_the_exit_code_tells_failures_from_a_wrong_call(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = folder / "no-test-group-interval.yml"
    assert run_rule_tests([good]) == 0
    assert run_rule_tests([good, folder / "failing.yml"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 4 failed"
    assert run_rule_tests([good, folder / "absent.yml"]) == 2
    assert run_rule_tests([good], only=["("]) == 2
    assert "absent.yml" in capsys.readouterr().err


def test_the_difference_shows_both_sides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_rule_tests([folder / "rules_run.yml"], only=["wrong"], diff=True) == 1
    assert capsys.readouterr().out.splitlines()[1:3] == ["    - test 1", "    + test 0"]


def test_results_are_written_as_junit(folder: Path, tmp_path: Path) -> None:
    run_rule_tests([folder / "rules_run.yml", folder / "failing.yml"], junit=tmp_path / "out.xml")
    suites = list(ET.parse(tmp_path / "out.xml").getroot())
    assert [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("2", "1", "0"),
        ("2", "2", "0"),
    ]
    assert [case.get("name") for case in suites[0]] == ["correct test", "wrong test"]
    [failure] = suites[0][1]
    assert failure.get("message") == "line 26: test at 0s"
