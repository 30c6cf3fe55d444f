"""What the guide says is true: its snippets run, and it names every option, metric and check."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from otero_sdk.health import checks
from otero_sdk.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "sdk.md").read_text()
SNIPPETS = re.findall(
    r"^```python\n(.*?)^```", TEXT + (ROOT / "sdk" / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) == 7


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet: str, run: Callable) -> None:
    ask = """
if "app" in globals():
    print("[", ",".join(str(app.test_client().get(path).status_code) for path in ("/health/live", "/metrics")), "]")
"""
    assert run(snippet + ask).answer in (None, [200, 200])


def test_every_option_is_named() -> None:
    options = [field.name for field in fields(Settings)]
    assert [
        name
        for name in (*options, "health", "route")
        if not re.search(rf"^\|.*`{name}`.*\|", TEXT, re.MULTILINE)
    ] == []


def test_every_metric_is_named(run: Callable) -> None:
    ran = run("""
        import json
        from concurrent.futures import ThreadPoolExecutor
        from flask import Flask
        from otero_sdk import HealthChecks, instrument, metrics
        app = Flask("x"); instrument(app, service="x", metric_names=["http", "golden", "otel"], health=HealthChecks({"a": lambda: None}))
        pool = metrics.watch_pool("p", ThreadPoolExecutor(1))
        client = app.test_client(); client.get("/"); text = client.get("/metrics").text
        print(json.dumps([line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]))
    """)
    ours = [
        name
        for name in ran.answer
        if not name.startswith(("process_", "python_")) and not name.endswith("_created")
    ]
    assert len(ours) > 15
    assert [name for name in ours if name not in TEXT] == []


def test_every_check_is_named() -> None:
    assert [name for name in checks.__all__ if f"checks.{name}(" not in TEXT] == []
