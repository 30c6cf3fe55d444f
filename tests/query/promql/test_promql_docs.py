"""What docs/promql.md says is so."""

import re
from pathlib import Path

from otero.query.promql.parser import FEATURES, MAX_LENGTH, parse
from otero.query.promql.spec import run_file
from otero.query.promql.terms import MAX_DEPTH

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "promql.md").read_text(encoding="utf-8")


def test_query_blocks_parse() -> None:
    blocks = re.findall(r"```promql\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        parse(block, features=FEATURES)


def test_flags_and_limits_are_named() -> None:
    for feature in FEATURES:
        assert f"| `{feature}` |" in TEXT
    assert f"{MAX_LENGTH:,}" in TEXT
    assert f"nest {MAX_DEPTH} levels" in TEXT


def test_test_files_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"```text\n(load .*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        path = tmp_path / "case.test"
        path.write_text(block, encoding="utf-8")
        report = run_file(path, grid=True)
        assert report.failures == []
        assert report.passed == block.count("\neval ")
