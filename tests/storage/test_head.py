"""The head against a dictionary of (series, time)."""

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otero.clock import ManualClock, SystemClock
from otero.errors import Conflict, LimitExceeded
from otero.model.budget import Budget
from otero.model.labels import encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import MetricBatch
from otero.model.samples import ABSENT, ABSENT_BITS, NAN_BITS, NO_TIME, STALE, STALE_BITS, bits
from otero.storage.head import Head, HeadSelection
from otero.storage.registry import SeriesRegistry

START_MS = 1_700_000_000_000
FAR_MS = 1 << 50
SPECIAL = np.array([0x7FF0_0000_0000_0002, 0x7FF8_0000_0000_0001, 0x7FF8_0000_0000_0BAD, 1 << 63], np.uint64)

Cells = dict[tuple[int, int], tuple[int, int]]


def new_head(**kwargs: int) -> Head:
    clock = ManualClock(START_MS)
    return Head(SeriesRegistry(clock), clock, **{"max_bytes": 1 << 30, **kwargs})


def budget(max_samples: int = 10**9) -> Budget:
    return Budget(SystemClock(), timeout_s=60, max_samples=max_samples)


def enter(head: Head, count: int) -> np.ndarray:
    keys = [encode_labels({"__name__": f"m{i % 3}", "i": str(i)}) for i in range(count)]
    return head.registry.resolve(keys)


def cells_of(selection: HeadSelection) -> Cells:
    """(ref, time) -> (bits, start), checking what holds for blocks."""
    out: Cells = {}
    seen: set[int] = set()
    for block, refs in zip(selection.blocks, selection.block_refs, strict=True):
        own: list[int] = refs.tolist()
        assert not seen & set(own)
        seen |= set(own)
        assert block.values.shape == (block.times_ms.shape[0], len(own))
        assert [row["i"] for row in block.labels.rows()] == [str(ref) for ref in own]
        raw = bits(np.ascontiguousarray(block.values))
        for column in block.times_ms.T:
            real = column[column != NO_TIME]
            assert (np.diff(real) > 0).all()
            assert (column[len(real) :] == NO_TIME).all()
        times = block.times_ms[:, block.group]
        assert (raw[times == NO_TIME] == ABSENT_BITS).all()
        if block.clean:
            assert not np.isin(raw[times != NO_TIME], [ABSENT_BITS, STALE_BITS]).any()
        for row, column in np.argwhere(raw != ABSENT_BITS).tolist():
            start = 0 if block.start_ms is None else int(block.start_ms[row, column])
            out[own[column], int(times[row, column])] = (int(raw[row, column]), start)
    return out


values_of = st.one_of(
    st.integers(-3, 300).map(float),
    st.integers(0, 5000).map(lambda n: n / 10),
    st.floats(width=64, allow_nan=False),
    st.sampled_from(SPECIAL.view(np.float64).tolist()),
)


