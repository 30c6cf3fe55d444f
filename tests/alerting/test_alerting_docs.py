"""What the user guide says of alertmanager.yml is true: blocks load, keys have their rows."""

import re
from pathlib import Path

import msgspec
import pytest

from otero.alerting.config import read_alertmanager
from otero.alerting.matchers import parse_matchers
from otero.alerting.route import RouteConfig
from otero.alerting.time_intervals import TimeInterval
from otero.source import Reader, parse_yaml

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "alerting.md").read_text()
ROWS = [line.split(" | ")[0] for line in TEXT.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_each_block_is_a_configuration(block: str) -> None:
    reader = Reader("alerting.md")
    read_alertmanager(parse_yaml(block), reader)
    assert reader.warnings == []


@pytest.mark.parametrize(
    "key",
    [field.encode_name for type_ in (RouteConfig, TimeInterval) for field in msgspec.structs.fields(type_)],
)
def test_each_key_has_a_row(key: str) -> None:
    assert any(f"`{key}`" in row for row in ROWS)


def test_each_matcher_is_one() -> None:
    block = re.search(r"^```\n(severity=.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert block is not None
    for line in block[1].splitlines():
        parsed = parse_matchers(line)
        assert parsed.matchers
        assert parsed.warning == ""
