"""Samples in memory only: the head, without journal and engine. What rule tests and replays compute with."""

from collections.abc import Sequence

from otero.clock import Clock
from otero.errors import LimitExceeded
from otero.model.budget import Budget
from otero.model.matchers import Matcher
from otero.model.metrics import MetricBatch
from otero.model.samples import SampleBlock
from otero.storage.head import Head
from otero.storage.registry import SeriesRegistry


class MemoryStore:
    """Takes batches and answers selectors; nothing of it is kept. One writer, many readers."""

    def __init__(self, clock: Clock, *, max_bytes: int = 1 << 30) -> None:
        self.registry = SeriesRegistry(clock)
        self.head = Head(self.registry, clock, max_bytes=max_bytes)
        self._max_bytes = max_bytes
        self._batches = 0

    def append(self, batch: MetricBatch) -> None:
        """Raises LimitExceeded when the samples would take more than the bytes that they may."""
        self._batches += 1
        if self.head.nbytes > self._max_bytes:
            raise LimitExceeded(f"more samples than fit into {self._max_bytes >> 20} MiB of memory")
        batch = self.head.admit(batch)
        if len(batch):
            self.head.append(batch, self._batches)

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        """As `SampleSource`."""
        return list(self.head.select(matchers, start_ms, end_ms, budget).blocks)
