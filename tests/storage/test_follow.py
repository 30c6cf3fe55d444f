"""Followers of the journal: the meaning of references, and what is forgotten when."""

from pathlib import Path

import numpy as np
import pytest

from otero.clock import SystemClock
from otero.model.labels import decode_labels, encode_labels
from otero.model.metrics import MetricBatch
from otero.storage import follow
from otero.storage.follow import Follower, Followers
from otero.storage.journal import Journal
from otero.storage.journal_metrics import MetricWriter
from otero.storage.registry import SeriesRegistry


class Written:
    """A journal with a writer."""

    def __init__(self, folder: Path, segment_bytes: int = 1 << 14) -> None:
        self.journal = Journal(
            folder / "journal", max_bytes=1 << 30, fsync="never", segment_bytes=segment_bytes
        )
        self.registry = SeriesRegistry(SystemClock())
        self.writer = MetricWriter(self.journal, self.registry)
        self.followers = Followers(self.journal, folder / "places")

    def write(self, *names: str, time_ms: int = 1) -> None:
        refs = self.registry.resolve([encode_labels({"__name__": name}) for name in names])
        self.writer.append(MetricBatch(refs, np.full(len(refs), time_ms), np.zeros(len(refs))))


def take(follower: Follower) -> list[str]:
    """Read and commit what there is; the names of its series."""
    batches, end = follower.read()
    names = [
        decode_labels(follower.labels(ref))["__name__"] for batch in batches for ref in batch.refs.tolist()
    ]
    follower.commit(end)
    return names


def test_an_epoch_never_comes_again(tmp_path: Path) -> None:
    written = Written(tmp_path)
    follower = written.followers.open("a", max_bytes=1)
    epochs = {follower.epoch}
    for n in range(20):
        written.write("a", "b", time_ms=n)
        assert follower.shed()
        assert follower.epoch not in epochs
        epochs.add(follower.epoch)


def test_a_place_that_cannot_be_written_holds_up_nobody(tmp_path: Path) -> None:
    written = Written(tmp_path)
    (tmp_path / "places").write_text("")  # as a full disk would, this keeps it from being written
    follower = written.followers.open("a", max_bytes=1 << 30)
    written.write("a")
    with pytest.raises(OSError):
        take(follower)
    (tmp_path / "places").unlink()
    follower.rewind()
    written.write("a", time_ms=2)
    assert take(follower) == ["a"]
    assert written.followers.names() == ["a"]


def test_only_series_that_come_no_more_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_MAX_IDLE_SERIES", 50)
    written = Written(tmp_path)
    follower = written.followers.open("a", max_bytes=1 << 30)
    names = [f"m{n}" for n in range(200)]
    written.write(*names)
    assert len(take(follower)) == 200
    epoch = follower.epoch
    for n in range(5):
        written.write(*names, time_ms=n)
        assert len(take(follower)) == 200
    assert follower.epoch == epoch  # all of them are in use
    while not written.journal.roll_if_full():
        written.write(*names)
    written.write("one")
    take(follower)
    assert follower.epoch != epoch
    written.write("one", time_ms=2)
    assert take(follower) == ["one"]
