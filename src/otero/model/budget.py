"""What one query may use, and the means to stop it."""

import threading

from otero.clock import Clock
from otero.errors import Cancelled, LimitExceeded, TimedOut

SURE = 4


class Budget:
    """Time and samples that one query may use. Storage and engine call `check` between slices of work.

    `cancel` may come from any thread: the API calls it when its client hangs up.
    """

    def __init__(self, clock: Clock, *, timeout_s: float, max_samples: int) -> None:
        self._clock = clock
        self._deadline_s = clock.monotonic_s() + timeout_s
        self._timeout_s = timeout_s
        self._cancelled = threading.Event()
        self.max_samples = max_samples
        self.samples = 0
        self.peak_samples = 0
        self._warnings: dict[str, None] = {}

    def part(self) -> "Budget":
        """For one of the queries of a longer work: samples of its own, the time that is left, ended with the whole."""
        part = Budget(self._clock, timeout_s=self.remaining_s(), max_samples=self.max_samples)
        part._timeout_s = self._timeout_s
        part._cancelled = self._cancelled
        return part

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Raises Cancelled or TimedOut when the query should stop."""
        if self._cancelled.is_set():
            raise Cancelled("query was canceled")
        if self._clock.monotonic_s() > self._deadline_s:
            raise TimedOut(f"query timed out after {self._timeout_s:g} s (setting query.timeout)")

    def remaining_s(self) -> float:
        return max(self._deadline_s - self._clock.monotonic_s(), 0.0)

    def charge(self, samples: int) -> None:
        """Count samples that are now held in memory; raises LimitExceeded beyond the limit."""
        self.check()
        self.samples += samples
        self.peak_samples = max(self.peak_samples, self.samples)
        if self.samples > self.max_samples:
            raise _too_many(f"{self.samples:,}", self.max_samples)

    def foresee(self, samples: int) -> None:
        """Samples that are about to be loaded, by an estimate that may be `SURE` times too high; raises LimitExceeded when
        they cannot fit."""
        if samples > SURE * max(self.max_samples - self.samples, 0):
            raise _too_many(f"about {samples + self.samples:,}", self.max_samples)

    def warn(self, text: str) -> None:
        """What the reader of the answer should know of where its samples come from."""
        self._warnings[text] = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Each warning once, in order."""
        return tuple(self._warnings)

    def release(self, samples: int) -> None:
        """Samples that are no longer held."""
        self.samples -= samples


def _too_many(samples: str, limit: int) -> LimitExceeded:
    return LimitExceeded(
        "query processing would load too many samples into memory in query execution"
        f" ({samples} of at most {limit:,}; setting query.max_samples)"
    )
