"""The frame of OTLP's ExportMetricsServiceRequest, read from its bytes: which data points belong to which metric.

A reader by hand, because the data points themselves are to stay bytes (`otlp_metrics.py` says why), and because nothing
of what comes again with every export needs to be decoded again.

Messages: opentelemetry-proto, metrics_service.proto and metrics.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from otero.errors import BadInput


class Kind(IntEnum):
    """What a metric holds, by the number of its field in `Metric`."""

    NONE = 0
    GAUGE = 5
    SUM = 7
    HISTOGRAM = 9
    EXPONENTIAL = 10
    SUMMARY = 11


@dataclass(frozen=True, slots=True)
class MetricPoints:
    """One metric of one scope of one resource, everything still as bytes.

    resource, scope  their messages. head  a `Metric` without data points: name, unit, type. points  the data points.
    """

    resource: bytes
    scope: bytes
    schema_url: bytes
    head: bytes
    kind: Kind
    points: list[bytes]


def read_request(body: bytes) -> Iterator[MetricPoints]:
    """The metrics of a request, those without data points left out. Raises BadInput when its frame is broken."""
    for tag, start, end in _fields(body, 0, len(body)):
        if tag == _RESOURCE_METRICS:
            yield from _resource_metrics(body, start, end)


_RESOURCE_METRICS = 0x0A
_RESOURCE, _SCOPE_METRICS = 0x0A, 0x12
_SCOPE, _METRICS, _SCHEMA_URL = 0x0A, 0x12, 0x1A
_DATA = {kind << 3 | 2: kind for kind in Kind if kind}
_POINTS = 0x0A


def _resource_metrics(body: bytes, start: int, end: int) -> Iterator[MetricPoints]:
    resource = b""
    scopes: list[tuple[int, int]] = []
    for tag, at, stop in _fields(body, start, end):
        if tag == _RESOURCE:
            resource += body[at:stop]
        elif tag == _SCOPE_METRICS:
            scopes.append((at, stop))
    for at, stop in scopes:
        yield from _scope_metrics(body, at, stop, resource)


def _scope_metrics(body: bytes, start: int, end: int, resource: bytes) -> Iterator[MetricPoints]:
    scope = schema_url = b""
    metrics: list[tuple[int, int]] = []
    for tag, at, stop in _fields(body, start, end):
        if tag == _METRICS:
            metrics.append((at, stop))
        elif tag == _SCOPE:
            scope += body[at:stop]
        elif tag == _SCHEMA_URL:
            schema_url = body[at:stop]
    for at, stop in metrics:
        head, kind, points = _metric(body, at, stop)
        if points:
            yield MetricPoints(resource, scope, schema_url, head, kind, points)


def _metric(body: bytes, start: int, end: int) -> tuple[bytes, Kind, list[bytes]]:
    head: list[bytes] = []
    kind, rest = Kind.NONE, b""
    points: list[bytes] = []
    begin = start
    for tag, at, stop in _fields(body, start, end):
        if tag in _DATA:
            if kind != _DATA[tag]:  # of a oneof, the last one counts
                kind, rest, points = _DATA[tag], b"", []
            rest += _data(body, at, stop, points)
        else:
            head.append(body[begin:stop])
        begin = stop
    if kind:
        head.append(bytes([kind << 3 | 2]) + _as_varint(len(rest)) + rest)
    return b"".join(head), kind, points


def _data(body: bytes, at: int, end: int, points: list[bytes]) -> bytes:
    """Appends the data points of a Gauge, Sum, … to `points`; returns the bytes of its other fields."""
    rest = b""
    append = points.append
    while at < end:
        if body[at] == _POINTS and at + 1 < end:
            size = body[at + 1]
            at += 2
            if size > 127:  # two bytes are the usual case
                if at < end and body[at] < 128:
                    size += (body[at] << 7) - 128
                    at += 1
                else:
                    size, at = _varint(body, at - 1, end)
            stop = at + size
            if stop > end:
                raise _broken(at)
            append(body[at:stop])
            at = stop
        else:
            begin = at
            _, _, at = _field(body, at, end)
            rest += body[begin:at]
    return rest


def _fields(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, start and end of the value of each field."""
    while at < end:
        tag, start, at = _field(body, at, end)
        yield tag, start, at


def _field(body: bytes, at: int, end: int) -> tuple[int, int, int]:
    tag, at = _varint(body, at, end)
    wire_type = tag & 7
    start = at
    if wire_type == 2:
        size, start = _varint(body, at, end)
        at = start + size
    elif wire_type == 0:
        _, at = _varint(body, at, end)
    elif wire_type == 1:
        at += 8
    elif wire_type == 5:
        at += 4
    else:
        raise _broken(start)
    if at > end or tag < 8:
        raise _broken(start)
    return tag, start, at


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(body[at : min(at + 10, end)]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise _broken(at)


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _broken(at: int) -> BadInput:
    return BadInput(f"not an ExportMetricsServiceRequest message: broken at byte {at}")
