"""ClickHouse in this process (chDB): one data directory, several connections.

One connection runs one statement at a time, different ones run side by side and release the GIL; hence lanes. A process
has one data directory open at a time: chDB's rule, not ours.
"""

import contextlib
import logging
import queue
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash
from chdb import ChdbError
from chdb.state.sqlitelike import Connection

from otero.errors import Bug, Cancelled, LimitExceeded, OteroError, TimedOut, Unavailable
from otero.model.budget import Budget
from otero.storage.engine import Column, Lane, Parameter
from otero.storage.sql import bound, native_block, quoted

_log = logging.getLogger(__name__)

_START = {
    "background_pool_size": 2,
    "background_schedule_pool_size": 2,
    "background_move_pool_size": 1,
    "background_fetches_pool_size": 1,
    "background_common_pool_size": 1,
    "background_buffer_flush_schedule_pool_size": 1,
    "background_message_broker_schedule_pool_size": 1,
    "background_distributed_schedule_pool_size": 1,
    "asynchronous_metrics_update_period_s": 3600,
}
"""Small pools: a host that watches others has better things to do, and idle threads cost."""

_SINGLE: tuple[Lane, ...] = ("insert", "logs", "traces", "rules")
_INTERACTIVE = 3
_ID_RETRIES = 3
_CODE = re.compile(r"Code: (\d+)")
_FULL = frozenset({243, 1002})
_MEMORY, _TIMEOUT, _CANCELLED = 241, 159, 394


