"""The Pushgateway's groups in the small mutable state.

push_groups    one row per group; `labels` is its grouping labels as JSON, names sorted.
push_families  one row per metric family of a group: when it was pushed, and the family as a MetricFamily message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from otero.storage.state import State

_metadata = sa.MetaData()
_GROUPS = sa.Table(
    "push_groups",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("labels", sa.Text, nullable=False, unique=True),
)
_FAMILIES = sa.Table(
    "push_families",
    _metadata,
    sa.Column("group_id", sa.Integer, sa.ForeignKey("push_groups.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("pushed_ns", sa.BigInteger, nullable=False),
    sa.Column("message", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredFamily:
    """One metric family as it was pushed, grouping labels included. `message` is a serialised MetricFamily."""

    name: str
    pushed_ns: int
    message: bytes


class PushGroupTable:
    """Reads and writes whole groups; each call is one transaction. Raises Unavailable when the database fails."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load(self) -> list[tuple[dict[str, str], list[StoredFamily]]]:
        """Every group: its labels and families."""
        query = sa.select(
            _GROUPS.c.id, _GROUPS.c.labels, _FAMILIES.c.name, _FAMILIES.c.pushed_ns, _FAMILIES.c.message
        )
        query = query.join(_FAMILIES, _FAMILIES.c.group_id == _GROUPS.c.id)
        found: dict[int, tuple[dict[str, str], list[StoredFamily]]] = {}
        with self._state.begin() as connection:
            for group, labels, name, pushed_ns, message in connection.execute(
                query.order_by(_GROUPS.c.id, _FAMILIES.c.name)
            ):
                families = found.setdefault(group, (orjson.loads(labels), []))[1]
                families.append(StoredFamily(name, pushed_ns, bytes(message)))
        return list(found.values())

    def write(self, labels: Mapping[str, str], changed: Iterable[StoredFamily], gone: Iterable[str]) -> None:
        """Add or replace the changed families of a group, drop those that are gone; the group is made if need be."""
        key = _key(labels)
        rows = [
            {"name": family.name, "pushed_ns": family.pushed_ns, "message": family.message}
            for family in changed
        ]
        with self._state.begin() as connection:
            group = connection.scalar(sa.select(_GROUPS.c.id).where(_GROUPS.c.labels == key))
            if group is None:
                group = connection.scalar(sa.insert(_GROUPS).values(labels=key).returning(_GROUPS.c.id))
            else:
                names = [row["name"] for row in rows] + list(gone)
                connection.execute(
                    sa.delete(_FAMILIES).where(
                        _FAMILIES.c.group_id == group, _FAMILIES.c.name == sa.bindparam("dropped")
                    ),
                    [{"dropped": name} for name in names],
                )
            connection.execute(sa.insert(_FAMILIES), [{"group_id": group, **row} for row in rows])

    def delete(self, labels: Mapping[str, str]) -> None:
        """Drop a group; nothing happens when there is none."""
        with self._state.begin() as connection:
            connection.execute(sa.delete(_GROUPS).where(_GROUPS.c.labels == _key(labels)))


def _key(labels: Mapping[str, str]) -> str:
    return orjson.dumps(labels, option=orjson.OPT_SORT_KEYS).decode()
