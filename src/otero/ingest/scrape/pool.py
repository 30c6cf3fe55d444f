"""The targets of one job: discovers them, keeps one loop for each."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import dns.asyncresolver
import msgspec

from otero.clock import Clock
from otero.errors import BadInput
from otero.http_client import Hosts, HttpClient
from otero.ingest.intake import Intake
from otero.ingest.relabel import Relabel
from otero.ingest.scrape.config import ScrapeConfig
from otero.ingest.scrape.discovery import Discovery, Found, label_sets
from otero.ingest.scrape.discovery.dns import DnsDiscovery
from otero.ingest.scrape.discovery.files import FileDiscovery
from otero.ingest.scrape.discovery.http import HttpDiscovery
from otero.ingest.scrape.discovery_config import DnsSdConfig, FileSdConfig, HttpSdConfig, TargetGroup
from otero.ingest.scrape.fetch import MAX_BODY, BodyMemory, Fetcher
from otero.ingest.scrape.loop import TargetLoop
from otero.ingest.scrape.target import Target, build_target, with_defaults

_log = logging.getLogger(__name__)

Source = TargetGroup | FileSdConfig | HttpSdConfig | DnsSdConfig


@dataclass(frozen=True)
class Surroundings:
    """What the loops of all jobs share."""

    intake: Intake
    clock: Clock
    workers: Executor
    hosts: Hosts = field(default_factory=Hosts)
    memory: BodyMemory = field(default_factory=BodyMemory)
    max_body: int = MAX_BODY
    resolver: dns.asyncresolver.Resolver | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A discovered label set that is not scraped; `error` is empty when relabelling dropped it."""

    discovered: Mapping[str, str]
    pool: str
    error: str = ""


