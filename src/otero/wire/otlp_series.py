"""The series of OTLP's data points: which labels a resource, a scope, a metric and a data point give them.

As Prometheus' OTLP receiver does it: attributes of the data point first, values of those whose names become equal joined
with ";"; then promoted attributes of the resource where nothing is set yet; then `job` and `instance`, the scope's labels
and the metric's name, which win over attributes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME, LabelBytes, encode_labels
from otero.model.metrics import Metadata
from otero.wire.otlp_metrics import MALFORMED, NO_RECORDED_VALUE, Fault
from otero.wire.otlp_names import Naming, unit_name
from otero.wire.otlp_request import Kind
from otero.wire.otlp_values import format_plain, text_of

TARGET_INFO = "target_info"
_IDENTIFYING = ("service.namespace", "service.name", "service.instance.id")
_MAX_EXEMPLAR_RUNES = 128


@dataclass(frozen=True, slots=True)
class SeriesRules:
    """What the configuration says of labels. `promote` and `ignore` name attributes of resources."""

    naming: Naming
    promote: frozenset[str] = frozenset()
    promote_all: bool = False
    ignore: frozenset[str] = frozenset()
    keep_identifying: bool = False
    promote_scope: bool = False


@dataclass(frozen=True, slots=True)
class PointSeries:
    """What a key stands for.

    labels  label bytes of its samples, in the order of `Columns.values`.
    stream  the identity of the data point's time series, whatever samples it consists of.
    stale   whether the point says that the series ended.
    fault   why points with this key are refused.
    """

    labels: tuple[LabelBytes, ...] = ()
    stream: bytes = b""
    stale: bool = False
    fault: Fault | None = None


@dataclass(slots=True)
class ResourceLabels:
    """The labels that a resource gives its series, and its `target_info`, None when it has nothing to tell."""

    fixed: dict[str, str]
    promoted: dict[str, str]
    target_info: LabelBytes | None
    fault: Fault | None = None

    @staticmethod
    def of(data: bytes, rules: SeriesRules) -> "ResourceLabels":
        """From a `Resource` message."""
        try:
            pairs = Resource.FromString(data).attributes
        except DecodeError:
            return ResourceLabels(
                {}, {}, None, Fault(MALFORMED.reason, "the resource is not a valid message")
            )
        values = {pair.key: text_of(pair.value) for pair in pairs}
        fixed: dict[str, str] = {}
        if "service.name" in values:
            namespace = f"{values['service.namespace']}/" if "service.namespace" in values else ""
            fixed["job"] = namespace + values["service.name"]
        if "service.instance.id" in values:
            fixed["instance"] = values["service.instance.id"]
        try:
            promoted = {
                rules.naming.label(name): value
                for name, value in values.items()
                if (name not in rules.ignore if rules.promote_all else name in rules.promote)
            }
        except BadInput as error:
            return ResourceLabels(fixed, {}, None, Fault("bad_name", str(error)))
        return ResourceLabels(fixed, promoted, _target_info(pairs, values, fixed, rules))


def _target_info(
    pairs: Iterable[KeyValue], values: Mapping[str, str], fixed: Mapping[str, str], rules: SeriesRules
) -> LabelBytes | None:
    if not any(fixed.values()) or values.keys() <= set(_IDENTIFYING):
        return None
    left_out = () if rules.keep_identifying else _IDENTIFYING
    try:
        labels = _attribute_labels((pair for pair in pairs if pair.key not in left_out), rules.naming)
    except BadInput:
        return None
    labels.update((name, value) for name, value in fixed.items() if value)
    return encode_labels({**labels, METRIC_NAME: TARGET_INFO})


def scope_labels(data: bytes, schema_url: bytes, rules: SeriesRules) -> dict[str, str] | Fault:
    """The `otel_scope_*` labels of a scope, none when they are not wanted or the scope has no name."""
    if not rules.promote_scope:
        return {}
    try:
        scope = InstrumentationScope.FromString(data)
        url = schema_url.decode()
    except (DecodeError, UnicodeDecodeError):
        return Fault(MALFORMED.reason, "the scope is not a valid message")
    if not scope.name:
        return {}
    try:
        labels = {
            rules.naming.label(f"otel_scope_{pair.key}"): text_of(pair.value) for pair in scope.attributes
        }
    except BadInput as error:
        return Fault("bad_name", str(error))
    return {
        **labels,
        "otel_scope_name": scope.name,
        "otel_scope_version": scope.version,
        "otel_scope_schema_url": url,
    }


_TYPES = {
    Kind.GAUGE: "gauge",
    Kind.HISTOGRAM: "histogram",
    Kind.EXPONENTIAL: "histogram",
    Kind.SUMMARY: "summary",
}


@dataclass(slots=True)
class MetricSeries:
    """The series of one metric of one scope of one resource; `series` makes those of a data point.

    delta   whether its points say what was added since the point before.
    native  whether explicit buckets become native histograms.
    """

    metadata: Metadata
    kind: Kind
    delta: bool
    native: bool
    fault: Fault | None
    naming: Naming = field(repr=False)
    resource: ResourceLabels = field(repr=False)
    scope: Mapping[str, str] = field(repr=False)

    @staticmethod
    def of(
        head: bytes,
        kind: Kind,
        resource: ResourceLabels,
        scope: Mapping[str, str] | Fault,
        rules: SeriesRules,
        *,
        native: bool,
    ) -> "MetricSeries":
        """From the `head` of a metric."""
        fault = resource.fault
        if isinstance(scope, Fault):
            fault, scope = fault or scope, {}
        try:
            metric = pb.Metric.FromString(head)
        except DecodeError:
            metric = pb.Metric()
            fault = Fault(MALFORMED.reason, "the metric is not a valid message")
        data = getattr(metric, metric.WhichOneof("data") or "gauge")
        counter = kind == Kind.SUM and data.is_monotonic
        temporality = getattr(data, "aggregation_temporality", pb.AGGREGATION_TEMPORALITY_CUMULATIVE)
        if fault is None and temporality not in (
            pb.AGGREGATION_TEMPORALITY_CUMULATIVE,
            pb.AGGREGATION_TEMPORALITY_DELTA,
        ):
            fault = Fault("no_temporality", f"metric {metric.name!r} is neither cumulative nor delta")
        try:
            name = rules.naming.metric(metric.name, metric.unit, counter=counter, gauge=kind == Kind.GAUGE)
        except BadInput as error:
            name, fault = "", fault or Fault("bad_name", str(error))
        kind_word = "counter" if counter else _TYPES.get(kind, "gauge")
        return MetricSeries(
            Metadata(name, kind_word, metric.description, unit_name(metric.unit)),
            kind,
            temporality == pb.AGGREGATION_TEMPORALITY_DELTA,
            kind == Kind.EXPONENTIAL or (native and kind == Kind.HISTOGRAM),
            fault,
            rules.naming,
            resource,
            scope,
        )

    def series(self, key: bytes) -> PointSeries:
        """The series of data points with this key."""
        try:
            point = _POINTS[self.kind].FromString(key)
            labels = self._labels(point.attributes)
        except DecodeError:
            return PointSeries(fault=MALFORMED)
        except BadInput as error:
            return PointSeries(fault=Fault("bad_name", str(error)))
        name = self.metadata.metric
        stream = encode_labels({**labels, METRIC_NAME: name})
        parts: list[LabelBytes] = []
        if isinstance(point, pb.HistogramDataPoint) and not self.native:
            if point.HasField("sum"):
                parts.append(encode_labels({**labels, METRIC_NAME: f"{name}_sum"}))
            parts.append(encode_labels({**labels, METRIC_NAME: f"{name}_count"}))
            bounds = [*map(format_plain, point.explicit_bounds), "+Inf"]
            parts += [
                encode_labels({**labels, METRIC_NAME: f"{name}_bucket", "le": bound}) for bound in bounds
            ]
        elif isinstance(point, pb.SummaryDataPoint):
            parts += [encode_labels({**labels, METRIC_NAME: f"{name}_{end}"}) for end in ("sum", "count")]
            parts += [
                encode_labels({**labels, METRIC_NAME: name, "quantile": format_plain(value.quantile)})
                for value in point.quantile_values
            ]
        else:
            parts.append(stream)
        return PointSeries(tuple(parts), stream, bool(point.flags & NO_RECORDED_VALUE))

    def _labels(self, attributes: Iterable[KeyValue]) -> dict[str, str]:
        labels = _attribute_labels(attributes, self.naming)
        for name, value in self.resource.promoted.items():
            if not labels.get(name):
                labels[name] = value
        labels.update((name, value) for name, value in self.resource.fixed.items() if value)
        labels.update(self.scope)
        return labels


_POINTS = {
    Kind.GAUGE: pb.NumberDataPoint,
    Kind.SUM: pb.NumberDataPoint,
    Kind.HISTOGRAM: pb.HistogramDataPoint,
    Kind.EXPONENTIAL: pb.ExponentialHistogramDataPoint,
    Kind.SUMMARY: pb.SummaryDataPoint,
}


def _attribute_labels(attributes: Iterable[KeyValue], naming: Naming) -> dict[str, str]:
    """Attributes as labels; `__name__` is not an attribute's to give."""
    labels: dict[str, str] = {}
    for pair in sorted(attributes, key=lambda pair: pair.key):
        if pair.key == METRIC_NAME:
            continue
        name, value = naming.label(pair.key), text_of(pair.value)
        before = labels.get(name)
        labels[name] = f"{before};{value}" if before and naming.escapes else value
    return labels


def exemplar_labels(exemplar: pb.Exemplar) -> LabelBytes:
    """Trace and span id, and the attributes that were filtered out unless the labels would become too long."""
    labels: dict[str, str] = {}
    if any(exemplar.trace_id):
        labels["trace_id"] = exemplar.trace_id.hex()
    if any(exemplar.span_id):
        labels["span_id"] = exemplar.span_id.hex()
    more = {pair.key: text_of(pair.value) for pair in exemplar.filtered_attributes if pair.key}
    if sum(len(name) + len(value) for name, value in (labels | more).items()) <= _MAX_EXEMPLAR_RUNES:
        labels |= more
    return encode_labels(labels)
