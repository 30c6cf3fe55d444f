"""The ledger: what was recorded is read back, once, in order, whatever was inserted and whatever died meanwhile."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otero.clock import ManualClock, SystemClock
from otero.errors import Bug, LimitExceeded, Unavailable
from otero.model.alerts import fingerprint
from otero.model.budget import Budget
from otero.model.decisions import Decision, DecisionKind
from otero.storage.chdb import EmbeddedEngine
from otero.storage.ledger import DROPPED, Ledger, Wanted
from otero.storage.migrate import migrate

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ALWAYS = Wanted(-(1 << 62), 1 << 62, "A")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(tmp_path_factory.mktemp("ledger") / "engine")
    migrate(engine, ManualClock(NOW_MS))
    yield engine
    engine.close()


@pytest.fixture
def empty(engine: EmbeddedEngine) -> EmbeddedEngine:
    engine.command("TRUNCATE TABLE alert_decisions")
    return engine


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


def ledger(engine: EmbeddedEngine, folder: Path, clock: ManualClock, **kw: Any) -> Ledger:
    return Ledger(engine, folder, clock, fsync="never", **kw)


def decision(number: int = 0, **fields: Any) -> Decision:
    labels = {"alertname": "A", "instance": f"host-{number}"}
    made = Decision(
        NOW_MS + number, DecisionKind.RULE_PENDING, "A", fingerprint(labels), labels, text=f"number {number}"
    )
    return replace(made, **fields)


def read(ledger: Ledger, wanted: Wanted = ALWAYS, limit: int = 10_000) -> list[Decision]:
    budget = Budget(ManualClock(NOW_MS), timeout_s=60, max_samples=1_000_000)
    return [one.decision for one in ledger.read(wanted, limit=limit, budget=budget)]


def rows(engine: EmbeddedEngine) -> int:
    return engine.table("SELECT count() AS n FROM alert_decisions")["n"][0].as_py()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
DECISIONS = st.builds(
    Decision,
    st.integers(NOW_MS - 3 * DAY_MS, NOW_MS + 3 * DAY_MS),
    st.sampled_from(DecisionKind),
    st.just("A"),
    st.integers(0, (1 << 64) - 1),
    st.dictionaries(TEXTS, TEXTS, max_size=4),
    TEXTS,
    TEXTS,
    TEXTS,
    TEXTS,
    st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(-(1 << 53), 1 << 53), st.booleans(), st.none())),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(DECISIONS, st.sampled_from(["", "flush", "restart", "crash"])), max_size=12))
def test_any_decisions_read_back_once_in_order_through_inserts_restarts_and_crashes(
    engine: EmbeddedEngine, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Decision, str]]
) -> None:
    engine.command("TRUNCATE TABLE alert_decisions")
    folder, clock = tmp_path_factory.mktemp("journal"), ManualClock(NOW_MS)
    kept = ledger(engine, folder, clock)
    for one, then in steps:
        kept.record(one)
        match then:
            case "flush":
                kept.flush()
            case "restart":
                kept.flush()
                kept.stop()
                kept = ledger(engine, folder, clock)
            case "crash":
                kept = ledger(engine, folder, clock)  # the one before is left as it is
            case _:
                pass
    # sorted() is stable: decisions of one millisecond stay in the order in which they were made.
    assert read(kept) == sorted((one for one, _ in steps), key=lambda one: one.time_ms)
    kept.flush()
    assert rows(engine) == len(steps)
    assert read(kept) == sorted((one for one, _ in steps), key=lambda one: one.time_ms)


class Failing:
    """An engine whose insert fails, before or after it has stored some days."""

    def __init__(self, engine: EmbeddedEngine, stores_until_ms: int, error: Exception) -> None:
        self.engine, self.until_ms, self.error = engine, stores_until_ms, error
        self.fails = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def insert(self, table: str, columns: list[Any], *, token: str) -> None:
        if not self.fails:
            return self.engine.insert(table, columns, token=token)
        keep = int((columns[0].values < self.until_ms).sum())
        ends = columns[5].ends[:keep]
        total = int(ends[-1]) if keep else 0
        half = len(columns[5].values) // 2
        part = [
            replace(c, values=c.values[:total] + c.values[half : half + total], ends=ends)
            if c.ends is not None
            else replace(c, values=c.values[:keep])
            for c in columns
        ]
        self.engine.insert(table, part, token=f"{token} part")
        raise self.error


def test_an_insert_that_stored_one_day_and_not_the_other_is_completed_once(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    failing = Failing(empty, NOW_MS + 5, Unavailable("away", retry_after_s=1))
    kept = ledger(failing, tmp_path, clock)  # pyright: ignore[reportArgumentType]
    wanted = [decision(number, time_ms=NOW_MS + number + (number // 5) * DAY_MS) for number in range(10)]
    for one in wanted:
        kept.record(one)
    with pytest.raises(Unavailable):
        kept.flush()
    assert rows(empty) == 5
    assert read(kept) == wanted, "what was stored of it is not seen twice"
    later = ledger(empty, tmp_path, clock)
    later.flush()
    assert (rows(empty), read(later)) == (10, wanted)
    failing.fails = False
    kept.flush()
    assert (rows(empty), read(kept)) == (10, wanted)
    assert kept.status().waiting == 0


def test_what_is_recorded_survives_kill_9(empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock) -> None:
    text = """
