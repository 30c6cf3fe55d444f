"""What queries compute with: series on a grid of evaluation steps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms
from otero.model.labels import LabelTable


@dataclass(frozen=True, slots=True)
class Steps:
    """Evaluation times: `count` steps from `start_ms`, `step_ms` apart. An instant query has one."""

    start_ms: int
    step_ms: int
    count: int

    @staticmethod
    def between(start_ms: int, end_ms: int, step_ms: int) -> "Steps":
        """The grid of a range query; `end_ms` is included when a step falls on it."""
        return Steps(start_ms, step_ms, (end_ms - start_ms) // step_ms + 1)

    @staticmethod
    def at(time_ms: int) -> "Steps":
        """The one step of an instant query."""
        return Steps(time_ms, 1, 1)

    @property
    def end_ms(self) -> int:
        return self.start_ms + (self.count - 1) * self.step_ms

    def times_ms(self) -> NDArray[np.int64]:
        return self.start_ms + np.arange(self.count, dtype=np.int64) * self.step_ms


@dataclass(frozen=True, slots=True, eq=False)
class StepMatrix:
    """An instant vector at every step: S label sets by steps.

    values  float64 [steps, S], time-major, C-contiguous where it was made by us.
    present bool [steps, S], or None when every series has a value at every step. Where it is False the value is
            meaningless (often NaN). A NaN that is present is an ordinary value.
    histograms  what boxed values (`model.histograms.box`) point into; None when every value is a float.
    drop_name bool [S] or None for nowhere: the metric name of this series goes away when the query ends
            (Prometheus' delayed name removal; unused without that feature).
    Never mutated once handed over.
    """

    labels: LabelTable
    values: NDArray[np.float64]
    present: NDArray[np.bool_] | None = None
    drop_name: NDArray[np.bool_] | None = None
    histograms: Histograms | None = None

    @property
    def step_count(self) -> int:
        return self.values.shape[0]

    @property
    def series_count(self) -> int:
        return self.values.shape[1]

    def present_mask(self) -> NDArray[np.bool_]:
        """`present`, made when it is None."""
        return np.ones(self.values.shape, np.bool_) if self.present is None else self.present

    def take(self, series: NDArray[np.intp]) -> "StepMatrix":
        """Only the given series, in their order."""
        return StepMatrix(
            self.labels.take(series),
            self.values.take(series, axis=1),
            None if self.present is None else self.present.take(series, axis=1),
            None if self.drop_name is None else self.drop_name[series],
            self.histograms,
        )


Value = StepMatrix | NDArray[np.float64] | str
"""What an expression is while it is computed: an instant vector or a scalar (float64 [steps]) at every step, or a string."""
