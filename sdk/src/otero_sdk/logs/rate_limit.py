"""Bounds what one line of code can log, so that a loop that fails cannot fill a disk or stop a service."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from otero_sdk.logs.json_lines import EXEMPT, FIELDS

MAX_SITES: Final = 10_000


class RateLimit(logging.Filter):
    """Lets so many records per second and call site through, and as many at once.

    The next one that is let through says how many were not, in the field `suppressed`. `clock` gives seconds.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        if per_s <= 0:
            raise ValueError(f"log_rate_limit={per_s!r}: lines per second, more than 0, are expected")
        self._per_s = per_s
        self._burst = max(1.0, per_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._sites: dict[tuple[str, int], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if EXEMPT in record.__dict__:
            return True
        now_s = self._clock()
        with self._lock:
            site = self._sites.get((record.pathname, record.lineno))
            if site is None:
                if len(self._sites) >= MAX_SITES:
                    self._sites.clear()
                self._sites[record.pathname, record.lineno] = [self._burst - 1.0, now_s, 0.0]
                return True
            left = min(self._burst, site[0] + (now_s - site[1]) * self._per_s)
            site[1] = now_s
            if left < 1.0:
                site[0] = left
                site[2] += 1.0
                return False
            site[0] = left - 1.0
            suppressed, site[2] = site[2], 0.0
        if suppressed:
            record.__dict__[FIELDS] = {**record.__dict__.get(FIELDS, {}), "suppressed": int(suppressed)}
        return True
