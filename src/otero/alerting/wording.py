"""How decisions word times, spans and numbers."""

from datetime import UTC, datetime

from otero.fields import Duration


def when(time_ms: int) -> str:
    """`2026-11-24 21:40:05 UTC`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(ms: int) -> str:
    """`1h30m`; of more than a minute, whole seconds only."""
    return str(Duration(ms if ms < 60_000 else ms // 1000 * 1000))


def count(number: int, noun: str) -> str:
    """`1 alert`, `2 alerts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
