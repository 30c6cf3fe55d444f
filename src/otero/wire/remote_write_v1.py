"""Remote write 1.0, `prometheus.WriteRequest`: bytes to columns.

The usual request is not walked. One regular expression finds the samples; what stands between them is the head of the next
series (its length and its labels), a key that a dictionary knows from earlier requests. A head states how many bytes of
samples follow it, and heads and samples together must fill the body exactly, so a sample that was found where none is
cannot go unnoticed. A body that differs from an earlier one in nothing but times and values is not even split. Whatever does not fit, exemplars and histograms among it, is parsed as protobuf.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec/
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.model.labels import LabelBytes
from otero.model.metrics import Exemplar, Metadata
from otero.model.samples import STALE
from otero.wire.pb import remote_write_v1_pb2 as pb
from otero.wire.remote_write import (
    METADATA_TYPES,
    Refusals,
    Resolve,
    WriteColumns,
    boxes,
    exemplar_label_bytes,
    label_bytes,
    quiet,
)
from otero.wire.remote_write_histograms import HistogramRows, is_stale

_SAMPLE = re.compile(rb"\x12(?:\x10\x09.{8}|\x07)\x10[\x80-\xff]{5}[\x00-\x7f]", re.DOTALL)
"""A sample with a time from 1971 to 2109; a value of zero is left out on the wire."""
_WHOLE, _ZERO = 18, 9
_SERIES_TAG, _METADATA_TAG = 0x0A, 0x1A
_SIZE_BITS = 20
_MAX_SIZE = (1 << _SIZE_BITS) - 1
_MISSING = -(1 << 62)
_MAX_HEADS = 400_000
"""Heads that are remembered in each of two generations."""
_MAX_LAYOUT_BYTES = 96 << 20
_LAYOUT_OVERHEAD = 1000
_MAX_SEEN = 10_000

_BYTE = np.uint64(8)
_ONE_BYTE, _TWO_BYTES, _THREE_BYTES = np.uint64(0xFF), np.uint64(0xFFFF), np.uint64(0xFF_FFFF)
_VARINT_MARKS, _VARINT_OF_SIX = np.uint64(0x8080_8080_8080_0000), np.uint64(0x0080_8080_8080_0000)


class _Unusual(Exception):
    """The body is not built as the fast path expects; it may be good all the same."""


class WriteV1Decoder:
    """Decodes requests; remembers the series that it has seen. Not safe for two threads at once.

    `forget` must be called when references lose their meaning.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._layouts: OrderedDict[tuple[int, bytes], _Layout] = OrderedDict()
        self._layout_bytes = 0
        self._seen: set[tuple[int, bytes]] = set()

    def forget(self) -> None:
        """Drop all references."""
        self._known, self._older = {}, {}
        self._layouts.clear()
        self._layout_bytes = 0

    def decode(self, body: bytes) -> WriteColumns:
        """The columns of one request, uncompressed. Raises BadInput for what is no WriteRequest.

        `refs` is the very same array when the same series come in the same layout.
        """
        first = _SAMPLE.search(body)
        if first is None:
            return decode_slowly(body, self._resolve)
        key = (len(body), body[: first.start()])
        layout = self._layouts.get(key)
        if layout is not None:
            columns = layout.read(body)
            if columns is not None:
                self._layouts.move_to_end(key)
                return columns
        try:
            return self._split(body, key)
        except _Unusual:
            return decode_slowly(body, self._resolve)

    def _split(self, body: bytes, key: tuple[int, bytes]) -> WriteColumns:
        heads = _SAMPLE.split(body)
        rest = [heads.pop()]
        count = len(heads)
        if not count:
            raise _Unusual
        gaps = np.fromiter(map(len, heads), np.int64, count)
        first = np.flatnonzero(gaps)
        if not len(first) or first[0]:
            raise _Unusual
        per_series = np.diff(first, append=count)
        if len(first) < count:
            heads = list(filter(None, heads))
        codes = self._codes(heads, rest)
        sizes = codes & _MAX_SIZE
        per_sample = _sizes(body, sizes, per_series, count)
        ends = np.cumsum(gaps + per_sample)
        if ends[-1] != len(body) - len(rest[0]) or not np.array_equal(
            np.add.reduceat(per_sample, first), sizes
        ):
            raise _Unusual
        starts = ends - per_sample
        times_ms, values = _columns(body, starts, per_sample)
        refs = codes >> _SIZE_BITS
        if len(first) < count:
            refs = np.repeat(refs, per_series)
        columns = WriteColumns(refs, times_ms, quiet(values))
        if any(rest):
            more = decode_slowly(b"".join(rest), self._resolve)
            return _with(columns, more)
        if int(per_sample.min()) == _WHOLE and int(refs.min()) >= 0:
            self._lay_out(body, key, refs, starts)
        return columns

    def _lay_out(
        self, body: bytes, key: tuple[int, bytes], refs: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> None:
        """Remember the layout of a body when one of its size and beginning has come before."""
        if key not in self._seen:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen.add(key)
            return
        before = self._layouts.pop(key, None)
        layout = self._layouts[key] = _Layout.of(body, refs, starts)
        self._layout_bytes += layout.nbytes - (0 if before is None else before.nbytes)
        while self._layout_bytes > _MAX_LAYOUT_BYTES:
            _, dropped = self._layouts.popitem(last=False)
            self._layout_bytes -= dropped.nbytes

    def _codes(self, heads: Sequence[bytes], rest: list[bytes]) -> NDArray[np.int64]:
        """Reference and bytes of samples of each head, as one number; other messages before it go into `rest`."""
        codes = np.fromiter(map(self._known.get, heads, repeat(_MISSING)), np.int64, len(heads))
        missing = np.flatnonzero(codes == _MISSING)
        if not len(missing):
            return codes
        names: list[LabelBytes] = []
        new: list[tuple[int, bytes, int]] = []
        for at in missing.tolist():
            head = heads[at]
            code = self._older.get(head)
            if code is None:
                start, size = _head(head)
                if start[0]:
                    rest.append(head[: start[0]])
                    head = head[start[0] :]
                    code = self._known.get(head)
                if code is None:
                    names.append(_labels(head[start[1] - start[0] :]))
                    new.append((at, head, size))
                    continue
            else:
                self._remember(head, code)
            codes[at] = code
        for (at, head, size), ref in zip(new, self._resolve(names).tolist() if names else (), strict=True):
            codes[at] = code = (ref << _SIZE_BITS) | size
            if ref >= 0:
                self._remember(head, code)
        return codes

    def _remember(self, head: bytes, code: int) -> None:
        if len(self._known) >= _MAX_HEADS:
            self._older, self._known = self._known, {}
        self._known[head] = code


def _head(head: bytes) -> tuple[tuple[int, int], int]:
    """Where the last message of a head starts, where its fields start, and how many bytes follow the head."""
    at = 0
    while at < len(head):
        tag = head[at]
        if tag not in (_SERIES_TAG, _METADATA_TAG):
            raise _Unusual
        length = shift = 0
        fields = at + 1
        while True:
            if fields == len(head) or shift > 28:
                raise _Unusual
            byte = head[fields]
            length |= (byte & 127) << shift
            shift += 7
            fields += 1
            if byte < 128:
                break
        size = fields + length - len(head)
        if size > 0:
            if tag != _SERIES_TAG or size > _MAX_SIZE:
                raise _Unusual
            return (at, fields), size
        at = fields + length
    raise _Unusual


def _labels(fields: bytes) -> LabelBytes:
    """The labels at the start of a series. Those of a faulty series are unusual too: its request is parsed with care."""
    try:
        series = pb.TimeSeries.FromString(fields)
        if series.samples or series.exemplars or series.histograms:
            raise _Unusual
        return label_bytes([(label.name, label.value) for label in series.labels])
    except (DecodeError, BadInput):
        raise _Unusual from None


def _sizes(
    body: bytes, sizes: NDArray[np.int64], per_series: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """int64 [N]: the bytes of each sample."""
    whole = sizes == _WHOLE * per_series
    if whole.all():
        return np.full(count, _WHOLE)
    if len(per_series) == count:
        return sizes
    return np.fromiter((m.end() - m.start() for m in _SAMPLE.finditer(body)), np.int64, count)


def _columns(
    body: bytes, starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times and values of the samples that start at these places; raises _Unusual when one does not."""
    whole = sizes == _WHOLE
    if whole.all():
        words = _words(body)
        if ((words[starts] & _THREE_BYTES) != 0x09_10_12).any():
            raise _Unusual
        tails = words[starts + 10]
        if ((tails >> _BYTE) & _ONE_BYTE != 0x10).any():
            raise _Unusual
        return _times(tails), _words(body, "<f8")[starts + 3]
    if not (whole | (sizes == _ZERO)).all():
        raise _Unusual
    times_ms = np.empty(len(starts), np.int64)
    values = np.zeros(len(starts))
    if whole.any():
        times_ms[whole], values[whole] = _columns(body, starts[whole], sizes[whole])
    zeros = starts[~whole]
    words = _words(body)[zeros + 1]
    if (np.frombuffer(body, np.uint8)[zeros] != 0x12).any() or (words & _TWO_BYTES != 0x10_07).any():
        raise _Unusual
    times_ms[~whole] = _times(words)
    return times_ms, values


def _words(body: bytes, kind: str = "<u8") -> NDArray[Any]:
    """The eight bytes at each place of the body, as numbers."""
    return np.ndarray((max(len(body) - 7, 0),), kind, body, 0, (1,))


def _times(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The varint in the upper six bytes of each word; raises _Unusual when it is longer or shorter."""
    if (words & _VARINT_MARKS != _VARINT_OF_SIX).any():
        raise _Unusual
    return _varints(words)


def _varints(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    times = np.zeros(len(words), np.uint64)
    for at in range(6):
        times |= (words >> np.uint64(16 + at)) & np.uint64(0x7F << (7 * at))
    return times.view(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """A body of which only times and values change: most bytes are fixed, and every sample keeps its place."""

    refs: NDArray[np.int64]
    starts: NDArray[np.int64]
    mask: NDArray[np.uint8]
    fixed: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        columns = (self.refs, self.starts, self.mask, self.fixed)
        return sum(column.nbytes for column in columns) + _LAYOUT_OVERHEAD

    @staticmethod
    def of(body: bytes, refs: NDArray[np.int64], starts: NDArray[np.int64]) -> "_Layout":
        mask = np.full(len(body), 0xFF, np.uint8)
        mask[starts[:, None] + np.arange(3, 11)] = 0
        mask[starts[:, None] + np.arange(12, 18)] = 0x80
        return _Layout(refs, starts, mask, np.frombuffer(body, np.uint8) & mask)

    def read(self, body: bytes) -> WriteColumns | None:
        """The columns of a body of this layout, None when it has another one."""
        if len(body) != len(self.mask):
            return None
        if (np.frombuffer(body, np.uint8) & self.mask).tobytes() != self.fixed.tobytes():
            return None
        values = _words(body, "<f8")[self.starts + 3]
        return WriteColumns(self.refs, _varints(_words(body)[self.starts + 10]), quiet(values))


def decode_slowly(body: bytes, resolve: Resolve) -> WriteColumns:
    """As `WriteV1Decoder.decode`, by a protobuf parser and message by message."""
    try:
        request = pb.WriteRequest.FromString(body)
    except DecodeError:
        raise BadInput("the body is not a prometheus.WriteRequest: it cannot be parsed as protobuf") from None
    refusals = Refusals()
    keys: list[LabelBytes] = []
    found: list[pb.TimeSeries] = []
    for series in request.timeseries:
        if not (series.samples or series.histograms or series.exemplars):
            continue
        try:
            keys.append(label_bytes([(label.name, label.value) for label in series.labels]))
            found.append(series)
        except BadInput as error:
            refusals.add("invalid_labels", len(series.samples) + len(series.histograms), str(error))
            refusals.add("invalid_labels_exemplar", len(series.exemplars), str(error))
    refs: list[int] = []
    times_ms: list[int] = []
    values: list[float] = []
    starts: list[int] = []
    histogram_at: list[int] = []
    rows = HistogramRows()
    exemplars: list[Exemplar] = []
    for series, ref in zip(found, resolve(keys).tolist() if keys else (), strict=True):
        for sample in series.samples:
            refs.append(ref)
            times_ms.append(sample.timestamp)
            values.append(sample.value)
            starts.append(0)
        for histogram in series.histograms:
            if not is_stale(histogram):
                try:
                    rows.add(histogram)
                except BadInput as error:
                    refusals.add("invalid_histogram", 1, str(error))
                    continue
                histogram_at.append(len(refs))
            refs.append(ref)
            times_ms.append(histogram.timestamp)
            values.append(STALE)
            starts.append(histogram.start_timestamp)
        for exemplar in series.exemplars:
            try:
                labels = exemplar_label_bytes([(label.name, label.value) for label in exemplar.labels])
            except BadInput as error:
                refusals.add("invalid_exemplar", 1, str(error))
                continue
            if ref >= 0:
                exemplars.append(Exemplar(ref, labels, exemplar.value, exemplar.timestamp))
    column = quiet(np.array(values, np.float64))
    if histogram_at:
        column[histogram_at] = boxes(len(rows))
    return WriteColumns(
        np.array(refs, np.int64),
        np.array(times_ms, np.int64),
        column,
        np.array(starts, np.int64) if any(starts) else None,
        rows.build() if histogram_at else None,
        tuple(exemplars),
        tuple(map(_metadata, request.metadata)),
        refusals,
    )


def _metadata(entry: pb.MetricMetadata) -> Metadata:
    known = 0 <= entry.type < len(METADATA_TYPES)
    return Metadata(
        entry.metric_family_name.decode("utf-8", "replace"),
        METADATA_TYPES[entry.type] if known else "unknown",
        entry.help.decode("utf-8", "replace"),
        entry.unit.decode("utf-8", "replace"),
    )


def _with(columns: WriteColumns, more: WriteColumns) -> WriteColumns:
    """Both; what the fast path left over has histograms, exemplars and metadata, rarely a sample."""
    if not len(more):
        return replace(columns, exemplars=more.exemplars, metadata=more.metadata, refusals=more.refusals)
    if more.histograms is None or len(more) != len(more.histograms):
        raise _Unusual  # floats on both sides: their order must be that of the body
    start_ms = None
    if more.start_ms is not None:
        start_ms = np.concatenate([np.zeros(len(columns), np.int64), more.start_ms])
    return WriteColumns(
        np.concatenate([columns.refs, more.refs]),
        np.concatenate([columns.times_ms, more.times_ms]),
        np.concatenate([columns.values, more.values]),
        start_ms,
        more.histograms,
        more.exemplars,
        more.metadata,
        more.refusals,
    )
