"""The tutorials are followed, step by step, and print what they say."""

import re
from pathlib import Path

import pytest

from tests.docs.tutorial import Shell, fits, follow, steps_of
from tests.e2e.server import free_port

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"


@pytest.mark.e2e
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["metrics", "alerts", "tracing"])
def test_what_the_tutorial_says_is_what_happens(name: str, tmp_path: Path) -> None:
    ports = {port: str(free_port()) for port in ("9090", "5000", "5001", "5002")}
    text = re.sub(
        r"(127\.0\.0\.1:|port=)(9090|500[0-2])\b",
        lambda match: match[1] + ports[match[2]],
        (TUTORIALS / f"{name}.md").read_text(),
    )
    text = text.replace("otero serve", f"otero serve --listen 127.0.0.1:{ports['9090']}")
    url = f"http://127.0.0.1:{ports['9090']}"
    # Otero's usual OTLP port may be somebody else's here; its HTTP port takes OTLP as well.
    shell = Shell(tmp_path, {"OTERO_URL": url, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "COLUMNS": "200"})
    try:
        follow(steps_of(text), shell, tmp_path)
    finally:
        shell.end()


def test_what_is_shown_is_compared_line_by_line() -> None:
    assert fits("\na 1\nb 2\n\n", "a 1\nb …\n")
    assert fits("a\nb\nc\n", "…\nc\n")
    assert fits("c\n", "…\nc\n…\n")
    assert not fits("a 1\nb 2\n", "a …\n")
    assert not fits("a\nb\n", "b\n")
    assert not fits("", "a\n")
