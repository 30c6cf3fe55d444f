"""Real targets on loopback, and a manager that scrapes them into a store that tests can read."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from otero.clock import SystemClock
from otero.fields import Duration
from otero.http_client import Hosts
from otero.ingest.intake import Intake
from otero.ingest.scrape.config import GlobalConfig, ScrapeConfig
from otero.ingest.scrape.discovery_config import TargetGroup
from otero.ingest.scrape.manager import ActiveTarget, ScrapeManager
from tests.fakes import RecordingStore

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Page:
    """A target whose answer can be changed between scrapes."""

    body: str | bytes = ""
    content_type: str = TEXT
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    address: str = ""
    requests: list[web.BaseRequest] = field(default_factory=list)
    body_of_scrape: Callable[[int], str] | None = None
    """When set, the body of the n-th request, from 0."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        body = self.body if self.body_of_scrape is None else self.body_of_scrape(len(self.requests) - 1)
        data = body.encode() if isinstance(body, str) else body
        return web.Response(
            body=data, status=self.status, headers={"Content-Type": self.content_type, **self.headers}
        )


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    *,
    cancelled: bool = False,
    **site: Any,
) -> AsyncGenerator[str]:
    """An HTTP server with one handler for every path; gives `127.0.0.1:port`. `cancelled`: the handler is, when the client
    hangs up."""
    runner = web.ServerRunner(web.Server(handler, handler_cancellation=cancelled), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, **site).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def page(body: str | bytes = "", **fields: Any) -> AsyncGenerator[Page]:
    made = Page(body, **fields)
    async with serving(made.answer) as made.address:
        yield made


@contextlib.asynccontextmanager
async def raw_server(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[str]:
    """A server below HTTP, for answers that no well-behaved library gives. Ends its connections at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await handler(reader, writer)
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(one(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def job(
    *addresses: str, name: str = "j", labels: dict[str, str] | None = None, **fields: Any
) -> ScrapeConfig:
    """A complete job of 100 ms with these static targets."""
    given: dict[str, Any] = {
        "job_name": name,
        "scrape_interval": Duration(100),
        "scrape_timeout": Duration(100),
        **fields,
    }
    if addresses:
        given["static_configs"] = (TargetGroup(targets=addresses, labels=labels or {}),)
    return ScrapeConfig(**given).complete(GlobalConfig())


class Scraping:
    """A manager and the store that it writes to."""

    def __init__(self, store: Any, **options: Any) -> None:
        self.store = store
        self.manager = ScrapeManager(Intake(store), SystemClock(), **options)

    def target(self, place: int = 0) -> ActiveTarget:
        return self.manager.targets().active[place]

    async def until(self, condition: Callable[[], object], timeout_s: float = 20) -> None:
        await self.store.until(condition, timeout_s)

    async def scrapes(self, count: int = 1, **labels: str) -> None:
        """Wait for so many more scrapes of the targets with these labels."""
        before = len(self.store.samples(name="up", **labels))
        await self.until(lambda: len(self.store.samples(name="up", **labels)) >= before + count)

    async def failure(self) -> str:
        """The error of the first target once it has failed."""
        await self.until(lambda: self.store.values(name="up")[-1:] == [0.0])
        await self.until(lambda: self.target().last.error)
        return self.target().last.error


@contextlib.asynccontextmanager
async def scraping(
    *configs: ScrapeConfig,
    store: Any = None,
    hosts: dict[str, str] | None = None,
    max_series: int = 0,
    **options: Any,
) -> AsyncGenerator[Scraping]:
    """Scrape these jobs until the block is left."""
    made = Scraping(store or RecordingStore(max_series=max_series), hosts=Hosts(hosts), **options)
    await made.manager.apply(configs)
    try:
        yield made
    finally:
        await made.manager.stop()


async def eventually(condition: Callable[[], object], timeout_s: float = 20) -> None:
    """Wait for something that no event announces."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