import os, sys
from pathlib import Path
from otero.clock import SystemClock
from otero.model.decisions import Decision, DecisionKind
from otero.storage.chdb import EmbeddedEngine
from otero.storage.ledger import Ledger
from otero.storage.migrate import migrate
engine = EmbeddedEngine(Path(sys.argv[1]) / "engine")
migrate(engine, SystemClock())
ledger = Ledger(engine, Path(sys.argv[1]) / "journal", SystemClock(), interval_s=0.05)
ledger.start()
for number in range(5000):
    ledger.record(Decision(number, DecisionKind.DELIVERED, "A", 7, text=str(number)))
os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", text, str(tmp_path)], check=False, capture_output=True)
    assert died.returncode == -9, died.stderr
    # One process has one engine: another one reads.
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            """
import sys
from pathlib import Path
from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.storage.chdb import EmbeddedEngine
from otero.storage.ledger import Ledger, Wanted
engine = EmbeddedEngine(Path(sys.argv[1]) / "engine")
ledger = Ledger(engine, Path(sys.argv[1]) / "journal", SystemClock())
budget = Budget(SystemClock(), timeout_s=60, max_samples=10**6)
before = [int(one.decision.text) for one in ledger.read(Wanted(0, 5000, "A"), limit=10**4, budget=budget)]
ledger.start()
ledger.stop()
after = int(engine.table("SELECT count() AS n FROM alert_decisions")["n"][0].as_py())
print(before == list(range(5000)), after)
""",
            str(tmp_path),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == ["True", "5000"]


