"""Columns to requests of remote write, 1.0 and 2.0: what `remote_write_v1` and `remote_write_v2` read.

Series are handed over as label bytes; float samples are laid out with numpy, histograms and exemplars go through the
generated classes. Messages that are written one after the other are one message.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, index_of
from otero.model.labels import LabelBytes
from otero.model.metrics import Exemplar, Metadata
from otero.wire.pb import remote_write_v1_pb2 as v1
from otero.wire.pb import remote_write_v2_pb2 as v2
from otero.wire.remote_write import METADATA_TYPES

_SAMPLE, _SAMPLE_WITH_START = 18, 25


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The samples of one series in one request: rows `low` to `high` of the columns."""

    labels: LabelBytes
    low: int
    high: int


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _samples(
    times_ms: NDArray[np.int64], values: NDArray[np.float64], start_ms: NDArray[np.int64] | None
) -> tuple[bytes, int]:
    """Sample fields one after the other, all of the same length, and that length."""
    count = len(times_ms)
    size = _SAMPLE if start_ms is None else _SAMPLE_WITH_START
    cells = np.empty((count, size), np.uint8)
    cells[:, :3] = (0x12, size - 2, 0x09)
    cells[:, 3:11] = np.ascontiguousarray(values).astype("<f8").view(np.uint8).reshape(count, 8)
    _put_time(cells[:, 11:18], 0x10, times_ms)
    if start_ms is not None:
        _put_time(cells[:, 18:], 0x18, start_ms)
    return cells.tobytes(), size


def _put_time(cells: NDArray[np.uint8], tag: int, times_ms: NDArray[np.int64]) -> None:
    """Six bytes of varint, which hold times up to 2109; earlier ones are padded."""
    cells[:, 0] = tag
    for at in range(6):
        cells[:, at + 1] = (times_ms >> (7 * at)) & 0x7F
    cells[:, 1:6] |= 0x80


