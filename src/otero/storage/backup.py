"""A backup of a running store, checked by reading it back, and the way back.

DIR/manifest.json   what it holds: schema, samples, checksum, time
DIR/engine/         the engine's own backup of every table
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from otero import __version__
from otero.errors import BadInput, Bug, Conflict, NotFound
from otero.storage.chdb import EmbeddedEngine
from otero.storage.lock import DirectoryLock
from otero.storage.metrics import MetricStore
from otero.storage.migrate import TABLES, steps

_MANIFEST = "manifest.json"
_ENGINE = "engine"
_COUNT = "SELECT count() AS samples, sum(cityHash64(series, time, reinterpretAsUInt64(value), start)) AS checksum FROM samples FINAL"


class Manifest(msgspec.Struct):
    """What a backup holds. `checksum` is over all samples, duplicates merged."""

    version: str
    schema: int
    made_ms: int
    tables: list[str]
    samples: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was written or restored: bytes on disk, samples."""

    bytes: int
    samples: int


def backup(store: MetricStore, target: Path) -> Report:
    """Write everything that is stored into `target`, a folder that does not exist yet or is empty.

    What is acknowledged when it begins is in it. Raises Conflict, and Bug when the copy does not read back the same.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} exists already and is not an empty folder; give another")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write the backup to {target}: {error.strerror}") from None
    store.flush()
    with store.flushing_paused():
        samples, checksum = _count(store.engine)
        store.engine.backup(TABLES, target.resolve() / _ENGINE)
    manifest = Manifest(__version__, max(steps()), store.now_ms(), list(TABLES), samples, checksum)
    (target / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    _check_copy(store.engine, target, manifest)
    return Report(sum(file.stat().st_size for file in target.rglob("*") if file.is_file()), samples)


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
            samples, checksum = _count(engine)
        finally:
            engine.close()
        if (samples, checksum) != (manifest.samples, manifest.checksum):
            shutil.rmtree(data / _ENGINE)
            raise Bug(
                f"the backup is damaged: it should hold {manifest.samples:,} samples and gave {samples:,}"
            )
    finally:
        lock.release()
    return Report(sum(file.stat().st_size for file in data.rglob("*") if file.is_file()), samples)


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


def _count(engine: EmbeddedEngine, database: str = "default") -> tuple[int, int]:
    table = engine.table(_COUNT.replace("FROM samples", f"FROM {database}.samples"), lane="rules")
    return int(table["samples"][0].as_py()), int(table["checksum"][0].as_py())


def _check_copy(engine: EmbeddedEngine, target: Path, manifest: Manifest) -> None:
    """Restore the samples beside the real ones, compare, and drop them again."""
    engine.command("DROP DATABASE IF EXISTS backup_check SYNC")
    try:
        engine.restore(["samples"], (target / _ENGINE).resolve(), into="backup_check")
        found = _count(engine, "backup_check")
    finally:
        engine.command("DROP DATABASE IF EXISTS backup_check SYNC")
    if found != (manifest.samples, manifest.checksum):
        raise Bug(f"the backup in {target} does not read back as it was written; do not rely on it")
