"""The door of remote write on a real store: what is stored, what is refused, which arrays storage sees again."""

import time
from collections.abc import Iterator
from pathlib import Path

import cramjam
import numpy as np
import pytest

from otero.clock import ManualClock
from otero.errors import BadInput, LimitExceeded, Unavailable
from otero.ingest.intake import Intake
from otero.ingest.receivers.remote_write import MAX_AHEAD_MS, RemoteWriteReceiver
from otero.model.budget import Budget
from otero.model.labels import encode_labels
from otero.model.metrics import Metadata
from otero.model.samples import ABSENT_BITS, NO_TIME, bits
from otero.storage.metrics import MetricStore, StorageSettings
from otero.wire.pb import remote_write_v1_pb2 as v1
from otero.wire.pb import remote_write_v2_pb2 as v2
from tests.fakes import RecordingStore

DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000 // 60_000 * 60_000


def packed(request: v1.WriteRequest | v2.Request) -> bytes:
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def series(name: str, samples: dict[int, float], **labels: str) -> v1.TimeSeries:
    found = {"__name__": name, **labels}
    return v1.TimeSeries(
        labels=[v1.Label(name=k.encode(), value=v.encode()) for k, v in sorted(found.items())],
        samples=[v1.Sample(value=value, timestamp=time_ms) for time_ms, value in samples.items()],
    )


def request(*found: v1.TimeSeries) -> bytes:
    return packed(v1.WriteRequest(timeseries=found))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[MetricStore]:
    store = MetricStore(StorageSettings(path=tmp_path, flush_interval_ms=10**9, max_series=100), clock)
    store.start()
    yield store
    store.stop()


def receiver_of(store: MetricStore | RecordingStore, clock: ManualClock) -> RemoteWriteReceiver:
    return RemoteWriteReceiver(Intake(store), clock, retention_ms=30 * DAY_MS, max_bytes=1 << 20)


def contents(store: MetricStore) -> dict[bytes, dict[int, float]]:
    out: dict[bytes, dict[int, float]] = {}
    budget = Budget(ManualClock(), timeout_s=100, max_samples=10**9)
    for block in store.select([], NOW_MS - 40 * DAY_MS, NOW_MS + DAY_MS, budget):
        raw = bits(np.ascontiguousarray(block.values))
        for column, labels in enumerate(block.labels.rows()):
            times = block.times_ms[:, block.group[column]]
            there = (times != NO_TIME) & (raw[:, column] != ABSENT_BITS)
            out[encode_labels(labels)] = dict(
                zip(times[there].tolist(), block.values[there, column].tolist(), strict=True)
            )
    return out


def test_late_repeated_and_old_samples(store: MetricStore, clock: ManualClock) -> None:
    receiver = receiver_of(store, clock)
    newer = request(series("m", {NOW_MS: 1, NOW_MS + 1000: 2}))
    late = request(series("m", {NOW_MS - 20 * DAY_MS: 3, NOW_MS - 500: 4}))
    for body in (newer, late, newer, late):
        written = receiver.receive(body, 1)
        assert (written.samples, written.refusals.counts) == (2, {})
    expected = {NOW_MS - 20 * DAY_MS: 3, NOW_MS - 500: 4, NOW_MS: 1, NOW_MS + 1000: 2}
    key = encode_labels({"__name__": "m"})
    assert contents(store) == {key: expected}
    store.flush()
    assert contents(store) == {key: expected}


def test_the_good_part_of_a_request_is_kept(store: MetricStore, clock: ManualClock) -> None:
    receiver = receiver_of(store, clock)
    body = request(
        series("m", {NOW_MS - 31 * DAY_MS: 1, NOW_MS: 2, NOW_MS + MAX_AHEAD_MS + 1: 3}),
        series("", {NOW_MS: 4}, job="a"),
        series("n", {NOW_MS: 5}, job="a"),
    )
    written = receiver.receive(body, 1)
    assert written.samples == 2
    assert written.refusals.counts == {"invalid_labels": 1, "older_than_retention": 1, "too_far_in_future": 1}
    assert f"{NOW_MS - 31 * DAY_MS}" in written.refusals.texts["older_than_retention"]
    assert contents(store) == {
        encode_labels({"__name__": "m"}): {NOW_MS: 2},
        encode_labels({"__name__": "n", "job": "a"}): {NOW_MS: 5},
    }


