"""The journal gives back what was acknowledged, whatever happened to its files."""

import contextlib
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otero.clock import ManualClock
from otero.errors import BadInput, LimitExceeded, Unavailable
from otero.model.histograms import Histograms, box, boxed_rows
from otero.model.labels import encode_labels
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.model.samples import STALE, bits
from otero.storage import journal as journal_module
from otero.storage import journal_metrics
from otero.storage.journal import Journal, Record
from otero.storage.journal_metrics import Kind, MetricReader, MetricWriter
from otero.storage.registry import SeriesRegistry
from tests.histogram_samples import described, one


def open_journal(folder: Path, **settings_: object) -> Journal:
    arguments: dict[str, object] = {"max_bytes": 1 << 30, "fsync": "never"} | settings_
    return Journal(folder, **arguments)  # pyright: ignore[reportArgumentType]


def payloads(journal: Journal, start: int = 0) -> list[bytes]:
    return [record.payload for record in journal.read(start) if record.start >= start]


def test_records_come_back_in_order_after_reopening(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=100)
    written = [bytes([n]) * n for n in range(60)]
    ends = []
    for payload in written:
        journal.roll_if_full()
        ends.append(journal.append(3, payload))
    journal.close()
    again = open_journal(tmp_path)
    assert payloads(again) == written
    assert payloads(again, ends[9]) == written[10:]
    assert [record.end for record in again.read()] == ends
    assert again.uuid == journal.uuid
    assert len(list(tmp_path.glob("*.log"))) > 5
    again.close()


