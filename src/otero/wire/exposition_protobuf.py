"""Prometheus' protobuf exposition: delimited MetricFamily messages to the series that the text format would show.

Classic histograms and summaries become `_count`, `_sum` and their buckets or quantiles, in this order, as Prometheus
writes them. Native histograms are counted; what they carry in classic form is kept.
"""

import math
import re

import numpy as np
from google.protobuf.message import DecodeError

from otero.errors import BadInput
from otero.model.labels import encode_labels
from otero.model.metrics import Exemplar, Metadata
from otero.model.samples import NAN_BITS, NO_TIME, bits
from otero.wire.exposition_columns import Exposition
from otero.wire.go_floats import format_openmetrics_float
from otero.wire.pb import exposition_pb2 as pb

_COUNTER, _GAUGE, _SUMMARY, _UNTYPED, _HISTOGRAM, _GAUGE_HISTOGRAM = range(6)
_TYPES = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")
_LEGACY_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_MAX_MS = 1 << 62


def parse_protobuf(body: bytes) -> Exposition:
    """Raises BadInput, with the place in the body, for what is no sequence of delimited MetricFamily messages."""
    reader = _Reader()
    at = 0
    while at < len(body):
        start = at
        size, at = _varint(body, at)
        if size > len(body) - at:
            raise BadInput(f"byte {start}: expected a message of {size} bytes, found {len(body) - at}")
        try:
            family = pb.MetricFamily.FromString(body[at : at + size])
        except DecodeError as error:
            raise BadInput(f"byte {start}: expected a MetricFamily message: {error}") from None
        fault = reader.read(family)
        if fault:
            raise BadInput(f"byte {start}: {fault}")
        at += size
    return reader.exposition()


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(body[at : at + 5]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise BadInput(f"byte {at}: expected the length of a message as a varint of at most 5 bytes")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'


def _ms(time: pb.Time) -> int:
    milliseconds = time.seconds * 1000 + time.nanos // 1_000_000
    return milliseconds if abs(milliseconds) < _MAX_MS else 0


class _Reader:
    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._values: list[float] = []
        self._times_ms: list[int] = []
        self._start_ms: list[int] = []
        self._exemplars: list[Exemplar] = []
        self._metadata: dict[str, Metadata] = {}
        self._native = 0

    def read(self, family: pb.MetricFamily) -> str:
        """Take one family; returns what is wrong with it, or an empty text."""
        name, kind, unit = family.name, family.type, family.unit
        if not name:
            return "the family has no name"
        if not 0 <= kind < len(_TYPES):
            return f"unknown metric type {kind} of {name!r}"
        stem = name.removesuffix("_total") if kind == _COUNTER else name
        if unit and not stem.endswith(f"_{unit}"):
            return f"unit {unit!r} is not a suffix of metric {name!r}"
        if not family.metric:
            return ""
        self._metadata[name] = Metadata(name, _TYPES[kind], family.help, unit)
        for metric in family.metric:
            first = len(self._keys)
            labels = self._labels(metric)
            if kind == _COUNTER:
                created = self._counter(name, labels, metric.counter)
            elif kind == _SUMMARY:
                created = self._summary(name, labels, metric.summary)
            elif kind in (_HISTOGRAM, _GAUGE_HISTOGRAM):
                created = self._histogram(name, labels, metric.histogram)
            else:
                created = 0
                self._add(name, labels, (metric.gauge if kind == _GAUGE else metric.untyped).value)
            count = len(self._keys) - first
            self._start_ms += [created] * count
            self._times_ms += [metric.timestamp_ms or NO_TIME] * count
        return ""

    @staticmethod
    def _labels(metric: pb.Metric) -> str:
        return ",".join(
            [
                (label.name if _LEGACY_LABEL.fullmatch(label.name) else _quoted(label.name))
                + "="
                + _quoted(label.value)
                for label in metric.label
            ]
        )

    def _add(self, name: str, labels: str, value: float) -> None:
        if _LEGACY_NAME.fullmatch(name):
            key = f"{name}{{{labels}}}" if labels else name
        else:
            key = f"{{{_quoted(name)},{labels}}}" if labels else f"{{{_quoted(name)}}}"
        self._keys.append(key.encode())
        self._values.append(value)

    def _counter(self, name: str, labels: str, counter: pb.Counter) -> int:
        self._add(name, labels, counter.value)
        if counter.HasField("exemplar"):
            self._exemplar(counter.exemplar)
        return _ms(counter.created_timestamp) if counter.HasField("created_timestamp") else 0

    def _summary(self, name: str, labels: str, summary: pb.Summary) -> int:
        self._add(f"{name}_count", labels, summary.sample_count)
        self._add(f"{name}_sum", labels, summary.sample_sum)
        comma = "," if labels else ""
        for quantile in summary.quantile:
            text = format_openmetrics_float(quantile.quantile)
            self._add(name, f'{labels}{comma}quantile="{text}"', quantile.value)
        return _ms(summary.created_timestamp) if summary.HasField("created_timestamp") else 0

    def _histogram(self, name: str, labels: str, histogram: pb.Histogram) -> int:
        if (
            histogram.positive_span
            or histogram.negative_span
            or histogram.zero_threshold > 0
            or histogram.zero_count
            or histogram.zero_count_float > 0
        ):
            self._native += 1
        count = histogram.sample_count_float or histogram.sample_count
        self._add(f"{name}_count", labels, count)
        self._add(f"{name}_sum", labels, histogram.sample_sum)
        comma = "," if labels else ""
        bucket_name = f"{name}_bucket"
        for bucket in histogram.bucket:
            text = format_openmetrics_float(bucket.upper_bound)
            value = bucket.cumulative_count_float or bucket.cumulative_count
            self._add(bucket_name, f'{labels}{comma}le="{text}"', value)
            if bucket.HasField("exemplar"):
                self._exemplar(bucket.exemplar)
            if bucket.upper_bound == math.inf:
                break
        else:
            self._add(bucket_name, f'{labels}{comma}le="+Inf"', count)
        return _ms(histogram.created_timestamp) if histogram.HasField("created_timestamp") else 0

    def _exemplar(self, exemplar: pb.Exemplar) -> None:
        labels = encode_labels({label.name: label.value for label in exemplar.label})
        time_ms = _ms(exemplar.timestamp) if exemplar.HasField("timestamp") else int(NO_TIME)
        self._exemplars.append(Exemplar(len(self._keys) - 1, labels, exemplar.value, time_ms))

    def exposition(self) -> Exposition:
        values = np.array(self._values, np.float64)
        bits(values)[np.isnan(values)] = NAN_BITS
        times_ms = np.array(self._times_ms, np.int64)
        start_ms = np.array(self._start_ms, np.int64)
        return Exposition(
            self._keys,
            values,
            times_ms if (times_ms != NO_TIME).any() else None,
            start_ms if start_ms.any() else None,
            tuple(self._exemplars),
            tuple(self._metadata.values()),
            self._native,
        )
