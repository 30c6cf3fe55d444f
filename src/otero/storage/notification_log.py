"""The notification log in the small mutable state: what each integration was last told of each group.

notification_log  one row per group, receiver and integration; `firing`, `resolved` and `held` are fingerprints of
                  alerts, eight big-endian bytes each.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from otero.storage.state import State

_LOG = sa.Table(
    "notification_log",
    sa.MetaData(),
    sa.Column("group_key", sa.Text, primary_key=True),
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("firing", sa.LargeBinary, nullable=False),
    sa.Column("resolved", sa.LargeBinary, nullable=False),
    sa.Column("held", sa.LargeBinary, nullable=False),
    sa.Column("notified_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)
_DELETE = sa.delete(_LOG).where(
    _LOG.c.group_key == sa.bindparam("of_group"),
    _LOG.c.receiver == sa.bindparam("of_receiver"),
    _LOG.c.integration == sa.bindparam("of_integration"),
)


class LogKey(NamedTuple):
    """Who was told of what: `integration` is such as `slack[0]`."""

    group_key: str
    receiver: str
    integration: str


class LogEntry(NamedTuple):
    """What was told last: the fingerprints of the alerts that fired and of those that had ended, when it was, and when
    the entry may be forgotten. `held` are alerts told of earlier that still fired but were held back this time: their
    end is yet to be told."""

    firing: frozenset[int]
    resolved: frozenset[int]
    notified_ms: int
    expires_ms: int
    held: frozenset[int] = frozenset()

    @property
    def fires(self) -> frozenset[int]:
        """The alerts of which the integration was told that they fire, and not yet that they ended."""
        return self.firing | self.held


class NotificationLogTable:
    """Each call is one transaction. Raises Unavailable when the database fails."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load(self) -> dict[LogKey, LogEntry]:
        """Every entry."""
        with self._state.begin() as connection:
            return {
                LogKey(row.group_key, row.receiver, row.integration): LogEntry(
                    _unpacked(row.firing),
                    _unpacked(row.resolved),
                    row.notified_ms,
                    row.expires_ms,
                    _unpacked(row.held),
                )
                for row in connection.execute(sa.select(_LOG))
            }

    def write(self, changes: Mapping[LogKey, LogEntry | None]) -> None:
        """Add or replace entries; None drops one."""
        if not changes:
            return
        with self._state.begin() as connection:
            connection.execute(
                _DELETE,
                [
                    {
                        "of_group": key.group_key,
                        "of_receiver": key.receiver,
                        "of_integration": key.integration,
                    }
                    for key in changes
                ],
            )
            rows = [
                {
                    **key._asdict(),
                    "firing": _packed(entry.firing),
                    "resolved": _packed(entry.resolved),
                    "held": _packed(entry.held),
                    "notified_ms": entry.notified_ms,
                    "expires_ms": entry.expires_ms,
                }
                for key, entry in changes.items()
                if entry is not None
            ]
            if rows:
                connection.execute(sa.insert(_LOG), rows)


def _packed(fingerprints: frozenset[int]) -> bytes:
    return np.array(sorted(fingerprints), ">u8").tobytes()


def _unpacked(data: bytes) -> frozenset[int]:
    numbers: list[int] = np.frombuffer(data, ">u8").tolist()
    return frozenset(numbers)
