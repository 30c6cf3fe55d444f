"""All scraping: the jobs of the configuration, their reload, and what the targets page shows."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dns.asyncresolver

from otero.clock import Clock
from otero.http_client import Hosts
from otero.ingest.intake import Intake
from otero.ingest.relabel import Relabel, Step
from otero.ingest.scrape.config import ScrapeConfig
from otero.ingest.scrape.fetch import MAX_BODY, BodyMemory
from otero.ingest.scrape.loop import LastScrape
from otero.ingest.scrape.pool import Dropped, Pool, Running, Surroundings
from otero.ingest.scrape.target import SCRAPE_INTERVAL, SCRAPE_TIMEOUT
from otero.model.metrics import Metadata

_WORKERS = 2


@dataclass(frozen=True, slots=True)
class ActiveTarget:
    """One scraped target, as `/api/v1/targets` shows it. Label mappings are not to be changed."""

    discovered: Mapping[str, str]
    labels: Mapping[str, str]
    pool: str
    url: str
    last: LastScrape
    interval: str
    timeout: str
    interval_ms: int
    timeout_ms: int
    metadata: tuple[Metadata, ...]
    series: int

    @property
    def health(self) -> str:
        """`up`, `down` or `unknown`."""
        return self.last.health


@dataclass(frozen=True, slots=True)
class Targets:
    """A moment's view. `dropped` holds at most `keep_dropped_targets` per job; `dropped_counts` counts all by job.

    `rejected` are label sets that make no target (no address, a bad interval), with the reason.
    """

    active: tuple[ActiveTarget, ...]
    dropped: tuple[Dropped, ...]
    rejected: tuple[Dropped, ...]
    dropped_counts: Mapping[str, int]


class ScrapeManager:
    """Scrapes the targets of the jobs that `apply` was given last. Lives in one event loop."""

    def __init__(
        self,
        intake: Intake,
        clock: Clock,
        *,
        hosts: Hosts | None = None,
        max_body_bytes: int = MAX_BODY,
        max_bodies_bytes: int = 256 << 20,
        resolver: dns.asyncresolver.Resolver | None = None,
    ) -> None:
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="scrape")
        self._around = Surroundings(
            intake,
            clock,
            self._workers,
            hosts=hosts or Hosts(),
            memory=BodyMemory(max_bodies_bytes),
            max_body=max_body_bytes,
            resolver=resolver,
        )
        self._pools: dict[str, Pool] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def apply(self, configs: Sequence[ScrapeConfig]) -> None:
        """Scrape these jobs from now on. Unchanged targets go on undisturbed; the series of targets that are gone get
        staleness markers after two intervals, as in Prometheus."""
        async with self._lock:
            wanted = {config.job_name: config for config in configs}
            for name in self._pools.keys() - wanted.keys():
                pool = self._pools.pop(name)
                await pool.stop(gone=True)
                task = asyncio.create_task(self._leave(pool))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
            for name, config in wanted.items():
                pool = self._pools.get(name)
                if pool is None:
                    pool = self._pools[name] = Pool(self._around)
                await pool.apply(config)

    async def stop(self) -> None:
        """Stop scraping, because the server stops: no series is marked as ended."""
        async with self._lock:
            for task in self._leaving:
                task.cancel()
            await asyncio.gather(*self._leaving, return_exceptions=True)
            await asyncio.gather(*(pool.stop(gone=False) for pool in self._pools.values()))
            self._pools = {}
            await asyncio.to_thread(self._workers.shutdown, cancel_futures=True)

    def targets(self) -> Targets:
        """What is scraped and what is not, in the order of jobs and URLs."""
        active = [
            _describe(name, running)
            for name, pool in sorted(self._pools.items())
            for running in sorted(pool.running, key=lambda running: running.target.url)
        ]
        left_out = [dropped for _, pool in sorted(self._pools.items()) for dropped in pool.dropped]
        return Targets(
            tuple(active),
            tuple(dropped for dropped in left_out if not dropped.error),
            tuple(dropped for dropped in left_out if dropped.error),
            {name: pool.dropped_count for name, pool in sorted(self._pools.items())},
        )

    def explain(self, pool: str, discovered: Mapping[str, str]) -> list[Step]:
        """What each relabelling rule of a job does to a discovered label set: why a target is gone."""
        return Relabel(self._pools[pool].config.relabel_configs).explain(discovered)

    async def _leave(self, pool: Pool) -> None:
        try:
            await pool.ended()
        finally:
            await pool.stop(gone=False)


def _describe(pool: str, running: Running) -> ActiveTarget:
    target, loop = running.target, running.loop
    return ActiveTarget(
        discovered=target.discovered,
        labels=target.public,
        pool=pool,
        url=target.url,
        last=loop.last,
        interval=target.labels.get(SCRAPE_INTERVAL, ""),
        timeout=target.labels.get(SCRAPE_TIMEOUT, ""),
        interval_ms=target.interval_ms,
        timeout_ms=target.timeout_ms,
        metadata=loop.series.metadata,
        series=loop.series.series_count,
    )