def test_what_is_wanted_is_found_by_name_fingerprint_and_group(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    kept = ledger(empty, tmp_path, clock)
    of_a, of_b = decision(1, group_key="g"), decision(2, alertname="B", fingerprint=5)
    group = decision(3, alertname="", fingerprint=0, group_key="g", labels={})
    other = decision(4, alertname="", fingerprint=0, group_key="h", labels={})
    for one in (of_a, of_b, group, other):
        kept.record(one)
    everything = {"start_ms": 0, "end_ms": 2 * NOW_MS}
    for _ in range(2):  # from the journal, then from the engine
        assert read(kept, Wanted(**everything, alertname="A")) == [of_a]
        assert read(kept, Wanted(**everything, alertname="A", group_keys=("g",))) == [of_a, group]
        assert read(kept, Wanted(**everything, fingerprint=5)) == [of_b]
        assert read(kept, Wanted(NOW_MS + 2, NOW_MS + 3, group_keys=("g", "h"))) == [group]
        assert read(kept, Wanted(**everything)) == []
        budget = Budget(clock, timeout_s=60, max_samples=100)
        assert kept.names(NOW_MS, budget=budget) == {"A", "B"}
        assert kept.names(NOW_MS + 2, budget=budget) == {"B"}
        kept.flush()


def test_the_newest_of_many_are_read(empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock) -> None:
    kept = ledger(empty, tmp_path, clock)
    made = [decision(number) for number in range(30)]
    for number, one in enumerate(made):
        kept.record(one)
        if number == 20:
            kept.flush()
    assert read(kept, limit=7) == made[-7:]
    assert read(kept, limit=15) == made[-15:]
    with pytest.raises(LimitExceeded):
        kept.read(ALWAYS, limit=100, budget=Budget(clock, timeout_s=60, max_samples=5))


def test_many_threads_record_while_it_inserts_and_is_read(empty: EmbeddedEngine, tmp_path: Path) -> None:
    kept = Ledger(empty, tmp_path, SystemClock(), fsync="never", interval_s=0.01)
    kept.start()
    seen: list[int] = []

    def work(thread: int) -> None:
        for number in range(400):
            kept.record(decision(thread * 1000 + number))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = [one.text for one in read(kept)]
        assert len(found) == len(set(found)), "nothing twice"
        seen.append(len(found))
    for thread in threads:
        thread.join()
    assert all(before <= after for before, after in itertools.pairwise(seen)), "nothing is lost meanwhile"
    assert len(read(kept)) == 1600
    kept.stop()
    assert rows(empty) == 1600


def test_a_full_journal_drops_and_counts_and_nobody_hears_an_exception(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = ledger(empty, tmp_path, clock, max_bytes=2_000)
    before = DROPPED._value.get()
    for number in range(100):
        kept.record(decision(number))
    held = len(read(kept))
    assert 5 < held < 50
    assert DROPPED._value.get() - before == 100 - held
    assert len([r for r in caplog.records if "not taken down" in r.message]) == 1, "said once"
    assert not kept.status().writable
    kept.record(decision(labels={"a": object()}))  # what cannot be written
    kept.flush()
    assert rows(empty) == held


def test_a_decision_is_bounded(empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock) -> None:
    kept = ledger(empty, tmp_path, clock)
    kept.record(decision(text="x" * 10_000, detail={"answer": "y" * 100_000}))
    kept.record(decision(1, detail={"odd": float, "value": float("nan")}))
    long, odd = read(kept)
    assert long.text == "x" * 3_999 + "…"
    assert long.detail == {"omitted": "too large"}
    assert odd.detail == {"odd": "<class 'float'>", "value": None}


def test_the_thread_inserts_again_when_the_engine_is_back(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otero.storage.ledger._RETRY_S", 0.01)
    failing = Failing(empty, 0, Bug("broken"))
    kept = ledger(failing, tmp_path, clock)  # pyright: ignore[reportArgumentType]
    kept.start()
    kept.record(decision())
    failing.fails = False
    kept.record(decision(1))
    kept.stop()
    assert rows(empty) == 2


def test_sequence_numbers_go_on_from_a_restored_table(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    ahead = ledger(empty, tmp_path / "one", ManualClock(NOW_MS + 10 * DAY_MS))
    ahead.record(decision(text="first"))
    ahead.flush()
    kept = ledger(empty, tmp_path / "two", clock)
    kept.record(decision(text="second"))
    assert [one.text for one in read(kept)] == ["first", "second"]


def test_its_retention_is_its_tables_ttl(empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock) -> None:
    def defined() -> str:
        found = empty.table(
            "SELECT create_table_query AS t FROM system.tables WHERE name = 'alert_decisions'"
        )
        return found["t"][0].as_py().decode()

    ledger(empty, tmp_path, clock, retention_ms=90 * DAY_MS)
    assert "toIntervalSecond(7776000)" in defined()
    ledger(empty, tmp_path, clock)
    assert " TTL " not in defined()
