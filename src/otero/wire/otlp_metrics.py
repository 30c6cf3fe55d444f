"""The data points of OTLP's metrics as columns, read from their bytes.

A data point is taken apart into what changes from one export to the next (times and values, which become columns) and
its *key*: the bytes of the rest, attributes above all, which is itself a message of the point's type. Whoever keeps what
was made of a key meets no attribute twice. Encoders write the fields of a data point in ascending order, so that the key
of a number is its tail; points of any other form go through the generated classes and get the same key.

Messages: opentelemetry-proto, metrics.proto.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.model.samples import NAN_BITS, STALE_BITS, bits

NO_RECORDED_VALUE = 1
"""The flag of a data point that says: nothing here any more."""


class Fault(NamedTuple):
    """Why data points are refused: a word of a fixed set for counters, a text for people."""

    reason: str
    text: str


MALFORMED = Fault("malformed", "not a valid message")
NO_VALUE = Fault("no_value", "the data point has no value")


@dataclass(slots=True)
class Columns:
    """P data points of one metric as columns.

    keys       the key of each point.
    times_ns, starts_ns  uint64 [P].
    widths     int64 [P]: samples of each point.
    values     float64 [sum of widths]: the samples, point after point.
    exemplars  (point, number of the sample within the point, exemplar).
    faults     what is wrong with points that are left out, with their number.
    """

    keys: list[bytes]
    times_ns: NDArray[np.uint64]
    starts_ns: NDArray[np.uint64]
    widths: NDArray[np.int64]
    values: NDArray[np.float64]
    exemplars: list[tuple[int, int, pb.Exemplar]] = field(default_factory=list)
    faults: dict[Fault, int] = field(default_factory=dict)

    def take(self, points: NDArray[np.intp]) -> "Columns":
        """Only the given points, which ascend."""
        new = {old: at for at, old in enumerate(points.tolist())}
        kept = np.zeros(len(self.keys), np.bool_)
        kept[points] = True
        return Columns(
            [self.keys[point] for point in points.tolist()],
            self.times_ns[points],
            self.starts_ns[points],
            self.widths[points],
            self.values[np.repeat(kept, self.widths)],
            [(new[point], sample, one) for point, sample, one in self.exemplars if point in new],
            self.faults,
        )


# -- numbers -----------------------------------------------------------------------------------------------------------

_WITH_START = np.dtype(
    [("t1", "u1"), ("start", "<u8"), ("t2", "u1"), ("time", "<u8"), ("t3", "u1"), ("value", "<f8")]
)
_WITHOUT_START = np.dtype([("t2", "u1"), ("time", "<u8"), ("t3", "u1"), ("value", "<f8")])
_START, _TIME, _DOUBLE, _INT, _EXEMPLAR = 0x11, 0x19, 0x21, 0x31, b"\x2a"


def read_numbers(points: Sequence[bytes]) -> Columns:
    """The points of gauges and sums. A point without a value is a fault, unless its flag says so."""
    layout = _WITHOUT_START if points and points[0][:1] == bytes([_TIME]) else _WITH_START
    size = layout.itemsize
    heads = b"".join([point[:size] for point in points])
    if len(heads) == size * len(points):
        table = np.frombuffer(heads, layout)
        values = np.ascontiguousarray(table["value"])
        integers = table["t3"] == _INT
        regular = (table["t2"] == _TIME) & (integers | (table["t3"] == _DOUBLE))
        starts = np.zeros(len(points), np.uint64)
        if layout is _WITH_START:
            regular &= table["t1"] == _START
            starts = np.ascontiguousarray(table["start"])
        if regular.all():
            keys = [point[size:] for point in points]
            if _EXEMPLAR not in {key[:1] for key in keys}:
                if integers.any():
                    values = np.where(integers, values.view(np.int64).astype(np.float64), values)
                return _number_columns(keys, np.ascontiguousarray(table["time"]), starts, values)
    return _irregular_numbers(points)


def _irregular_numbers(points: Sequence[bytes]) -> Columns:
    keys: list[bytes] = []
    times: list[int] = []
    starts: list[int] = []
    values: list[float] = []
    exemplars: list[tuple[int, int, pb.Exemplar]] = []
    faults: dict[Fault, int] = {}
    for data in points:
        try:
            point = pb.NumberDataPoint.FromString(data)
        except DecodeError:
            count_fault(faults, MALFORMED)
            continue
        value = point.WhichOneof("value")
        if value is None and not point.flags & NO_RECORDED_VALUE:
            count_fault(faults, NO_VALUE)
            continue
        exemplars += [(len(keys), 0, exemplar) for exemplar in point.exemplars]
        times.append(point.time_unix_nano)
        starts.append(point.start_time_unix_nano)
        values.append(float(point.as_int) if value == "as_int" else point.as_double)
        keys.append(_key(point, "time_unix_nano", "start_time_unix_nano", "as_int", "as_double", "exemplars"))
    columns = _number_columns(
        keys, np.array(times, np.uint64), np.array(starts, np.uint64), np.array(values, np.float64)
    )
    columns.exemplars, columns.faults = exemplars, faults
    return columns


def _number_columns(
    keys: list[bytes],
    times: NDArray[np.uint64],
    starts: NDArray[np.uint64],
    values: NDArray[np.float64],
) -> Columns:
    return Columns(keys, times, starts, np.ones(len(keys), np.int64), settle_nan(values))


def settle_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values whose NaN are all the ordinary one or STALE: other payloads mean something inside Otero."""
    odd = np.isnan(values) & (bits(values) != STALE_BITS)
    if odd.any():
        values = values.copy()
        bits(values)[odd] = NAN_BITS
    return values


