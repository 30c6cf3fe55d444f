"""Sealed samples: compressed columns that are never written again.

A *frame* is what was sealed together: some timestamp columns and many series, in chunks of up to 256 series in order of
metric. Within a chunk series of one encoding lie together: integers, or decimals that are exact when multiplied by 10, 100
or 1000, as offsets of 8, 16 or 32 bits from each series' minimum, time-major; all other values as doubles, series-major.
Decoding gives back the very bits, NaN payloads included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import is_boxed
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, STALE, STALE_BITS

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
    dirty: bool
    data: bytes

    @property
    def nbytes(self) -> int:
        extra = sum(
            array.nbytes + 112 for array in (self.columns, self.base, self.scale) if array is not None
        )
        return len(self.data) + extra + 33 + 96

    def decode(self, height: int) -> NDArray[np.float64]:
        """[height, len(columns)]."""
        raw: Any = blosc2.decompress(self.data)
        width = len(self.columns)
        if self.kind == 8:
            return np.frombuffer(raw, np.float64).reshape(width, height).T
        dtype, top = _WIDTHS[self.kind.bit_length() - 1]
        codes = np.frombuffer(raw, dtype).reshape(height, width)
        out = codes.astype(np.float64)
        if self.base is not None:
            out += self.base
        if self.scale is not None:
            out /= self.scale
        if self.dirty:
            out[codes == top] = ABSENT
            out[codes == top - 1] = STALE
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Who lies where in a frame; frames that follow each other share it. Column c holds series refs[c], whose
    timestamps are column group[c]."""

    refs: NDArray[np.int64]
    group: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        return self.refs.nbytes + self.group.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Samples sealed together.

    packed_times  what `times_ms` unpacks: the first row and the differences from row to row, compressed.
    position      journal position up to which its samples may come.
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
    boxes: int = 0

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """int64 [T, G], ascending, padded at the end with NO_TIME."""
        raw: Any = blosc2.decompress(self.packed_times)
        steps = np.frombuffer(raw, np.int64).reshape(self.height, -1)
        return np.cumsum(steps, axis=0)

    def read_into(
        self, out: NDArray[np.float64], columns: NDArray[np.intp], places: NDArray[np.intp]
    ) -> None:
        """Write the frame's `columns` (ascending) to out[:, places]; only what is asked for is decoded."""
        chunk_of = columns // SERIES_PER_CHUNK
        edges = np.flatnonzero(np.diff(chunk_of, prepend=-1, append=-1))
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            part = self._decode(int(chunk_of[low]), columns[low:high] % SERIES_PER_CHUNK)
            first, last = int(places[low]), int(places[high - 1])
            if last - first == high - low - 1 and bool((np.diff(places[low:high]) == 1).all()):
                out[:, first : last + 1] = part
            else:
                out[:, places[low:high]] = part

    def _decode(self, number: int, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """[T, len(columns)]: some columns of a chunk."""
        wanted = np.zeros(SERIES_PER_CHUNK, np.bool_)
        wanted[columns] = True
        decoded: list[NDArray[np.float64]] = []
        slot = np.empty(SERIES_PER_CHUNK, np.intp)
        at = 0
        for packed in self.chunks[number]:
            if wanted[packed.columns].any():
                decoded.append(packed.decode(self.height))
                slot[packed.columns] = at + np.arange(len(packed.columns))
                at += len(packed.columns)
        whole = decoded[0] if len(decoded) == 1 else np.concatenate(decoded, axis=1)
        order = slot[columns]
        if len(order) == at and bool((order[:-1] < order[1:]).all()):
            return whole
        return whole.take(order, axis=1)


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
    for at in range(0, width, SERIES_PER_CHUNK):
        part = values[:, at : at + SERIES_PER_CHUNK]
        packed, present, boxed = _pack(part)
        samples += present
        boxes += boxed
        chunks.append(packed)
    packed_times = _compress(np.diff(times_ms, axis=0, prepend=np.zeros((1, times_ms.shape[1]), np.int64)), 8)
    nbytes = len(packed_times) + 433 + sum(72 + sum(p.nbytes for p in chunk) for chunk in chunks)
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
        boxes,
    )


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
