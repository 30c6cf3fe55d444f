"""Prometheus' protobuf exposition: delimited MetricFamily messages to the series that the text format would show.

Classic histograms and summaries become `_count`, `_sum` and their buckets or quantiles, in this order, as Prometheus
writes them. Native histograms come first, where they are wanted; else only their classic form is read.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from google.protobuf.message import DecodeError

from otero.errors import BadInput
from otero.model.histograms import ResetHint, box
from otero.model.labels import encode_labels
from otero.model.metrics import Exemplar, Metadata
from otero.model.samples import NAN_BITS, NO_TIME, bits
from otero.wire.classic_histograms import Classic
from otero.wire.exposition_columns import CLASSIC_ONLY, Exposition, WantedHistograms
from otero.wire.exposition_native import HistogramRows, Native, exemplars_of, is_native
from otero.wire.exposition_series import LEGACY_LABEL, key_text, quoted
from otero.wire.go_floats import format_openmetrics_float
from otero.wire.pb import exposition_pb2 as pb

_COUNTER, _GAUGE, _SUMMARY, _UNTYPED, _HISTOGRAM, _GAUGE_HISTOGRAM = range(6)
_TYPES = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")
_MAX_MS = 1 << 62


def parse_protobuf(body: bytes, wanted: WantedHistograms = CLASSIC_ONLY) -> tuple[Exposition, list[Classic]]:
    """The body, and those of its classic histograms that are to be converted.

    Raises BadInput, with the place in the body, for what is no sequence of delimited MetricFamily messages.
    """
    reader = _Reader(wanted)
    for start, message in split_messages(body):
        try:
            family = pb.MetricFamily.FromString(message)
        except DecodeError as error:
            raise BadInput(f"byte {start}: expected a MetricFamily message: {error}") from None
        try:
            fault = reader.read(family)
        except BadInput as error:
            fault = f"{family.name}: {error}"
        if fault:
            raise BadInput(f"byte {start}: {fault}")
    return reader.exposition(), reader.classics


def exposition_of(families: Iterable[pb.MetricFamily], wanted: WantedHistograms = CLASSIC_ONLY) -> Exposition:
    """The same for messages that are read already. Raises BadInput."""
    reader = _Reader(wanted)
    for family in families:
        fault = reader.read(family)
        if fault:
            raise BadInput(fault)
    return reader.exposition()


def split_messages(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each delimited message begins, and its bytes. Raises BadInput at a length that does not fit."""
    at = 0
    while at < len(body):
        start = at
        size, at = _varint(body, at)
        if size > len(body) - at:
            raise BadInput(f"byte {start}: expected a message of {size} bytes, found {len(body) - at}")
        yield start, body[at : at + size]
        at += size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(body[at : at + 5]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise BadInput(f"byte {at}: expected the length of a message as a varint of at most 5 bytes")


def _ms(time: pb.Time) -> int:
    milliseconds = time.seconds * 1000 + time.nanos // 1_000_000
    return milliseconds if abs(milliseconds) < _MAX_MS else 0


class _Reader:
    def __init__(self, wanted: WantedHistograms) -> None:
        self._wanted = wanted
        self.classics: list[Classic] = []
        self._native = HistogramRows()
        self._boxes: list[int] = []
        self._keys: list[bytes] = []
        self._values: list[float] = []
        self._times_ms: list[int] = []
        self._start_ms: list[int] = []
        self._exemplars: list[Exemplar] = []
        self._metadata: dict[str, Metadata] = {}

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
                created = self._histogram(name, labels, metric, kind)
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
                (label.name if LEGACY_LABEL.fullmatch(label.name) else quoted(label.name))
                + "="
                + quoted(label.value)
                for label in metric.label
            ]
        )

    def _add(self, name: str, labels: str, value: float) -> None:
        self._keys.append(key_text(name, labels))
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

    def _histogram(self, name: str, labels: str, metric: pb.Metric, kind: int) -> int:
        histogram = metric.histogram
        if self._wanted.native and is_native(histogram):
            hint = ResetHint.GAUGE if kind == _GAUGE_HISTOGRAM else ResetHint.UNKNOWN
            self._native.add(Native(histogram, hint))
            self._boxes.append(len(self._keys))
            self._add(name, labels, 0.0)
            for exemplar in exemplars_of(histogram):
                self._exemplar(exemplar)
            if self._wanted.classic and histogram.bucket:
                self._classic(name, labels, histogram)
        else:
            first = len(self._keys)
            bounds = self._classic(name, labels, histogram)
            if self._wanted.nhcb and kind == _HISTOGRAM:
                rows = tuple(range(first, len(self._keys)))
                rising = tuple(sorted(bounds.items()))
                self.classics.append(Classic(key_text(name, labels), rising, first, first + 1, rows))
        return _ms(histogram.created_timestamp) if histogram.HasField("created_timestamp") else 0

    def _classic(self, name: str, labels: str, histogram: pb.Histogram) -> dict[float, int]:
        """The series of the classic form; returns the rows of its buckets by upper bound."""
        bounds: dict[float, int] = {}
        count = histogram.sample_count_float or histogram.sample_count
        self._add(f"{name}_count", labels, count)
        self._add(f"{name}_sum", labels, histogram.sample_sum)
        comma = "," if labels else ""
        bucket_name = f"{name}_bucket"
        for bucket in histogram.bucket:
            text = format_openmetrics_float(bucket.upper_bound)
            value = bucket.cumulative_count_float or bucket.cumulative_count
            if not math.isnan(bucket.upper_bound):
                bounds.setdefault(bucket.upper_bound, len(self._keys))
            self._add(bucket_name, f'{labels}{comma}le="{text}"', value)
            if bucket.HasField("exemplar"):
                self._exemplar(bucket.exemplar)
            if bucket.upper_bound == math.inf:
                break
        else:
            bounds[math.inf] = len(self._keys)
            self._add(bucket_name, f'{labels}{comma}le="+Inf"', count)
        return bounds

    def _exemplar(self, exemplar: pb.Exemplar) -> None:
        labels = encode_labels({label.name: label.value for label in exemplar.label})
        time_ms = _ms(exemplar.timestamp) if exemplar.HasField("timestamp") else int(NO_TIME)
        self._exemplars.append(Exemplar(len(self._keys) - 1, labels, exemplar.value, time_ms))

    def exposition(self) -> Exposition:
        values = np.array(self._values, np.float64)
        bits(values)[np.isnan(values)] = NAN_BITS
        values[self._boxes] = box(np.arange(len(self._boxes)))
        times_ms = np.array(self._times_ms, np.int64)
        start_ms = np.array(self._start_ms, np.int64)
        return Exposition(
            self._keys,
            values,
            times_ms if (times_ms != NO_TIME).any() else None,
            start_ms if start_ms.any() else None,
            tuple(self._exemplars),
            tuple(self._metadata.values()),
            self._native.build() if self._boxes else None,
        )