def test_series_beyond_the_limit_are_refused_each_time(store: MetricStore, clock: ManualClock) -> None:
    receiver = receiver_of(store, clock)
    body = request(*(series("m", {NOW_MS: n}, n=str(n)) for n in range(103)))
    for _ in range(2):
        written = receiver.receive(body, 1)
        assert (written.samples, written.refusals.counts) == (100, {"series_limit": 3})


def test_the_same_series_come_as_the_same_arrays(clock: ManualClock) -> None:
    store = RecordingStore(clock)
    receiver = receiver_of(store, clock)

    def body(tick: int, rows: int = 2) -> bytes:
        return request(
            *(
                series("m", {NOW_MS + target + tick * 1000: n + tick}, target=str(target), n=str(n))
                for target in range(rows)
                for n in range(40)
            )
        )

    for tick in range(2):
        receiver.receive(body(tick), 1)
    assert [len(batch) for batch in store.batches] == [80] * 2
    assert store.batches[0].refs is store.batches[1].refs
    assert store.values(store.batches[1]) == [n + 1 for n in range(40)] * 2


def test_zero_values_change_the_layout_and_not_the_arrays(clock: ManualClock) -> None:
    store = RecordingStore(clock)
    receiver = receiver_of(store, clock)
    for tick in range(4):
        receiver.receive(
            request(*(series("m", {NOW_MS + tick: tick % 2 * n}, n=str(n)) for n in range(5))), 1
        )
    assert store.batches[0].refs is store.batches[3].refs
    assert store.values(store.batches[3]) == [0, 1, 2, 3, 4]
    assert store.values(store.batches[2]) == [0] * 5


def test_metadata_is_written_when_it_is_new(clock: ManualClock) -> None:
    store = RecordingStore(clock)
    receiver = receiver_of(store, clock)
    body = packed(
        v1.WriteRequest(metadata=[v1.MetricMetadata(type=2, metric_family_name=b"m", help=b"says")])
    )
    for _ in range(2):
        assert receiver.receive(body, 1).samples == 0
    assert [batch.metadata for batch in store.batches] == [(Metadata("m", "gauge", "says"),)]


def test_forgotten_series_are_found_again(store: MetricStore, clock: ManualClock) -> None:
    receiver = receiver_of(store, clock)
    receiver.receive(request(series("m", {NOW_MS: 1}), series("n", {NOW_MS: 1})), 1)
    refs = store.registry.find([encode_labels({"__name__": "m"})])
    store.registry.forget(refs)
    receiver.receive(request(series("m", {NOW_MS + 1: 2}), series("n", {NOW_MS + 1: 2})), 1)
    assert contents(store)[encode_labels({"__name__": "m"})][NOW_MS + 1] == 2


def test_what_cannot_be_read_is_refused_as_a_whole(clock: ManualClock) -> None:
    store = RecordingStore(clock)
    receiver = receiver_of(store, clock)
    large = bytes(cramjam.snappy.compress_raw(bytes((1 << 20) + 1)))
    for body, text in (
        (b"", "snappy"),
        (b"\xff\xff\xff", "snappy"),
        (b"\xff\xff\xff\xff\x0f", "at most"),
        (large, "limits.remote_write_bytes"),
        (bytes(cramjam.snappy.compress_raw(b"\x0a\x05abc")), "WriteRequest"),
    ):
        with pytest.raises((BadInput, LimitExceeded), match=text):
            receiver.receive(body, 1)
    assert not store.batches


def test_a_full_journal_is_told(clock: ManualClock) -> None:
    store = RecordingStore(clock)
    store.unavailable = True
    with pytest.raises(Unavailable):
        receiver_of(store, clock).receive(request(series("m", {NOW_MS: 1})), 1)


def test_both_versions_mean_the_same_series(clock: ManualClock) -> None:
    store = RecordingStore(clock)
    receiver = receiver_of(store, clock)
    receiver.receive(request(series("m", {NOW_MS: 1}, job="a")), 1)
    body = packed(
        v2.Request(
            symbols=[b"", b"job", b"a", b"__name__", b"m"],
            timeseries=[
                v2.TimeSeries(labels_refs=[1, 2, 3, 4], samples=[v2.Sample(value=2, timestamp=NOW_MS + 1)])
            ],
        )
    )
    written = receiver.receive(body, 2)
    assert (written.samples, written.histograms, written.exemplars) == (1, 0, 0)
    assert store.batches[0].refs.tolist() == store.batches[1].refs.tolist()
