"""Times and spans as texts: how wires write them, and how people read them. All are milliseconds since the Unix epoch."""

from datetime import UTC, datetime
from functools import lru_cache

from otero.fields import Duration

NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time, which stands for no time."""


@lru_cache(maxsize=4096)
def rfc3339(time_ms: int) -> str:
    """`2026-11-22T12:03:00.5Z`: as Go's JSON writes it, with no more digits of a second than there are; 0 is `NEVER`."""
    if not time_ms:
        return NEVER
    seconds, rest = divmod(time_ms, 1000)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{rest:03d}".rstrip("0") + "Z" if rest else f"{text}Z"


def rfc3339_ms(time_ms: int) -> str:
    """`2026-11-22T12:03:00.500Z`: as go-openapi's date-time, always with three digits; 0 is the beginning of year 1."""
    if not time_ms:
        return "0001-01-01T00:00:00.000Z"
    seconds, rest = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def when(time_ms: int) -> str:
    """`2026-11-24 21:40:05 UTC`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(ms: int) -> str:
    """`1h30m`; of more than a minute, whole seconds only."""
    return str(Duration(ms if ms < 60_000 else ms // 1000 * 1000))
