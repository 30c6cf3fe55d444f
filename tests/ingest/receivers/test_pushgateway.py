"""What pushes become: samples while the group lives, markers when it goes; kept in the state, within bounds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otero.clock import ManualClock
from otero.errors import BadInput, LimitExceeded, Unavailable
from otero.ingest.intake import Intake
from otero.ingest.receivers.push_groups import grouping_key
from otero.ingest.receivers.pushgateway import Pushgateway, PushgatewayReceiver
from otero.model.histograms import boxed_rows
from otero.model.labels import decode_labels
from otero.storage.push_groups import PushGroupTable
from otero.storage.state import State
from otero.wire.pb import exposition_pb2 as pb
from tests.fakes import RecordingStore, Sample

A, B = grouping_key("a", ()), grouping_key("b", (("path", "/var"), ("none", "")))


class Running:
    """A gateway on a real state, with a clock to turn. `again` is what a restart makes."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.clock = ManualClock()
        self.store = RecordingStore(self.clock)
        self.state = State.beside(folder)
        self._settings = PushgatewayReceiver(**settings)
        self.gateway = self.again()

    def again(self) -> Pushgateway:
        gateway = Pushgateway(self._settings, PushGroupTable(self.state), Intake(self.store), self.clock)
        gateway.load()
        return gateway

    def push(self, key: tuple[tuple[str, str], ...], body: str, *, replace: bool = False) -> None:
        self.gateway.push(key, body.encode(), protobuf=False, replace=replace)

    def last(self, name: str) -> list[Sample]:
        """The samples of one metric in the last batch."""
        return self.store.samples(self.store.batches[-1], name=name)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.state.close()


def test_a_push_is_sampled_at_once_and_at_each_turn(running: Running) -> None:
    running.push(A, 'm{l="x",instance="i"} 1\nm 2\n')
    now = running.clock.now_ms()
    assert [(s.labels, s.time_ms, s.value) for s in running.last("m")] == [
        ({"__name__": "m", "instance": "i", "job": "a", "l": "x"}, now, 1.0),
        ({"__name__": "m", "job": "a"}, now, 2.0),
    ]
    assert [s.value for s in running.last("push_time_seconds")] == [now / 1000]
    assert [s.value for s in running.last("push_failure_time_seconds")] == [0.0]
    for _ in range(3):
        running.clock.advance(15_000)
        running.gateway.sample()
        assert [(s.time_ms, s.value) for s in running.last("m")] == [
            (running.clock.now_ms(), 1.0),
            (running.clock.now_ms(), 2.0),
        ]
    first, second = running.store.batches[-2:]
    assert first.refs is second.refs  # what the head's fast path looks for


def test_metadata_is_told_once(running: Running) -> None:
    running.push(A, "# HELP m Things.\n# TYPE m gauge\nm 1\n")
    [told] = [entry for entry in running.store.batches[-1].metadata if entry.metric == "m"]
    assert (told.type, told.help) == ("gauge", "Things.")
    running.gateway.sample()
    assert running.store.batches[-1].metadata == ()


def test_what_is_replaced_or_deleted_ends(running: Running) -> None:
    running.push(A, "m 1\nn 1\n")
    running.push(B, "m 1\n")
    running.clock.advance(1000)
    running.push(A, "n 2\n", replace=True)
    assert [(s.labels["job"], s.stale) for s in running.last("m")] == [("a", True)]
    assert [(s.value, s.stale) for s in running.last("n")] == [(2.0, False)]
    running.clock.advance(1000)
    running.push(A, "k 3\n")
    assert [(s.value, s.stale) for s in running.last("n")] == [(2.0, False)]
    running.clock.advance(1000)
    running.gateway.delete(A)
    ended = running.store.samples(running.store.batches[-1])
    assert {s.labels["__name__"] for s in ended} == {
        "n",
        "k",
        "push_time_seconds",
        "push_failure_time_seconds",
    }
    assert all(s.stale and s.time_ms == running.clock.now_ms() for s in ended)
    running.clock.advance(1000)
    running.gateway.sample()
    assert {s.labels["job"] for s in running.store.samples(running.store.batches[-1])} == {"b"}
    running.gateway.delete(A)  # there is none: nothing happens


def test_groups_that_differ_by_an_empty_label_share_series(running: Running) -> None:
    running.push(A, "m 1\n")
    running.push(grouping_key("a", (("none", ""),)), "m 2\n")
    running.gateway.sample()
    assert [s.value for s in running.last("m")] == [1.0]
    running.gateway.delete(grouping_key("a", (("none", ""),)))
    running.gateway.sample()
    assert [s.value for s in running.store.samples(name="m")][-1] == 1.0
    assert not any(s.stale for s in running.store.samples(name="m"))


