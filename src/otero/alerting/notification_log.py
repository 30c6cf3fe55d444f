"""The notification log: what each integration was last told of each group, so that nobody is told twice.

Rules: Alertmanager's nflog and its deduplication (notify.DedupStage). Where they differ: an entry without firing alerts
says the same as none and is dropped; one with firing alerts is kept for 120 h, and never for less than two repeat
intervals; a repeat is due when the repeat interval has passed to the millisecond; alerts that were told of and are then
held back are remembered, so that their end can be told.
"""

import asyncio
import logging
from collections.abc import Set as AbstractSet

from otero.errors import Unavailable
from otero.storage.notification_log import LogEntry, LogKey, NotificationLogTable

_log = logging.getLogger(__name__)

RETENTION_MS = 120 * 3_600_000


def reason_to_notify(
    entry: LogEntry | None,
    firing: AbstractSet[int],
    resolved: AbstractSet[int],
    now_ms: int,
    *,
    repeat_interval_ms: int,
    send_resolved: bool,
) -> str:
    """Why an integration is to be told of these alerts now; "" when it knows all of it."""
    if entry is None:
        return "first notification" if firing else ""
    if not firing <= entry.firing:
        return "new alerts" if entry.firing else "first notification"
    if not firing:
        # Even one who does not want to hear of it: the log must know that they no longer fire.
        return "all resolved" if entry.firing or resolved & entry.held else ""
    if send_resolved and not resolved <= entry.resolved:
        return "some resolved"
    return "repeat interval" if entry.notified_ms + repeat_interval_ms <= now_ms else ""


class NotificationLog:
    """Reads from memory, writes through to the state. Lives in one event loop.

    Writes that come while the state is being written go together in the next transaction: a commit waits for the disk.
    """

    def __init__(self, table: NotificationLogTable) -> None:
        self._table = table
        self._entries = table.load()
        self._changes: dict[LogKey, LogEntry | None] = {}
        self._written = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def entry(self, key: LogKey) -> LogEntry | None:
        """What was told last."""
        return self._entries.get(key)

    async def told(
        self,
        key: LogKey,
        firing: AbstractSet[int],
        resolved: AbstractSet[int],
        now_ms: int,
        *,
        repeat_interval_ms: int,
        held: AbstractSet[int] = frozenset(),
    ) -> None:
        """Note that an integration was told; returns when it is stored.

        When the state cannot be written, that is logged and the note holds as long as the process lives.
        """
        if firing or held:
            expires_ms = now_ms + max(RETENTION_MS, 2 * repeat_interval_ms)
            entry = LogEntry(frozenset(firing), frozenset(resolved), now_ms, expires_ms, frozenset(held))
            self._entries[key] = entry
        else:
            entry = None
            self._entries.pop(key, None)
        await self._write({key: entry})

    async def sweep(self, now_ms: int) -> int:
        """Forget entries whose time has come; how many."""
        gone = [key for key, entry in self._entries.items() if entry.expires_ms <= now_ms]
        for key in gone:
            del self._entries[key]
        if gone:
            await self._write(dict.fromkeys(gone))
        return len(gone)

    async def close(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            await self._writer

    async def _write(self, changes: dict[LogKey, LogEntry | None]) -> None:
        self._changes.update(changes)
        written = self._written
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), name="notification log")
        await written.wait()

    async def _write_all(self) -> None:
        while self._changes:
            changes, self._changes = self._changes, {}
            written, self._written = self._written, asyncio.Event()
            try:
                await asyncio.to_thread(self._table.write, changes)
            except Unavailable as error:
                _log.error(
                    "the notification log was not stored: after a restart, receivers may be told again",
                    extra={"entries": len(changes), "reason": str(error)},
                )
            finally:
                written.set()
        self._writer = None
