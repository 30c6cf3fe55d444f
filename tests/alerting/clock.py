"""Time for tests of what sleeps: nothing happens but when the clock is turned, and then in order."""

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

from otero.clock import ManualClock

START_MS = 1_700_000_000_000
_TURNS = 60
"""Rounds of the event loop after which whatever could run has run, when no thread and no socket takes part."""


class TurnedClock(ManualClock):
    """A clock whose sleepers wake as it is turned."""

    def __init__(self, now_ms: int = START_MS) -> None:
        super().__init__(now_ms)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._places = count()

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_ms() + round(seconds * 1000), next(self._places), future))
        await future

    async def turn(self, ms: int) -> None:
        """Let `ms` milliseconds pass, with all that happens in them."""
        until_ms = self.now_ms() + ms
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until_ms:
            due_ms, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self.advance(max(due_ms - self.now_ms(), 0))
            future.set_result(None)
            await settle()
        self.advance(until_ms - self.now_ms())
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class InlineExecutor(ThreadPoolExecutor):
    """Does the work of threads at once, so that `settle` need not wait for any."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def without_threads() -> None:
    """What the running loop gives to threads is done at once from now on."""
    asyncio.get_running_loop().set_default_executor(InlineExecutor())
