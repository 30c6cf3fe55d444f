"""The schema of the engine: numbered SQL files, applied in order, each once."""

import re
from importlib.resources import files

import numpy as np

from otero.clock import Clock
from otero.errors import Conflict
from otero.model.records import Signal
from otero.storage.engine import Column, SqlEngine

TABLES = (
    "schema_versions", "samples", "histograms", "series", "metadata", "exemplars", "otel_logs", "otel_traces",
    "alert_decisions",
)  # fmt: skip
"""Every table of the newest schema: what a backup holds."""

_SETTINGS = (
    "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,"
    " min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1,"
    " non_replicated_deduplication_window = 10000, min_free_disk_bytes_to_perform_insert = 67108864"
)
"""Durable against power loss, whole parts dropped by age, replays stored once, a reserve of disk for merges."""

_DAY_MS = 86_400_000
_LAST_SECOND = 4_294_000_000
_NUMBERED = re.compile(r"(\d{4})_\w+\.sql")


def steps() -> dict[int, str]:
    """The SQL of each schema version."""
    folder = files("otero.storage") / "schema"
    found = {
        int(name[1]): file.read_text()
        for file in folder.iterdir()
        if (name := _NUMBERED.fullmatch(file.name))
    }
    return dict(sorted(found.items()))


def migrate(engine: SqlEngine, clock: Clock) -> int:
    """Bring the engine to the newest schema; its version. Raises Conflict, before changing anything, for a newer one."""
    engine.command(
        "CREATE TABLE IF NOT EXISTS schema_versions (version UInt32, applied Int64) ENGINE = MergeTree ORDER BY version"
    )
    have = int(engine.table("SELECT max(version) AS version FROM schema_versions")["version"][0].as_py())
    known = steps()
    newest = max(known)
    if have > newest:
        raise Conflict(
            f"the data directory has schema {have}, this Otero knows {newest}: it was written by a later release."
            " Start that release, or give another --data; nothing was changed"
        )
    for version, text in known.items():
        if version > have:
            for statement in statements(text):
                engine.command(statement)
            columns = [
                Column("version", "UInt32", np.array([version], np.uint32)),
                Column("applied", "Int64", np.array([clock.now_ms()], np.int64)),
            ]
            engine.insert("schema_versions", columns, token=f"schema-{version}")
    return newest


def statements(text: str) -> list[str]:
    """The statements of a schema file, comments dropped, common settings filled in."""
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip().replace("{settings}", _SETTINGS) for part in bare.split(";") if part.strip()]


def set_retention(engine: SqlEngine, retention_ms: int) -> None:
    """Let samples, series and exemplars go after this time; 0 keeps them for ever. Parts go when all of it is older."""
    for table, column in (
        ("samples", "intDiv(time, 1000)"),
        ("histograms", "intDiv(time, 1000)"),
        ("exemplars", "intDiv(time, 1000)"),
        ("series", "day * 86400"),
    ):
        extra_s = _DAY_MS // 1000 if table == "series" else 0
        _set_ttl(engine, table, column, retention_ms // 1000 + extra_s if retention_ms else 0)


def set_record_retention(engine: SqlEngine, signal: Signal, retention_ms: int) -> None:
    """The same for log records or spans."""
    _set_ttl(
        engine, f"otel_{signal}", "intDiv(toUnixTimestamp64Nano(Timestamp), 1000000000)", retention_ms // 1000
    )


def set_decision_retention(engine: SqlEngine, retention_ms: int) -> None:
    """The same for decisions about alerts."""
    _set_ttl(engine, "alert_decisions", "intDiv(time, 1000)", retention_ms // 1000)


def _set_ttl(engine: SqlEngine, table: str, column: str, seconds: int) -> None:
    """Let rows go when `column`, in seconds since the epoch, is older than this; 0 keeps them.

    A DateTime ends in 2106, so times are clamped to where adding the retention does not wrap around.
    """
    defined = _definition(engine, table)
    if 0 < seconds < _LAST_SECOND:
        # Said again, the same TTL would make the engine rewrite every part.
        if f"toIntervalSecond({seconds})" not in defined:
            until = f"toDateTime(least(greatest({column}, 0), {_LAST_SECOND - seconds})) + toIntervalSecond({seconds})"
            engine.command(f"ALTER TABLE {table} MODIFY TTL {until}")
    elif " TTL " in defined:
        engine.command(f"ALTER TABLE {table} REMOVE TTL")


def _definition(engine: SqlEngine, table: str) -> str:
    found = engine.table(
        "SELECT create_table_query AS text FROM system.tables WHERE database = 'default' AND name = {table:String}",
        {"table": table},
    )
    text = found["text"][0].as_py()
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
