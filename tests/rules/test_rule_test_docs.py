"""The page on tests of rules: its files are what it says, and the output is what comes."""

import re
from pathlib import Path

import pytest

from otero.check import Kind, check_files
from otero.cli.rule_tests import run_rule_tests

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "rule-tests.md").read_text()


def test_the_page_shows_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for name, block in blocks:
        (tmp_path / name).write_text(f"# {name}\n{block}")
    monkeypatch.chdir(tmp_path)
    reports = check_files([tmp_path / name for name, _ in blocks], {})
    assert [(report.kind, report.findings) for report in reports] == [(Kind.RULES, ()), (Kind.RULE_TESTS, ())]
    assert run_rule_tests([Path("shop_test.yml")]) == 1
    [console] = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert console == "$ otero test rules shop_test.yml\n" + capsys.readouterr().out
