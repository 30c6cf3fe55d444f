"""Sealed samples: compressed columns that are never written again.

A *frame* is what was sealed together: some timestamp columns and many series, in chunks of up to 256 series in order of
metric. Within a chunk series of one encoding lie together: integers, or decimals that are exact when multiplied by 10, 100
or 1000, as offsets of 8, 16 or 32 bits from each series' minimum, time-major; all other values as doubles, series-major.
Decoding gives back the very bits, NaN payloads included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import is_boxed
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, STALE, STALE_BITS, bits

SERIES_PER_CHUNK = 256
_SCALES = np.array([1.0, 10.0, 100.0, 1000.0])
_WIDTHS: tuple[tuple[type[np.unsignedinteger[Any]], int], ...] = (
    (np.uint8, 0xFF),
    (np.uint16, 0xFFFF),
    (np.uint32, 0xFFFFFFFF),
)
_EXACT = 2.0**53

blosc2.set_nthreads(1)


@dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """Series of one encoding: `columns` are their places in the chunk."""

    columns: NDArray[np.uint8]
    kind: int
    """1, 2, 4: bytes of an offset; 8: doubles."""
    base: NDArray[np.float64] | None
    scale: NDArray[np.float64] | None
    hides: bool
    """Whether the two largest offsets stand for ABSENT and STALE."""
    data: bytes

    @property
    def nbytes(self) -> int:
        extra = sum(
            array.nbytes + 112 for array in (self.columns, self.base, self.scale) if array is not None
        )
        return len(self.data) + extra + 33 + 96

    def decode(
        self, height: int, rows: slice, columns: NDArray[np.intp] | None, out: NDArray[np.float64]
    ) -> None:
        """Write some rows of some columns (None: of all) to `out` [rows, columns]."""
        raw: Any = blosc2.decompress(self.data)
        width = len(self.columns)
        if self.kind == 8:
            wide = np.frombuffer(raw, np.float64).reshape(width, height)[:, rows]
            np.copyto(out, (wide if columns is None else wide[columns]).T)
            return
        dtype, top = _WIDTHS[self.kind.bit_length() - 1]
        codes = np.frombuffer(raw, dtype).reshape(height, width)[rows]
        base, scale = self.base, self.scale
        if columns is not None:
            codes = codes.take(columns, axis=1)
            base = None if base is None else base[columns]
            scale = None if scale is None else scale[columns]
        if base is None:
            np.copyto(out, codes)
        else:
            np.add(codes, base, out=out)
        if scale is not None:
            np.divide(out, scale, out=out)
        if self.hides:
            out[codes == top] = ABSENT
            out[codes == top - 1] = STALE


@dataclass(slots=True, eq=False)
class Layout:
    """Who lies where in a frame; frames that follow each other share it. Column c holds series refs[c], whose
    timestamps are column group[c]. Never changed."""

    refs: NDArray[np.int64]
    group: NDArray[np.int32]
    _sorted: tuple[NDArray[np.int64], NDArray[np.int32]] | None = field(default=None, repr=False)
    """The references in ascending order and their columns, once a few of many were looked for."""

    @property
    def nbytes(self) -> int:
        return self.refs.nbytes + self.group.nbytes + (0 if self._sorted is None else 12 * len(self.refs))

    def find(self, refs: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where the series `refs` (ascending) lie: columns of this layout, ascending, and the place of each in `refs`."""
        if len(refs) * 4 >= len(self.refs):
            places = np.searchsorted(refs, self.refs)
            places[places == len(refs)] = 0
            columns = np.flatnonzero(refs[places] == self.refs)
            return columns, places[columns]
        if self._sorted is None:
            order = np.argsort(self.refs)
            self._sorted = self.refs[order], order.astype(np.int32)
        ascending, column_of = self._sorted
        at = np.searchsorted(ascending, refs)
        at[at == len(ascending)] = 0
        places = np.flatnonzero(ascending[at] == refs)
        columns = column_of[at[places]].astype(np.intp)
        order = np.argsort(columns)
        return columns[order], places[order]


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Some columns of a layout and where their values go, chunk by chunk.

    columns  ascending columns of the layout.
    places   the column of the destination of each.
    """

    columns: NDArray[np.intp]
    places: NDArray[np.intp]
    chunks: "tuple[tuple[int, NDArray[np.intp] | None, slice | NDArray[np.intp]], ...]"
    """Number of the chunk, columns within it (None: all), their columns of the destination."""

    @staticmethod
    def of(layout: Layout, columns: NDArray[np.intp], places: NDArray[np.intp]) -> "Cut":
        chunk_of = columns // SERIES_PER_CHUNK
        edges = np.flatnonzero(np.diff(chunk_of, prepend=-1, append=-1))
        chunks: list[tuple[int, NDArray[np.intp] | None, slice | NDArray[np.intp]]] = []
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            number = int(chunk_of[low])
            width = min(SERIES_PER_CHUNK, len(layout.refs) - number * SERIES_PER_CHUNK)
            inside = None if high - low == width else columns[low:high] - number * SERIES_PER_CHUNK
            chunks.append((number, inside, as_slice(places[low:high])))
        return Cut(columns, places, tuple(chunks))


def as_slice(at: NDArray[np.intp]) -> "slice | NDArray[np.intp]":
    """Neighbouring ascending places as a slice, others as they are."""
    if len(at) and int(at[-1]) - int(at[0]) == len(at) - 1 and bool((np.diff(at) == 1).all()):
        return slice(int(at[0]), int(at[-1]) + 1)
    return at


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Samples sealed together.

    packed_times  what `times_ms` unpacks: the first row and the differences from row to row, compressed.
    position      journal position up to which its samples may come.
    gaps          columns of the layout with a time at which they have no number: no sample, STALE, a histogram.
    boxes         how many of its samples are histograms, whose ids are in place of values.
    """

    layout: Layout
    height: int
    packed_times: bytes
    chunks: tuple[tuple[_Packed, ...], ...]
    first_ms: int
    last_ms: int
    position: int
    samples: int
    nbytes: int
    gaps: NDArray[np.intp]
    boxes: int = 0

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """int64 [T, G], ascending, padded at the end with NO_TIME."""
        raw: Any = blosc2.decompress(self.packed_times)
        steps = np.frombuffer(raw, np.int64).reshape(self.height, -1)
        return np.cumsum(steps, axis=0)

    def read_into(self, out: NDArray[np.float64], rows: slice, cut: Cut) -> None:
        """Write some rows of some columns to `out`, whose height is that of the rows; only those are decoded."""
        for number, columns, places in cut.chunks:
            if isinstance(places, slice):
                self._decode(number, rows, columns, out[:, places])
            else:
                part = np.empty((out.shape[0], len(places)))
                self._decode(number, rows, columns, part)
                out[:, places] = part

    def _decode(
        self, number: int, rows: slice, columns: NDArray[np.intp] | None, out: NDArray[np.float64]
    ) -> None:
        """Some columns of a chunk, None for all."""
        packs = self.chunks[number]
        if len(packs) == 1:
            packs[0].decode(self.height, rows, columns, out)
            return
        part = np.empty(out.shape)
        order = np.empty(out.shape[1], np.intp)
        at = 0
        for packed, inside, targets in _shares(packs, columns):
            end = at + len(targets)
            packed.decode(self.height, rows, inside, part[:, at:end])
            order[targets] = np.arange(at, end)
            at = end
        np.copyto(out, part.take(order, axis=1))


