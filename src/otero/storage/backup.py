"""A backup of a running store, checked by reading it back, and the way back.

DIR/manifest.json   what it holds: schema, samples, checksum, time
DIR/engine/         the engine's own backup of every table
DIR/state.sqlite    the small mutable state
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from otero import __version__
from otero.errors import BadInput, Bug, Conflict, NotFound
from otero.storage.chdb import EmbeddedEngine
from otero.storage.ledger import Ledger
from otero.storage.lock import DirectoryLock
from otero.storage.metrics import MetricStore
from otero.storage.migrate import TABLES, steps
from otero.storage.records import RecordStorage
from otero.storage.state import FILE as STATE_FILE
from otero.storage.state import State

_MANIFEST = "manifest.json"
_ENGINE = "engine"
_CHECKED = {
    "samples": "series, time, reinterpretAsUInt64(value), start",
    "histograms": "series, time, schema, zero_threshold, zero_count, count, sum, hint, bounds, bucket, value",
    "otel_logs": "Timestamp, TraceId, SpanId, Body, mapValues(LogAttributes), InsertId",
    "otel_traces": "Timestamp, TraceId, SpanId, SpanName, Duration, mapValues(SpanAttributes), InsertId",
    "alert_decisions": "time, sequence, kind, fingerprint, mapValues(labels), group_key, receiver, text, detail",
}
"""Tables that are compared, and what of their rows."""
_MERGED = frozenset({"samples", "histograms"})
"""Of them those in which a later row replaces an earlier one."""


class Manifest(msgspec.Struct):
    """What a backup holds. `checksum` is over all samples, duplicates merged; `histograms_checksum` over native
    histograms; `records` are rows and checksum of log records, spans and decisions about alerts by table."""

    version: str
    schema: int
    made_ms: int
    tables: list[str]
    samples: int
    checksum: int
    histograms: int = 0
    histograms_checksum: int = 0
    records: dict[str, tuple[int, int]] = {}

    def counts(self) -> "Counts":
        """What `_count` should find."""
        return {
            "samples": (self.samples, self.checksum),
            "histograms": (self.histograms, self.histograms_checksum),
            **self.records,
        }


Counts = dict[str, tuple[int, int]]
"""Rows and checksum by table."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was written or restored: bytes on disk, samples, log records, spans, decisions about alerts."""

    bytes: int
    samples: int
    logs: int
    spans: int
    decisions: int = 0


def backup(
    store: MetricStore,
    target: Path,
    *,
    records: RecordStorage | None = None,
    ledger: Ledger | None = None,
    state: State | None = None,
) -> Report:
    """Write everything that is stored into `target`, a folder that does not exist yet or is empty.

    What is acknowledged when it begins is in it. Raises Conflict, and Bug when the copy does not read back the same.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} exists already and is not an empty folder; give another")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write the backup to {target}: {error.strerror}") from None
    if state is not None:
        state.copy_to(target / STATE_FILE)
    store.flush()
    with contextlib.ExitStack() as paused:
        if records is not None:
            records.flush()
            paused.enter_context(records.inserting_paused())
        if ledger is not None:
            ledger.flush()
            paused.enter_context(ledger.inserting_paused())
        paused.enter_context(store.flushing_paused())
        found = _count(store.engine)
        store.engine.backup(TABLES, target.resolve() / _ENGINE)
    manifest = Manifest(
        __version__,
        max(steps()),
        store.now_ms(),
        list(TABLES),
        *found["samples"],
        *found["histograms"],
        {table: found[table] for table in _CHECKED if table not in _MERGED},
    )
    (target / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    _check_copy(store.engine, target, manifest)
    return _report(target, manifest)


def restore(source: Path, data: Path) -> Report:
    """Fill the data directory `data`, which must not hold data yet, from a backup; its journal begins anew."""
    manifest = read_manifest(source)
    if data.exists() and any(child.name != "lock" for child in data.iterdir()):
        raise Conflict(
            f"{data} holds data already; restore into a folder that does not exist yet or is empty"
        )
    lock = DirectoryLock(data)
    try:
        engine = EmbeddedEngine(data / _ENGINE)
        try:
            engine.restore(manifest.tables, (source / _ENGINE).resolve())
            found = _count(engine, tables=manifest.tables)
        finally:
            engine.close()
        if any(found[table] != manifest.counts()[table] for table in found):
            shutil.rmtree(data / _ENGINE)
            samples = found["samples"][0]
            raise Bug(
                f"the backup is damaged: it should hold {manifest.samples:,} samples and gave {samples:,},"
                " or they are not the same"
            )
        if (source / STATE_FILE).exists():
            shutil.copyfile(source / STATE_FILE, data / STATE_FILE)
    finally:
        lock.release()
    return _report(data, manifest)


def _report(folder: Path, manifest: Manifest) -> Report:
    logs, spans, decisions = (
        manifest.records.get(table, (0, 0))[0] for table in ("otel_logs", "otel_traces", "alert_decisions")
    )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Report(size, manifest.samples, logs, spans, decisions)


def read_manifest(source: Path) -> Manifest:
    """What a backup says of itself. Raises NotFound, BadInput, Conflict for one of a later release."""
    try:
        data = (source / _MANIFEST).read_bytes()
    except OSError:
        raise NotFound(f"{source} is no backup of Otero: it has no {_MANIFEST}") from None
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise BadInput(f"{source / _MANIFEST} cannot be read: {error}") from None
    if manifest.schema > max(steps()):
        raise Conflict(f"the backup was made by a later release, {manifest.version}; restore it with that")
    return manifest


def _count(engine: EmbeddedEngine, database: str = "default", tables: Sequence[str] = TABLES) -> Counts:
    out: Counts = {}
    for name, columns in _CHECKED.items():
        if name in tables:
            table = engine.table(
                f"SELECT count() AS rows, sum(cityHash64({columns})) AS checksum FROM {database}.{name}"
                f"{' FINAL' if name in _MERGED else ''}",
                lane="rules",
            )
            out[name] = (int(table["rows"][0].as_py()), int(table["checksum"][0].as_py()))
    return out


def _check_copy(engine: EmbeddedEngine, target: Path, manifest: Manifest) -> None:
    """Restore what is compared beside the real ones, compare, and drop them again."""
    engine.command("DROP DATABASE IF EXISTS backup_check SYNC")
    try:
        engine.restore(list(_CHECKED), (target / _ENGINE).resolve(), into="backup_check")
        found = _count(engine, "backup_check")
    finally:
        engine.command("DROP DATABASE IF EXISTS backup_check SYNC")
    if found != manifest.counts():
        raise Bug(f"the backup in {target} does not read back as it was written; do not rely on it")
