"""Metric batches as records of the journal.

A segment stands alone: the label bytes of a series are written before the first sample that a segment has of it, and a
set of series that comes again and again (the series of a scrape) is written once and then named by a number. References
are those of the process that wrote; the reader asks the registry for those of its own.

    SERIES   u32 count, int64 refs, u32 lengths, label bytes one after the other
    SHAPE    u32 number, int64 refs                         a set of references that batches name; 0 ends those before
    BATCH    u32 shape, u8 flags, times, values [, starts] [, histograms]   one time or one per sample; little-endian
                                                    columns; boxed values point into the histograms
    EXTRAS   msgpack: exemplars and metadata
    RANGE    u64 start, u64 end                             what the next insert takes; written before it
    FLUSHED  u64 position                                   what every insert up to here has stored
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol, cast

import blosc2
import cramjam
import msgspec
import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.model.histograms import boxed_rows
from otero.model.labels import LabelBytes
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.storage import histogram_columns
from otero.storage.journal import Journal, Record

_HEAD = struct.Struct("<IB")
_POSITION = struct.Struct("<Q")
_RANGE = struct.Struct("<QQ")
_ONE_TIME, _STARTS, _HISTOGRAMS = 1, 2, 4
_MAX_SHAPES = 16_384
_MAX_SHAPE_REFS = 4 << 20
"""References, in all, of the shapes that are remembered; their arrays stay in memory for it."""
_SMALL = 64
"""Columns shorter than this are not worth compressing."""


class Kind(IntEnum):
    SERIES = 1
    SHAPE = 2
    BATCH = 3
    EXTRAS = 4
    RANGE = 5
    FLUSHED = 6


class Registry(Protocol):
    """What the codec uses of `storage.registry.SeriesRegistry`."""

    def labels(self, ref: int) -> LabelBytes: ...

    def resolve(self, keys: Sequence[LabelBytes], *, budgets: bool = True) -> NDArray[np.int64]: ...


class MetricWriter:
    """Writes batches to a journal. Not safe for two threads at once: `MetricStore` holds its lock."""

    def __init__(self, journal: Journal, registry: Registry) -> None:
        self._journal = journal
        self._registry = registry
        self._segment = -1
        self._known: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self._shapes: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._shape_refs = 0

    def append(self, batch: MetricBatch) -> int:
        """Write a batch; the position after it. Raises Unavailable."""
        self._journal.roll_if_full()
        if self._segment != self._journal.segment:
            self._segment = self._journal.segment
            self._known[:] = False
            self._forget_shapes()
        end = self._journal.end
        if len(batch):
            shape = self._shape(batch.refs)
            end = self._journal.append(Kind.BATCH, _encode_batch(shape, batch))
        if batch.exemplars or batch.metadata:
            self._define(np.array([exemplar.ref for exemplar in batch.exemplars], np.int64))
            end = self._journal.append(Kind.EXTRAS, _encode_extras(batch))
        return end

    def range(self, start: int, end: int) -> None:
        """Say what the next insert takes, so that a replay cuts the same batch."""
        self._journal.append(Kind.RANGE, _RANGE.pack(start, end), beyond_limit=True)

    def flushed(self, position: int) -> None:
        """Say that everything before `position` is stored."""
        self._journal.append(Kind.FLUSHED, _POSITION.pack(position), beyond_limit=True)

    def _shape(self, refs: NDArray[np.int64]) -> int:
        found = self._shapes.get(id(refs))
        if found is not None and found[1] is refs:
            return found[0]
        self._define(refs)
        if len(self._shapes) >= _MAX_SHAPES or self._shape_refs + len(refs) > _MAX_SHAPE_REFS:
            self._forget_shapes()
        number = len(self._shapes)
        self._journal.append(
            Kind.SHAPE, struct.pack("<I", number) + _pack(np.diff(refs, prepend=np.int64(0)))
        )
        self._shapes[id(refs)] = (number, refs)
        self._shape_refs += len(refs)
        return number

    def _forget_shapes(self) -> None:
        """Number shapes from 0 again: for the reader, 0 ends those before."""
        self._shapes.clear()
        self._shape_refs = 0

    def _define(self, refs: NDArray[np.int64]) -> None:
        """Write the labels of series that this segment does not know."""
        if not len(refs):
            return
        top = int(refs.max())
        if top >= len(self._known):
            known = np.zeros(max(top + 1, 2 * len(self._known)), np.bool_)
            known[: len(self._known)] = self._known
            self._known = known
        new = np.unique(refs[~self._known[refs]])
        if not len(new):
            return
        labels = [self._registry.labels(ref) for ref in new.tolist()]
        lengths = np.fromiter(map(len, labels), np.uint32, len(labels))
        text = bytes(cramjam.zstd.compress(b"".join(labels), level=1))
        self._journal.append(
            Kind.SERIES,
            struct.pack("<I", len(new))
            + new.astype("<i8").tobytes()
            + lengths.astype("<u4").tobytes()
            + text,
        )
        self._known[new] = True


class MetricReader:
    """Turns records back into batches, in the order in which they were written."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._segment = -1
        self._keys: dict[int, LabelBytes] = {}
        self._refs: dict[int, int] = {}
        self._shapes: dict[int, NDArray[np.int64]] = {}
        self._known_shapes: dict[int, NDArray[np.int64]] = {}

    @property
    def segment_series(self) -> int:
        """How many series the segment that is read has defined so far."""
        return len(self._keys)

    def batch(self, record: Record) -> MetricBatch | None:
        """The batch of a record, None where the record only says what later ones mean.

        Samples of series that the registry refuses now are left out. Raises BadInput for a record that is not ours.
        """
        if record.segment != self._segment:
            self._segment = record.segment
            for memory in (self._keys, self._refs, self._shapes, self._known_shapes):
                memory.clear()
        try:
            match record.kind:
                case Kind.SERIES:
                    self._learn(record.payload)
                case Kind.SHAPE:
                    (number,) = struct.unpack_from("<I", record.payload)
                    if number == 0:
                        self._shapes.clear()
                        self._known_shapes.clear()
                    refs = np.cumsum(_unpack(record.payload, 4)[0].view(np.int64))
                    self._shapes[number] = refs
                    self._known_shapes.pop(number, None)
                case Kind.BATCH:
                    return self._decode_batch(record.payload)
                case Kind.EXTRAS:
                    return self._decode_extras(record.payload)
                case _:
                    return None
        except (
            struct.error,
            ValueError,
            IndexError,
            KeyError,
            RuntimeError,
            OverflowError,
            cramjam.DecompressionError,
            msgspec.DecodeError,
        ) as error:
            raise BadInput(f"a journal record at {record.start} cannot be read: {error}") from None
        return None

    def _learn(self, payload: bytes) -> None:
        (count,) = struct.unpack_from("<I", payload)
        old = np.frombuffer(payload, "<i8", count, 4)
        lengths = np.frombuffer(payload, "<u4", count, 4 + 8 * count)
        text = bytes(cramjam.zstd.decompress(payload[4 + 12 * count :]))
        ends = np.cumsum(lengths, dtype=np.int64).tolist()
        keys = [
            LabelBytes(text[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)
        ]
        for ref, key in zip(old.tolist(), keys, strict=True):
            self._keys[ref] = key
            self._refs.pop(
                ref, None
            )  # a later process went on in the same segment, with references of its own

    def _present(self, old: NDArray[np.int64]) -> NDArray[np.int64]:
        """The references of this process: only series that a batch has are made known to the registry."""
        new = [ref for ref in dict.fromkeys(old.tolist()) if ref not in self._refs]
        resolved = self._registry.resolve([self._keys[ref] for ref in new], budgets=False)
        self._refs.update(zip(new, resolved.tolist(), strict=True))
        return np.fromiter(map(self._refs.__getitem__, old.tolist()), np.int64, len(old))

    def _decode_batch(self, payload: bytes) -> MetricBatch:
        shape, flags = _HEAD.unpack_from(payload)
        refs = self._known_shapes.get(shape)
        if refs is None:
            refs = self._known_shapes[shape] = self._present(self._shapes[shape])
        at = _HEAD.size
        if flags & _ONE_TIME:
            times_ms = np.full(len(refs), np.frombuffer(payload, "<i8", 1, at)[0])
            at += 8
        else:
            column, at = _unpack(payload, at)
            times_ms = np.cumsum(column.view(np.int64))
        column, at = _unpack(payload, at)
        values = column.view(np.float64)
        start_ms = histograms = None
        if flags & _STARTS:
            column, at = _unpack(payload, at)
            start_ms = column.view(np.int64)
        if flags & _HISTOGRAMS:
            histograms = histogram_columns.decode(payload, at)
            if int(boxed_rows(values).max(initial=-1)) >= len(histograms):
                raise ValueError("it has fewer histograms than samples of them")
        batch = MetricBatch(refs, times_ms, values, start_ms, histograms=histograms)
        return batch.keep(refs >= 0) if len(refs) and refs.min() < 0 else batch

    def _decode_extras(self, payload: bytes) -> MetricBatch:
        exemplars, metadata = _EXTRAS.decode(payload)
        empty = np.zeros(0, np.int64)
        refs = self._present(np.array([exemplar[0] for exemplar in exemplars], np.int64)).tolist()
        return MetricBatch(
            empty,
            empty,
            np.zeros(0),
            exemplars=tuple(
                Exemplar(ref, LabelBytes(labels), value, time_ms)
                for ref, (_, labels, value, time_ms) in zip(refs, exemplars, strict=True)
                if ref >= 0
            ),
            metadata=tuple(Metadata(*fields) for fields in metadata),
        )


def range_of(record: Record) -> tuple[int, int]:
    """The positions in a RANGE record."""
    start, end = _RANGE.unpack(record.payload)
    return start, end


def position_of(record: Record) -> int:
    """The position in a FLUSHED record."""
    return _POSITION.unpack(record.payload)[0]


_EXTRAS = msgspec.msgpack.Decoder(tuple[list[tuple[int, bytes, float, int]], list[tuple[str, str, str, str]]])


def _encode_batch(shape: int, batch: MetricBatch) -> bytes:
    times = batch.times_ms
    one_time = bool((times == times[0]).all())
    flags = (_ONE_TIME if one_time else 0) | (_STARTS if batch.start_ms is not None else 0)
    flags |= _HISTOGRAMS if batch.histograms is not None else 0
    parts = [_HEAD.pack(shape, flags)]
    parts.append(
        times[:1].astype("<i8").tobytes() if one_time else _pack(np.diff(times, prepend=np.int64(0)))
    )
    parts.append(_pack(batch.values))
    if batch.start_ms is not None:
        parts.append(_pack(batch.start_ms))
    if batch.histograms is not None:
        parts.append(histogram_columns.encode(batch.histograms))
    return b"".join(parts)


def _encode_extras(batch: MetricBatch) -> bytes:
    exemplars: list[tuple[Any, ...]] = [(e.ref, bytes(e.labels), e.value, e.time_ms) for e in batch.exemplars]
    metadata: list[tuple[Any, ...]] = [(m.metric, m.type, m.help, m.unit) for m in batch.metadata]
    return msgspec.msgpack.encode((exemplars, metadata))


def _pack(column: NDArray[np.int64] | NDArray[np.float64]) -> bytes:
    """u32 stored length, u32 count, and eight bytes a value, shuffled and compressed when that pays."""
    data = column.tobytes()
    if len(column) >= _SMALL:
        packed = cast("bytes", blosc2.compress(data, typesize=8, clevel=1, codec=blosc2.Codec.LZ4))
        if len(packed) < len(data):
            return struct.pack("<II", len(packed), len(column)) + packed
    return struct.pack("<II", len(data), len(column)) + data


def _unpack(payload: bytes, at: int) -> tuple[NDArray[np.uint64], int]:
    """The column at an offset, and the offset after it."""
    stored, count = struct.unpack_from("<II", payload, at)
    end = at + 8 + stored
    if end > len(payload):
        raise ValueError("it ends too early")
    data = payload[at + 8 : end]
    if stored != 8 * count:
        data = cast("bytes", blosc2.decompress(data))
    column = np.frombuffer(data, np.uint64, count)
    return column, end
