"""Remote write 1.0, `prometheus.WriteRequest`: bytes to columns.

The usual request is not walked. One regular expression finds the samples; what stands between them is the head of the next
series (its length and its labels), a key that a dictionary knows from earlier requests. A head states how many bytes of
samples follow it, and heads and samples together must fill the body exactly, so a sample that was found where none is
cannot go unnoticed. Whatever does not fit, exemplars and histograms among it, is parsed as protobuf.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec/
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat

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

    def forget(self) -> None:
        """Drop all references."""
        self._known, self._older = {}, {}

    def decode(self, body: bytes) -> WriteColumns:
        """The columns of one request, uncompressed. Raises BadInput for what is no WriteRequest."""
        try:
            return self._split(body)
        except _Unusual:
            return decode_slowly(body, self._resolve)

    def _split(self, body: bytes) -> WriteColumns:
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
        times_ms, values = _columns(body, ends - per_sample, per_sample)
        refs = codes >> _SIZE_BITS
        if len(first) < count:
            refs = np.repeat(refs, per_series)
        columns = WriteColumns(refs, times_ms, quiet(values))
        if any(rest):
            more = decode_slowly(b"".join(rest), self._resolve)
            columns = _with(columns, more)
        return columns

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
    data = np.frombuffer(body, np.uint8)
    whole = sizes == _WHOLE
    if whole.all():
        cells = data[starts[:, None] + np.arange(_WHOLE)]
        if (cells[:, :3] != (0x12, 0x10, 0x09)).any():
            raise _Unusual
        return _times(cells[:, 11:]), np.ascontiguousarray(cells[:, 3:11]).view("<f8").ravel()
    if not (whole | (sizes == _ZERO)).all():
        raise _Unusual
    times_ms = np.empty(len(starts), np.int64)
    values = np.zeros(len(starts))
    if whole.any():
        times_ms[whole], values[whole] = _columns(body, starts[whole], sizes[whole])
    cells = data[starts[~whole][:, None] + np.arange(_ZERO)]
    if (cells[:, :2] != (0x12, 0x07)).any():
        raise _Unusual
    times_ms[~whole] = _times(cells[:, 2:])
    return times_ms, values


def _times(cells: NDArray[np.uint8]) -> NDArray[np.int64]:
    """uint8 [N, 7], a tag and six bytes of a varint, to int64 [N]."""
    if (cells[:, 0] != 0x10).any() or (cells[:, 1:6] < 128).any() or (cells[:, 6] > 127).any():
        raise _Unusual
    times = cells[:, 6].astype(np.int64)
    for column in (5, 4, 3, 2, 1):
        times = (times << 7) | (cells[:, column] & 127)
    return times


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