class EmbeddedEngine:
    """`SqlEngine` on a directory of this machine; `backups` is the only folder that BACKUP may write to."""

    def __init__(
        self, folder: Path, *, memory_bytes: int = 4 << 30, query_memory_bytes: int = 2 << 30
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**_START, "max_server_memory_usage": memory_bytes, "backups.allowed_path": "/"}
        arguments = "&".join(f"{name}={value}" for name, value in settings.items())
        try:
            first = Connection(f"{folder}?{arguments}")
        except (RuntimeError, ChdbError) as error:
            raise _translated(error) from None
        self._query_memory = query_memory_bytes
        self._folder = folder
        self._schema_files: set[Path] = set()
        self._all = [first]
        self._lanes: dict[Lane, queue.SimpleQueue[Connection]] = {}
        for lane, count in (*((lane, 1) for lane in _SINGLE), ("interactive", _INTERACTIVE)):
            waiting: queue.SimpleQueue[Connection] = queue.SimpleQueue()
            for _ in range(count):
                connection = first if lane == "insert" else Connection(str(folder))
                if connection is not first:
                    self._all.append(connection)
                waiting.put(connection)
            self._lanes[lane] = waiting  # pyright: ignore[reportArgumentType]
        self._closed = threading.Event()

    @contextlib.contextmanager
    def _connection(self, lane: Lane, budget: Budget | None = None) -> Generator[Connection]:
        waiting = self._lanes[lane]
        while True:
            if self._closed.is_set():
                raise Unavailable("the storage engine is closed")
            try:
                connection = waiting.get(timeout=0.1)
                break
            except queue.Empty:
                if budget is not None:
                    budget.check()
        try:
            yield connection
        except (RuntimeError, ChdbError) as error:
            raise _translated(error) from None
        finally:
            waiting.put(connection)

    def stream(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        lane: Lane = "interactive",
        budget: Budget,
    ) -> Iterator[pa.RecordBatch]:
        """The result, batch by batch; closing the iterator early ends the query."""
        limits = (
            f" SETTINGS max_memory_usage = {self._query_memory}, max_execution_time = {budget.remaining_s() + 0.1:.3f},"
            " output_format_arrow_string_as_string = 0, max_block_size = 131072"
        )
        with self._connection(lane, budget) as connection:
            result: Any = connection.send_query(sql + limits, "Arrow", params=bound(parameters or {}))
            try:
                for chunk in result:
                    budget.check()
                    yield from pa.ipc.open_file(chunk.bytes()).read_all().to_batches()
            finally:
                result.close()  # cancels what is not exhausted

    def table(
        self, sql: str, parameters: Mapping[str, Parameter] | None = None, *, lane: Lane = "interactive"
    ) -> pa.Table:
        """The whole result."""
        text = f"{sql} SETTINGS output_format_arrow_string_as_string = 0"
        with self._connection(lane) as connection:
            return _asked(connection, text, "ArrowTable", bound(parameters or {}))

    def command(self, sql: str) -> None:
        """Run a statement on the lane of inserts."""
        with self._connection("insert") as connection:
            _asked(connection, sql, "CSV", {})

    def insert(self, table: str, columns: Sequence[Column], *, token: str) -> None:
        """Insert one block."""
        if not len(columns[0]):
            return
        names = ", ".join(column.name for column in columns)
        sql = f"INSERT INTO {table} ({names}) SETTINGS insert_deduplicate = 1, insert_deduplication_token = '{token}'"
        with self._connection("insert") as connection, connection.send_insert(sql, "Native") as inserter:
            inserter.append(native_block(columns))
            inserter.finish()

    def insert_message(
        self, table: str, parts: Sequence[bytes], schema: str, *, token: str, lane: Lane
    ) -> None:
        """Insert one protobuf message, `Request` of `schema`, as one row of a table and into what its views feed."""
        sql = (
            f"INSERT INTO {table} SETTINGS insert_deduplicate = 1, insert_deduplication_token = '{token}',"
            " deduplicate_blocks_in_dependent_materialized_views = 1, max_partitions_per_insert_block = 0,"
            f" format_schema = {quoted(f'{self._schema_file(schema)}:Request')}"
        )
        with self._connection(lane) as connection, connection.send_insert(sql, "ProtobufSingle") as inserter:
            for part in parts:
                inserter.append(part)
            inserter.finish()

    def _schema_file(self, schema: str) -> Path:
        """A file with this .proto text. Given as text, the engine would write it into the folder that we started in."""
        folder = self._folder.resolve() / "format_schemas"
        path = folder / f"{xxhash.xxh3_64_hexdigest(schema.encode())}.proto"
        if path not in self._schema_files:
            folder.mkdir(exist_ok=True)
            path.write_text(schema)
            self._schema_files.add(path)
        return path

    def backup(self, tables: Sequence[str], target: Path) -> None:
        """Write tables into a folder that does not exist yet."""
        listed = ", ".join(f"TABLE default.{table}" for table in tables)
        self.command(f"BACKUP {listed} TO File({quoted(str(target))})")

    def restore(self, tables: Sequence[str], source: Path, into: str = "default") -> None:
        """Read back what `backup` wrote, into a database that does not have these tables."""
        self.command(f"CREATE DATABASE IF NOT EXISTS {into}")
        listed = ", ".join(f"TABLE default.{table} AS {into}.{table}" for table in tables)
        self.command(f"RESTORE {listed} FROM File({quoted(str(source))})")

    def close(self) -> None:
        """Close every connection; queries under way end first."""
        self._closed.set()
        for connection in reversed(self._all):
            try:
                connection.close()
            except RuntimeError as error:
                _log.warning("cannot close the engine cleanly", extra={"reason": str(error)})


def _asked(connection: Connection, sql: str, format_: str, parameters: dict[str, str]) -> Any:
    """The answer; asked again when chDB confuses the query's id with that of a BACKUP which has just ended."""
    for _ in range(_ID_RETRIES):
        try:
            return connection.query(sql, format_, params=parameters)
        except (RuntimeError, ChdbError) as error:
            if "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING" not in str(error):
                raise
    return connection.query(sql, format_, params=parameters)


def _translated(error: Exception) -> OteroError:
    text = str(error)
    found = _CODE.search(text)
    code = int(found[1]) if found else 0
    brief = text.split("DB::Exception: ")[-1].splitlines()[0][:300] if text else type(error).__name__
    if code in _FULL or "No space left" in text:
        return Unavailable(
            "the disk is full: the engine stores nothing until there is room again", retry_after_s=30
        )
    if code == _MEMORY:
        return LimitExceeded(f"the query needs more memory than it may use: {brief}")
    if code == _TIMEOUT:
        return TimedOut("the query took longer than it may (setting query.timeout)")
    if code == _CANCELLED:
        return Cancelled("query was canceled")
    return Bug(f"the storage engine failed: {brief}")
