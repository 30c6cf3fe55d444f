"""Who is told again, and what a restart knows of it."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from otero.alerting.notification_log import RETENTION_MS, NotificationLog, reason_to_notify
from otero.errors import Unavailable
from otero.storage.notification_log import LogEntry, LogKey, NotificationLogTable
from otero.storage.state import State

NOW = 1_700_000_000_000
HOUR = 3_600_000
KEY = LogKey('{}:{alertname="A"}', "oncall", "slack[0]")


def entry(
    firing: set[int], resolved: Iterable[int] = (), age_ms: int = 0, held: Iterable[int] = ()
) -> LogEntry:
    return LogEntry(frozenset(firing), frozenset(resolved), NOW - age_ms, NOW + HOUR, frozenset(held))


@pytest.mark.parametrize(
    ("before", "firing", "resolved", "send_resolved", "reason"),
    [
        (None, {1}, set(), True, "first notification"),
        (None, {1}, {2}, True, "first notification"),
        (None, set(), {1}, True, ""),  # nobody was told that it fires
        (entry({1}), {1}, set(), True, ""),
        (entry({1}), {1, 2}, set(), True, "new alerts"),
        (entry({1, 2}), {1}, set(), True, ""),  # one is held back now
        (entry({1, 2}), {1}, {2}, True, "some resolved"),
        (entry({1, 2}), {1}, {2}, False, ""),
        (entry({1, 2}, {2}), {1}, {2}, True, ""),
        (entry({1}), set(), {1}, True, "all resolved"),
        (entry({1}), set(), {1}, False, "all resolved"),
        (entry(set(), {1}), set(), {1}, True, ""),
        (entry(set(), {1}), {1}, set(), True, "first notification"),
        (entry(set(), held={1}), set(), {1}, True, "all resolved"),
        (entry(set(), held={1}), set(), {2}, True, ""),
        (entry({2}, held={1}), {2}, {1}, True, "some resolved"),
        (entry({2}, held={1}), {1, 2}, set(), True, "new alerts"),  # held back no more
        (entry({1}, age_ms=4 * HOUR - 1), {1}, set(), True, ""),
        (entry({1}, age_ms=4 * HOUR), {1}, set(), True, "repeat interval"),
    ],
)
def test_reasons(
    before: LogEntry | None, firing: set[int], resolved: set[int], send_resolved: bool, reason: str
) -> None:
    assert (
        reason_to_notify(
            before, firing, resolved, NOW, repeat_interval_ms=4 * HOUR, send_resolved=send_resolved
        )
        == reason
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State.beside(tmp_path)
    yield state
    state.close()


async def test_kept_through_a_restart_as_long_as_something_fires(state: State) -> None:
    log = NotificationLog(NotificationLogTable(state))
    big = (1 << 64) - 1
    other = KEY._replace(integration="slack[1]")
    await log.told(KEY, {1, big}, {2}, NOW, repeat_interval_ms=HOUR)
    await log.told(other, set(), set(), NOW, repeat_interval_ms=100 * HOUR, held={3})
    await log.told(KEY._replace(receiver="x"), set(), {2}, NOW, repeat_interval_ms=HOUR)
    again = NotificationLog(NotificationLogTable(state))
    assert again.entry(KEY) == LogEntry(frozenset({1, big}), frozenset({2}), NOW, NOW + RETENTION_MS)
    assert again.entry(other) == LogEntry(frozenset(), frozenset(), NOW, NOW + 200 * HOUR, frozenset({3}))
    assert again.entry(KEY._replace(receiver="x")) is None
    assert await again.sweep(NOW + RETENTION_MS) == 1
    await again.told(other, set(), {3}, NOW, repeat_interval_ms=HOUR)
    assert NotificationLogTable(state).load() == {}


async def test_writes_that_come_together_are_written_together(state: State) -> None:
    table = NotificationLogTable(state)
    commits: list[int] = []
    write = table.write

    def counted(changes: dict[LogKey, LogEntry | None]) -> None:
        commits.append(len(changes))
        write(changes)

    table.write = counted  # type: ignore[method-assign]
    log = NotificationLog(table)
    keys = [KEY._replace(group_key=str(number)) for number in range(50)]
    await asyncio.gather(*(log.told(key, {1}, set(), NOW, repeat_interval_ms=HOUR) for key in keys))
    assert len(commits) <= 2
    assert sum(commits) == 50
    assert set(table.load()) == set(keys)
    await log.close()


async def test_a_state_that_cannot_be_written_does_not_make_noise_at_receivers(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    table = NotificationLogTable(state)

    def full(_changes: object) -> None:
        raise Unavailable("disk full")

    table.write = full  # type: ignore[method-assign]
    log = NotificationLog(table)
    await log.told(KEY, {1}, set(), NOW, repeat_interval_ms=HOUR)
    assert log.entry(KEY) is not None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
