"""The guide names every setting and every reason of a refusal, and its configuration loads."""

import re
from pathlib import Path

import msgspec

from otero.check import Kind, check_files
from otero.ingest.receivers.otlp_metrics.config import OtlpConfig

ROOT = Path(__file__).resolve().parents[4]
GUIDE = (ROOT / "docs" / "otlp.md").read_text().partition("## Metrics")[2]


def test_every_setting_has_its_row() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", GUIDE, re.MULTILINE))
    wanted = {
        field.name: {True: "true", False: "false", (): "none"}.get(field.default, field.default)
        for field in msgspec.structs.fields(OtlpConfig)
    }
    assert rows == wanted


def test_every_reason_is_named() -> None:
    sources = [
        *(ROOT / "src/otero/wire").glob("otlp_*.py"),
        *(ROOT / "src/otero/ingest").rglob("otlp_*/*.py"),
    ]
    reasons = {
        reason for source in sources for reason in re.findall(r'\bFault\(\s*"(\w+)"', source.read_text())
    }
    assert len(reasons) > 8
    assert {reason for reason in reasons if f"`{reason}`" not in GUIDE} == set()


def test_the_example_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "prometheus.yml"
    path.write_text(block)
    (report,) = check_files([path], {})
    assert report.kind is Kind.PROMETHEUS
    assert report.good, [str(finding) for finding in report.findings]
    assert not report.findings
