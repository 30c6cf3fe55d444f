"""A receiver over HTTP that keeps what it gets and answers what it is told to."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass
class Sink:
    """`got` has the JSON bodies by path; `answers` gives (status, headers) by path, 200 by default; what comes to a path in
    `hanging` is never answered. `tls` makes it speak HTTPS."""

    answers: dict[str, Callable[[], tuple[int, dict[str, str]]]] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    got: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""
    tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    def bodies(self, path: str) -> list[Any]:
        return [body for at, body in self.got if at == path]

    async def until(self, condition: Callable[[], object], timeout_s: float = 30) -> None:
        """Wait until the condition holds; it is looked at after each request."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        async with self._changed:
            self.got.append((request.path, body))
            self._changed.notify_all()
        if request.path in self.hanging:
            await self._closing.wait()
        status, headers = self.answers.get(request.path, lambda: (200, {}))()
        return web.Response(status=status, headers=headers, text="ok")
