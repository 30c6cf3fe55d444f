"""Native histograms of remote write, both versions and remote read, whose messages have the same fields.

The checks are those of Prometheus' `Histogram.Validate` and `FloatHistogram.Validate`.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from otero.errors import BadInput
from otero.model.histograms import CUSTOM, MAX_SCHEMA, MIN_SCHEMA, Histograms, ResetHint, negative, positive
from otero.model.samples import STALE_BITS

_MAX_RESERVED_SCHEMA = 52
"""Finer schemas than ours, up to here, are taken and made coarser."""
_MAX_INDEX = 1 << 32


class Span(Protocol):
    offset: int
    length: int


class WireHistogram(Protocol):
    """The generated class of a histogram."""

    count_int: int
    count_float: float
    sum: float
    schema: int
    zero_threshold: float
    zero_count_int: int
    zero_count_float: float
    reset_hint: int

    @property
    def negative_spans(self) -> Sequence[Span]: ...
    @property
    def negative_deltas(self) -> Sequence[int]: ...
    @property
    def negative_counts(self) -> Sequence[float]: ...
    @property
    def positive_spans(self) -> Sequence[Span]: ...
    @property
    def positive_deltas(self) -> Sequence[int]: ...
    @property
    def positive_counts(self) -> Sequence[float]: ...
    @property
    def custom_values(self) -> Sequence[float]: ...
    def WhichOneof(self, oneof_group: str, /) -> str | None: ...  # noqa: N802 (the generated name)


def is_stale(histogram: WireHistogram) -> bool:
    """Whether it marks the end of its series."""
    return math.isnan(histogram.sum) and np.float64(histogram.sum).view(np.uint64) == STALE_BITS


class HistogramRows:
    """Collects histograms as rows of one `Histograms`."""

    def __init__(self) -> None:
        self._schema: list[int] = []
        self._zero_threshold: list[float] = []
        self._zero_count: list[float] = []
        self._count: list[float] = []
        self._sum: list[float] = []
        self._hint: list[int] = []
        self._bounds: list[int] = []
        self._custom: dict[tuple[float, ...], int] = {}
        self._offsets: list[int] = [0]
        self._bucket: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._value: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []

    def __len__(self) -> int:
        return len(self._schema)

    def add(self, histogram: WireHistogram) -> None:
        """Take one as the next row. Raises BadInput, and takes nothing, for one that Prometheus refuses."""
        schema = histogram.schema
        is_float = histogram.WhichOneof("count") == "count_float"
        zero_count = float(
            histogram.zero_count_float
            if histogram.WhichOneof("zero_count") == "zero_count_float"
            else histogram.zero_count_int
        )
        count = histogram.count_float if is_float else float(histogram.count_int)
        custom: tuple[float, ...] = ()
        if schema == CUSTOM:
            custom = tuple(histogram.custom_values)
            _check_custom(custom, histogram, zero_count)
        elif not MIN_SCHEMA <= schema <= _MAX_RESERVED_SCHEMA:
            raise BadInput(f"histogram has the unknown schema {schema}; known are -4 to 8 and -53")
        elif histogram.custom_values:
            raise BadInput("histogram with exponential schema must not have custom bounds")
        pos, pos_counts = _buckets(
            histogram.positive_spans,
            histogram.positive_counts if is_float else histogram.positive_deltas,
            is_float,
            "positive",
        )
        neg, neg_counts = _buckets(
            histogram.negative_spans,
            histogram.negative_counts if is_float else histogram.negative_deltas,
            is_float,
            "negative",
        )
        if schema == CUSTOM and len(pos) and int(pos[-1]) > len(custom):
            raise BadInput(f"histogram has {len(custom)} custom bounds, too few for its buckets")
        if zero_count < 0 or count < 0:
            raise BadInput("histogram has a negative observation count")
        if not is_float:
            total = float(pos_counts.sum() + neg_counts.sum()) + zero_count
            if total > count if math.isnan(histogram.sum) else total != count:
                raise BadInput(
                    f"{total:g} observations found in buckets, but the Count field is {count:g}:"
                    " histogram's observation count should equal the number of observations found in the buckets"
                )
        if schema > MAX_SCHEMA:
            pos, pos_counts = _coarser(pos, pos_counts, schema - MAX_SCHEMA)
            neg, neg_counts = _coarser(neg, neg_counts, schema - MAX_SCHEMA)
            schema = MAX_SCHEMA
        self._schema.append(schema)
        self._zero_threshold.append(histogram.zero_threshold)
        self._zero_count.append(zero_count)
        self._count.append(count)
        self._sum.append(histogram.sum)
        self._hint.append(histogram.reset_hint if histogram.reset_hint in tuple(ResetHint) else 0)
        self._bounds.append(self._custom.setdefault(custom, len(self._custom)) if schema == CUSTOM else -1)
        self._offsets.append(self._offsets[-1] + len(pos) + len(neg))
        self._bucket += [negative(neg)[::-1], positive(pos)]
        self._value += [neg_counts[::-1], pos_counts]

    def build(self) -> Histograms:
        """All rows so far."""
        sums = np.array(self._sum, np.float64)
        return Histograms(
            np.array(self._schema, np.int8),
            np.array(self._zero_threshold, np.float64),
            np.array(self._zero_count, np.float64),
            np.array(self._count, np.float64),
            sums,
            np.array(self._hint, np.uint8),
            np.array(self._bounds, np.int32),
            tuple(self._custom),
            np.array(self._offsets, np.int64),
            np.concatenate(self._bucket) if self._bucket else np.zeros(0, np.int64),
            np.concatenate(self._value) if self._value else np.zeros(0),
        )


def _check_custom(custom: tuple[float, ...], histogram: WireHistogram, zero_count: float) -> None:
    previous = -math.inf
    for at, bound in enumerate(custom):
        if math.isnan(bound) or (at and bound <= previous):
            raise BadInput("histogram custom bounds must be in strictly increasing order")
        previous = bound
    if custom and custom[-1] == math.inf:
        raise BadInput(
            "histogram custom bounds must be finite: the last +Inf bound must not be explicitly defined"
        )
    if zero_count or histogram.zero_threshold:
        raise BadInput("custom buckets: must have zero count and threshold of 0")
    if histogram.negative_spans or histogram.negative_deltas or histogram.negative_counts:
        raise BadInput("custom buckets: must not have negative spans or buckets")


def _buckets(
    spans: Sequence[Span], counts: Sequence[float], is_float: bool, side: str
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Ascending indices of buckets, and their counts."""
    wanted = sum(span.length for span in spans)
    if wanted != len(counts):
        raise BadInput(
            f"{side} side: spans need {wanted} buckets, have {len(counts)} buckets: histogram spans specify different"
            " number of buckets than provided"
        )
    indices: list[int] = []
    at = 0
    for number, span in enumerate(spans):
        if number and span.offset < 0:
            raise BadInput(
                f"{side} side: span number {number + 1} with offset {span.offset}: negative span offset"
            )
        at += span.offset
        indices.extend(range(at, at + span.length))
        at += span.length
    if indices and not -_MAX_INDEX < indices[0] <= indices[-1] < _MAX_INDEX:
        raise BadInput(f"{side} side: bucket {indices[0]} is out of range")
    numbers = list(counts) if is_float else list(accumulate(counts))
    if any(not number >= 0 for number in numbers):
        raise BadInput(f"{side} side: histogram has a bucket whose observation count is negative")
    return np.array(indices, np.int64), np.array(numbers, np.float64)


def _coarser(
    indices: np.ndarray[tuple[int], np.dtype[np.int64]],
    counts: np.ndarray[tuple[int], np.dtype[np.float64]],
    by: int,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The buckets of a schema that is smaller by `by`."""
    merged, of = np.unique(((indices - 1) >> by) + 1, return_inverse=True)
    return merged, np.bincount(of, counts, len(merged)).astype(np.float64)
