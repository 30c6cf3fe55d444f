"""The one door for writes: whatever comes in, by whichever protocol, passes here on its way to storage."""

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from otero.errors import OteroError
from otero.model.labels import LabelBytes
from otero.model.metrics import MetricBatch
from otero.model.records import RecordBatch, Signal
from otero.telemetry import INGESTED, INGESTED_RECORDS, rejected

_SLICE = 2000
"""Series resolved per turn of the lock: a target with 100,000 new series must not hold up the others."""


class Registry(Protocol):
    """What the doors use of `storage.registry.SeriesRegistry`."""

    @property
    def epoch(self) -> int: ...

    def resolve(self, keys: Sequence[LabelBytes]) -> NDArray[np.int64]: ...

    def alive(self, refs: NDArray[np.int64]) -> bool: ...


class Store(Protocol):
    """What the doors use of `storage.metrics.MetricStore`; their tests have a second one."""

    @property
    def registry(self) -> Registry: ...

    def append(self, batch: MetricBatch) -> None: ...


class RecordStore(Protocol):
    """What the doors use of `storage.signals.SignalStore`."""

    def append(self, batch: RecordBatch) -> bool: ...


class Intake:
    """Counts and hands on. Safe for many threads; storage sees one writer at a time."""

    def __init__(self, store: Store, records: Mapping[Signal, RecordStore] | None = None) -> None:
        self._store = store
        self._records = records or {}
        self._lock = threading.Lock()
        self._accepted: dict[str, Counter] = {}

    @property
    def epoch(self) -> int:
        """Rises when series were forgotten: keepers of references then ask `alive`."""
        return self._store.registry.epoch

    def alive(self, refs: NDArray[np.int64]) -> bool:
        """Whether all these references still mean what they meant."""
        return self._store.registry.alive(refs)

    def resolve(self, keys: Sequence[LabelBytes], door: str) -> NDArray[np.int64]:
        """The references of label sets, -1 for new series that a budget refuses (counted as `series_limit`)."""
        refs = np.empty(len(keys), np.int64)
        for start in range(0, len(keys), _SLICE):
            with self._lock:
                refs[start : start + _SLICE] = self._store.registry.resolve(keys[start : start + _SLICE])
        rejected(door, "series_limit", int(np.count_nonzero(refs < 0)))
        return refs

    def write_metrics(self, batch: MetricBatch, door: str) -> None:
        """Store a batch; when this returns, it is acknowledged. Raises what the store raises, after counting."""
        try:
            with self._lock:
                self._store.append(batch)
        except OteroError:
            rejected(door, "unavailable", len(batch))
            raise
        counter = self._accepted.get(door)
        if counter is None:
            counter = self._accepted[door] = INGESTED.labels(door)
        counter.inc(len(batch))

    def write_records(self, signal: Signal, batch: RecordBatch, door: str) -> bool:
        """Store a request of log records or spans; when this returns, it is acknowledged. False when it came already.

        Raises what the store raises, after counting.
        """
        try:
            new = self._records[signal].append(batch)
        except OteroError:
            rejected(door, "unavailable", batch.records)
            raise
        if new:
            INGESTED_RECORDS.labels(door, signal).inc(batch.records)
        else:
            rejected(door, "duplicate", batch.records)
        return new
