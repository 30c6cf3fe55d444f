"""Silences in the small mutable state.

silences  one row per silence; `matchers` is a JSON list of [name, operator, value].
"""

from collections.abc import Iterable

import orjson
import sqlalchemy as sa

from otero.model.matchers import Matcher, MatchOp
from otero.model.silences import Silence
from otero.storage.state import State

_SILENCES = sa.Table(
    "silences",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("matchers", sa.Text, nullable=False),
    sa.Column("starts_ms", sa.BigInteger, nullable=False),
    sa.Column("ends_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
)
_DELETE = sa.delete(_SILENCES).where(_SILENCES.c.id == sa.bindparam("gone"))


class SilenceTable:
    """Each call is one transaction. Raises Unavailable when the database fails."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load(self) -> list[Silence]:
        """Every silence."""
        with self._state.begin() as connection:
            return [
                Silence(
                    id=row.id,
                    matchers=tuple(
                        Matcher(name, MatchOp(op), value) for name, op, value in orjson.loads(row.matchers)
                    ),
                    starts_ms=row.starts_ms,
                    ends_ms=row.ends_ms,
                    updated_ms=row.updated_ms,
                    created_by=row.created_by,
                    comment=row.comment,
                )
                for row in connection.execute(sa.select(_SILENCES))
            ]

    def write(self, silences: Iterable[Silence]) -> None:
        """Add or replace silences, all of them or none."""
        rows = [
            {
                "id": silence.id,
                "matchers": orjson.dumps(
                    [[matcher.name, matcher.op.value, matcher.value] for matcher in silence.matchers]
                ).decode(),
                "starts_ms": silence.starts_ms,
                "ends_ms": silence.ends_ms,
                "updated_ms": silence.updated_ms,
                "created_by": silence.created_by,
                "comment": silence.comment,
            }
            for silence in silences
        ]
        with self._state.begin() as connection:
            connection.execute(_DELETE, [{"gone": row["id"]} for row in rows])
            connection.execute(sa.insert(_SILENCES), rows)

    def delete(self, ids: Iterable[str]) -> None:
        """Drop silences; those that are not there are passed over."""
        gone = [{"gone": id_} for id_ in ids]
        if gone:
            with self._state.begin() as connection:
                connection.execute(_DELETE, gone)
