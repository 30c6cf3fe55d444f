"""Native histograms as columns.

N histograms are one `Histograms`: a column per field, and all buckets as sparse rows (offsets, bucket, value), ascending
within a row, no bucket twice. A *bucket number* says sign and index at once, so that ascending numbers are ascending
values: `positive(i)` and `negative(i)` of the index i of the exponential bucket (base^(i-1), base^i], base = 2^(2^-schema),
or of the i-th custom bound. Counts are floats throughout (exact up to 2^53), whatever came in.

Where floats and histograms share an array of samples, a histogram is a NaN that carries its row: `box(row)`. Such an
array is always accompanied by the `Histograms` that its rows point into; without one, every NaN is just that. Boxes
survive copies, takes and concatenations; arithmetic on them is meaningless, so kernels ask `boxed_rows` first. The end of
a series of histograms is the ordinary float STALE.

Rules: https://prometheus.io/docs/specs/native_histograms/
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

CUSTOM = -53
"""The schema of histograms with custom bucket bounds."""
MIN_SCHEMA, MAX_SCHEMA = -4, 8

_ORIGIN = 1 << 33
_BOX = np.uint64(0x7FFE_0000_0000_0000)
_BOX_MASK = np.uint64(0xFFFF_0000_0000_0000)
_ROW_MASK = np.uint64(0x0000_FFFF_FFFF_FFFF)


class ResetHint(IntEnum):
    """What a histogram knows of the one before it, as numbered on Prometheus' wire."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


def positive(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bucket numbers of positive buckets."""
    return index + _ORIGIN


def negative(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bucket numbers of negative buckets."""
    return -(index + _ORIGIN)


def index_of(bucket: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of a bucket number, whatever its sign; the sign of the number is that of the bucket."""
    return np.abs(bucket) - _ORIGIN


@dataclass(frozen=True, slots=True, eq=False)
class Histograms:
    """N native histograms. Never mutated.

    schema         int8 [N]: -4 to 8, or CUSTOM.
    zero_threshold float64 [N]; 0 with custom bounds.
    zero_count, count, sum   float64 [N].
    hint           uint8 [N]: ResetHint.
    bounds         int32 [N]: which of `custom_bounds`, -1 for exponential buckets.
    custom_bounds  distinct tuples of ascending upper bounds, the last one (+Inf) left out.
    offsets        int64 [N + 1]: row i has the buckets offsets[i]:offsets[i + 1] of `bucket` and `value`.
    bucket         int64 [K]: bucket numbers. value float64 [K]: counts, not cumulative; may be zero.
    """

    schema: NDArray[np.int8]
    zero_threshold: NDArray[np.float64]
    zero_count: NDArray[np.float64]
    count: NDArray[np.float64]
    sum: NDArray[np.float64]
    hint: NDArray[np.uint8]
    bounds: NDArray[np.int32]
    custom_bounds: tuple[tuple[float, ...], ...]
    offsets: NDArray[np.int64]
    bucket: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.schema)

    def rows(self) -> NDArray[np.int64]:
        """int64 [K]: the row of each bucket."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def take(self, rows: NDArray[np.int64] | NDArray[np.intp]) -> "Histograms":
        """The given rows, in their order; a row may be taken more than once."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        source = np.arange(int(offsets[-1])) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Histograms(
            self.schema[rows],
            self.zero_threshold[rows],
            self.zero_count[rows],
            self.count[rows],
            self.sum[rows],
            self.hint[rows],
            self.bounds[rows],
            self.custom_bounds,
            offsets,
            self.bucket[source],
            self.value[source],
        )

    @staticmethod
    def empty() -> "Histograms":
        """No histogram at all."""
        floats = np.zeros(0)
        return Histograms(
            np.zeros(0, np.int8),
            floats,
            floats,
            floats,
            floats,
            np.zeros(0, np.uint8),
            np.zeros(0, np.int32),
            (),
            np.zeros(1, np.int64),
            np.zeros(0, np.int64),
            floats,
        )

    @staticmethod
    def concat(parts: Sequence["Histograms"]) -> "Histograms":
        """The rows of all parts, one after the other; custom bounds are kept once."""
        if not parts:
            return Histograms.empty()
        if len(parts) == 1:
            return parts[0]
        known: dict[tuple[float, ...], int] = {}
        bounds: list[NDArray[np.int32]] = []
        for part in parts:
            recode = np.array([known.setdefault(b, len(known)) for b in part.custom_bounds] + [-1], np.int32)
            bounds.append(recode[part.bounds])
        starts = np.cumsum([0, *(len(part.bucket) for part in parts[:-1])])
        return Histograms(
            np.concatenate([part.schema for part in parts]),
            np.concatenate([part.zero_threshold for part in parts]),
            np.concatenate([part.zero_count for part in parts]),
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.sum for part in parts]),
            np.concatenate([part.hint for part in parts]),
            np.concatenate(bounds),
            tuple(known),
            np.concatenate(
                [
                    parts[0].offsets[:1],
                    *(part.offsets[1:] + start for part, start in zip(parts, starts, strict=True)),
                ]
            ),
            np.concatenate([part.bucket for part in parts]),
            np.concatenate([part.value for part in parts]),
        )


def box(rows: NDArray[np.int64] | NDArray[np.intp]) -> NDArray[np.float64]:
    """Float64 cells that stand for rows of a `Histograms`."""
    return (rows.astype(np.uint64) | _BOX).view(np.float64)


def boxed_rows(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64, shape of `values`: the row that each cell stands for, -1 for floats (markers and NaN included)."""
    raw = np.ascontiguousarray(values).view(np.uint64)
    return np.where((raw & _BOX_MASK) == _BOX, (raw & _ROW_MASK).astype(np.int64), -1)


def is_boxed(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool, shape of `values`: which cells stand for histograms."""
    return (np.ascontiguousarray(values).view(np.uint64) & _BOX_MASK) == _BOX


def shifted(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """`values` whose boxes point `by` rows further on."""
    rows = boxed_rows(values)
    return np.where(rows >= 0, box(rows + by), values) if by else values


def merged(
    parts: Sequence[tuple[NDArray[np.float64], Histograms | None]],
) -> tuple[list[NDArray[np.float64]], Histograms | None]:
    """Arrays of samples whose boxes point into one `Histograms`, that of all parts; None when no part has any."""
    held = [histograms for _, histograms in parts if histograms is not None]
    if not held:
        return [values for values, _ in parts], None
    out: list[NDArray[np.float64]] = []
    at = 0
    for values, histograms in parts:
        out.append(values if histograms is None else shifted(values, at))
        at += 0 if histograms is None else len(histograms)
    return out, Histograms.concat(held)


def compacted(
    values: NDArray[np.float64], histograms: Histograms | None
) -> tuple[NDArray[np.float64], Histograms | None]:
    """The same samples with only the rows that they stand for, each once; None when there is no box."""
    if histograms is None:
        return values, None
    rows = boxed_rows(values)
    inside = rows >= 0
    if not inside.any():
        return values, None
    distinct, at = np.unique(rows[inside], return_inverse=True)
    out = np.array(values)
    out[inside] = box(at)
    return out, histograms.take(distinct)
