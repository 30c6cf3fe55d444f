"""One target's loop: wait for its turn, fetch, parse, store, report."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, TypeVar

from otero.clock import Clock
from otero.errors import BadInput, LimitExceeded, OteroError
from otero.http_client import HttpResponse
from otero.ingest.intake import Intake
from otero.ingest.scrape.config import ScrapeConfig
from otero.ingest.scrape.fetch import BodyMemory, Fetcher
from otero.ingest.scrape.series import DOOR, Counts, PendingBatch, TargetSeries
from otero.ingest.scrape.target import Target
from otero.telemetry import SCRAPES, rejected
from otero.wire.exposition import BodyParser, WantedHistograms
from otero.wire.exposition_protocol import Protocol, parse_content_type

_log = logging.getLogger(__name__)
T = TypeVar("T")
Health = Literal["unknown", "up", "down"]

TOLERANCE_MS = 10
"""A scrape that starts at most this late (and at most 1 % of its interval) gets the timestamp of its turn: equal
distances compress better. Prometheus allows 2 ms, which an event loop shared with queries often misses."""

INLINE_NEW = 1 << 15
INLINE_KNOWN = 1 << 19
"""Bodies up to this size are parsed in the event loop: when their series are new, when their shape is known.
Larger ones go to the worker threads."""


@dataclass(frozen=True, slots=True)
class LastScrape:
    """Outcome of a target's last scrape; `time_ms` 0 when there was none."""

    time_ms: int = 0
    duration_s: float = 0.0
    health: Health = "unknown"
    error: str = ""
    samples: int = 0
    kept: int = 0
    body_bytes: int = 0


class TargetLoop:
    """Scrapes one target until cancelled. Scrapes of one target never overlap."""

    def __init__(
        self,
        target: Target,
        config: ScrapeConfig,
        fetcher: Fetcher,
        intake: Intake,
        clock: Clock,
        memory: BodyMemory,
        workers: Executor,
    ) -> None:
        self.target = target
        self.config = config
        self.series = TargetSeries(config, target.public, intake)
        self.last = LastScrape()
        self.forced_error = ""
        """When set, scrapes fail with it without asking the target."""
        self._fetcher = fetcher
        self._intake = intake
        self._clock = clock
        self._memory = memory
        self._workers = workers
        self._wanted = WantedHistograms(
            native=bool(config.scrape_native_histograms),
            classic=bool(config.always_scrape_classic_histograms),
            nhcb=bool(config.convert_classic_histograms_to_nhcb),
        )
        self._parser = BodyParser(self._wanted)
        self._known = False
        self._fallback = (
            Protocol(config.fallback_scrape_protocol) if config.fallback_scrape_protocol else None
        )

    def adopt(self, other: "TargetLoop") -> None:
        """Go on where a loop with other settings left off."""
        self.series.adopt(other.series.tracked)
        self.last = other.last

    async def run(self) -> None:
        """Scrape at each turn of the target's grid. A turn that was missed is made up for once, late, as Prometheus does."""
        interval = self.target.interval_ms
        offset = self.target.offset_ms()
        due = _next_turn(self._clock.now_ms(), interval, offset)
        while True:
            while (wait := due - self._clock.now_ms()) > 0:
                if wait > interval:  # the clock was set back
                    due = _next_turn(self._clock.now_ms(), interval, offset)
                    continue
                await asyncio.sleep(wait / 1000)
            now = self._clock.now_ms()
            await self.scrape(due if now - due <= min(interval // 100, TOLERANCE_MS) else now)
            due += interval
            if (late := self._clock.now_ms() - due) > 0:
                due += late // interval * interval

    async def scrape(self, time_ms: int) -> None:
        """One scrape, whose samples get the time `time_ms`. Raises nothing but cancellation."""
        began = self._clock.monotonic_s()
        account = self._memory.account()
        size = 0
        try:
            if self.forced_error:
                raise BadInput(self.forced_error)
            response = await self._fetcher.fetch(account.hold)
            size = len(response.body)
            await self._off_loop(size, lambda: self._store(response, time_ms, began))
        except OteroError as error:
            self._fail(error, time_ms, began, -1 if isinstance(error, LimitExceeded) else size)
        except Exception as error:  # whatever a body provokes must not end the loop
            message = f"cannot read the exposition: {error}"
            if message != self.last.error:
                _log.exception("scrape failed", extra={"target": self.target.url})
            self._fail(BadInput(message), time_ms, began, size)
        finally:
            account.release()

    async def _off_loop(self, size: int, work: Callable[[], T]) -> T:
        if size <= (INLINE_KNOWN if self._known else INLINE_NEW):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def _store(self, response: HttpResponse, time_ms: int, began: float) -> None:
        protocol = parse_content_type(response.content_type, self._fallback)
        exposition, same_shape = self._parser.parse(response.body, protocol)
        counts, pending = self.series.accept(exposition, time_ms)
        self._known = same_shape
        self._write(pending, counts, time_ms, began, len(response.body), "")

    def _fail(self, error: OteroError, time_ms: int, began: float, size: int) -> None:
        self._parser = BodyParser(self._wanted)  # gives its memory back
        self._known = False
        self._write(self.series.fail(time_ms), Counts(), time_ms, began, size, str(error))

    def _write(
        self, pending: PendingBatch, counts: Counts, time_ms: int, began: float, size: int, error: str
    ) -> None:
        duration = self._clock.monotonic_s() - began
        report = [
            0.0 if error else 1.0,
            duration,
            float(counts.scraped),
            float(counts.kept),
            float(counts.added),
        ]
        if self.config.extra_scrape_metrics:
            report += [self.target.timeout_ms / 1000, float(self.config.sample_limit), float(size)]
        try:
            self._intake.write_metrics(pending.with_report(report), DOOR)
        except Exception as refused:
            if not isinstance(refused, OteroError):
                _log.exception("cannot store a scrape", extra={"target": self.target.url})
            self.series.owe(pending)
            error = error or f"samples dropped: {refused}"
        SCRAPES.labels("failed" if error else "ok").inc()
        self.last = LastScrape(
            time_ms, duration, "down" if error else "up", error, counts.scraped, counts.kept, size
        )

    async def end(self) -> None:
        """Write the markers of a target that is gone.

        They carry the time at which its next scrape would have been, and are written when another target that exposes
        the same series would have had a turn: storage drops the markers of series that went on.
        """
        if not self.last.time_ms:
            return
        stale_ms = self.last.time_ms + self.target.interval_ms
        wait_ms = stale_ms + self.target.interval_ms * 11 // 10 - self._clock.now_ms()
        await asyncio.sleep(max(wait_ms, 0) / 1000)
        self.write_end(stale_ms)

    def write_end(self, time_ms: int) -> None:
        """The markers of `end`, at once."""
        batch = self.series.end(time_ms)
        try:
            self._intake.write_metrics(batch, DOOR)
        except OteroError as refused:
            rejected(DOOR, "marker", len(batch))
            _log.warning(
                "cannot mark series as ended", extra={"target": self.target.url, "error": str(refused)}
            )


def _next_turn(now_ms: int, interval_ms: int, offset_ms: int) -> int:
    """The first time from now on that is on the target's grid."""
    return now_ms + (offset_ms - now_ms) % interval_ms
