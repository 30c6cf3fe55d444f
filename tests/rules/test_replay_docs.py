"""The page on replays: its rule file is good."""

import re
from pathlib import Path

from otero.check import Kind, check_files

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "replay.md").read_text()


def test_the_documented_file_is_good(tmp_path: Path) -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "r.yml").write_text(block)
    [report] = check_files([tmp_path / "r.yml"], {})
    assert (report.kind, report.findings) == (Kind.RULES, ())