def _shares(
    packs: Sequence[_Packed], columns: NDArray[np.intp] | None
) -> Iterator[tuple[_Packed, NDArray[np.intp] | None, NDArray[np.intp]]]:
    """What each encoding has of the wanted columns: which of its columns (None: all), and their places in the result."""
    if columns is None:
        for packed in packs:
            yield packed, None, packed.columns.astype(np.intp)
        return
    place_of = np.full(SERIES_PER_CHUNK, -1, np.intp)
    place_of[columns] = np.arange(len(columns))
    for packed in packs:
        places = place_of[packed.columns]
        inside = np.flatnonzero(places >= 0)
        if len(inside) == len(places):
            yield packed, None, places
        elif len(inside):
            yield packed, inside, places[inside]


def seal(
    layout: Layout,
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    position: int,
) -> Frame:
    """The frame of values [T, S], ABSENT where there is no sample, at times [T, G]."""
    height, width = values.shape
    real = times_ms != NO_TIME
    samples = boxes = 0
    chunks: list[tuple[_Packed, ...]] = []
    gaps: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    for at in range(0, width, SERIES_PER_CHUNK):
        part = values[:, at : at + SERIES_PER_CHUNK]
        packed, present, boxed = _pack(part)
        samples += present
        boxes += boxed
        chunks.append(packed)
        if boxed or present < part.size or any(p.hides or p.kind == 8 for p in packed):
            gaps.append(columns_with_gaps(part, real, layout.group[at : at + SERIES_PER_CHUNK]) + at)
    own_gaps = np.concatenate(gaps)
    packed_times = _compress(np.diff(times_ms, axis=0, prepend=np.zeros((1, times_ms.shape[1]), np.int64)), 8)
    nbytes = (
        len(packed_times) + 433 + own_gaps.nbytes + sum(72 + sum(p.nbytes for p in chunk) for chunk in chunks)
    )
    return Frame(
        layout,
        height,
        packed_times,
        tuple(chunks),
        int(times_ms[real].min(initial=NO_TIME)),
        int(times_ms[real].max(initial=-NO_TIME)),
        position,
        samples,
        nbytes,
        own_gaps,
        boxes,
    )


