"""Running queries off the event loop: a bounded pool, one budget each, cancelled when the client hangs up."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from otero.clock import Clock
from otero.errors import Cancelled, NotFound, OteroError, TimedOut, Unavailable
from otero.model.budget import Budget
from otero.telemetry import QUERY_SECONDS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Running:
    """A query that is running or waits for a free worker."""

    id: int
    kind: str
    text: str
    since_s: float
    budget: Budget


class QueryPool:
    """Runs synchronous queries in threads.

    At most `workers` run and `queue` wait; more are refused with Unavailable, so that a wide dashboard cannot pile up
    work without bound. `timeout_s` and `max_samples` are the most that one query may ask for.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        workers: int = 4,
        queue: int = 200,
        timeout_s: float = 120.0,
        max_samples: int = 50_000_000,
    ) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="query")
        self._limit = workers + queue
        self._running: dict[int, Running] = {}
        self._last_id = 0
        self.timeout_s = timeout_s
        self.max_samples = max_samples

    def budget(self, timeout_s: float | None = None) -> Budget:
        """A budget of this pool's limits, with a shorter time when the request asks for it."""
        allowed_s = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
        return Budget(self._clock, timeout_s=allowed_s, max_samples=self.max_samples)

    def running(self) -> list[Running]:
        """What runs or waits now, oldest first."""
        return list(self._running.values())

    def cancel(self, query_id: int) -> None:
        """Stop one query at its next check. Raises NotFound."""
        running = self._running.get(query_id)
        if running is None:
            raise NotFound(f"no query {query_id} is running")
        running.budget.cancel()

    async def run(
        self, kind: str, request: Request, budget: Budget, work: Callable[[], T], text: str = ""
    ) -> T:
        """The result of `work`, called in a thread with `budget` watched on behalf of this request."""
        if len(self._running) >= self._limit:
            raise Unavailable(f"{len(self._running)} queries are running or waiting already", retry_after_s=1)
        start_s = time.perf_counter()
        outcome = "error"
        self._last_id += 1
        query_id = self._last_id
        self._running[query_id] = Running(query_id, kind, text, self._clock.monotonic_s(), budget)
        watcher = asyncio.create_task(_cancel_on_hang_up(request, budget))
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, _checked(budget, work))
            outcome = "success"
            return result
        except asyncio.CancelledError:
            budget.cancel()
            raise
        except (Cancelled, TimedOut) as error:
            outcome = "canceled" if isinstance(error, Cancelled) else "timeout"
            raise
        except RecursionError:
            raise OteroError("the query is nested too deeply") from None
        finally:
            del self._running[query_id]
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            QUERY_SECONDS.labels(kind, outcome).observe(time.perf_counter() - start_s)

    def close(self) -> None:
        """Wait for nothing: running queries end at their next check of the budget."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _checked(budget: Budget, work: Callable[[], T]) -> Callable[[], T]:
    def run() -> T:
        budget.check()  # it may have waited in the queue for longer than it has
        return work()

    return run


async def _cancel_on_hang_up(request: Request, budget: Budget) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            budget.cancel()
            return
