"""The correlation id: one name for everything that happens on behalf of one request, in all services that it touches.

It comes with `X-Correlation-ID` (or as the member `correlation_id` of W3C baggage), or is made; it is in every log line
and span, goes back to the caller, and goes along with calls to other services (`otero_sdk.correlation.carriers`).
"""

import random
import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote, unquote

HEADER: Final = "X-Correlation-ID"
BAGGAGE_KEY: Final = "correlation_id"
MAX_LENGTH: Final = 128

_VARIANT: Final = "89ab"
_valid = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}").fullmatch
current: Final[ContextVar[str | None]] = ContextVar("otero_correlation_id", default=None)
"""The id in whose name the running code works. Asyncio tasks and instrumented threads inherit it."""


def get() -> str | None:
    """The current correlation id, None outside of any."""
    return current.get()


def new() -> str:
    """A random id in the form of a UUID of version 4. It is a name, not a secret: no system call is paid for it.

    Python seeds its generator again in each forked process.
    """
    text = f"{random.getrandbits(128):032x}"
    return (
        f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"
    )


def accept(value: str | None, baggage: str | None = None) -> str:
    """The caller's id if it is one: at most 128 letters, digits and `._:/+=@-`. Otherwise a new one.

    What a client sends ends up in logs and in headers of other calls, so that anything else is dropped rather than mended.
    """
    if value is not None and _valid(value):
        return value
    if baggage is not None:
        for member in baggage.split(","):
            key, _, rest = member.partition("=")
            if key.strip() == BAGGAGE_KEY:
                carried = unquote(rest.partition(";")[0].strip())
                if _valid(carried):
                    return carried
    return new()


def with_baggage(baggage: str | None, correlation_id: str) -> str:
    """The value of the header `baggage` with the id added to what is there; W3C Baggage, percent-encoded."""
    if not baggage:
        return f"{BAGGAGE_KEY}={quote(correlation_id, safe='')}"
    if f"{BAGGAGE_KEY}=" in baggage:
        return baggage
    return f"{baggage},{BAGGAGE_KEY}={quote(correlation_id, safe='')}"


@contextmanager
def use(correlation_id: str | None = None) -> Generator[str]:
    """Work under this id, or a new one: for jobs and messages that no HTTP request began.

    Raises ValueError when the id is not valid.
    """
    if correlation_id is not None and not _valid(correlation_id):
        raise ValueError(f"a correlation id has at most {MAX_LENGTH} letters, digits and ._:/+=@-")
    chosen = correlation_id or new()
    token = current.set(chosen)
    try:
        yield chosen
    finally:
        current.reset(token)
