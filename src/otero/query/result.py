"""What an evaluated query answers, still in columns; the APIs render it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms
from otero.model.labels import LabelTable
from otero.query.notes import Note
from otero.query.series import StepMatrix, Steps


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """One number per step; an instant query has one step."""

    steps: Steps
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class String:
    """The text of a query that is a string literal."""

    time_ms: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """An instant vector: one value for each of S label sets, in the order that is meant; boxed where it is a histogram."""

    labels: LabelTable
    time_ms: int
    values: NDArray[np.float64]
    histograms: Histograms | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A range query's answer: every series has a value at one step at least."""

    steps: Steps
    series: StepMatrix


@dataclass(frozen=True, slots=True, eq=False)
class RawMatrix:
    """An instant query of a range selector: samples with their own times.

    offsets intp [S + 1]: series i has the samples offsets[i]:offsets[i + 1] of `times_ms` and `values`, boxed where
            they are histograms.
    """

    labels: LabelTable
    offsets: NDArray[np.intp]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    histograms: Histograms | None = None


@dataclass(frozen=True, slots=True)
class QueryStats:
    """How many series were read, how many cells their blocks have, and the most values held at one time."""

    series: int = 0
    samples: int = 0
    peak_samples: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A value and the doubts about it."""

    value: Scalar | String | Vector | Matrix | RawMatrix
    notes: tuple[Note, ...] = field(default=())
    stats: QueryStats = field(default=QueryStats())
