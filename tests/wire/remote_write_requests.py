"""Random write requests, and what protobuf's own view of them says that a receiver stores."""

import struct
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from otero.model.labels import LabelBytes, encode_labels
from otero.model.samples import NAN_BITS, STALE_BITS
from otero.wire.pb import remote_write_v1_pb2 as v1
from otero.wire.remote_write import WriteColumns


@dataclass
class Names:
    """References in order of appearance, as a registry gives them."""

    keys: list[LabelBytes] = field(default_factory=list)

    def resolve(self, keys: list[LabelBytes]) -> NDArray[np.int64]:
        for key in keys:
            if key not in self.keys:
                self.keys.append(key)
        return np.array([self.keys.index(key) for key in keys], np.int64)


Row = tuple[LabelBytes, int, int]
"""Labels, time, bits of the value."""


def rows(columns: WriteColumns, names: Names) -> list[Row]:
    values = np.ascontiguousarray(columns.values).view(np.uint64).tolist()
    return [
        (names.keys[ref], time_ms, value)
        for ref, time_ms, value in zip(columns.refs.tolist(), columns.times_ms.tolist(), values, strict=True)
    ]


def value_bits(value: float) -> int:
    (raw,) = struct.unpack("<Q", struct.pack("<d", value))
    return raw if value == value or raw == int(STALE_BITS) else int(NAN_BITS)


def rows_of_v1(request: v1.WriteRequest) -> list[Row]:
    """The float samples of well-labelled series, by the obvious way."""
    out: list[Row] = []
    for series in request.timeseries:
        try:
            labels = {label.name.decode(): label.value.decode() for label in series.labels if label.value}
            names = [label.name for label in series.labels if label.value or not label.name]
        except UnicodeDecodeError:
            continue
        if len(set(names)) < len(names) or b"" in names or "__name__" not in labels:
            continue
        key = encode_labels(labels)
        out += [(key, sample.timestamp, value_bits(sample.value)) for sample in series.samples]
    return out


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).map(str.encode) | st.sampled_from(
    [
        b"\x12\x07\x10\x80\x80\x80\x80\x80\x01",
        b"\x12\x10\x09\0\0\0\0\0\0\0\0\x10\x80\x80\x80\x80\x80\x01",
        b"\xff",
    ]
)
"""Label texts, some of which look like samples on the wire."""

names = st.sampled_from([b"job", b"instance", b"a", b"le", "über".encode()])


@st.composite
def labels(draw: st.DrawFn) -> list[v1.Label]:
    found = draw(st.dictionaries(names, texts, max_size=4)) | {
        b"__name__": draw(st.sampled_from([b"up", b"m", "größe".encode()]))
    }
    ordered = sorted(found.items())
    kind = draw(st.integers(0, 19))
    if kind == 0:
        ordered = ordered[::-1]
    elif kind == 1:
        ordered = [pair for pair in ordered if pair[0] != b"__name__"]
    elif kind == 2:
        ordered.append(ordered[0])
    elif kind == 3:
        ordered.append((b"", b"x"))
    return [v1.Label(name=name, value=value) for name, value in ordered]


values = (
    st.just(0.0)
    | st.floats()
    | st.sampled_from([0x7FF0000000000002, 0x7FF8000000000001, 0x7FFE000000000001, 0xFFF8000000000000]).map(
        lambda raw: struct.unpack("<d", struct.pack("<Q", raw))[0]
    )
)
times = st.integers(1_700_000_000_000, 1_700_000_100_000) | st.sampled_from(
    [0, 1, -1, 2**40, 2**62, -(2**63)]
)
usual_times = st.integers(1_700_000_000_000, 1_700_000_100_000)


@st.composite
def series(draw: st.DrawFn, sample_times: st.SearchStrategy[int] = times) -> v1.TimeSeries:
    samples = [
        v1.Sample(value=value, timestamp=time_ms)
        for value, time_ms in draw(st.lists(st.tuples(values, sample_times), min_size=0, max_size=4))
    ]
    out = v1.TimeSeries(labels=draw(labels()), samples=samples)
    if draw(st.integers(0, 9)) == 0:
        out.exemplars.append(
            v1.Exemplar(labels=[v1.Label(name=b"trace_id", value=b"1")], value=1, timestamp=5)
        )
    return out


requests = st.builds(
    lambda found, metadata: v1.WriteRequest(timeseries=found, metadata=metadata),
    st.lists(series() | series(usual_times), max_size=8),
    st.lists(
        st.builds(
            lambda kind: v1.MetricMetadata(type=kind, metric_family_name=b"m", help=b"says"),
            st.integers(0, 9),
        ),
        max_size=2,
    ),
)
usual_requests = st.builds(
    lambda found: v1.WriteRequest(timeseries=found),
    st.lists(series(usual_times).filter(lambda s: len(s.samples) > 0), min_size=1, max_size=8),
)
