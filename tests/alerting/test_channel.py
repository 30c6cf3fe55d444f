"""Attempts, back-off, time limit, Retry-After and the bound of attempts side by side, by a clock that is turned."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from otero.alerting.channel import MAX_AT_ONCE, Channel, GivenUp, time_limit
from otero.alerting.notification import DeliveryError, Notification
from otero.model.alerts import Alert
from tests.alerting.clock import START_MS, TurnedClock, settle

LIMIT_MS = 300_000


class World:
    """A channel whose attempts answer with what `answers` says, None for success."""

    def __init__(self, *answers: DeliveryError | Exception | None) -> None:
        self.clock = TurnedClock()
        self.answers = list(answers)
        self.times: list[float] = []
        self.failures: list[tuple[int, str, str]] = []
        self.stopping = asyncio.Event()
        self.channel = Channel(
            "oncall", "slack[0]", self.send,
            send_resolved=True, clock=self.clock, sleep=self.clock.sleep, random=lambda: 0.5, stopping=self.stopping,
        )  # fmt: skip

    async def send(self, _notification: Notification) -> None:
        self.times.append((self.clock.now_ms() - START_MS) / 1000)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer

    def begin(self, key: str = "g") -> asyncio.Task[int]:
        now_ms = self.clock.now_ms()
        alerts: Sequence[Alert] = ()
        notification = Notification("oncall", "slack[0]", key, {}, alerts, now_ms)
        return asyncio.create_task(self.channel.deliver(notification, now_ms + LIMIT_MS, self.on_failure))

    def on_failure(self, attempt: int, error: DeliveryError, outcome: str) -> None:
        self.failures.append((attempt, str(error), outcome))


BUSY = DeliveryError("answered 503", retry=True, status=503)


async def test_repeated_after_ever_longer_until_it_gets_through(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(BUSY, BUSY, BUSY, None)
    task = world.begin()
    await world.clock.turn(60_000)
    assert await task == 4
    assert world.times == [0, 0.5, 1.25, 2.375]
    assert world.failures[0] == (1, "answered 503", "repeated in 500ms")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "a notification failed and is repeated"),
        ("INFO", "notifications get through again"),
    ]


async def test_given_up_at_the_time_limit_with_the_last_fault(caplog: pytest.LogCaptureFixture) -> None:
    world = World(BUSY)
    task = world.begin()
    await world.clock.turn(LIMIT_MS)
    with pytest.raises(
        GivenUp, match=r"answered 503 \(1. attempts; the next .* after the time limit\)"
    ) as caught:
        await task
    assert caught.value.reason == "serverError"
    waits = [later - earlier for earlier, later in zip(world.times, world.times[1:], strict=False)]
    assert waits == sorted(waits)
    assert max(waits) <= 60
    again = world.begin()
    await world.clock.turn(LIMIT_MS)
    with pytest.raises(GivenUp):
        await again
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]  # not one for each flush


async def test_what_would_fail_again_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    world = World(DeliveryError("answered 404", retry=False, status=404))
    with pytest.raises(GivenUp, match="answered 404") as caught:
        await world.begin()
    assert (caught.value.reason, caught.value.attempts) == ("clientError", 1)
    assert world.failures == [(1, "answered 404", "not repeated, since the same request would fail again")]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_fault_of_ours_harms_one_notification(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ZeroDivisionError("x"), None)
    with pytest.raises(GivenUp, match="Otero's fault: ZeroDivisionError in slack"):
        await world.begin()
    assert await world.begin() == 1


async def test_a_receiver_that_hangs_ends_at_the_time_limit() -> None:
    world = World(None)

    async def hang(_notification: Notification) -> None:
        await asyncio.Event().wait()

    world.channel._send = hang
    task = world.begin()
    await world.clock.turn(LIMIT_MS - 1)
    assert not task.done()
    await world.clock.turn(1)
    with pytest.raises(
        GivenUp, match=r"has not answered \(1 attempt within the time limit of 5m\)"
    ) as caught:
        await task
    assert caught.value.reason == "contextDeadlineExceeded"


async def test_what_the_receiver_asked_for_holds_for_all_notifications() -> None:
    world = World(DeliveryError("answered 429", retry=True, status=429, retry_after_s=40), None)
    first = world.begin("a")
    await world.clock.turn(1000)
    second = world.begin("b")
    await world.clock.turn(38_999)
    assert world.times == [0]
    await world.clock.turn(1)
    assert await first == 2
    assert await second == 1
    assert world.times == [0, 40, 40]
    assert world.failures == [(1, "answered 429", "repeated in 40s, as the receiver asked for 40s")]


async def test_asked_for_longer_than_the_time_limit() -> None:
    world = World(DeliveryError("answered 429", retry=True, status=429, retry_after_s=3600))
    with pytest.raises(GivenUp, match="after the time limit, as the receiver asked for 1h") as caught:
        await world.begin()
    assert caught.value.reason == "clientError"


async def test_only_so_many_side_by_side() -> None:
    world = World(None)
    gate = asyncio.Event()
    under_way = 0
    most = 0

    async def slow(_notification: Notification) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1

    world.channel._send = slow
    tasks = [world.begin(str(number)) for number in range(MAX_AT_ONCE + 10)]
    await settle()
    assert under_way == MAX_AT_ONCE
    gate.set()
    assert await asyncio.gather(*tasks) == [1] * len(tasks)
    assert most == MAX_AT_ONCE


async def test_a_stop_does_not_wait_for_the_next_attempt() -> None:
    world = World(BUSY)
    task = world.begin()
    await world.clock.turn(100)
    world.stopping.set()
    with pytest.raises(GivenUp, match="Otero stops") as caught:
        await task
    assert caught.value.reason == "contextCanceled"


async def test_the_time_limit_leaves_other_cancellations_alone() -> None:
    clock = TurnedClock()

    async def work() -> None:
        async with time_limit(clock.sleep, 10):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    late = asyncio.create_task(work())
    await clock.turn(10_000)
    with pytest.raises(TimeoutError):
        await late
