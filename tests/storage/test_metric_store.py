"""The store gives back what it acknowledged, through flushes, restarts and crashes, compared with a dict."""

import contextlib
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from otero.clock import ManualClock
from otero.errors import Conflict, LimitExceeded, Unavailable
from otero.model.budget import Budget
from otero.model.histograms import Histograms, box, boxed_rows, is_boxed
from otero.model.labels import LabelBytes, decode_labels, encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.model.samples import ABSENT_BITS, NAN_BITS, NO_TIME, STALE, bits
from otero.storage.backup import backup, restore
from otero.storage.metrics import MetricStore, StorageSettings
from otero.storage.push_groups import PushGroupTable, StoredFamily
from otero.storage.state import State
from tests.histogram_samples import Described, described, one, single

HOUR_MS = 3_600_000
NOW_MS = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
"""Near the real time, by which the engine drops what is older than the retention."""


@contextlib.contextmanager
def opened(path: Path, clock: ManualClock, **changes: object) -> Iterator[MetricStore]:
    """A started store whose flushes are only those that the test asks for."""
    fixed = {"flush_interval_ms": 10**9, "fsync": "never", "retention_ms": 0}
    store = MetricStore(StorageSettings(path=path, **{**fixed, **changes}), clock)  # pyright: ignore[reportArgumentType]
    store.start()
    try:
        yield store
    finally:
        store.stop()


def key(metric: str, number: int) -> LabelBytes:
    return encode_labels(
        {"__name__": metric, "n": str(number), "job": "jöb", "parity": "even" if number % 2 == 0 else ""}
    )


Cell = int | Described
"""The bits of a float, or a histogram."""


def contents(
    store: MetricStore, matchers: list[Matcher], start_ms: int, end_ms: int
) -> dict[LabelBytes, dict[int, Cell]]:
    """Samples by series and time, each series checked to be in one block."""
    budget = Budget(ManualClock(), timeout_s=1000, max_samples=10**9)
    out: dict[LabelBytes, dict[int, Cell]] = {}
    for block in store.select(matchers, start_ms, end_ms, budget):
        raw = bits(np.ascontiguousarray(block.values))
        boxes = boxed_rows(block.values)
        held = block.histograms
        assert not (block.clean and is_boxed(block.values).any())
        assert (held is not None) == bool((boxes >= 0).any())
        if held is not None:
            assert len(held) == len(np.unique(boxes[boxes >= 0])), "only what the block needs"
        for column, labels in enumerate(block.labels.rows()):
            times = block.times_ms[:, block.group[column]]
            there = (
                (times != NO_TIME) & (raw[:, column] != ABSENT_BITS) & (times >= start_ms) & (times <= end_ms)
            )
            samples: dict[int, Cell] = dict(
                zip(times[there].tolist(), raw[there, column].tolist(), strict=True)
            )
            for time_ms, row in zip(times[there].tolist(), boxes[there, column].tolist(), strict=True):
                if held is not None and row >= 0:
                    samples[time_ms] = described(held, row)
            name = encode_labels(labels)
            assert name not in out
            if samples:
                out[name] = samples
    return out


NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example opens several stores: shrinking would take minutes."""
METRIC_A = [Matcher("__name__", MatchOp.EQUAL, "a")]


@dataclass
class Oracle:
    samples: dict[LabelBytes, dict[int, Cell]] = field(default_factory=dict)

    def write(
        self, store: MetricStore, keys: list[LabelBytes], times: list[int], values: list[float]
    ) -> None:
        refs = store.registry.resolve(keys)
        column = np.array(values, np.float64)
        store.append(MetricBatch(refs, np.array(times, np.int64), column))
        for name, time_ms, raw in zip(keys, times, bits(column).tolist(), strict=True):
            self.samples.setdefault(name, {})[time_ms] = raw

    def of(self, metric: str) -> dict[LabelBytes, dict[int, Cell]]:
        """The samples of one metric."""
        return {
            name: s
            for name, s in self.samples.items()
            if f"\udcff{metric}\udcff".encode("utf-8", "surrogateescape") in name
        }

    def write_mixed(
        self,
        store: MetricStore,
        keys: list[LabelBytes],
        times: list[int],
        cells: list[float | int],
        histograms: Histograms,
    ) -> None:
        """Floats as they are, whole numbers as rows of `histograms`."""
        refs = store.registry.resolve(keys)
        column = np.array([box(np.array([c]))[0] if isinstance(c, int) else c for c in cells], np.float64)
        store.append(MetricBatch(refs, np.array(times, np.int64), column, histograms=histograms))
        for name, time_ms, cell, raw in zip(keys, times, cells, bits(column).tolist(), strict=True):
            held = described(histograms, cell) if isinstance(cell, int) else raw
            self.samples.setdefault(name, {})[time_ms] = held


operation = st.one_of(
    st.tuples(st.just("scrape"), st.integers(1, 20), st.floats(allow_nan=False)),
    st.tuples(st.just("late"), st.integers(0, 30 * 24), st.floats()),
    st.tuples(st.just("again"), st.integers(1, 20), st.floats(allow_nan=False)),
    st.tuples(st.just("flush"), st.just(0), st.just(0.0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0.0)),
    st.tuples(st.just("evict"), st.just(0), st.just(0.0)),
)  # fmt: skip


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(operation, max_size=14))
def test_any_history_reads_back(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, float]]
) -> None:
    clock = ManualClock(NOW_MS)
    path = tmp_path_factory.mktemp("store")
    oracle = Oracle()
    stack = contextlib.ExitStack()
    store = stack.enter_context(opened(path, clock))
    last: list[int] = []
    with contextlib.ExitStack() as outer:
        outer.callback(lambda: stack.close())
        for what, number, value in operations:
            match what:
                case "scrape":
                    clock.advance(15_000)
                    last = [clock.now_ms()] * number
                    oracle.write(
                        store, [key("a", n) for n in range(number)], last, [value + n for n in range(number)]
                    )
                case "late":
                    at = clock.now_ms() - number * HOUR_MS - 7
                    oracle.write(store, [key("a", 3), key("b", 1)], [at, at], [value, 1.0])
                case "again" if last:
                    count = min(number, len(last))
                    oracle.write(store, [key("a", n) for n in range(count)], last[:count], [value] * count)
                case "flush":
                    store.flush()
                case "evict":
                    clock.advance(HOUR_MS)
                    store.head.evict()
                case "restart":
                    stack.close()
                    stack = contextlib.ExitStack()
                    store = stack.enter_context(opened(path, clock))
                case _:
                    continue
            expected = {name: s for name, s in oracle.samples.items() if b"\xffa\xff" in name}
            found = contents(store, METRIC_A, 0, clock.now_ms())
            assert found == expected


def test_matchers_find_the_same_in_the_engine_as_in_memory(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    oracle = Oracle()
    old = NOW_MS - 5 * 24 * HOUR_MS
    matcher_sets = [
        [],
        METRIC_A,
        [*METRIC_A, Matcher("n", MatchOp.REGEX, "1|3|7")],
        [*METRIC_A, Matcher("n", MatchOp.NOT_REGEX, "1.*")],
        [Matcher("parity", MatchOp.EQUAL, "even"), Matcher("n", MatchOp.NOT_EQUAL, "4")],
        [Matcher("parity", MatchOp.EQUAL, ""), Matcher("job", MatchOp.REGEX, "j.b")],
        [Matcher("nothing", MatchOp.REGEX, ".*"), Matcher("__name__", MatchOp.REGEX, "a|b")],
        [Matcher("nothing", MatchOp.REGEX, ".+")],
        [Matcher("job", MatchOp.EQUAL, "it's \\ \n\t{x}")],
    ]
    with opened(tmp_path, clock) as store:
        keys = [key(metric, n) for metric in "ab" for n in range(15)]
        keys.append(encode_labels({"__name__": "odd", "job": "it's \\ \n\t{x}"}))
        oracle.write(store, keys, [old] * len(keys), [1.0] * len(keys))
        in_memory = [contents(store, m, old, old) for m in matcher_sets]
    with opened(tmp_path, clock) as store:
        assert len(store.registry) == 0, "so old that only the engine knows them"
        for matchers, expected in zip(matcher_sets, in_memory, strict=True):
            assert contents(store, matchers, old, old) == expected
            wanted = [k for k in keys if all(m.matches(decode_labels(k).get(m.name, "")) for m in matchers)]
            assert sorted(expected) == sorted(wanted)
            table = store.series([matchers], old - HOUR_MS, old + HOUR_MS, 0)
            assert [encode_labels(row) for row in table.rows()] == sorted(wanted)
        assert store.label_names([], 0, NOW_MS, 0) == ["__name__", "job", "n", "parity"]
        assert store.label_values("job", [], 0, NOW_MS, 0) == ["it's \\ \n\t{x}", "jöb"]
        assert store.label_values("__name__", [[Matcher("n", MatchOp.EQUAL, "1")]], 0, NOW_MS, 0) == [
            "a",
            "b",
        ]
        assert store.label_values("n", [METRIC_A], old, old, 2) == ["0", "1"]
        assert store.series([], NOW_MS - HOUR_MS, NOW_MS, 0).size == 0


def test_metadata_and_exemplars_survive(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    entry = Metadata("a", "counter", "Hälp.", "seconds")
    trace = encode_labels({"trace_id": "abc"})
    with opened(tmp_path, clock) as store:
        refs = store.registry.resolve([key("a", 1)])
        exemplar = Exemplar(int(refs[0]), trace, 0.25, NOW_MS - 5)
        store.append(
            MetricBatch(refs, np.array([NOW_MS]), np.array([1.0]), exemplars=(exemplar,), metadata=(entry,))
        )
        before = store.exemplars([METRIC_A], 0, NOW_MS)
    with opened(tmp_path, clock) as store:
        assert store.metadata() == store.metadata("a") == {"a": [entry]}
        assert store.metadata("b") == {}
        for found in (before, store.exemplars([METRIC_A], 0, NOW_MS)):
            assert [(k, [(e.labels, e.value, e.time_ms) for e in es]) for k, es in found] == [
                (key("a", 1), [(trace, 0.25, NOW_MS - 5)])
            ]
        assert store.exemplars([METRIC_A], 0, NOW_MS - 6) == []


def test_staleness_start_times_and_retention(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    with opened(tmp_path, clock, retention_ms=24 * HOUR_MS) as store:
        refs = store.registry.resolve([key("a", n) for n in range(3)])
        times = np.array([NOW_MS, NOW_MS - 25 * HOUR_MS, NOW_MS - HOUR_MS])
        store.append(
            MetricBatch(refs, times, np.array([STALE, 1.0, 2.0]), np.array([0, 0, NOW_MS - 2 * HOUR_MS]))
        )
        assert store.oldest_ms() == NOW_MS - HOUR_MS
    with opened(tmp_path, clock, retention_ms=24 * HOUR_MS) as store:
        assert store.oldest_ms() == NOW_MS - HOUR_MS
        found = contents(store, METRIC_A, 0, NOW_MS)
        assert set(found) == {key("a", 0), key("a", 2)}
        assert found[key("a", 0)][NOW_MS] == int(bits(np.array([STALE]))[0])
        budget = Budget(clock, timeout_s=10, max_samples=10**6)
        starts = [b.start_ms for b in store.select(METRIC_A, 0, NOW_MS, budget) if b.start_ms is not None]
        assert [int(s.max()) for s in starts] == [NOW_MS - 2 * HOUR_MS]


CRASH = """
import sys, numpy as np
from pathlib import Path
from otero.clock import ManualClock
from otero.model.metrics import MetricBatch
from otero.storage.metrics import MetricStore, StorageSettings
from tests.storage.test_metric_store import key
NOW_MS = int(sys.argv[2])
clock = ManualClock(NOW_MS)
store = MetricStore(StorageSettings(path=Path(sys.argv[1]), flush_interval_ms=10**9, retention_ms=0), clock)
store.start()
refs = store.registry.resolve([key("a", n) for n in range(10)])
for tick in range(10**6):
    clock.advance(1000)
    store.append(MetricBatch(refs, np.full(10, clock.now_ms()), np.arange(10.0) + tick))
    print(tick, flush=True)
    if tick % 7 == 3:
        store.flush()
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CRASH), str(tmp_path / "data"), str(NOW_MS)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= 40:
            process.kill()
            break
    rest = process.stdout.read().split()
    process.stdout.close()
    process.wait(30)
    acknowledged = max([acknowledged, *map(int, rest)])
    clock = ManualClock(NOW_MS + 1000 * (acknowledged + 2))
    with opened(tmp_path / "data", clock) as store:
        for _ in range(2):
            found = contents(store, METRIC_A, 0, clock.now_ms())
            assert set(found) == {key("a", n) for n in range(10)}
            for samples in found.values():
                assert sorted(samples)[: acknowledged + 1] == [
                    NOW_MS + 1000 * (t + 1) for t in range(acknowledged + 1)
                ]
            store.flush()
        rows = store.engine.table("SELECT count() AS n, uniqExact(series, time) AS distinct FROM samples")
        assert rows["n"][0].as_py() == rows["distinct"][0].as_py(), "nothing is stored twice"


