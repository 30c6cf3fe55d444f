"""A data directory and a backup of the schema before: upgraded in place, the ledger in them from now on."""

import tarfile
from pathlib import Path

from otero.clock import ManualClock
from otero.model.budget import Budget
from otero.model.decisions import Decision, DecisionKind
from otero.storage.backup import backup, restore
from otero.storage.ledger import Ledger, Wanted
from otero.storage.metrics import MetricStore, StorageSettings


def test_a_data_directory_of_schema_3_is_upgraded_in_place_and_its_backup_restores(tmp_path: Path) -> None:
    at = 1_764_000_000_000
    with tarfile.open(Path(__file__).parent / "fixtures" / "schema-3.tar.gz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    (tmp_path / "old" / "backup").rename(tmp_path / "backup")
    assert restore(tmp_path / "backup", tmp_path / "restored").logs == 1
    clock = ManualClock(at + 60_000)
    for folder in (tmp_path / "old", tmp_path / "restored"):
        for number in range(2):
            store = MetricStore(StorageSettings(path=folder, retention_ms=0), clock)
            kept = Ledger(store.engine, folder / "journal" / "decisions", clock)
            made = [
                Decision(at + n, DecisionKind.RECEIVED, "A", 7, {"a": "b"}, text=str(n)) for n in range(2)
            ]
            kept.record(made[number])
            kept.flush()
            budget = Budget(clock, timeout_s=60, max_samples=100)
            found = kept.read(Wanted(0, 2 * at, "A"), limit=10, budget=budget)
            assert [one.decision for one in found] == made[: number + 1]
            counts = store.engine.table("SELECT count() AS n, any(Body) AS body FROM otel_logs")
            assert counts.to_pylist() == [{"n": 1, "body": b"hello"}]
            if number:
                report = backup(store, folder / "copy", ledger=kept)
                assert (report.samples, report.logs, report.decisions) == (1, 1, 2)
            kept.stop()
            store.stop()
    assert restore(tmp_path / "old" / "copy", tmp_path / "again").decisions == 2