class HeadMachine(RuleBasedStateMachine):
    """Random batches, seals, evictions and selections; the model is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.head = new_head(max_window_ms=3_600_000)
        self.model: Cells = {}
        self.flushed: Cells = {}
        self.newest: dict[int, int] = {}
        self.position = 0
        self.now_ms = START_MS
        self.refs = enter(self.head, 40)
        self.targets: list[np.ndarray] = []

    @initialize(rows=st.integers(0, 300), ragged=st.booleans())
    def load(self, rows: int, ragged: bool) -> None:
        series, row = np.divmod(np.arange(rows * 10), max(rows, 1))
        if ragged:
            keep = (series * 7 + row) % 11 != 0
            series, row = series[keep], row[keep]
        times = START_MS - (rows - row) * 1000 + series % 3
        values = (series * row).astype(np.float64)
        self.head.load(self.refs[series], times, values, complete_from_ms=START_MS - 3_600_000)
        for ref, time, raw in zip(series.tolist(), times.tolist(), bits(values).tolist(), strict=True):
            self.model[ref, time] = (raw, 0)
            self.newest[ref] = max(self.newest.get(ref, 0), time)
        self.flushed = dict(self.model)

    def write(self, batch: MetricBatch) -> None:
        newest = self.newest
        raw = bits(batch.values).tolist()
        refs, times = batch.refs.tolist(), batch.times_ms.tolist()
        before = {ref: newest.get(ref, 0) for ref in refs}
        for ref, time, cell in zip(refs, times, raw, strict=True):
            if cell != STALE_BITS:
                before[ref] = max(before[ref], time)
        wanted = []
        for at, (ref, time, cell) in enumerate(zip(refs, times, raw, strict=True)):
            if cell == STALE_BITS and before[ref] >= time:
                continue
            wanted.append(at)
        for at in wanted:
            newest[refs[at]] = max(newest.get(refs[at], 0), times[at])
        admitted = self.head.admit(batch)
        assert admitted.refs.tolist() == [refs[at] for at in wanted]
        self.position += 1
        self.head.append(admitted, self.position)
        for at in wanted:
            start = 0 if batch.start_ms is None else int(batch.start_ms[at])
            self.model[refs[at], times[at]] = (raw[at], start)

    @rule(size=st.integers(1, 25), first=st.integers(0, 30))
    def new_target(self, size: int, first: int) -> None:
        self.targets.append(self.refs[first : first + size].copy())
        if len(self.targets) > 3:
            self.targets.pop(0)

    @rule(
        which=st.integers(0, 2),
        count=st.integers(1, 90),
        step_ms=st.sampled_from([500, 1000, 1001]),
        value=values_of,
        start=st.one_of(st.none(), st.integers(0, 2)),
        jitter=st.integers(0, 5),
    )
    def scrape(
        self, which: int, count: int, step_ms: int, value: float, start: int | None, jitter: int
    ) -> None:
        if which >= len(self.targets):
            return
        refs = self.targets[which]
        for turn in range(count):
            self.now_ms += step_ms
            time = np.full(len(refs), self.now_ms + (turn * jitter) % 7, np.int64)
            values = np.full(len(refs), value)
            if np.isfinite(value):
                values[turn % len(refs) :] += turn
            raw = bits(values)
            raw[turn % 3 :: 3] = bits(np.array([value]))[0]
            starts = None if start is None else np.full(len(refs), start + turn // 20, np.int64)
            self.write(MetricBatch(refs, time, values, starts))

    @rule(
        rows=st.lists(
            st.tuples(st.integers(0, 39), st.integers(-4000, 10), values_of, st.integers(0, 2)),
            min_size=1,
            max_size=40,
        ),
        together=st.booleans(),
        with_starts=st.booleans(),
    )
    def remote_write(
        self, rows: list[tuple[int, int, float, int]], together: bool, with_starts: bool
    ) -> None:
        self.now_ms += 700
        shifts = np.array([shift for _, shift, _, _ in rows], np.int64)
        times = self.now_ms + (shifts[0] if together else shifts * 500)
        self.write(
            MetricBatch(
                self.refs[[index for index, _, _, _ in rows]],
                np.broadcast_to(np.asarray(times, np.int64), (len(rows),)).copy(),
                np.array([value for _, _, value, _ in rows]),
                np.array([start for _, _, _, start in rows], np.int64) if with_starts else None,
            )
        )

    @rule(first=st.integers(0, 20), size=st.integers(8, 20), count=st.integers(1, 150))
    def remote_write_runs(self, first: int, size: int, count: int) -> None:
        refs = np.repeat(self.refs[first : first + size], count)
        times = np.tile(self.now_ms + np.arange(1, count + 1) * 250, len(refs) // count)
        self.now_ms += count * 250
        self.write(MetricBatch(refs, times, np.arange(len(refs)) / 10))

    @rule()
    def overwrite(self) -> None:
        keys = list(self.model)[-50:]
        self.write(
            MetricBatch(
                np.array([ref for ref, _ in keys], np.int64),
                np.array([time for _, time in keys], np.int64),
                np.arange(len(keys)) + 0.25,
            )
        )

    @rule()
    def flush(self) -> None:
        self.head.flushed(self.position)
        self.flushed = dict(self.model)

    @rule(later_ms=st.sampled_from([0, 1000, 1_200_000, 4_000_000]))
    def evict(self, later_ms: int) -> None:
        self.now_ms += later_ms
        self.head.evict(self.now_ms)
        self.same_refs_again()

    @rule()
    def evict_by_size(self) -> None:
        self.head.max_bytes = 1
        self.head.evict(self.now_ms)
        self.head.max_bytes = 1 << 30
        self.same_refs_again()

    def same_refs_again(self) -> None:
        """The model speaks of refs; once some were forgotten, begin a new set of series for those."""
        if not self.head.registry.alive(self.refs):
            gone = [ref for ref in self.refs.tolist() if not self.head.registry.alive(np.array([ref]))]
            for ref, time in list(self.model):
                if ref in gone:
                    assert time < self.head.complete_from_ms
                    assert self.flushed[ref, time] == self.model[ref, time]
                    del self.model[ref, time]
            bound = self.head.registry.bound
            fresh = self.head.registry.resolve(
                [
                    encode_labels({"__name__": f"m{i % 3}", "i": str(i)})
                    for i in range(bound, bound + len(gone))
                ]
            )
            assert fresh.tolist() == list(range(bound, bound + len(gone)))
            replace = dict(zip(gone, fresh.tolist(), strict=True))
            self.refs = np.array([replace.get(ref, ref) for ref in self.refs.tolist()], np.int64)
            self.targets = [
                np.array([replace.get(ref, ref) for ref in refs.tolist()], np.int64) for refs in self.targets
            ]

    @rule(low=st.integers(-4_000_000, 0), span=st.integers(0, 600_000), metric=st.integers(0, 2))
    def select_some(self, low: int, span: int, metric: int) -> None:
        start, end = self.now_ms + low, self.now_ms + low + span
        matcher = Matcher("__name__", MatchOp.EQUAL, f"m{metric}")
        found = cells_of(self.head.select([matcher], start, end, budget()))
        low_ms = max(start, self.head.complete_from_ms)
        wanted = {
            key: cell for key, cell in self.model.items() if low_ms <= key[1] <= end and key[0] % 3 == metric
        }
        assert {key: cell for key, cell in found.items() if low_ms <= key[1] <= end} == wanted
        assert all(self.model[key] == cell for key, cell in found.items() if start <= key[1] <= end)

    @invariant()
    def everything(self) -> None:
        selection = self.head.select([], -FAR_MS, FAR_MS, budget())
        found = cells_of(selection)
        since = selection.complete_from_ms
        assert all(self.model[key] == cell for key, cell in found.items())
        assert {key for key in self.model if key[1] >= since} <= set(found)
        missing = {
            key for key, cell in self.model.items() if key[1] < since and self.flushed.get(key) != cell
        }
        assert missing <= set(found), "what the engine does not have yet is here"
        status = self.head.status()
        assert status.series >= len({ref for ref, _ in found})
        assert status.samples >= len(found)


TestHeadMachine = HeadMachine.TestCase
TestHeadMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def scrape(head: Head, refs: np.ndarray, time_ms: int, value: float, position: int = 0) -> None:
    size = len(refs)
    head.append(MetricBatch(refs, np.full(size, time_ms, np.int64), np.full(size, value)), position)


def test_readers_beside_a_writer_see_whole_scrapes_in_order() -> None:
    head = new_head()
    refs = [enter(head, 60)[at : at + 20].copy() for at in (0, 20, 40)]
    scrapes = 1500
    faults: list[BaseException] = []
    done = threading.Event()

    def write() -> None:
        try:
            for turn in range(scrapes):
                for own in refs:
                    scrape(head, own, START_MS + turn * 1000, float(turn), turn)
                if turn % 200 == 100:
                    head.registry.resolve([encode_labels({"__name__": "other", "i": f"x{turn}"})])
                    head.flushed(turn)
                    head.evict(START_MS + turn * 1000)
        except BaseException as error:
            faults.append(error)
        finally:
            done.set()

    def read() -> None:
        newest = -1.0
        try:
            while not done.is_set():
                selection = head.select([], -FAR_MS, FAR_MS, budget())
                for block in selection.blocks:
                    there = bits(block.values) != ABSENT_BITS
                    turns = (block.times_ms[:, block.group] - START_MS) / 1000
                    assert (block.values == turns)[there].all()
                    # Each series has every turn up to some turn, not later than it had when it was read before.
                    assert (there.sum(axis=0) == np.where(there, turns + 1, 0).max(axis=0)).all()
                if selection.blocks:
                    last = min(
                        float(np.where(np.isnan(block.values), -1, block.values).max(axis=0).min())
                        for block in selection.blocks
                    )
                    assert last >= newest
                    newest = last
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write), threading.Thread(target=read), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert head.status().samples == scrapes * 60


def test_a_batch_seen_before_is_written_in_rows_and_sealed() -> None:
    head = new_head()
    refs = enter(head, 30)
    for turn in range(200):
        scrape(head, refs, START_MS + turn * 1000, float(turn))
    status = head.status()
    assert (status.strips, status.frames, status.side_rows, status.samples) == (1, 3, 0, 6000)
    assert status.first_ms == START_MS
    assert status.last_ms == START_MS + 199_000
    assert len(head.select([], START_MS, START_MS + 1000, budget()).blocks[0].values) == 2


def test_the_budget_is_charged_before_samples_are_decoded() -> None:
    head = new_head()
    refs = enter(head, 30)
    for turn in range(100):
        scrape(head, refs, START_MS + turn * 1000, 1.0)
    with pytest.raises(LimitExceeded):
        head.select([], START_MS, START_MS + 100_000, budget(2999))
    assert head.select([], START_MS, START_MS + 100_000, budget(3000)).blocks[0].clean


def test_beyond_its_bytes_the_head_drops_flushed_frames_and_says_so() -> None:
    head = new_head()
    refs = enter(head, 1000)
    random = np.random.default_rng(1)
    for turn in range(640):
        times = np.full(1000, START_MS + turn * 1000)
        head.append(MetricBatch(refs, times, random.normal(size=1000)), turn)
    before = head.status()
    head.max_bytes = before.bytes * 3 // 4
    head.evict(START_MS + 640_000)
    assert head.status().samples == before.samples
    head.flushed(640)
    head.evict(START_MS + 640_000)
    after = head.status()
    assert after.bytes <= head.max_bytes
    assert after.samples < before.samples
    assert after.complete_from_ms == after.first_ms - 999
    assert head.select([], 0, FAR_MS, budget()).complete_from_ms == after.complete_from_ms


def test_series_without_samples_are_forgotten_and_their_references_refused() -> None:
    head = new_head(max_window_ms=3_600_000)
    refs = enter(head, 10)
    waiting = head.registry.resolve([encode_labels({"__name__": "never_sampled"})])
    scrape(head, refs, START_MS, 1.0, 1)
    head.flushed(1)
    assert head.evict(START_MS + 1_000_000) == 0
    assert head.evict(START_MS + 4_000_000) == 10
    assert head.registry.epoch == 1
    assert head.registry.alive(waiting)
    with pytest.raises(Conflict):
        scrape(head, refs, START_MS + 4_000_000, 1.0, 2)
    again = head.registry.resolve([encode_labels({"__name__": "m0", "i": "0"})])
    scrape(head, again, START_MS + 4_000_000, 2.0, 3)


def test_a_marker_is_dropped_only_where_a_sample_is_at_or_after_its_time() -> None:
    head = new_head()
    refs = enter(head, 3)
    head.append(MetricBatch(refs, np.array([START_MS, START_MS + 5, START_MS + 10]), np.ones(3)))
    batch = MetricBatch(refs, np.full(3, START_MS + 5), np.full(3, STALE))
    assert head.admit(batch).refs.tolist() == [0]
    assert head.status().dropped_markers == 2
    plain = MetricBatch(refs, np.full(3, START_MS), np.array([1.0, np.nan, np.inf]))
    assert head.admit(plain) is plain


def test_refused_series_and_the_bits_of_absent_do_not_get_in() -> None:
    head = new_head()
    refs = enter(head, 1)
    admitted = head.admit(MetricBatch(np.array([-1, refs[0]]), np.full(2, START_MS), np.array([1.0, ABSENT])))
    assert admitted.refs.tolist() == [0]
    assert bits(admitted.values).tolist() == [NAN_BITS]


def test_a_target_that_changes_shape_keeps_one_row_per_scrape() -> None:
    head = new_head()
    refs = enter(head, 200)
    held: list[np.ndarray] = []
    for turn in range(60):
        if turn % 3 == 0:
            held.append(refs[turn : turn + 100].copy())
        scrape(head, held[-1], START_MS + turn * 1000, float(turn))
    assert len(cells_of(head.select([], 0, FAR_MS, budget()))) == 6000
    assert head.status().side_rows == 0 or head.status().side_rows < 300


def test_an_overwritten_sample_stays_overwritten_when_the_window_moves_on() -> None:
    state = HeadMachine()
    state.load(rows=0, ragged=False)
    state.remote_write_runs(count=1, first=0, size=8)
    state.overwrite()
    state.flush()
    state.remote_write_runs(count=1, first=0, size=8)
    state.evict(later_ms=4_000_000)
    state.everything()
    state.teardown()


def test_samples_of_the_past_that_keep_coming_stay_in_open_rows() -> None:
    head = new_head()
    refs = enter(head, 20)
    now_ms = START_MS + 24 * 3_600_000
    for turn in range(60):
        scrape(head, refs, START_MS + turn * 15_000, 1.0)
        head.evict(now_ms + turn * 5000)
    assert head.status().frames <= 1, "the first eviction cannot know since when"
    assert head.status().strips == 1
    head.evict(now_ms + 300_000)
    head.evict(now_ms + 20 * 60_000)
    assert head.status().strips == 0, "nothing came for a quarter of an hour"
