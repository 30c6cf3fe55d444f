"""Protobuf expositions, written with the generated classes and read by the parser."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadInput
from otero.model.histograms import CUSTOM, ResetHint, boxed_rows
from otero.model.labels import decode_labels
from otero.model.metrics import Metadata
from otero.model.samples import NAN_BITS, NO_TIME, bits
from otero.wire.exposition import BodyParser, Protocol, WantedHistograms, parse, parse_series
from otero.wire.pb import exposition_pb2 as pb
from tests.histogram_samples import described, one

Samples = list[tuple[dict[str, str], float]]


def delimited(*families: pb.MetricFamily) -> bytes:
    out = b""
    for family in families:
        data = family.SerializeToString()
        size = len(data)
        while size > 127:
            out += bytes([size & 127 | 128])
            size >>= 7
        out += bytes([size]) + data
    return out


def samples(body: bytes) -> Samples:
    exposition = parse(body, Protocol.PROTOBUF)
    return [(parse_series(k), v) for k, v in zip(exposition.keys, exposition.values.tolist(), strict=True)]


def family(kind: int, *metrics: pb.Metric, name: str = "m", unit: str = "") -> pb.MetricFamily:
    return pb.MetricFamily(name=name, help="says", type=kind, metric=metrics, unit=unit)


def test_counter_with_exemplar_created_time_and_timestamp() -> None:
    metric = pb.Metric(
        label=[pb.LabelPair(name="a", value='x"\\\n')],
        counter=pb.Counter(
            value=3,
            exemplar=pb.Exemplar(
                label=[pb.LabelPair(name="id", value="7")],
                value=0.5,
                timestamp=pb.Time(seconds=5, nanos=6_999_999),
            ),
            created_timestamp=pb.Time(seconds=2),
        ),
        timestamp_ms=1234,
    )
    body = delimited(family(0, metric, name="m_seconds_total", unit="seconds"))
    exposition = parse(body, Protocol.PROTOBUF)
    assert samples(body) == [({"__name__": "m_seconds_total", "a": 'x"\\\n'}, 3.0)]
    assert exposition.times_ms is not None
    assert exposition.times_ms.tolist() == [1234]
    assert exposition.start_ms is not None
    assert exposition.start_ms.tolist() == [2000]
    assert exposition.metadata == (Metadata("m_seconds_total", "counter", "says", "seconds"),)
    (exemplar,) = exposition.exemplars
    assert (exemplar.ref, decode_labels(exemplar.labels), exemplar.value, exemplar.time_ms) == (
        0,
        {"id": "7"},
        0.5,
        5006,
    )


def test_gauge_untyped_and_names_beyond_the_legacy_ones() -> None:
    labelled = pb.Metric(label=[pb.LabelPair(name="my.label", value="ä")], gauge=pb.Plain(value=math.nan))
    body = delimited(
        family(1, labelled, name="my.metric"),
        family(3, pb.Metric(untyped=pb.Plain(value=2)), name="größe"),
        family(1),
    )
    exposition = parse(body, Protocol.PROTOBUF)
    assert [parse_series(key) for key in exposition.keys] == [
        {"__name__": "my.metric", "my.label": "ä"},
        {"__name__": "größe"},
    ]
    assert int(bits(exposition.values)[0]) == int(NAN_BITS)
    assert exposition.times_ms is None
    assert exposition.start_ms is None
    assert [entry.type for entry in exposition.metadata] == ["gauge", "unknown"]


def test_summary_becomes_count_sum_and_quantiles() -> None:
    summary = pb.Summary(sample_count=3, sample_sum=1.5, quantile=[pb.Quantile(quantile=1, value=9)])
    assert samples(delimited(family(2, pb.Metric(summary=summary)))) == [
        ({"__name__": "m_count"}, 3.0),
        ({"__name__": "m_sum"}, 1.5),
        ({"__name__": "m", "quantile": "1.0"}, 9.0),
    ]


@pytest.mark.parametrize("kind", [4, 5])
def test_histogram_gets_the_bucket_of_all_if_it_is_missing(kind: int) -> None:
    buckets = [
        pb.Bucket(cumulative_count=1, upper_bound=1),
        pb.Bucket(cumulative_count_float=1.5, upper_bound=1e7),
    ]
    wanted: Samples = [
        ({"__name__": "m_count"}, 4.0),
        ({"__name__": "m_sum"}, 2.0),
        ({"__name__": "m_bucket", "le": "1.0"}, 1.0),
        ({"__name__": "m_bucket", "le": "1e+07"}, 1.5),
        ({"__name__": "m_bucket", "le": "+Inf"}, 4.0),
    ]
    histogram = pb.Histogram(sample_count=4, sample_sum=2, bucket=buckets)
    assert samples(delimited(family(kind, pb.Metric(histogram=histogram)))) == wanted
    histogram.bucket.append(
        pb.Bucket(cumulative_count=4, upper_bound=math.inf, exemplar=pb.Exemplar(value=2))
    )
    body = delimited(family(kind, pb.Metric(histogram=histogram)))
    assert samples(body) == wanted
    (exemplar,) = parse(body, Protocol.PROTOBUF).exemplars
    assert (exemplar.ref, exemplar.time_ms) == (4, int(NO_TIME))


EXEMPLAR = pb.Exemplar(value=2, timestamp=pb.Time(seconds=3))
NATIVE = pb.Histogram(
    sample_count=10,
    sample_sum=2.5,
    schema=3,
    zero_threshold=0.001,
    zero_count=1,
    positive_span=[pb.BucketSpan(offset=-2, length=2), pb.BucketSpan(offset=3, length=1)],
    positive_delta=[2, -1, 3],
    negative_span=[pb.BucketSpan(offset=1, length=2)],
    negative_delta=[2, -2],
    created_timestamp=pb.Time(seconds=7),
    bucket=[pb.Bucket(cumulative_count=4, upper_bound=1, exemplar=EXEMPLAR), pb.Bucket(cumulative_count=5, upper_bound=2, exemplar=pb.Exemplar(value=1))],
)  # fmt: skip
WANTED = one(
    3, {-2: 2.0, -1: 1.0, 3: 4.0}, below={1: 2.0, 2: 0.0}, zero_count=1.0, zero_threshold=0.001, total=2.5
)
CLASSIC_KEYS = [b"m_count", b"m_sum", b'm_bucket{le="1.0"}', b'm_bucket{le="2.0"}', b'm_bucket{le="+Inf"}']


def test_native_histograms_only_where_they_are_wanted() -> None:
    body = delimited(family(4, pb.Metric(histogram=NATIVE)))
    exposition = parse(body, Protocol.PROTOBUF)
    assert exposition.histograms is None
    assert exposition.keys == CLASSIC_KEYS
    exposition = parse(body, Protocol.PROTOBUF, WantedHistograms(native=True))
    assert exposition.keys == [b"m"]
    assert exposition.histograms is not None
    assert boxed_rows(exposition.values).tolist() == [0]
    assert described(exposition.histograms, 0) == described(WANTED, 0)
    assert exposition.start_ms is not None
    assert exposition.start_ms.tolist() == [7000]
    assert [(e.ref, e.value, e.time_ms) for e in exposition.exemplars] == [(0, 2.0, 3000)]
    exposition = parse(body, Protocol.PROTOBUF, WantedHistograms(native=True, classic=True))
    assert exposition.keys == [b"m", *CLASSIC_KEYS]
    assert [(e.ref, e.value) for e in exposition.exemplars] == [(0, 2.0), (3, 2.0), (4, 1.0)]
    own = pb.Histogram()
    own.CopyFrom(NATIVE)
    own.exemplars.extend([pb.Exemplar(value=5), pb.Exemplar(value=6, timestamp=pb.Time(seconds=1))])
    body = delimited(family(4, pb.Metric(histogram=own)))
    exposition = parse(body, Protocol.PROTOBUF, WantedHistograms(native=True))
    assert [(e.ref, e.value) for e in exposition.exemplars] == [(0, 6.0)]


def test_float_and_gauge_histograms_and_finer_schemas() -> None:
    native = pb.Histogram(
        sample_count_float=3.5,
        sample_sum=2,
        schema=9,
        zero_count_float=0.5,
        positive_span=[pb.BucketSpan(offset=3, length=2)],
        positive_count=[1.5, 1.5],
    )
    body = delimited(family(5, pb.Metric(histogram=native)))
    held = parse(body, Protocol.PROTOBUF, WantedHistograms(native=True)).histograms
    assert held is not None
    wanted = one(8, {2: 3.0}, zero_count=0.5, total=2.0, hint=ResetHint.GAUGE)
    assert described(held, 0) == described(wanted, 0)


def test_classic_histograms_of_a_body_that_has_native_ones_too() -> None:
    classic = pb.Histogram(
        sample_count=4, sample_sum=1, bucket=[pb.Bucket(cumulative_count=1, upper_bound=0.5)]
    )
    body = delimited(
        family(4, pb.Metric(histogram=NATIVE)),
        family(4, pb.Metric(label=[pb.LabelPair(name="a", value="b")], histogram=classic), name="c"),
    )
    exposition = parse(body, Protocol.PROTOBUF, WantedHistograms(native=True, nhcb=True))
    assert exposition.keys == [b"m", b'c{a="b"}']
    held, rows = exposition.histograms, boxed_rows(exposition.values).tolist()
    assert held is not None
    assert described(held, rows[0]) == described(WANTED, 0)
    assert described(held, rows[1]) == described(one(CUSTOM, {0: 1.0, 1: 3.0}, bounds=(0.5,), total=1.0), 0)
    exposition = parse(body, Protocol.PROTOBUF, WantedHistograms(nhcb=True))
    assert exposition.keys == [b"m", b'c{a="b"}'], "without native ones their classic form is converted"


def test_native_histograms_that_contradict_themselves_are_refused() -> None:
    wrong = pb.Histogram()
    wrong.CopyFrom(NATIVE)
    wrong.sample_count = 11
    body = delimited(family(4, pb.Metric(histogram=wrong)))
    with pytest.raises(
        BadInput, match="byte 0: m: 10 observations found in buckets, but the Count field is 11"
    ):
        parse(body, Protocol.PROTOBUF, WantedHistograms(native=True))
    assert len(parse(body, Protocol.PROTOBUF).keys) == 5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x05ab", "byte 0: expected a message of 5 bytes, found 2"),
        (b"\xff\xff\xff\xff\xff\x01", "byte 0: expected the length of a message"),
        (b"\x80", "byte 0: expected the length of a message"),
        (b"\x02\xff\xff", "byte 0: expected a MetricFamily message"),
        (delimited(family(1)) + delimited(family(6)), r"byte 12: unknown metric type 6 of 'm'"),
        (delimited(family(1, name="")), "byte 0: the family has no name"),
        (delimited(family(1, unit="bytes")), "byte 0: unit 'bytes' is not a suffix of metric 'm'"),
        (b"\x03\x0a\x01\xff", "byte 0: expected a MetricFamily message"),
    ],
)
def test_faults_of_protobuf_bodies(body: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(body, Protocol.PROTOBUF)


def test_an_unchanged_protobuf_target_keeps_its_list_of_keys() -> None:
    parser = BodyParser()
    first, same = parser.parse(delimited(family(1, pb.Metric(gauge=pb.Plain(value=1)))), Protocol.PROTOBUF)
    assert not same
    second, same = parser.parse(delimited(family(1, pb.Metric(gauge=pb.Plain(value=2)))), Protocol.PROTOBUF)
    assert same
    assert second.keys is first.keys
    assert second.values.tolist() == [2.0]


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(body: bytes) -> None:
    with contextlib.suppress(BadInput):
        parse(body, Protocol.PROTOBUF)
