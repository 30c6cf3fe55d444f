"""Readers of the metric journal besides the engine: whoever sends on what came in.

A follower keeps its place in a file of its own, so that it goes on there after a restart or a crash. The journal keeps what
a follower has not had yet, within the follower's bound; beyond it the follower loses its own oldest, and nobody waits.
"""

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.model.labels import LabelBytes
from otero.model.metrics import MetricBatch
from otero.storage.journal import Journal
from otero.storage.journal_metrics import Kind, MetricReader

_log = logging.getLogger(__name__)

_SLACK_BYTES = 64 << 20
"""The journal keeps this much more than a follower's bound, so that the follower can count what it loses."""
_MAX_IDLE_SERIES = 200_000
"""Series that are known and not in the segment that is read; beyond it all are learned anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a follower is: everything before `position` is done. `plan` is what it was about to do with what follows."""

    position: int
    plan: Mapping[str, int]


class _Series:
    """Numbers for label sets, private to one follower: those of the server's registry come and go without it."""

    def __init__(self) -> None:
        self._numbers: dict[LabelBytes, int] = {}
        self.keys: list[LabelBytes] = []

    def labels(self, ref: int) -> LabelBytes:
        return self.keys[ref]

    def resolve(self, keys: Sequence[LabelBytes], *, budgets: bool = True) -> NDArray[np.int64]:
        del budgets
        numbers = self._numbers
        refs = np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(keys))
        if len(numbers) > len(self.keys):
            self.keys = list(numbers)
        return refs


class Follower:
    """One reader. References in its batches are its own: `labels` tells what they mean. For one thread at a time."""

    def __init__(self, journal: Journal, folder: Path, name: str, max_bytes: int) -> None:
        self.name = name
        self.max_bytes = max_bytes
        self._journal = journal
        self._path = folder / f"{name}.json"
        place = _read(self._path)
        self.place = Place(journal.end, {}) if place is None or place.position > journal.end else place
        self._series = _Series()
        self._reader = MetricReader(self._series)
        self._read_to = self.place.position
        self._primed = False
        self.epoch = 0
        """Rises when references lose their meaning."""
        self._hold()
        if place is None:
            try:
                self._write()
            except OSError as error:
                _log.error(
                    "the place of a remote write destination cannot be written yet",
                    extra={"reason": error.strerror},
                )

    @property
    def lag_bytes(self) -> int:
        """What the journal holds after this follower's place."""
        return self._journal.end - self.place.position

    def labels(self, ref: int) -> LabelBytes:
        """The label set of a reference."""
        return self._series.keys[ref]

    def read(self, until: int | None = None, *, enough: int | None = None) -> tuple[list[MetricBatch], int]:
        """The next batches, and the position after them: only records that end at or before `until`, and none after the
        first that ends at or after `enough`."""
        if not self._primed:
            self._prime()
        batches: list[MetricBatch] = []
        for record in self._journal.tail(self._read_to):
            if (until is not None and record.end > until) or (enough is not None and self._read_to >= enough):
                break
            self._read_to = record.end
            if record.kind in (Kind.RANGE, Kind.FLUSHED):
                continue
            try:
                batch = self._reader.batch(record)
            except BadInput as error:
                _log.error("a journal record is not sent on", extra={"reason": str(error)})
                continue
            if batch is not None:
                batches.append(batch)
        return batches, self._read_to

    def _prime(self) -> None:
        """Learn what records mean that begin before the place."""
        self._primed = True
        self._read_to = max(self._read_to, self._journal.first)
        for record in self._journal.read(max(self._read_to - 1, 0)):
            if record.end > self._read_to:
                return
            if record.kind in (Kind.SERIES, Kind.SHAPE):
                with contextlib.suppress(BadInput):
                    self._reader.batch(record)

    def shed(self) -> int:
        """Give up the oldest beyond the bound; how many samples are lost by it. What was read and is not committed is
        read again."""
        excess = self.lag_bytes - self.max_bytes
        if excess <= 0:
            return 0
        target = self.place.position + excess
        self.rewind()
        lost = 0
        while self._read_to < target:
            before = self._read_to
            batches, _ = self.read(enough=target)
            lost += sum(map(len, batches))
            if self._read_to == before:
                break
        self.commit(self._read_to)
        return lost

    def rewind(self) -> None:
        """Go back to the place: what was read and is not committed is read again."""
        self._read_to = self.place.position
        self.epoch += 1
        self._series = _Series()
        self._reader = MetricReader(self._series)
        self._primed = False

    def plan(self, plan: Mapping[str, int]) -> None:
        """Remember what is about to be done after the place, so that it is done the same way after a crash."""
        self.place = Place(self.place.position, plan)
        self._write()

    def commit(self, position: int) -> None:
        """Everything before `position` is done."""
        self.place = Place(position, {})
        self._write()
        self._hold()
        idle = len(self._series.keys) - self._reader.segment_series
        if idle > _MAX_IDLE_SERIES and self._read_to == position:
            self.rewind()

    def _hold(self) -> None:
        self._journal.hold(self.name, self.place.position, self.max_bytes + _SLACK_BYTES)

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"position": self.place.position, "plan": dict(self.place.plan)})
        draft = self._path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self._path)


class Followers:
    """All followers of a journal. Places that were kept hold the journal from the start, until they are dropped."""

    def __init__(self, journal: Journal, folder: Path) -> None:
        self._journal = journal
        self._folder = folder
        for name in self.names():
            place = _read(folder / f"{name}.json")
            if place is not None:
                journal.hold(name, place.position, 1 << 62)

    def names(self) -> list[str]:
        """Followers whose places are kept."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def open(self, name: str, *, max_bytes: int) -> Follower:
        """The follower of that name, at its place, or at the journal's end when it is new."""
        return Follower(self._journal, self._folder, name, max_bytes)

    def drop(self, name: str) -> None:
        """Forget a follower and what it has not had."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        self._journal.let_go(name)


def _read(path: Path) -> Place | None:
    try:
        content: Any = json.loads(path.read_text())
        return Place(int(content["position"]), {str(k): int(v) for k, v in content["plan"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.error(
            "the place of a remote write destination cannot be read; it starts anew",
            extra={"reason": str(error)},
        )
        return None