def test_a_restart_with_the_same_retention_rewrites_nothing(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    for retention_ms, mutations in ((24 * HOUR_MS, 1), (24 * HOUR_MS, 1), (48 * HOUR_MS, 2), (0, 2)):
        with opened(tmp_path, clock, retention_ms=retention_ms) as store:
            refs = store.registry.resolve([key("a", 1)])
            store.append(MetricBatch(refs, np.array([NOW_MS]), np.array([1.0])))
            count = store.engine.table("SELECT count() AS n FROM system.mutations WHERE table = 'samples'")
            assert count["n"][0].as_py() == mutations


def test_a_lower_series_limit_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    oracle = Oracle()
    with opened(tmp_path, clock) as store:
        oracle.write(store, [key("a", n) for n in range(5)], [NOW_MS] * 5, [1.0] * 5)
        subprocess.run(
            ["cp", "-a", tmp_path, f"{tmp_path}-crashed"], check=True
        )  # as a crash would leave it: nothing flushed
    for limit in (2, 0):
        with opened(Path(f"{tmp_path}-crashed"), clock, max_series=limit) as store:
            assert contents(store, METRIC_A, 0, NOW_MS) == oracle.samples
            assert (store.registry.resolve([key("a", 9)]) < 0).all() == bool(limit)


def test_a_forgotten_series_is_refused_before_the_journal(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    with opened(tmp_path, clock) as store:
        refs = store.registry.resolve([key("a", 1)])
        store.registry.forget(refs)
        written = store.status().journal_bytes
        with pytest.raises(Conflict, match="resolve their labels again"):
            store.append(MetricBatch(refs, np.array([NOW_MS]), np.array([1.0])))
        assert store.status().journal_bytes == written


def test_a_directory_in_use_and_one_of_a_later_release_are_refused(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    with opened(tmp_path, clock) as store:
        with pytest.raises(Conflict, match="in use by another Otero"):
            MetricStore(StorageSettings(path=tmp_path), clock)
        store.engine.command("INSERT INTO schema_versions VALUES (999, 0)")
    with pytest.raises(Conflict, match="later release"):
        MetricStore(StorageSettings(path=tmp_path), clock)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(Conflict, match="cannot write"):
        MetricStore(StorageSettings(path=file / "data"), clock)


def test_a_backup_made_while_running_restores_to_the_same(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    oracle = Oracle()
    with opened(tmp_path / "data", clock) as store:
        for day in (9, 3, 0):
            at = [NOW_MS - day * 24 * HOUR_MS] * 5
            oracle.write(store, [key("a", n) for n in range(5)], at, [float(day)] * 5)
        oracle.write_mixed(store, [key("a", 2)], [NOW_MS - 7], [0], one(0, {2: 5.0}))
        state = State.beside(tmp_path / "data")
        PushGroupTable(state).write({"job": "j"}, [StoredFamily("m", 1, b"m")], [])
        report = backup(store, tmp_path / "backup", state=state)
        state.close()
        assert report.samples == 16
        with pytest.raises(Conflict, match="not an empty folder"):
            backup(store, tmp_path / "backup")
        assert contents(store, METRIC_A, 0, NOW_MS) == oracle.samples
    with pytest.raises(Conflict, match="holds data already"):
        restore(tmp_path / "backup", tmp_path / "data")
    assert restore(tmp_path / "backup", tmp_path / "new").samples == 16
    with opened(tmp_path / "new", clock) as store:
        assert contents(store, METRIC_A, 0, NOW_MS) == oracle.samples
    state = State.beside(tmp_path / "new")
    assert PushGroupTable(state).load() == [({"job": "j"}, [StoredFamily("m", 1, b"m")])]
    state.close()


mixed_operation = st.one_of(
    st.tuples(st.just("scrape"), st.integers(1, 20), st.lists(single(), min_size=1, max_size=3)),
    st.tuples(st.just("scrapes"), st.integers(8, 12), st.lists(single(), min_size=1, max_size=2)),
    st.tuples(st.just("late"), st.integers(0, 30 * 24), st.lists(single(), min_size=2, max_size=2)),
    st.tuples(st.just("again"), st.integers(1, 20), st.lists(single(), min_size=1, max_size=2)),
    st.tuples(st.just("float"), st.integers(1, 20), st.just([])),
    st.tuples(st.just("end"), st.integers(1, 20), st.just([])),
    st.tuples(st.sampled_from(["flush", "flush", "restart", "crash", "evict"]), st.just(0), st.just([])),
)  # fmt: skip


@settings(
    max_examples=12,
    deadline=None,
    phases=NO_SHRINK,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(mixed_operation, max_size=16))
def test_any_history_with_histograms_reads_back(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, list[Histograms]]]
) -> None:
    clock = ManualClock(NOW_MS)
    path = tmp_path_factory.mktemp("store")
    oracle = Oracle()
    with contextlib.ExitStack() as outer:
        stack = contextlib.ExitStack()
        outer.callback(lambda: stack.close())
        store = stack.enter_context(opened(path, clock))
        last: list[int] = []
        for what, number, parts in operations:
            held = Histograms.concat(parts)
            keys = [key("a", n) for n in range(number)]
            cells: list[float | int] = [
                n % 5 + 0.5 if n % 3 == 2 else n % len(parts or [0]) for n in range(number)
            ]
            match what:
                case "scrape" | "scrapes":
                    for _ in range(1 if what == "scrape" else 70):
                        clock.advance(15_000)
                        last = [clock.now_ms()] * number
                        oracle.write_mixed(store, keys, last, cells, held)
                case "late":
                    at = clock.now_ms() - number * HOUR_MS - 7
                    late = [key("a", 3), key("a", 3), key("b", 1)]
                    oracle.write_mixed(store, late, [at, at, at], [0, 1, 0], held)
                case "again" if last:
                    count = min(number, len(last))
                    oracle.write_mixed(store, keys[:count], last[:count], cells[:count], held)
                case "float" if last:
                    count = min(number, len(last))
                    oracle.write(store, keys[:count], last[:count], [0.25] * count)
                case "end":
                    clock.advance(1000)
                    oracle.write(store, keys, [clock.now_ms()] * number, [STALE] * number)
                case "flush":
                    store.flush()
                case "evict":
                    clock.advance(HOUR_MS)
                    store.head.evict()
                case "restart" | "crash":
                    if what == "crash":
                        crashed = path.with_name(f"{path.name}-crashed")
                        subprocess.run(["cp", "-a", path, crashed], check=True)
                        path = crashed
                    stack.close()
                    stack = contextlib.ExitStack()
                    store = stack.enter_context(opened(path, clock))
                case _:
                    continue
            assert contents(store, METRIC_A, 0, clock.now_ms()) == oracle.of("a")
        store.flush()
        assert contents(store, METRIC_A, 0, clock.now_ms()) == oracle.of("a")


def test_boxes_that_stand_for_nothing_are_ordinary_nans(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    payload = np.array([0x7FFE_0000_0000_0000, 0x7FFE_0000_0000_0005, 0x7FFE_FFFF_FFFF_FFFF], np.uint64)
    with opened(tmp_path, clock) as store:
        refs = store.registry.resolve([key("a", n) for n in range(3)])
        times = np.full(3, NOW_MS)
        store.append(MetricBatch(refs, times, payload.view(np.float64)))
        store.append(MetricBatch(refs, times + 1, payload.view(np.float64), histograms=one(0, {1: 2.0})))
        for _ in range(2):
            found = contents(store, METRIC_A, 0, NOW_MS + 1)
            assert found[key("a", 1)] == {NOW_MS: int(NAN_BITS), NOW_MS + 1: int(NAN_BITS)}
            assert found[key("a", 2)] == {NOW_MS: int(NAN_BITS), NOW_MS + 1: int(NAN_BITS)}
            assert found[key("a", 0)] == {NOW_MS: int(NAN_BITS), NOW_MS + 1: described(one(0, {1: 2.0}), 0)}
            store.flush()
    with opened(tmp_path, clock) as store:
        assert contents(store, METRIC_A, 0, NOW_MS + 1) == found


def test_the_heap_of_histograms_is_counted_and_shrinks_with_the_window(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    oracle = Oracle()
    rows = Histograms.concat([one(3, {i: float(i * n) for i in range(60)}) for n in range(20)])
    keys = [key("a", n) for n in range(20)]
    with opened(tmp_path, clock, head_max_bytes=4_000_000) as store:
        idle = store.head.nbytes
        for _ in range(2400):
            clock.advance(15_000)
            oracle.write_mixed(store, keys, [clock.now_ms()] * 20, list(range(20)), rows)
        full = store.head.nbytes - idle
        assert full > 2400 * 20 * 60 * 3
        assert store.head.evict() == 0
        assert store.head.nbytes - idle == full, "nothing of it is flushed"
        store.flush()
        store.head.evict()
        assert store.head.nbytes < 4_000_000
        assert 0 < store.head.window_ms < 600 * 60_000
        assert contents(store, METRIC_A, 0, clock.now_ms()) == oracle.samples
        clock.advance(25 * HOUR_MS)
        store.head.evict()
        store.head.evict()
        assert store.head.nbytes <= idle + 200_000


def test_a_data_directory_of_schema_1_is_upgraded_in_place(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "fixtures" / "schema-1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    at = 1_764_000_000_000
    clock = ManualClock(at + 90_000)
    name = [encode_labels({"__name__": "a", "n": str(n)}) for n in range(3)]
    wanted: dict[LabelBytes, dict[int, Cell]] = {key: {} for key in name}
    for tick in range(6):
        row = np.array([tick, 0.5 * tick, STALE if tick == 5 else 7.0])
        for one_name, raw in zip(name, bits(row).tolist(), strict=True):
            wanted[one_name][at + 15_000 * tick] = raw
    for _ in range(2):
        with opened(tmp_path, clock) as store:
            assert contents(store, METRIC_A, 0, clock.now_ms()) == wanted
            budget = Budget(clock, timeout_s=10, max_samples=10**6)
            starts = [
                b.start_ms for b in store.select(METRIC_A, 0, at + 45_000, budget) if b.start_ms is not None
            ]
            assert [int(s.max()) for s in starts] == [at - 1000]
            assert store.metadata() == {"a": [Metadata("a", "counter", "Help.")]}
            assert len(store.exemplars([METRIC_A], 0, at)) == 1
            versions = store.engine.table("SELECT groupArray(version) AS v FROM schema_versions")
            assert sorted(versions["v"][0].as_py())[:2] == [1, 2]
            held = one(0, {1: 2.0})
            refs = store.registry.resolve(name[:1])
            batch = MetricBatch(refs, np.array([clock.now_ms()]), box(np.zeros(1, np.int64)), histograms=held)
            store.append(batch)
            wanted[name[0]][clock.now_ms()] = described(held, 0)
            assert contents(store, METRIC_A, 0, clock.now_ms()) == wanted
        clock.advance(1000)


def test_what_the_engine_has_too_much_of_is_refused_before_it_is_read(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    first_ms = NOW_MS - 40 * HOUR_MS
    with opened(tmp_path, clock) as store:
        refs = store.registry.resolve([key("m", number) for number in range(100)])
        times = np.repeat(first_ms + np.arange(2000) * 1000, len(refs))
        store.append(MetricBatch(np.tile(refs, 2000), times, np.ones(len(times))))
    everything = [Matcher("__name__", MatchOp.EQUAL, "m")]
    with opened(tmp_path, clock) as store:
        budget = Budget(clock, timeout_s=60, max_samples=10_000)
        with pytest.raises(LimitExceeded, match=r"about 1\d\d,\d\d\d of at most 10,000"):
            store.select(everything, first_ms, NOW_MS, budget)
        assert budget.peak_samples == 0
        one = [*everything, Matcher("n", MatchOp.EQUAL, "7")]
        budget = Budget(clock, timeout_s=60, max_samples=4000)
        assert sum(block.sample_count for block in store.select(one, first_ms, NOW_MS, budget)) == 2000


def test_a_journal_that_is_full_to_the_last_byte_can_still_be_flushed(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    with opened(tmp_path, clock) as store:
        refs = store.registry.resolve([key("full", 1)])
        store.append(MetricBatch(refs, np.array([NOW_MS]), np.array([1.0])))
        journal = store._journal  # pyright: ignore[reportPrivateUsage]
        journal._max_bytes = journal.nbytes  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(Unavailable):
            store.append(MetricBatch(refs, np.array([NOW_MS + 1]), np.array([2.0])))
        store.flush()
        assert list(contents(store, [], 0, NOW_MS + HOUR_MS)[key("full", 1)]) == [NOW_MS]