def _key(point: pb.NumberDataPoint | pb.HistogramDataPoint | pb.SummaryDataPoint, *changing: str) -> bytes:
    for name in changing:
        point.ClearField(name)  # pyright: ignore[reportArgumentType] (the stub lists each class's own names)
    return point.SerializeToString()


def count_fault(faults: dict[Fault, int], fault: Fault) -> None:
    """One more data point with this fault."""
    faults[fault] = faults.get(fault, 0) + 1


# -- histograms and summaries ------------------------------------------------------------------------------------------


def parse_histogram(data: bytes) -> pb.HistogramDataPoint | None:
    """A histogram's data point; None for what is no such message."""
    try:
        return pb.HistogramDataPoint.FromString(data)
    except DecodeError:
        return None


def read_histograms(points: Sequence[pb.HistogramDataPoint | None]) -> Columns:
    """Histograms as Prometheus' classic series: sum if there is one, count, the cumulative buckets, +Inf."""
    keys: list[bytes] = []
    times: list[int] = []
    starts: list[int] = []
    widths: list[int] = []
    values: list[float] = []
    exemplars: list[tuple[int, int, pb.Exemplar]] = []
    faults: dict[Fault, int] = {}
    for point in points:
        if point is None:
            count_fault(faults, MALFORMED)
            continue
        first = len(values)
        has_sum = point.HasField("sum")
        if has_sum:
            values.append(point.sum)
        values.append(point.count)
        counts, bounds = point.bucket_counts, point.explicit_bounds
        buckets = min(len(counts), len(bounds))
        values += accumulate(counts[:buckets])
        values.append(point.count)
        if point.exemplars:
            limits = bounds[:buckets]
            for exemplar in point.exemplars:
                value = exemplar_value(exemplar)
                at = next((number for number, bound in enumerate(limits) if value <= bound), buckets)
                exemplars.append((len(keys), at + 1 + has_sum, exemplar))
        times.append(point.time_unix_nano)
        starts.append(point.start_time_unix_nano)
        widths.append(len(values) - first)
        keys.append(histogram_key(point, buckets))
    return Columns(
        keys,
        np.array(times, np.uint64),
        np.array(starts, np.uint64),
        np.array(widths, np.int64),
        settle_nan(np.array(values, np.float64)),
        exemplars,
        faults,
    )


_HISTOGRAM_CHANGES = (
    "time_unix_nano",
    "start_time_unix_nano",
    "count",
    "bucket_counts",
    "exemplars",
    "min",
    "max",
)


def histogram_key(point: pb.HistogramDataPoint, buckets: int) -> bytes:
    """The key of a histogram's point, which is used up: attributes, flags, bounds, and whether there is a sum."""
    if point.HasField("sum"):
        point.sum = 0.0
    if len(point.explicit_bounds) > buckets:
        del point.explicit_bounds[buckets:]
    return _key(point, *_HISTOGRAM_CHANGES)


def exemplar_value(exemplar: pb.Exemplar) -> float:
    """The value, whichever way it is written; 0 when it is not."""
    return float(exemplar.as_int) if exemplar.WhichOneof("value") == "as_int" else exemplar.as_double


def read_summaries(points: Sequence[bytes]) -> Columns:
    """Summaries as Prometheus' series: sum, count, the quantiles."""
    keys: list[bytes] = []
    times: list[int] = []
    starts: list[int] = []
    widths: list[int] = []
    values: list[float] = []
    faults: dict[Fault, int] = {}
    for data in points:
        try:
            point = pb.SummaryDataPoint.FromString(data)
        except DecodeError:
            count_fault(faults, MALFORMED)
            continue
        times.append(point.time_unix_nano)
        starts.append(point.start_time_unix_nano)
        widths.append(2 + len(point.quantile_values))
        values += (point.sum, point.count)
        for quantile in point.quantile_values:
            values.append(quantile.value)
            quantile.value = 0.0
        keys.append(_key(point, "time_unix_nano", "start_time_unix_nano", "count", "sum"))
    return Columns(
        keys,
        np.array(times, np.uint64),
        np.array(starts, np.uint64),
        np.array(widths, np.int64),
        settle_nan(np.array(values, np.float64)),
        [],
        faults,
    )
