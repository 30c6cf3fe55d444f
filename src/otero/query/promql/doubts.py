"""What is told about samples that are floats here and native histograms there, in Prometheus' words."""

import re

import numpy as np
from numpy.typing import NDArray

from otero.model.labels import METRIC_NAME, LabelTable
from otero.query.notes import Notes

NOT_COUNTER = "this native histogram metric is not a counter: {}"
NOT_GAUGE = "this native histogram metric is not a gauge: {}"
MIXED_TYPES = "encountered a mix of histograms and floats for metric name {}"
IGNORED_IN_RANGE = "ignored histograms in a range containing both floats and histograms for metric name {}"
MIXED_BUCKETS = (
    "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}"
)
MIXED_AGGREGATION = "encountered a mix of histograms and floats for aggregation"

Place = tuple[int, int]


def quoted(text: str) -> str:
    """A text in double quotes, as Go writes it; bytes that are no UTF-8 are surrogates, as the parser keeps them."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", escaped) + '"'


def names_of(labels: LabelTable, series: NDArray[np.intp]) -> list[str]:
    """The metric names of some series, each once."""
    column = labels.column(METRIC_NAME)
    return [column.values[code] for code in np.unique(column.codes[series]).tolist()]


def warn_of(notes: Notes, place: Place, text: str, labels: LabelTable, series: NDArray[np.intp]) -> None:
    """A warning for each metric name of some series; `text` has a place for the name."""
    for name in names_of(labels, series):
        notes.warn(text.format(quoted(name)), *place)


def reconciled(notes: Notes, place: Place, operation: str) -> None:
    """Custom bounds differed: "addition", "subtraction" or "aggregation"."""
    notes.inform(f"mismatched custom buckets were reconciled during {operation}", *place)


def conflicting(notes: Notes, place: Place, operation: str) -> None:
    """A counter was reset here and was not there."""
    notes.warn(f"conflicting counter resets during histogram {operation}", *place)


def warn_of_mixed_buckets(notes: Notes, place: Place, operator: str) -> None:
    """A binary operator met exponential and custom buckets."""
    notes.warn(f"incompatible bucket layout encountered for binary operator {operator}", *place)
