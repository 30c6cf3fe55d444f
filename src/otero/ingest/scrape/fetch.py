"""Asks a target for its exposition."""

from collections.abc import Callable

from yarl import URL

from otero.errors import LimitExceeded, Unavailable
from otero.http_client import HttpClient, HttpResponse
from otero.ingest.scrape.config import ScrapeConfig
from otero.ingest.scrape.target import Target
from otero.wire.exposition_protocol import Protocol, accept_header

MAX_BODY = 64 << 20
"""Bytes of one body after decompression where the job sets no body_size_limit (or a larger one)."""


class BodyMemory:
    """What all bodies together may hold. The first `free` bytes of each do not count, so that small targets are
    scraped while a few huge ones use up the rest."""

    def __init__(self, limit: int = 256 << 20, *, free: int = 4 << 20) -> None:
        self.limit = limit
        self.free = free
        self.held = 0

    def account(self) -> "BodyAccount":
        return BodyAccount(self)


class BodyAccount:
    """The share of one body; `release` gives it back."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._held = 0

    def hold(self, size: int) -> None:
        """Raises LimitExceeded when the bodies that are being read are too large together."""
        memory = self._memory
        counted = max(size - memory.free, 0)
        memory.held += counted - self._held
        self._held = counted
        if counted and memory.held > memory.limit:
            raise LimitExceeded(f"bodies being scraped together exceed {memory.limit} bytes")

    def release(self) -> None:
        self._memory.held -= self._held
        self._held = 0


class Fetcher:
    """The requests of one target."""

    def __init__(
        self, client: HttpClient, target: Target, config: ScrapeConfig, *, max_body: int = MAX_BODY
    ) -> None:
        self._client = client
        self._url = URL(target.url, encoded=True)
        self._timeout_s = target.timeout_ms / 1000
        self.max_bytes = min(int(config.body_size_limit) or max_body, max_body)
        self._headers = {
            "Accept": accept_header(
                [Protocol(name) for name in config.protocols],
                config.metric_name_escaping_scheme or "allow-utf-8",
            ),
            "Accept-Encoding": "gzip" if config.enable_compression else "identity",
            "X-Prometheus-Scrape-Timeout-Seconds": f"{self._timeout_s:g}",
        }

    async def fetch(self, on_bytes: Callable[[int], None]) -> HttpResponse:
        """The answer with status 200. Raises TimedOut, LimitExceeded or Unavailable, worded for the targets page."""
        response = await self._client.request(
            "GET",
            self._url,
            headers=self._headers,
            timeout_s=self._timeout_s,
            max_bytes=self.max_bytes,
            on_bytes=on_bytes,
        )
        if response.status != 200:
            raise Unavailable(f"server returned HTTP status {response.status} {response.reason}".rstrip())
        return response
