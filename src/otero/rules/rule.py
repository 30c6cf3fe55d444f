"""What every rule has: a query that it asks, a result that it writes, and how its last evaluation went."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import ExecutionError
from otero.model.budget import Budget
from otero.model.histograms import Histograms
from otero.model.labels import LabelBytes, LabelTable
from otero.query.result import Result, Scalar, Vector
from otero.rules.languages import PROMQL


class Query(Protocol):
    """Evaluates an expression of a language at a time in milliseconds; a scalar is a vector of one element.

    Raises OteroError.
    """

    def __call__(self, text: str, time_ms: int, language: str = PROMQL) -> Vector: ...


class Evaluates(Protocol):
    """What rules use of the engine of a language."""

    def instant(self, text: str, time_ms: int, budget: Budget) -> Result: ...


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What a rule's evaluation writes: one value per series, boxed where it is a histogram."""

    keys: list[LabelBytes] = field(default_factory=list[LabelBytes])
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    histograms: Histograms | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How the last evaluation went; `state` is "unknown" before the first, then "ok" or "err"."""

    state: str = "unknown"
    error: str = ""
    seconds: float = 0.0
    evaluated_ms: int = 0


class RuleQueries:
    """The `Query` of the languages' engines, each with a budget of its own; `cancel` stops what is under way."""

    def __init__(
        self, engines: Mapping[str, Evaluates], clock: Clock, *, timeout_s: float, max_samples: int
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._timeout_s = timeout_s
        self._max_samples = max_samples
        self._lock = threading.Lock()
        self._running: set[Budget] = set()
        self._stopped = False

    def budget(self) -> Budget:
        """What one query may use."""
        return Budget(self._clock, timeout_s=self._timeout_s, max_samples=self._max_samples)

    def __call__(self, text: str, time_ms: int, language: str = PROMQL) -> Vector:
        budget = self.budget()
        with self._lock:
            self._running.add(budget)
            if self._stopped:
                budget.cancel()
        try:
            value = self._engines[language].instant(text, time_ms, budget).value
        finally:
            with self._lock:
                self._running.discard(budget)
        if isinstance(value, Vector):
            return value
        if isinstance(value, Scalar):
            return Vector(LabelTable(1, {}), time_ms, value.values)
        raise ExecutionError("rule result is not a vector or scalar")

    def cancel(self) -> None:
        """End every query at its next check, now and from now on."""
        with self._lock:
            self._stopped = True
            for budget in self._running:
                budget.cancel()


def label_bytes(table: LabelTable) -> list[LabelBytes]:
    """The label bytes of every row, made column by column."""
    columns: list[list[bytes]] = []
    for name, column in table.columns.items():
        start = name.encode() + b"\xff"
        parts = [b"", *(start + text.encode() + b"\xff" for text in column.values[1:])]
        codes: list[int] = column.codes.tolist()
        columns.append([parts[code] for code in codes])
    if not columns:
        return [LabelBytes(b"")] * table.size
    return [LabelBytes(b"".join(row)) for row in zip(*columns, strict=True)]
