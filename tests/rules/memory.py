"""A store in memory, with an intake, an engine and a clock around it."""

import numpy as np

from otero.clock import ManualClock
from otero.ingest.intake import Intake
from otero.model.labels import encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import MetricBatch
from otero.model.samples import ABSENT_BITS, STALE_BITS, bits
from otero.query.promql.engine import Engine
from otero.rules.rule import RuleQueries
from otero.storage import memory

START_MS = 1_700_000_000_000


class MemoryStore(memory.MemoryStore):
    """Takes batches and answers queries; `at` reads back."""

    clock: ManualClock

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        super().__init__(self.clock)
        self.intake = Intake(self)
        self.engine = Engine(self)
        self.queries = RuleQueries({"promql": self.engine}, self.clock, timeout_s=60, max_samples=1_000_000)
        self.batches = 0

    def append(self, batch: MetricBatch) -> None:
        self.batches += 1
        super().append(batch)

    def give(self, time_ms: int, *samples: tuple[dict[str, str], float]) -> None:
        """Store samples: labels with `__name__`, value."""
        refs = self.intake.resolve([encode_labels(labels) for labels, _ in samples], "test")
        values = np.array([value for _, value in samples])
        self.intake.write_metrics(MetricBatch(refs, np.full(len(refs), time_ms), values), "test")

    def at(self, name: str, time_ms: int) -> dict[str, float | None]:
        """The samples of exactly this time, None for a staleness marker, by the text of their labels."""
        found: dict[str, float | None] = {}
        for block in self.select(
            [Matcher("__name__", MatchOp.EQUAL, name)], time_ms, time_ms, self.queries.budget()
        ):
            for series, labels in enumerate(block.labels.rows()):
                times = block.times_ms[:, block.group[series]]
                for row in np.flatnonzero(times == time_ms):
                    pattern = bits(np.ascontiguousarray(block.values))[row, series]
                    if pattern == ABSENT_BITS:
                        continue
                    shown = " ".join(f"{k}={v}" for k, v in labels.items() if k != "__name__")
                    found[shown] = None if pattern == STALE_BITS else float(block.values[row, series])
        return found