class Running:
    """A loop and the task that runs it."""

    def __init__(self, loop: TargetLoop) -> None:
        self.loop = loop
        self.target = loop.target
        self.task = asyncio.create_task(loop.run(), name=f"scrape {loop.target.url}")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Pool:
    """One job. `apply` gives it settings, `stop` ends it; what goes away in between is marked as ended."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._config: ScrapeConfig | None = None
        self._relabel = Relabel(())
        self._client: HttpClient | None = None
        self._sources: list[tuple[Source, asyncio.Task[None] | None]] = []
        self._found: dict[int, Found] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._running: dict[bytes, Running] = {}
        self.dropped: list[Dropped] = []
        self.dropped_count = 0

    @property
    def running(self) -> Iterable[Running]:
        return self._running.values()

    @property
    def config(self) -> ScrapeConfig:
        assert self._config is not None  # noqa: S101 (set by the first apply)
        return self._config

    async def apply(self, config: ScrapeConfig) -> None:
        """Take new settings. Targets whose labels and settings stay keep their loop, its phase and its memory."""
        before = self._config
        if before == config:
            return
        self._config = config
        self._relabel = Relabel(config.relabel_configs)
        old_client = None
        if before is None or before.http_client() != config.http_client():
            old_client, self._client = self._client, HttpClient(config.http_client(), self._around.hosts)
        replaced: dict[bytes, Running] = {}
        if before is not None and _scraping(before) != _scraping(config):
            replaced, self._running = self._running, {}
            await asyncio.gather(*(running.stop() for running in replaced.values()))
        self._watch(config)
        self._sync(replaced)
        if old_client is not None:
            await old_client.close()

    async def stop(self, *, gone: bool) -> None:
        """End all loops. `gone`: the job was taken out of the configuration, its series end; else the server stops."""
        for _, task in self._sources:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for _, task in self._sources if task), return_exceptions=True)
        self._sources, self._found = [], {}
        stopped, self._running = list(self._running.values()), {}
        await asyncio.gather(*(running.stop() for running in stopped))
        if gone:
            for running in stopped:
                self._end(running.loop)
        else:
            for task in self._endings:
                task.cancel()
            await asyncio.gather(*self._endings, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ended(self) -> None:
        """Wait until the markers of all targets that are gone are written."""
        while self._endings:
            await asyncio.gather(*self._endings, return_exceptions=True)

    def _watch(self, config: ScrapeConfig) -> None:
        """Start what watches the sources of targets; unchanged ones go on, with what they know."""
        wanted: list[Source] = [
            *config.static_configs,
            *config.file_sd_configs,
            *config.http_sd_configs,
            *config.dns_sd_configs,
        ]
        old = list(enumerate(self._sources))
        sources: list[tuple[Source, asyncio.Task[None] | None]] = []
        found: dict[int, Found] = {}
        for index, source in enumerate(wanted):
            same = next((entry for entry in old if entry[1][0] == source), None)
            if same is not None and not isinstance(source, TargetGroup):
                old.remove(same)
                sources.append(same[1])
                if same[0] in self._found:
                    found[index] = self._found[same[0]]
            elif isinstance(source, TargetGroup):
                sources.append((source, None))
                found[index] = {str(index): label_sets([source])}
            else:
                sources.append((source, self._start(source)))
        for _, (_, task) in old:
            if task is not None:
                task.cancel()
        self._sources, self._found = sources, found

    def _start(self, source: FileSdConfig | HttpSdConfig | DnsSdConfig) -> asyncio.Task[None]:
        discovery: Discovery
        match source:
            case FileSdConfig():
                discovery = FileDiscovery(source)
            case HttpSdConfig():
                discovery = HttpDiscovery(source, HttpClient(source.http_client(), self._around.hosts))
            case DnsSdConfig():
                discovery = DnsDiscovery(source, self._around.resolver)

        def report(found: Found) -> None:
            me = asyncio.current_task()
            for index, (_, task) in enumerate(self._sources):
                if task is me:
                    self._found[index] = found
                    self._sync({})

        return asyncio.create_task(
            _guarded(discovery.run(report)), name=f"discovery of {self.config.job_name}"
        )

    def _sync(self, replaced: dict[bytes, Running]) -> None:
        """Make the running loops those of the discovered targets.

        `replaced` are stopped loops whose settings changed: their successors take over, the rest is gone.
        """
        config = self.config
        targets, self.dropped, self.dropped_count = self._targets(config)
        over = config.target_limit and len(targets) > config.target_limit
        forced = (
            f"target_limit exceeded (number of targets: {len(targets)}, limit: {config.target_limit})"
            if over
            else ""
        )
        for identity, target in targets.items():
            running = self._running.get(identity)
            if running is None:
                loop = self._loop(target, config)
                if (before := replaced.pop(identity, None)) is not None:
                    loop.adopt(before.loop)
                running = self._running[identity] = Running(loop)
            running.target = target
            running.loop.forced_error = forced
        for identity in self._running.keys() - targets.keys():
            running = self._running.pop(identity)
            running.task.cancel()
            self._end(running.loop)
        for running in replaced.values():
            self._end(running.loop)

    def _targets(self, config: ScrapeConfig) -> tuple[dict[bytes, Target], list[Dropped], int]:
        targets: dict[bytes, Target] = {}
        dropped: list[Dropped] = []
        count = 0
        keep = config.keep_dropped_targets
        for found in self._found.values():
            for sets in found.values():
                for discovered in sets:
                    labels = with_defaults(discovered, config)
                    error = ""
                    try:
                        target = build_target(labels, config, self._relabel)
                    except BadInput as reason:
                        target, error = None, str(reason)
                        _log.warning("bad target", extra={"job": config.job_name, "error": error})
                    if target is not None:
                        targets.setdefault(target.identity, target)
                        continue
                    count += not error
                    if not keep or len(dropped) < keep:
                        dropped.append(Dropped(labels, config.job_name, error))
        return targets, dropped, count

    def _loop(self, target: Target, config: ScrapeConfig) -> TargetLoop:
        around = self._around
        assert self._client is not None  # noqa: S101 (made by apply)
        fetcher = Fetcher(self._client, target, config, max_body=around.max_body)
        return TargetLoop(target, config, fetcher, around.intake, around.clock, around.memory, around.workers)

    def _end(self, loop: TargetLoop) -> None:
        task = asyncio.create_task(loop.end(), name=f"end of {loop.target.url}")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        _log.exception("service discovery ended")


def _scraping(config: ScrapeConfig) -> ScrapeConfig:
    """The settings on which a loop depends beside its target."""
    return msgspec.structs.replace(
        config,
        static_configs=(),
        file_sd_configs=(),
        http_sd_configs=(),
        dns_sd_configs=(),
        relabel_configs=(),
        target_limit=0,
        keep_dropped_targets=0,
        job_name="-",
        scrape_interval=60_000,
        scrape_timeout=10_000,
        metrics_path="/metrics",
        scheme="http",
    )
