"""Sending what is left when a process ends, within a second whether or not anybody receives it."""

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Final

EXIT_S: Final = 0.75
"""What all signals together may delay the end of the process."""

_shutdowns: list[Callable[[], None]] = []
_registered_by: int | None = None


def at_exit(shutdown: Callable[[], None]) -> None:
    """Call this at the end of the process, in a thread that nobody waits for longer than `EXIT_S`."""
    global _registered_by  # one hook for each process
    _shutdowns.append(shutdown)
    if _registered_by is None:
        _registered_by = os.getpid()
        atexit.register(_leave)


def _leave() -> None:
    until_s = time.monotonic() + EXIT_S
    # Daemons: a send that hangs ends with the process.
    threads = [threading.Thread(target=_quietly, args=(shutdown,), daemon=True) for shutdown in _shutdowns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))


def _quietly(shutdown: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # nobody is left to tell
        shutdown()
