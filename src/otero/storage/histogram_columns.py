"""Native histograms in the fewest bytes that a column allows, in memory and as one byte string.

Counts are whole numbers nearly always, and bucket numbers small ones but for their origin, so columns are kept in the
narrowest type that holds every value exactly. Fields of one row are never mixed, hence any rows can be taken quickly.
"""

import struct
from dataclasses import dataclass
from typing import Any, cast

import blosc2
import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, MAX_SCHEMA, MIN_SCHEMA, Histograms, index_of, negative, positive

Number = NDArray[Any]
"""A column in whatever type is narrowest."""

_UNSIGNED = ((np.uint8, 0xFF), (np.uint16, 0xFFFF), (np.uint32, 0xFFFFFFFF))
_SIGNED = ((np.int16, 0x7FFF), (np.int32, 0x7FFFFFFF))
_DTYPES = tuple(map(np.dtype, ("u1", "<u2", "<u4", "<f8", "i1", "<i2", "<i4", "<i8")))
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_HEAD = struct.Struct("<BII")
_SMALL = 64
"""Columns shorter than this are not worth compressing."""


@dataclass(frozen=True, slots=True, eq=False)
class NarrowHistograms:
    """The fields of `Histograms` in narrow types; `bucket` holds twice the index, plus one for negative buckets."""

    schema: NDArray[np.int8]
    zero_threshold: Number
    zero_count: Number
    count: Number
    sum: Number
    hint: NDArray[np.uint8]
    bounds: NDArray[np.int32]
    custom_bounds: tuple[tuple[float, ...], ...]
    offsets: Number
    bucket: Number
    value: Number

    def __len__(self) -> int:
        return len(self.schema)

    @property
    def nbytes(self) -> int:
        """Memory of the columns."""
        columns = (self.schema, self.zero_threshold, self.zero_count, self.count, self.sum, self.hint)
        more = (self.bounds, self.offsets, self.bucket, self.value)
        bounds = sum(56 + 32 * len(own) for own in self.custom_bounds)
        return sum(column.nbytes + 112 for column in (*columns, *more)) + bounds

    def take(self, rows: NDArray[np.int64] | NDArray[np.intp]) -> Histograms:
        """The given rows, in their order."""
        starts = self.offsets[rows].astype(np.int64)
        lengths = self.offsets[rows + 1].astype(np.int64) - starts
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        source = np.arange(int(offsets[-1])) + np.repeat(starts - offsets[:-1], lengths)
        return Histograms(
            self.schema[rows],
            self.zero_threshold[rows].astype(np.float64),
            self.zero_count[rows].astype(np.float64),
            self.count[rows].astype(np.float64),
            self.sum[rows].astype(np.float64),
            self.hint[rows],
            self.bounds[rows],
            self.custom_bounds,
            offsets,
            _bucket_numbers(self.bucket[source]),
            self.value[source].astype(np.float64),
        )


def narrow(histograms: Histograms) -> NarrowHistograms:
    """The same rows in narrow columns."""
    h = histograms
    return NarrowHistograms(
        h.schema,
        _narrow_floats(h.zero_threshold),
        _narrow_floats(h.zero_count),
        _narrow_floats(h.count),
        _narrow_floats(h.sum),
        h.hint,
        h.bounds,
        h.custom_bounds,
        h.offsets.astype(np.uint32) if len(h.bucket) < 1 << 32 else h.offsets,
        _narrow_integers(2 * index_of(h.bucket) + (h.bucket < 0)),
        _narrow_floats(h.value),
    )


def encode(histograms: Histograms) -> bytes:
    """All rows as bytes that `decode` reads."""
    rows = narrow(histograms)
    own = rows.custom_bounds
    columns: tuple[Number, ...] = (
        rows.schema,
        rows.zero_threshold,
        rows.zero_count,
        rows.count,
        rows.sum,
        rows.hint,
        rows.bounds,
        np.array([len(bounds) for bounds in own], np.uint32),
        np.array([bound for bounds in own for bound in bounds], np.float64),
        _narrow_floats(np.diff(histograms.offsets).astype(np.float64)),
        np.diff(rows.bucket, prepend=rows.bucket.dtype.type(0)),
        rows.value,
    )
    return b"".join(map(_pack, columns))


def decode(data: bytes, at: int = 0) -> Histograms:
    """The rows that `encode` wrote. Raises ValueError for other bytes."""
    columns: list[Number] = []
    for _ in range(12):
        column, at = _unpack(data, at)
        columns.append(column)
    schema, zero_threshold, zero_count, count, total, hint, bounds, widths, own, lengths, bucket, value = (
        columns
    )
    rows = len(schema)
    custom: list[tuple[float, ...]] = []
    left = 0
    for width in widths.tolist():
        custom.append(tuple(own[left : left + width].tolist()))
        left += width
    known = (schema == CUSTOM) | (schema >= MIN_SCHEMA) & (schema <= MAX_SCHEMA)
    if (
        any(
            len(column) != rows
            for column in (zero_threshold, zero_count, count, total, hint, bounds, lengths)
        )
        or len(bucket) != len(value)
        or int(lengths.sum()) != len(bucket)
        or left != len(own)
        or not known.all()
        or int(bounds.max(initial=-1)) >= len(custom)
    ):
        raise ValueError("columns of histograms do not fit each other")
    codes = np.cumsum(bucket, dtype=bucket.dtype)
    return Histograms(
        schema.astype(np.int8),
        zero_threshold.astype(np.float64),
        zero_count.astype(np.float64),
        count.astype(np.float64),
        total.astype(np.float64),
        hint.astype(np.uint8),
        bounds.astype(np.int32),
        tuple(custom),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]),
        _bucket_numbers(codes),
        value.astype(np.float64),
    )


def _bucket_numbers(codes: Number) -> NDArray[np.int64]:
    wide = codes.astype(np.int64)
    index = wide >> 1
    return np.where(wide & 1, negative(index), positive(index))


def _narrow_floats(values: NDArray[np.float64]) -> Number:
    """As unsigned integers when that loses nothing, the sign of zero included."""
    top = float(values.max(initial=0.0))
    if top < 1 << 32 and not np.signbit(values).any():  # never so with a NaN
        for dtype, highest in _UNSIGNED:
            if top <= highest:
                whole = values.astype(dtype)
                return whole if bool((whole == values).all()) else values
    return values


def _narrow_integers(values: NDArray[np.int64]) -> Number:
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for dtype, highest in _SIGNED:
        if -highest <= low and high <= highest:
            return values.astype(dtype)
    return values


def _pack(column: Number) -> bytes:
    """u8 type, u32 stored length, u32 count, data; compressed when that pays."""
    data = np.ascontiguousarray(column).tobytes()
    code = _CODES[column.dtype]
    if len(column) >= _SMALL:
        packed = cast(
            "bytes", blosc2.compress(data, typesize=column.itemsize, clevel=1, codec=blosc2.Codec.LZ4)
        )
        if len(packed) < len(data):
            return _HEAD.pack(code, len(packed), len(column)) + packed
    return _HEAD.pack(code, len(data), len(column)) + data


def _unpack(data: bytes, at: int) -> tuple[Number, int]:
    code, stored, count = _HEAD.unpack_from(data, at)
    at += _HEAD.size
    if code >= len(_DTYPES) or at + stored > len(data):
        raise ValueError("a column of histograms ends too early")
    part = data[at : at + stored]
    if stored != _DTYPES[code].itemsize * count:
        part = cast("bytes", blosc2.decompress(part))
    return np.frombuffer(part, _DTYPES[code], count), at + stored