def native(name: str, counts: list[int]) -> bytes:
    """A delimited family with one native histogram, whose buckets lie side by side."""
    deltas = [count - before for count, before in zip(counts, [0, *counts], strict=False)]
    histogram = pb.Histogram(
        sample_count=sum(counts), sample_sum=1.5, zero_threshold=1e-9, positive_delta=deltas,
        positive_span=[pb.BucketSpan(offset=0, length=len(counts))],
    )  # fmt: skip
    family = pb.MetricFamily(name=name, type=4, metric=[pb.Metric(histogram=histogram)]).SerializeToString()
    return bytes([len(family)]) + family


def test_native_histograms_are_pushed_and_sampled(running: Running) -> None:
    running.gateway.push(A, native("h", [2, 1]), protobuf=True, replace=True)
    running.gateway.push(B, native("h", [4]) + native("k", [1]), protobuf=True, replace=True)
    running.gateway = running.again()
    running.gateway.sample()
    batch = running.store.batches[-1]
    assert batch.histograms is not None
    rows = boxed_rows(batch.values)
    found = {
        (labels["job"], labels["__name__"]): float(batch.histograms.count[row])
        for ref, row in zip(batch.refs.tolist(), rows.tolist(), strict=True)
        if row >= 0
        for labels in [decode_labels(running.store.registry.labels(ref))]
    }
    assert found == {("a", "h"): 3, ("b", "h"): 4, ("b", "k"): 1}
    running.gateway.delete(A)
    assert any(s.stale for s in running.last("h"))


def test_groups_survive_a_restart(running: Running) -> None:
    running.push(
        A, '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 3\nh_count 3\nh_sum 4.5\nm NaN\n'
    )
    running.push(B, "m 1\n")
    running.push(B, "m 2\n")
    before = running.store.samples()
    running.gateway = running.again()
    running.clock.advance(1000)
    running.gateway.sample()
    after = running.store.samples(running.store.batches[-1])
    assert {(tuple(s.labels.items()), str(s.value)) for s in before} - {
        (tuple(s.labels.items()), str(s.value)) for s in after
    } == {((("__name__", "m"), ("job", "b"), ("path", "/var")), "1.0")}
    running.gateway.delete(A)
    assert [group.key for group in running.again().groups()] == [B]


def test_a_refused_push_changes_nothing_but_the_failure_time(running: Running) -> None:
    running.push(A, "m 1\n")
    running.clock.advance(2000)
    with pytest.raises(BadInput, match="m is pushed as gauge here and as untyped in group"):
        running.push(B, "# TYPE m gauge\nm 1\n")
    failed = running.last("push_failure_time_seconds")
    assert [(s.labels, s.value) for s in failed] == [
        ({"__name__": "push_failure_time_seconds", "job": "b", "path": "/var"}, running.clock.now_ms() / 1000)
    ]
    assert [s.value for s in running.last("push_time_seconds")] == [0.0]
    assert not running.last("m")
    [a, b] = running.gateway.groups()
    assert (a.last_push_successful, b.last_push_successful) == (True, False)
    # A group whose own times would collide is not made at all: it would make every later push fail.
    with pytest.raises(BadInput, match="has a series with the same labels"):
        running.push(grouping_key("a", (("instance", ""),)), "k 1\n")
    assert len(running.gateway.groups()) == 2
    with pytest.raises(BadInput, match="line 1"):
        running.push(A, "m one\n")
    assert [group.last_push_successful for group in running.gateway.groups()] == [True, False]


def test_when_the_intake_is_full_pushes_are_kept_and_sampled_later(running: Running) -> None:
    running.push(A, "m 1\nn 1\n")
    running.store.unavailable = True
    running.push(A, "m 2\n", replace=True)
    with pytest.raises(Unavailable):
        running.gateway.sample()
    with pytest.raises(Unavailable):
        running.gateway.delete(A)
    running.store.unavailable = False
    running.gateway.sample()
    assert [(s.value, s.stale) for s in running.last("m")] == [(2.0, False)]
    assert [s.stale for s in running.last("n")] == [True]


def test_bounds(tmp_path: Path) -> None:
    running = Running(tmp_path, max_groups=2, max_series=8)
    running.push(A, "m 1\nn 1\n")
    with pytest.raises(LimitExceeded, match="max_series"):
        running.push(A, "".join(f'k{{i="{i}"}} 1\n' for i in range(5)))
    running.push(B, "m 1\n")
    with pytest.raises(LimitExceeded, match="2 groups are kept already"):
        running.push(grouping_key("c", ()), "m 1\n")
    running.gateway.delete(A)
    running.push(grouping_key("c", ()), "m 1\n")
    running.state.close()


def test_series_beyond_the_budget_are_left_out(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.store = RecordingStore(running.clock, max_series=3)
    running.gateway = running.again()
    running.push(A, "m 1\nn 1\n")
    assert len(running.store.batches[-1]) == 3
    running.gateway.sample()
    assert len(running.store.batches[-1]) == 3
    running.state.close()