def columns_with_gaps(
    values: NDArray[np.float64], real: NDArray[np.bool_], group: NDArray[np.int32]
) -> NDArray[np.intp]:
    """Columns of values [T, S] in which a cell that has a time (real [T, G]) is STALE, ABSENT or a histogram."""
    with np.errstate(all="ignore"):
        suspects = np.flatnonzero(np.isnan(np.add.reduce(values, axis=0)))
    if not len(suspects):
        return suspects
    part = np.ascontiguousarray(values[:, suspects])
    raw = bits(part)
    odd = (raw == STALE_BITS) | (raw == ABSENT_BITS) | is_boxed(part)
    if not real.all():
        odd &= real[:, group[suspects]]
    return suspects[odd.any(axis=0)]


def _pack(values: NDArray[np.float64]) -> tuple[tuple[_Packed, ...], int, int]:
    """The encoded chunk of values [T, S <= 256], how many cells are samples, and how many of them histograms."""
    height, width = values.shape
    raw = np.ascontiguousarray(values).view(np.uint64)
    nan = np.isnan(values)
    present, boxes = height * width, 0
    absent = stale = None
    if nan.any():
        absent, stale = raw == ABSENT_BITS, raw == STALE_BITS
        present -= int(np.count_nonzero(absent))
        boxes = int(np.count_nonzero(is_boxed(values)))
        hidden = absent | stale
        plain = np.where(hidden, np.inf, values)
        low = plain.min(axis=0)
        filled = np.where(hidden, np.where(np.isinf(low), 0.0, low), values)
    else:
        hidden = None
        filled = values
    kinds = np.full(width, 8, np.uint8)
    scales = np.zeros(width, np.uint8)
    left = np.flatnonzero(~(nan if hidden is None else nan & ~hidden).any(axis=0))
    offsets = np.empty((height, width), np.float64)
    base = np.zeros(width)
    with np.errstate(all="ignore"):
        for index, scale in enumerate(_SCALES.tolist()):
            if not len(left):
                break
            if index and height > 8:
                # Most doubles that are no decimals show it in any few rows.
                probe = filled[:: height // 4, left]
                left = left[(np.rint(probe * scale) / scale == probe).all(axis=0)]
                if not len(left):
                    break
            source = filled if len(left) == width else filled.take(left, axis=1)
            whole = np.rint(source * scale) if index else source
            low = whole.min(axis=0)
            high = whole.max(axis=0)
            fits = (np.abs(low) < _EXACT) & (np.abs(high) < _EXACT) & (high - low < 0xFFFFFFFE)
            code = np.rint(whole - low)
            back = code + low
            if index:
                back /= scale
            exact = fits & (back.view(np.uint64) == np.ascontiguousarray(source).view(np.uint64)).all(axis=0)
            good = left[exact]
            span = (high - low)[exact]
            kinds[good] = np.where(span < 0xFE, 1, np.where(span < 0xFFFE, 2, 4))
            scales[good] = index
            base[good] = low[exact]
            offsets[:, good] = code[:, exact]
            left = left[~exact]
    if (kinds == 2).any():
        # One encoding in place of two is read in half the time, and compression takes the zeros away.
        kinds[kinds == 1] = 2
    out: list[_Packed] = []
    for kind in (1, 2, 4, 8):
        columns = np.flatnonzero(kinds == kind)
        if not len(columns):
            continue
        if kind == 8:
            series_major = np.ascontiguousarray(values[:, columns].T)
            out.append(_Packed(columns.astype(np.uint8), 8, None, None, True, _compress(series_major, 8)))
            continue
        dtype, top = _WIDTHS[kind.bit_length() - 1]
        codes = np.ascontiguousarray(offsets[:, columns], dtype)
        dirty = False
        if absent is not None and stale is not None:
            gone, ended = absent[:, columns], stale[:, columns]
            dirty = bool(gone.any() or ended.any())
            if dirty:
                codes[gone] = top
                codes[ended] = top - 1
        scale_column = scales[columns]
        own_base = base[columns]
        out.append(
            _Packed(
                columns.astype(np.uint8),
                kind,
                own_base if own_base.any() else None,
                _SCALES[scale_column] if scale_column.any() else None,
                dirty,
                _compress(codes, kind),
            )
        )
    return tuple(out), present, boxes


def _compress(array: NDArray[Any], itemsize: int) -> bytes:
    data: Any = blosc2.compress(
        np.ascontiguousarray(array), itemsize, 5, blosc2.Filter.SHUFFLE, blosc2.Codec.LZ4
    )
    return data


def chunk_count(frames: Sequence[Frame]) -> int:
    """Chunks in all frames."""
    return sum(len(frame.chunks) for frame in frames)
