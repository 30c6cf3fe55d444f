"""docs/receivers.md is true: examples load, every receiver and every setting of it is named."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otero.alerting.notify import NOTIFIERS
from otero.alerting.notify.global_config import Global
from otero.source import Reader, parse_yaml
from tests.alerting.notify.test_config import SENDS_RESOLVED_BY_DEFAULT
from tests.alerting.notify.test_retries import ALSO_RETRIED

TEXT = (Path(__file__).parents[3] / "docs" / "receivers.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")[1:]}
HERE = sorted(NOTIFIERS)


@pytest.mark.parametrize("number", range(TEXT.count("```yaml\n")))
def test_examples_load(number: int) -> None:
    node: Any = parse_yaml(re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[number])
    reader = Reader("receivers.md", Path("/etc/otero"))
    global_ = reader.require(node.entries.get("global", parse_yaml("")), Global)
    loaded = 0
    for receiver in node.entries["receivers"].items:
        for key, configs in receiver.entries.items():
            for config in configs.items if key != "name" else ():
                NOTIFIERS[key].complete(reader.require(config, NOTIFIERS[key].Config), global_)
                loaded += 1
    assert loaded
    assert not reader.warnings


@pytest.mark.parametrize("key", HERE)
def test_every_setting_is_named(key: str) -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", SECTIONS[key])) | {"http_config", "send_resolved"}
    names = {field.encode_name for field in msgspec.structs.fields(NOTIFIERS[key].Config)}
    assert names - named == set()


@pytest.mark.parametrize("key", HERE)
def test_the_table_says_what_is_so(key: str) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{key}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    name = key.removesuffix("_configs")
    assert (cells[2] == "yes") is SENDS_RESOLVED_BY_DEFAULT[name]
    assert ("429" in cells[3] or cells[3] == "every answer") is (429 in ALSO_RETRIED.get(name, set()))
