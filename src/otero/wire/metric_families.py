"""Metric families as a unit, as the Pushgateway handles them: bodies to MetricFamily messages and back to text.

What is scraped goes to columns at once (`exposition`); what is pushed is kept, merged and shown family by family. The
rules that Go's text parser has beyond Prometheus' own hold here: a family is described once, and before its samples.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME
from otero.wire.exposition_protobuf import split_messages
from otero.wire.exposition_series import parse_series, shown, unescape
from otero.wire.exposition_text import parse_text
from otero.wire.go_floats import format_float, is_float
from otero.wire.pb import exposition_pb2 as pb

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
TYPES = ("counter", "gauge", "summary", "untyped", "histogram", "gaugehistogram")
_BY_NAME = {name: kind for kind, name in enumerate(TYPES) if kind != GAUGE_HISTOGRAM}
_HISTOGRAMS = (HISTOGRAM, GAUGE_HISTOGRAM)


def families_of_protobuf(body: bytes) -> dict[str, pb.MetricFamily]:
    """The families of delimited MetricFamily messages, by name. Raises BadInput."""
    families: dict[str, pb.MetricFamily] = {}
    for start, message in split_messages(body):
        try:
            family = pb.MetricFamily.FromString(message)
        except DecodeError as error:
            raise BadInput(f"byte {start}: expected a MetricFamily message: {error}") from None
        if not family.name:
            raise BadInput(f"byte {start}: the family has no name")
        if not 0 <= family.type < len(TYPES):
            raise BadInput(f"byte {start}: unknown metric type {family.type} of {family.name!r}")
        families[family.name] = family
    return families


def families_of_text(body: bytes) -> dict[str, pb.MetricFamily]:
    """The families of a body in the text format 0.0.4, by name, with at least one sample each. Raises BadInput."""
    if body and not body.endswith(b"\n"):
        raise BadInput("the last line does not end with a line break: the body may have been cut off")
    parsed = parse_text(body, openmetrics=False)
    building = _Building()
    values: list[float] = parsed.exposition.values.tolist()
    times = parsed.exposition.times_ms
    comments = iter(parsed.comments)
    samples = iter(parsed.raw_keys)
    row = 0
    # A series text with a line break in it spans lines, so `is_sample` may end early or late: the rest are samples.
    for is_sample in parsed.is_sample:
        if not is_sample:
            building.comment(next(comments))
        elif (key := next(samples, None)) is not None:
            building.sample(key, values[row], times is not None and int(times[row]) != _NO_TIME)
            row += 1
    for key in samples:
        building.sample(key, values[row], times is not None and int(times[row]) != _NO_TIME)
        row += 1
    return {name: family.message() for name, family in building.families.items() if family.has_samples}


_NO_TIME = (1 << 63) - 1


@dataclass(slots=True)
class _Family:
    """One family while its body is read. `metrics` are found by their labels without `le` and `quantile`."""

    name: str
    kind: int | None = None
    help: str | None = None
    metrics: dict[tuple[tuple[str, str], ...], pb.Metric] = field(default_factory=dict)
    listed: list[pb.Metric] = field(default_factory=list)
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = field(default_factory=set)

    @property
    def has_samples(self) -> bool:
        return bool(self.listed)

    def message(self) -> pb.MetricFamily:
        kind = UNTYPED if self.kind is None else self.kind
        return pb.MetricFamily(name=self.name, help=self.help or "", type=kind, metric=self.listed)


class _Building:
    def __init__(self) -> None:
        self.families: dict[str, _Family] = {}

    def _family(self, name: str) -> _Family:
        """The family that a name belongs to: its own, or that of the summary or histogram whose part it names."""
        found = self.families.get(name)
        if found is not None:
            return found
        for suffix in ("_count", "_sum", "_bucket"):
            if name.endswith(suffix):
                owner = self.families.get(name.removesuffix(suffix))
                if owner is not None and (
                    owner.kind == HISTOGRAM or (owner.kind == SUMMARY and suffix != "_bucket")
                ):
                    return owner
        found = self.families[name] = _Family(name)
        return found

    def comment(self, line: bytes) -> None:
        """Take a comment line, which `parse_text` has found well-formed."""
        words = line.removeprefix(b"#").split(None, 2)
        if not line.startswith(b"#") or line[1:2] not in (b" ", b"\t") or not words:
            return
        if words[0] not in (b"HELP", b"TYPE"):
            return
        name, text = _name_and_rest(line.split(words[0], 1)[1].lstrip(b" \t"))
        family = self._family(name)
        if words[0] == b"HELP":
            if family.help is not None:
                raise BadInput(f"metric {name!r} has a second HELP line")
            family.help = unescape(text)
        else:
            if family.kind is not None or family.has_samples:
                raise BadInput(f"metric {name!r} has a second TYPE line, or one after its samples")
            family.kind = _BY_NAME[text]

    def sample(self, key: bytes, value: float, stamped: bool) -> None:
        labels = parse_series(key)
        name = labels.pop(METRIC_NAME)
        family = self._family(name)
        kind = UNTYPED if family.kind is None else family.kind
        if kind in (COUNTER, GAUGE, UNTYPED):
            metric = _metric(labels)
            getattr(metric, TYPES[kind]).value = value
            family.listed.append(metric)
        else:
            metric = self._part(family, kind, name, labels, key, value)
        if stamped:
            metric.timestamp_ms = 1  # which time does not matter: pushes with timestamps are refused

    @staticmethod
    def _part(
        family: _Family, kind: int, name: str, labels: dict[str, str], key: bytes, value: float
    ) -> pb.Metric:
        part = name[len(family.name) :]
        bound_label = "le" if kind == HISTOGRAM else "quantile"
        bound = labels.pop(bound_label, None) if part == ("_bucket" if kind == HISTOGRAM else "") else None
        identity = tuple(sorted(labels.items()))
        seen = (f"{part}\xff{float(bound) if bound and is_float(bound.encode()) else bound}", identity)
        if seen in family.seen:
            raise BadInput(f"series {shown(key)} occurs twice")
        family.seen.add(seen)
        metric = family.metrics.get(identity)
        if metric is None:
            metric = family.metrics[identity] = _metric(labels)
            family.listed.append(metric)
        data = metric.histogram if kind == HISTOGRAM else metric.summary
        data.SetInParent()
        if part == "_sum":
            data.sample_sum = value
        elif part == "_count":
            if kind == HISTOGRAM and not _is_count(value):
                metric.histogram.sample_count_float = value
            else:
                data.sample_count = _count(key, value)
        elif bound is None or not is_float(bound.encode()):
            wanted = "a number as value of " if bound is not None else "a part of it with the label "
            raise BadInput(
                f"{TYPES[kind]} {family.name!r}: expected {wanted}{bound_label}, found {shown(key)}"
            )
        elif kind == HISTOGRAM:
            bucket = metric.histogram.bucket.add(upper_bound=float(bound))
            if _is_count(value):
                bucket.cumulative_count = int(value)
            else:
                bucket.cumulative_count_float = value
        else:
            metric.summary.quantile.add(quantile=float(bound), value=value)
        return metric


def _name_and_rest(text: bytes) -> tuple[str, str]:
    """The metric name that a comment is about, quoted or not, and what follows one blank after it."""
    if not text.startswith(b'"'):
        name, _, rest = text.partition(b" ")
        if b"\t" in name:
            name, _, rest = text.partition(b"\t")
        return name.decode(), rest.decode()
    end = 1
    while end < len(text) and text[end : end + 1] != b'"':
        end += 2 if text[end : end + 1] == b"\\" else 1
    return unescape(text[1:end].decode()), text[end + 2 :].decode()


def _metric(labels: dict[str, str]) -> pb.Metric:
    return pb.Metric(label=[pb.LabelPair(name=name, value=value) for name, value in labels.items()])


def _is_count(value: float) -> bool:
    return value >= 0 and value < 1 << 64 and value == math.floor(value)


def _count(key: bytes, value: float) -> int:
    if not _is_count(value):
        raise BadInput(
            f"expected a whole number of observations in {shown(key)}, found {format_float(value)}"
        )
    return int(value)


def write_text(families: Iterable[pb.MetricFamily]) -> bytes:
    """The families in the text format 0.0.4; native histograms in what they have of classic form."""
    lines: list[str] = []
    for family in families:
        if family.help:
            lines.append(f"# HELP {_name(family.name)} {family.help.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {_name(family.name)} {TYPES[family.type]}")
        for metric in family.metric:
            lines.extend(_lines(family, metric))
    return "".join(f"{line}\n" for line in lines).encode()


_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_VALUE_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def _lines(family: pb.MetricFamily, metric: pb.Metric) -> Iterator[str]:
    name = family.name
    if family.type == SUMMARY:
        for quantile in metric.summary.quantile:
            yield _line(name, metric, quantile.value, ("quantile", quantile.quantile))
        yield _line(f"{name}_sum", metric, metric.summary.sample_sum)
        yield _line(f"{name}_count", metric, metric.summary.sample_count)
    elif family.type in _HISTOGRAMS:
        histogram = metric.histogram
        count = histogram.sample_count_float or histogram.sample_count
        infinite = False
        for bucket in histogram.bucket:
            value = bucket.cumulative_count_float or bucket.cumulative_count
            yield _line(f"{name}_bucket", metric, value, ("le", bucket.upper_bound))
            infinite = infinite or bucket.upper_bound == math.inf
        if not infinite:
            yield _line(f"{name}_bucket", metric, count, ("le", math.inf))
        yield _line(f"{name}_sum", metric, histogram.sample_sum)
        yield _line(f"{name}_count", metric, count)
    else:
        yield _line(name, metric, simple_value(family.type, metric))


def simple_value(kind: int, metric: pb.Metric) -> float:
    """The value of a counter, a gauge or an untyped metric."""
    match kind:
        case 0:
            return metric.counter.value
        case 1:
            return metric.gauge.value
        case _:
            return metric.untyped.value


def _name(name: str) -> str:
    return name if _is_legacy(name) else f'"{name.translate(_VALUE_ESCAPES)}"'


def _is_legacy(name: str) -> bool:
    return name.isascii() and name.replace(":", "_").isidentifier()


def _line(name: str, metric: pb.Metric, value: float, bound: tuple[str, float] | None = None) -> str:
    pairs = [f'{_name(pair.name)}="{pair.value.translate(_VALUE_ESCAPES)}"' for pair in metric.label]
    if bound is not None:
        pairs.append(f'{bound[0]}="{format_float(bound[1])}"')
    if not _is_legacy(name):
        pairs.insert(0, _name(name))
        name = ""
    labels = f"{{{','.join(pairs)}}}" if pairs else ""
    return f"{name}{labels} {format_float(value)}"
