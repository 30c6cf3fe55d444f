"""What the user guide says of the configuration is true: each block loads, each key has its row."""

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest

from otero.check import Kind, check_files
from otero.config import OteroConfig
from otero.config.prometheus import PrometheusConfig

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
TEXT = GUIDE.read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
FILES = ("server.crt", "server.key", "clients.crt", "grafana.token")


@pytest.mark.parametrize(
    ("block", "kind"), list(zip(BLOCKS, (Kind.OTERO, Kind.PROMETHEUS, Kind.WEB, Kind.TARGETS), strict=True))
)
def test_each_documented_block_loads(block: str, kind: Kind, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).touch()
    path = tmp_path / "block.yml"
    path.write_text(block)
    [report] = check_files([path], {"REGION": "eu"})
    assert report.kind is kind
    assert report.good, [str(finding) for finding in report.findings]


def keys(type_: type[msgspec.Struct], prefix: str = "") -> list[str]:
    out: list[str] = []
    for field in msgspec.structs.fields(type_):
        path = f"{prefix}{field.encode_name}"
        member: Any = field.type
        if get_origin(member) is tuple and isinstance(get_args(member)[0], type):
            member, suffix = get_args(member)[0], "[]."
        else:
            suffix = "."
            for choice in get_args(member):  # a section that may be absent
                if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
                    member = choice
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            out += keys(member, path + suffix)
        else:
            out.append(path)
    return out


@pytest.mark.parametrize("key", keys(OteroConfig))
def test_each_key_of_otero_yml_has_a_row(key: str) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert any(f"`{key}`" in row.split(" | ")[0] for row in rows)


@pytest.mark.parametrize("key", [field.encode_name for field in msgspec.structs.fields(PrometheusConfig)])
def test_each_section_of_prometheus_yml_has_a_row(key: str) -> None:
    assert any(line.startswith("| ") and f"`{key}`" in line for line in TEXT.splitlines())