def test_a_tail_torn_at_any_byte_loses_only_the_torn_record(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    ends = [journal.append(1, b"x" * n) for n in (5, 0, 17)]
    journal.close()
    file = next(tmp_path.glob("*.log"))
    data = file.read_bytes()
    for cut in range(len(data) + 1):
        file.write_bytes(data[:cut])
        again = open_journal(tmp_path)
        whole = sum(end <= cut for end in ends)
        assert [len(p) for p in payloads(again)] == [5, 0, 17][:whole]
        again.append(1, b"after")
        assert payloads(again)[-1] == b"after"
        assert again.corruptions == 0
        again.close()


def test_damage_in_the_middle_loses_the_rest_of_that_segment_and_is_counted(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=50)
    for n in range(12):
        journal.roll_if_full()
        journal.append(1, bytes([n]) * 20)
    journal.close()
    first, second = sorted(tmp_path.glob("*.log"))[:2]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    again = open_journal(tmp_path)
    read = [payload[0] for payload in payloads(again)]
    assert again.corruptions == 1
    assert read == [n for n in range(12) if n != read_position(data)]
    assert second.exists()
    again.close()


def read_position(data: bytearray) -> int:
    """The number in the last record of a segment of 20-byte payloads."""
    return data[-2]


def test_released_segments_go_and_the_bound_refuses(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=300, segment_bytes=60)
    ends: list[int] = []
    while journal.nbytes < 300 - 33:
        journal.roll_if_full()
        ends.append(journal.append(1, b"y" * 20))
    with pytest.raises(Unavailable, match="journal_max_bytes"):
        journal.append(1, b"y" * 20)
    kept = payloads(journal)
    journal.release(ends[-1])
    assert journal.nbytes == 0
    assert payloads(journal) == []
    journal.append(1, b"again")
    assert payloads(journal) == [b"again"]
    assert len(kept) == len(ends)
    journal.close()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from otero.errors import Unavailable
from otero.storage.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
journal = Journal(folder, max_bytes=1 << 30, fsync="never")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
good = 0
try:
    for _ in range(100):
        journal.append(1, b"z" * 90)
        good += 1
except Unavailable as error:
    assert "disk is full" in str(error), error
assert len(list(journal.read())) == good, "what was acknowledged is readable while the disk is full"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(1, b"recovered")
assert len(list(journal.read())) == good + 1
assert journal.corruptions == 0
print(good)
"""


def test_what_could_not_be_read_again_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_RECORD", 1000)
    journal = open_journal(tmp_path)
    journal.append(1, bytes(999))
    with pytest.raises(LimitExceeded, match="1,001 bytes"):
        journal.append(1, bytes(1000))
    journal.append(1, b"after")
    assert [len(payload) for payload in payloads(journal)] == [999, 5]
    journal.close()


def test_nothing_is_written_after_closing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    journal.append(1, b"one")
    journal.close()
    other = tmp_path / "other"
    with (
        other.open("wb", buffering=0),
        pytest.raises(Unavailable),
    ):  # it may get the number of the closed file
        journal.append(1, b"two")
    assert other.read_bytes() == b""


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 9
    again = open_journal(tmp_path)
    assert payloads(again)[-1] == b"recovered"
    again.close()


series = st.lists(st.integers(0, 30), min_size=0, max_size=90, unique=True)
batches = st.lists(
    st.tuples(series, st.booleans(), st.booleans(), st.lists(st.floats(), min_size=90, max_size=90), st.booleans()),
    max_size=12,
)  # fmt: skip


@settings(max_examples=40)
@given(batches, st.integers(1, 4000))
def test_batches_survive_a_change_of_process(
    tmp_path_factory: pytest.TempPathFactory,
    given_batches: list[tuple[list[int], bool, bool, list[float], bool]],
    segment: int,
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = open_journal(folder, segment_bytes=segment)
    registry = SeriesRegistry(ManualClock())
    writer = MetricWriter(journal, registry)
    keys = [encode_labels({"__name__": "m", "n": str(n), "job": "é"}) for n in range(31)]
    expected: list[tuple[bytes, int, int, int]] = []
    again: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for at, (numbers, one_time, with_start, values, stale) in enumerate(given_batches):
        refs = registry.resolve([keys[n] for n in numbers])
        refs = again.setdefault(tuple(numbers), refs)
        count = len(numbers)
        times = np.full(count, 1000 * at) if one_time else np.arange(count) * 7 - 1000 * at
        column = np.array(values[:count])
        if stale and count:
            column[0] = STALE
        starts = np.arange(count, dtype=np.int64) if with_start else None
        writer.append(MetricBatch(refs, times.astype(np.int64), column, starts))
        expected += [
            (keys[n], int(t), int(v), int(s))
            for n, t, v, s in zip(
                numbers, times, bits(column), starts if starts is not None else [0] * count, strict=True
            )
        ]
    journal.close()

    second = open_journal(folder)
    fresh = SeriesRegistry(ManualClock())
    fresh.resolve([keys[7], keys[3]])  # so that references differ
    reader = MetricReader(fresh)
    found: list[tuple[bytes, int, int, int]] = []
    for record in second.read():
        batch = reader.batch(record)
        if batch is not None:
            starts = batch.start_ms if batch.start_ms is not None else np.zeros(len(batch), np.int64)
            found += [
                (fresh.labels(ref), int(t), int(v), int(s))
                for ref, t, v, s in zip(
                    batch.refs.tolist(), batch.times_ms, bits(batch.values), starts, strict=True
                )
            ]
    assert found == expected
    second.close()


def test_processes_that_share_a_segment_may_number_series_differently(tmp_path: Path) -> None:
    keys = [encode_labels({"__name__": "m", "n": str(n)}) for n in range(4)]
    for process, order in enumerate(([0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1])):
        journal = open_journal(tmp_path)
        registry = SeriesRegistry(ManualClock())
        registry.resolve([keys[n] for n in order])
        refs = registry.resolve(keys)
        writer = MetricWriter(journal, registry)
        for tick in range(2):
            times = np.full(4, 10 * process + tick)
            writer.append(MetricBatch(refs, times, np.arange(4.0) + 100 * process))
        journal.close()
    registry = SeriesRegistry(ManualClock())
    reader = MetricReader(registry)
    journal = open_journal(tmp_path)
    found = {
        (registry.labels(ref), time_ms): value
        for record in journal.read()
        if (batch := reader.batch(record)) is not None
        for ref, time_ms, value in zip(
            batch.refs.tolist(), batch.times_ms.tolist(), batch.values.tolist(), strict=True
        )
    }
    assert found == {
        (keys[n], 10 * process + tick): n + 100.0 * process
        for process in range(3)
        for tick in range(2)
        for n in range(4)
    }
    journal.close()


def test_arrays_of_references_are_held_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_metrics, "_MAX_SHAPE_REFS", 1000)
    journal = open_journal(tmp_path)
    registry = SeriesRegistry(ManualClock())
    known = registry.resolve([encode_labels({"__name__": f"m{n}"}) for n in range(100)])
    writer = MetricWriter(journal, registry)
    held: list[weakref.ref[np.ndarray]] = []
    refs = known
    for n in range(50):
        refs = known.copy()
        writer.append(MetricBatch(refs, np.full(100, n), np.full(100, float(n))))
        held.append(weakref.ref(refs))
    refs = known
    assert sum(array() is not None for array in held) <= 10
    reader = MetricReader(registry)
    read = [batch for record in journal.read() if (batch := reader.batch(record)) is not None]
    assert [(batch.refs.tolist(), float(batch.values[0])) for batch in read] == [
        (known.tolist(), n) for n in range(50)
    ]
    journal.close()


def test_histograms_survive_beside_floats_and_starts(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    registry = SeriesRegistry(ManualClock())
    refs = registry.resolve([encode_labels({"__name__": "m", "n": str(n)}) for n in range(4)])
    held = Histograms.concat([one(3, {n: float(n)}, zero_count=n) for n in range(3)])
    values = np.array([1.5, *box(np.array([2, 0])), STALE])
    starts = np.array([0, 5, 6, 0])
    MetricWriter(journal, registry).append(MetricBatch(refs, np.arange(4), values, starts, histograms=held))
    other = SeriesRegistry(ManualClock())
    reader = MetricReader(other)
    batch = next(b for record in journal.read() if (b := reader.batch(record)) is not None)
    assert batch.histograms is not None
    assert batch.start_ms is not None
    assert batch.start_ms.tolist() == starts.tolist()
    assert bits(batch.values).tolist() == bits(values).tolist()
    for row in boxed_rows(batch.values)[1:3].tolist():
        assert described(batch.histograms, row) == described(held, row)
    journal.close()


def test_exemplars_and_metadata_survive(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    registry = SeriesRegistry(ManualClock())
    ref = int(registry.resolve([encode_labels({"__name__": "m"})])[0])
    empty = np.zeros(0, np.int64)
    exemplar = Exemplar(ref, encode_labels({"trace_id": "abc"}), 0.5, 17)
    metadata = Metadata("m", "counter", "Helps.", "s")
    MetricWriter(journal, registry).append(
        MetricBatch(empty, empty, np.zeros(0), exemplars=(exemplar,), metadata=(metadata,))
    )
    reader = MetricReader(registry)
    got = [batch for record in journal.read() if (batch := reader.batch(record)) is not None]
    assert len(got) == 1
    found = got[0].exemplars[0]
    assert (found.ref, found.labels, found.value, found.time_ms) == (ref, exemplar.labels, 0.5, 17)
    assert got[0].metadata == (metadata,)
    journal.close()


@given(st.sampled_from(list(Kind)), st.binary(max_size=200))
def test_any_payload_is_read_or_refused(kind: Kind, payload: bytes) -> None:
    reader = MetricReader(SeriesRegistry(ManualClock()))
    with contextlib.suppress(BadInput):
        batch = reader.batch(Record(kind, payload, 0, len(payload), 0))
        assert batch is None or len(batch.refs) == len(batch.values) == len(batch.times_ms)
