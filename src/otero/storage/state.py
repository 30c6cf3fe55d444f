"""The small mutable state: what people and programs change in place, unlike samples. SQL through SQLAlchemy Core.

SQLite beside the data (`state.sqlite`, write-ahead log) unless a URL names another database. Each component keeps its
own tables and queries; their schema is made by the numbered migrations in `state_migrations/versions`, which a start
applies. What `begin` has committed survives `kill -9` and power loss.
"""

import contextlib
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError

from otero.errors import Conflict, Unavailable

FILE = "state.sqlite"
VERSION_TABLE = "state_version"
_MIGRATIONS = Path(__file__).parent / "state_migrations"
_BUSY_MS = 10_000


class State:
    """A database at its newest schema. Safe for many threads.

    Raises Conflict for one of a later release, untouched, and Unavailable for one that cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        try:
            self.schema = self._migrate()
        except DatabaseError as error:  # such as a file that is no database
            self.close()
            raise Unavailable(f"the state cannot be read: {error.orig}") from None
        except BaseException:
            self.close()
            raise

    @staticmethod
    def beside(data: Path) -> "State":
        """The state in a data directory."""
        return State(sa.URL.create("sqlite", database=str(data / FILE)).render_as_string())

    @contextlib.contextmanager
    def begin(self) -> Generator[sa.Connection]:
        """A transaction: committed at the end, rolled back by an exception. Raises Unavailable when the database fails."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            raise Unavailable(f"the state cannot be read or written: {error.orig}") from None

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of a SQLite state into a new file, while running."""
        # Not through `begin`: SQLite copies outside a transaction only.
        raw = self._engine.raw_connection()
        try:
            raw.cursor().execute("VACUUM INTO ?", (str(path),))
        finally:
            raw.close()

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> str:
        """Bring the schema up to date, all of it or nothing; the name of its version."""
        with self.begin() as connection:
            have = _version(connection)
            if have == _newest():
                return have
            logging.getLogger("alembic").setLevel(logging.WARNING)  # before the import, which already logs
            # Imported here, since nearly every start finds its schema up to date.
            from alembic import command
            from alembic.config import Config
            from alembic.script import ScriptDirectory

            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS))
            known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
            if have and have not in known:
                raise Conflict(
                    f"the state database has schema {have}, this Otero knows {known[0]}: it was written by a later"
                    " release. Start that release, or give another --data; nothing was changed"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return known[0]


def _newest() -> str:
    """The name of the last migration: files are `NNNN_what.py`, and the number is the revision."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _version(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return ""
    return connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")) or ""


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own, late BEGIN would leave schema changes outside
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {_BUSY_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # Immediate: two transactions that read and then write would otherwise make one of them fail.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
