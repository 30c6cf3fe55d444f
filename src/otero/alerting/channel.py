"""A channel: one integration of one receiver, and how a notification is got through it.

Rules: Alertmanager's notify.RetryStage. An attempt that may succeed later is repeated, at first after about half a second,
then after ever longer until about a minute, until the time limit of the flush. What the other side asks for by
Retry-After holds for every notification of the channel.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from otero.alerting import metrics
from otero.alerting.notification import DeliveryError, Notification
from otero.clock import Clock
from otero.model.times import span

_log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
_GROWTH = 1.5
MAX_AT_ONCE = 64
"""Attempts of one channel that are under way side by side; more wait, and hold up nobody else."""

Send = Callable[[Notification], Awaitable[None]]
"""Makes one attempt. Raises DeliveryError."""

Sleep = Callable[[float], Awaitable[None]]


class GivenUp(Exception):
    """A notification that was not delivered. `cause` is the last fault, `reason` the label of Alertmanager's metric."""

    def __init__(self, text: str, *, cause: str, reason: str, attempts: int, status: int = 0) -> None:
        super().__init__(text)
        self.cause = cause
        self.reason = reason
        self.attempts = attempts
        self.status = status


class Channel:
    """Sends notifications by one integration. Lives in one event loop.

    kind           what it is, `slack`; `name` has its place in the receiver too, `slack[0]`.
    random         gives numbers from 0 to 1: attempts of many groups do not come at the same moment.
    """

    def __init__(
        self,
        receiver: str,
        name: str,
        send: Send,
        *,
        send_resolved: bool,
        clock: Clock,
        sleep: Sleep,
        random: Callable[[], float],
        stopping: asyncio.Event,
    ) -> None:
        self.receiver = receiver
        self.name = name
        self.kind = name.partition("[")[0]
        self.send_resolved = send_resolved
        self._send = send
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._stopping = stopping
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._not_before_ms = 0
        self._fault = ""

    async def deliver(
        self,
        notification: Notification,
        deadline_ms: int,
        on_failure: Callable[[int, DeliveryError, str], None],
    ) -> int:
        """Send, again and again if need be; the number of attempts that it took.

        `on_failure` is told of each failed attempt: its number, why, and what comes of it. Raises GivenUp.
        """
        metrics.NOTIFICATIONS.labels(self.kind).inc()
        attempts = _Attempts()
        try:
            async with time_limit(self._sleep, (deadline_ms - self._clock.now_ms()) / 1000):
                await self._attempt(notification, deadline_ms, attempts, on_failure)
        except TimeoutError:
            fault = attempts.fault or (
                "the receiver has not answered"
                if attempts.made
                else "too many other notifications wait for an answer"
            )
            raise self._give_up(
                GivenUp(
                    f"{fault} ({_attempts(attempts.made)} within the time limit of"
                    f" {span(deadline_ms - notification.now_ms)})",
                    cause=fault,
                    reason=_reason(attempts.status) if attempts.status else "contextDeadlineExceeded",
                    attempts=attempts.made,
                    status=attempts.status,
                )
            ) from None
        except GivenUp as error:
            raise self._give_up(error) from None
        if self._fault:
            self._fault = ""
            _log.info(
                "notifications get through again", extra={"receiver": self.receiver, "integration": self.name}
            )
        return attempts.made

    async def _attempt(
        self,
        notification: Notification,
        deadline_ms: int,
        attempts: "_Attempts",
        on_failure: Callable[[int, DeliveryError, str], None],
    ) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            await self._pause((self._not_before_ms - self._clock.now_ms()) / 1000, attempts)
            async with self._slots:
                error = await self._once(notification, attempts)
            if error is None:
                return
            attempts.fault, attempts.status = str(error), error.status
            if not error.retry:
                on_failure(attempts.made, error, "not repeated, since the same request would fail again")
                raise attempts.given_up("")
            # Half as much to one and a half times as much, as Alertmanager spreads them.
            pause_s = wait_s * (0.5 + self._random())
            wait_s = min(wait_s * _GROWTH, LONGEST_WAIT_S)
            asked = ""
            if error.retry_after_s is not None:
                asked = f", as the receiver asked for {span(int(error.retry_after_s * 1000))}"
                pause_s = max(pause_s, error.retry_after_s)
                self._not_before_ms = max(
                    self._not_before_ms, self._clock.now_ms() + int(error.retry_after_s * 1000)
                )
            if self._clock.now_ms() + pause_s * 1000 >= deadline_ms:
                too_late = f"the next attempt would come after the time limit{asked}"
                on_failure(attempts.made, error, too_late)
                raise attempts.given_up(too_late)
            on_failure(attempts.made, error, f"repeated in {span(int(pause_s * 1000))}{asked}")
            self._say_failing(error)
            await self._pause(pause_s, attempts)

    async def _once(self, notification: Notification, attempts: "_Attempts") -> DeliveryError | None:
        attempts.made += 1
        metrics.REQUESTS.labels(self.kind).inc()
        start_s = self._clock.monotonic_s()
        try:
            await self._send(notification)
        except DeliveryError as error:
            metrics.REQUESTS_FAILED.labels(self.kind).inc()
            return error
        except Exception as error:  # a fault of ours harms this notification alone
            _log.exception("a notifier failed", extra={"receiver": self.receiver, "integration": self.name})
            metrics.REQUESTS_FAILED.labels(self.kind).inc()
            return DeliveryError(f"Otero's fault: {type(error).__name__} in {self.kind}", retry=False)
        finally:
            metrics.LATENCY.labels(self.kind).observe(self._clock.monotonic_s() - start_s)
        return None

    async def _pause(self, seconds: float, attempts: "_Attempts") -> None:
        """Wait; an end of the server does not wait with it."""
        if seconds > 0 and not self._stopping.is_set():
            await first_of(self._sleep(seconds), self._stopping.wait())
        if self._stopping.is_set():
            text = "Otero stops; after its start the group is told of again"
            raise GivenUp(text, cause=text, reason="contextCanceled", attempts=attempts.made)

    def _say_failing(self, error: DeliveryError) -> None:
        """One line when a channel begins to fail, not one for each group and attempt."""
        if not self._fault:
            self._fault = str(error)
            _log.warning(
                "a notification failed and is repeated",
                extra={"receiver": self.receiver, "integration": self.name, "reason": str(error)},
            )

    def _give_up(self, error: GivenUp) -> GivenUp:
        metrics.FAILED.labels(self.kind, error.reason).inc()
        if error.reason != "contextCanceled" and f"given up: {error.cause}" != self._fault:
            self._fault = f"given up: {error.cause}"
            _log.error(
                "a notification was given up",
                extra={"receiver": self.receiver, "integration": self.name, "reason": str(error)},
            )
        return error


@dataclass(slots=True)
class _Attempts:
    made: int = 0
    fault: str = ""
    status: int = 0

    def given_up(self, why: str) -> GivenUp:
        text = self.fault
        if why:
            text += f" ({_attempts(self.made)}; {why})"
        return GivenUp(
            text, cause=self.fault, reason=_reason(self.status), attempts=self.made, status=self.status
        )


def _attempts(made: int) -> str:
    return "1 attempt" if made == 1 else f"{made} attempts"


def _reason(status: int) -> str:
    return {4: "clientError", 5: "serverError"}.get(status // 100, "other")


@contextlib.asynccontextmanager
async def time_limit(sleep: Sleep, seconds: float) -> AsyncGenerator[None]:
    """As asyncio.timeout, by a clock that is passed in. Raises TimeoutError."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 — only tasks run async code here
    expired = False

    async def expire() -> None:
        nonlocal expired
        await sleep(max(seconds, 0))
        expired = True
        task.cancel()

    timer = asyncio.create_task(expire())
    try:
        yield
    except asyncio.CancelledError:
        if expired and task.uncancel() == 0:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


async def first_of(*waiting: Awaitable[object]) -> None:
    """Return when one of them does; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
