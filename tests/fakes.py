"""Small stand-ins for parts that are built elsewhere, with real behaviour."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from otero.clock import Clock, SystemClock
from otero.errors import Unavailable
from otero.model.labels import decode_labels
from otero.model.metrics import MetricBatch
from otero.model.samples import STALE_BITS, bits
from otero.storage.registry import SeriesRegistry


@dataclass(frozen=True)
class Sample:
    """One stored sample, for tests to read."""

    labels: dict[str, str]
    time_ms: int
    value: float
    stale: bool


class RecordingStore:
    """Keeps every batch. `until` waits for a condition on what was written, without polling."""

    def __init__(self, clock: Clock | None = None, *, max_series: int = 0) -> None:
        self.registry = SeriesRegistry(clock or SystemClock(), max_series=max_series)
        self.batches: list[MetricBatch] = []
        self.unavailable = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()

    def append(self, batch: MetricBatch) -> None:
        assert len(batch.refs) == len(batch.times_ms) == len(batch.values)
        assert (batch.refs >= 0).all()
        if self.unavailable:
            raise Unavailable("the journal is full")
        with self._lock:
            self.batches.append(batch)
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)

    async def until(self, condition: Callable[[], object], timeout_s: float = 20) -> None:
        """Wait until the condition holds; it is looked at after every write."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await event.wait()
                    event.clear()
        finally:
            with self._lock:
                self._waiting.remove(entry)

    def samples(self, batch: MetricBatch | None = None, **wanted: str) -> list[Sample]:
        """What was written (in one batch), in order; `name` stands for `__name__`."""
        if "name" in wanted:
            wanted["__name__"] = wanted.pop("name")
        found: list[Sample] = []
        for each in list(self.batches) if batch is None else [batch]:
            stale = bits(np.ascontiguousarray(each.values)) == STALE_BITS
            for row, ref in enumerate(each.refs.tolist()):
                labels = decode_labels(self.registry.labels(ref))
                if all(labels.get(name) == value for name, value in wanted.items()):
                    found.append(
                        Sample(labels, int(each.times_ms[row]), float(each.values[row]), bool(stale[row]))
                    )
        return found

    def values(self, batch: MetricBatch | None = None, **wanted: str) -> list[float]:
        """The values of `samples` that are no markers."""
        return [sample.value for sample in self.samples(batch, **wanted) if not sample.stale]
