"""Alerts that were accepted and are not done with, in the small mutable state.

alerts  one row per alert; `fingerprint` is that of its labels in hexadecimal, labels and annotations are JSON;
        `firing` is whether it fired when the row was written: `ends_ms` alone cannot tell, as time goes on.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from otero.model.alerts import Alert
from otero.storage.state import State

_ALERTS = sa.Table(
    "alerts",
    sa.MetaData(),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("annotations", sa.Text, nullable=False),
    sa.Column("generator_url", sa.Text, nullable=False),
    sa.Column("starts_ms", sa.BigInteger, nullable=False),
    sa.Column("ends_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("timeout", sa.Boolean, nullable=False),
    sa.Column("firing", sa.Boolean, nullable=False),
)
_DELETE = sa.delete(_ALERTS).where(_ALERTS.c.fingerprint == sa.bindparam("gone"))


class StoredAlert(NamedTuple):
    """An alert, and whether it fired when it was stored."""

    alert: Alert
    firing: bool


class AlertTable:
    """Each call is one transaction. Raises Unavailable when the database fails."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load(self) -> dict[int, StoredAlert]:
        """Every alert by its fingerprint."""
        with self._state.begin() as connection:
            return {
                int(row.fingerprint, 16): StoredAlert(
                    Alert(
                        labels=orjson.loads(row.labels),
                        annotations=orjson.loads(row.annotations),
                        starts_ms=row.starts_ms,
                        ends_ms=row.ends_ms,
                        generator_url=row.generator_url,
                        updated_ms=row.updated_ms,
                        timeout=row.timeout,
                    ),
                    row.firing,
                )
                for row in connection.execute(sa.select(_ALERTS))
            }

    def write(self, alerts: Sequence[tuple[int, StoredAlert]]) -> None:
        """Add or replace alerts, given with their fingerprints."""
        rows = [
            {
                "fingerprint": f"{fingerprint:016x}",
                "labels": _json(alert.labels),
                "annotations": _json(alert.annotations),
                "generator_url": alert.generator_url,
                "starts_ms": alert.starts_ms,
                "ends_ms": alert.ends_ms,
                "updated_ms": alert.updated_ms,
                "timeout": alert.timeout,
                "firing": firing,
            }
            for fingerprint, (alert, firing) in alerts
        ]
        if not rows:
            return
        with self._state.begin() as connection:
            connection.execute(_DELETE, [{"gone": row["fingerprint"]} for row in rows])
            connection.execute(sa.insert(_ALERTS), rows)

    def delete(self, fingerprints: Iterable[int]) -> None:
        """Drop alerts; those that are not there are passed over."""
        gone = [{"gone": f"{fingerprint:016x}"} for fingerprint in fingerprints]
        if gone:
            with self._state.begin() as connection:
                connection.execute(_DELETE, gone)


def _json(labels: object) -> str:
    return orjson.dumps(labels, option=orjson.OPT_SORT_KEYS).decode()