def encodable(times_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which times can be sent: from 1970 to 2109."""
    return (times_ms >= 0) & (times_ms < 1 << 42)


def label_fields(labels: LabelBytes) -> bytes:
    """The label fields of a `TimeSeries` of version 1."""
    parts = labels.split(b"\xff")
    return b"".join(
        _field(0x0A, _field(0x0A, name) + _field(0x12, value))
        for name, value in zip(parts[:-1:2], parts[1::2], strict=True)
    )


def _field(tag: int, payload: bytes) -> bytes:
    return bytes([tag]) + varint(len(payload)) + payload


def encode_v1(
    runs: Sequence[Run],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    fields_of: Callable[[LabelBytes], bytes] = label_fields,
) -> bytes:
    """A `WriteRequest` of float samples."""
    cells, size = _samples(times_ms, values, None)
    out: list[bytes] = []
    for run in runs:
        fields = fields_of(run.labels)
        samples = cells[run.low * size : run.high * size]
        out += (b"\x0a", varint(len(fields) + len(samples)), fields, samples)
    return b"".join(out)


def encode_v1_extras(
    histograms: Sequence[tuple[LabelBytes, int, int, Histograms]],
    exemplars: Sequence[tuple[LabelBytes, Exemplar]],
    metadata: Sequence[Metadata] = (),
) -> bytes:
    """A `WriteRequest` of histograms (labels, time, row, where), exemplars and metadata."""
    request = v1.WriteRequest()
    for labels, time_ms, row, where in histograms:
        series = request.timeseries.add(labels=_v1_labels(labels))
        _fill(series.histograms.add(timestamp=time_ms), where, row)
    for labels, exemplar in exemplars:
        series = request.timeseries.add(labels=_v1_labels(labels))
        series.exemplars.add(
            labels=_v1_labels(exemplar.labels), value=exemplar.value, timestamp=exemplar.time_ms
        )
    for entry in metadata:
        request.metadata.add(
            type=_type_number(entry),
            metric_family_name=entry.metric.encode(),
            help=entry.help.encode(),
            unit=entry.unit.encode(),
        )
    return request.SerializeToString()


def _v1_labels(labels: LabelBytes) -> list[v1.Label]:
    parts = labels.split(b"\xff")
    return [v1.Label(name=n, value=v) for n, v in zip(parts[:-1:2], parts[1::2], strict=True)]


def encode_v2(
    runs: Sequence[Run],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    start_ms: NDArray[np.int64] | None,
    histograms: Sequence[tuple[LabelBytes, int, int, Histograms]] = (),
    exemplars: Sequence[tuple[LabelBytes, Exemplar]] = (),
    metadata: Mapping[str, Metadata] | None = None,
) -> bytes:
    """A `Request`; `metadata` is by metric name."""
    symbols: dict[bytes, int] = {b"": 0}

    def refs(labels: LabelBytes) -> list[int]:
        return [symbols.setdefault(text, len(symbols)) for text in labels.split(b"\xff")[:-1]]

    if start_ms is not None and not start_ms.any():
        start_ms = None
    cells, size = _samples(times_ms, values, start_ms)
    described: dict[bytes, bytes] = {}

    def description(labels: LabelBytes) -> bytes:
        if not metadata:
            return b""
        parts = labels.split(b"\xff")
        name = parts[parts.index(b"__name__") + 1]
        found = described.get(name)
        if found is None:
            entry = metadata.get(name.decode())
            found = b""
            if entry is not None:
                message = v2.Metadata(
                    type=_type_number(entry),
                    help_ref=symbols.setdefault(entry.help.encode(), len(symbols)),
                    unit_ref=symbols.setdefault(entry.unit.encode(), len(symbols)),
                )
                found = _field(0x2A, message.SerializeToString())
            described[name] = found
        return found

    out: list[bytes] = []
    for run in runs:
        packed = b"".join(map(varint, refs(run.labels)))
        fields = _field(0x0A, packed)
        samples = cells[run.low * size : run.high * size]
        said = description(run.labels)
        out += (b"\x2a", varint(len(fields) + len(samples) + len(said)), fields, samples, said)
    for labels, time_ms, row, where in histograms:
        series = v2.TimeSeries(labels_refs=refs(labels))
        _fill(series.histograms.add(timestamp=time_ms), where, row)
        out.append(_field(0x2A, series.SerializeToString() + description(labels)))
    for labels, exemplar in exemplars:
        series = v2.TimeSeries(labels_refs=refs(labels))
        series.exemplars.add(
            labels_refs=refs(exemplar.labels), value=exemplar.value, timestamp=exemplar.time_ms
        )
        out.append(_field(0x2A, series.SerializeToString()))
    return b"".join([*(_field(0x22, symbol) for symbol in symbols), *out])


def _type_number(entry: Metadata) -> int:
    return METADATA_TYPES.index(entry.type) if entry.type in METADATA_TYPES else 0


def _fill(message: v1.Histogram | v2.Histogram, where: Histograms, row: int) -> None:
    """A row as a float histogram."""
    schema = int(where.schema[row])
    message.count_float = float(where.count[row])
    message.sum = float(where.sum[row])
    message.schema = schema
    message.zero_threshold = float(where.zero_threshold[row])
    message.zero_count_float = float(where.zero_count[row])
    message.reset_hint = int(where.hint[row])
    if schema == CUSTOM:
        message.custom_values.extend(where.custom_bounds[int(where.bounds[row])])
    low, high = int(where.offsets[row]), int(where.offsets[row + 1])
    buckets, counts = where.bucket[low:high], where.value[low:high]
    for side, spans, into in (
        (buckets > 0, message.positive_spans, message.positive_counts),
        (buckets < 0, message.negative_spans, message.negative_counts),
    ):
        index, value = index_of(buckets[side]), counts[side]
        if buckets[side].size and buckets[side][0] < 0:
            index, value = index[::-1], value[::-1]
        previous: int | None = None
        for at in index.tolist():
            if previous is not None and at == previous + 1:
                spans[-1].length += 1
            else:
                spans.add(offset=at if previous is None else at - previous - 1, length=1)
            previous = at
        into.extend(value.tolist())
