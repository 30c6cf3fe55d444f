"""Remote write 1.0: the decoder against protobuf's view of the same bytes."""

import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadInput
from otero.model.labels import encode_labels
from otero.model.metrics import Metadata
from otero.model.samples import NAN_BITS, STALE_BITS
from otero.wire import remote_write_v1
from otero.wire.pb import remote_write_v1_pb2 as pb
from otero.wire.remote_write_v1 import WriteV1Decoder, decode_slowly
from tests.wire.remote_write_requests import Names, requests, rows, rows_of_v1, usual_requests

NOW_MS = 1_700_000_000_000


def decoder() -> tuple[WriteV1Decoder, Names]:
    names = Names()
    return WriteV1Decoder(names.resolve), names


def one(name: str, *values: float, time_ms: int = NOW_MS, **labels: str) -> pb.TimeSeries:
    found = {"__name__": name, **labels}
    return pb.TimeSeries(
        labels=[pb.Label(name=k.encode(), value=v.encode()) for k, v in sorted(found.items())],
        samples=[pb.Sample(value=value, timestamp=time_ms + at) for at, value in enumerate(values)],
    )


@given(st.lists(requests | usual_requests, min_size=1, max_size=4))
def test_requests_decode_to_what_protobuf_sees(found: list[pb.WriteRequest]) -> None:
    decode, names = decoder()
    for request in found:
        for _ in range(3):
            columns = decode.decode(request.SerializeToString())
            assert sorted(rows(columns, names)) == sorted(rows_of_v1(request))


@given(usual_requests)
def test_the_fast_path_keeps_the_order_of_the_body(request_: pb.WriteRequest) -> None:
    decode, names = decoder()
    data = request_.SerializeToString()
    slow = decode_slowly(data, names.resolve)
    fast = decode.decode(data)
    assert rows(fast, names) == rows(slow, names)
    assert fast.metadata == slow.metadata
    assert fast.refusals == slow.refusals


@given(usual_requests, st.data())
def test_bodies_of_a_known_layout_are_read_as_the_others_are(
    request_: pb.WriteRequest, data: st.DataObject
) -> None:
    decode, names = decoder()
    for _ in range(4):
        for series in request_.timeseries:
            for sample in series.samples:
                sample.value = data.draw(st.floats(min_value=1))
                sample.timestamp += data.draw(st.integers(0, 2**38))
        assert sorted(rows(decode.decode(request_.SerializeToString()), names)) == sorted(
            rows_of_v1(request_)
        )


@given(st.lists(usual_requests | requests, min_size=2, max_size=2), st.data())
def test_mutated_bytes_never_crash_and_never_mean_something_else(
    found: list[pb.WriteRequest], data: st.DataObject
) -> None:
    decode, names = decoder()
    first = found[0].SerializeToString()
    for _ in range(2):
        decode.decode(first)
    body = bytearray(first)
    for _ in range(data.draw(st.integers(1, 3))):
        if not body:
            break
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                body[at] = data.draw(st.integers(0, 255))
            case 1:
                del body[at : at + data.draw(st.integers(1, 20))]
            case 2:
                body[at:at] = found[1].SerializeToString()[: data.draw(st.integers(0, 40))]
            case _:
                body[at:at] = bytes(body[at : at + data.draw(st.integers(1, 40))])
    mutated = bytes(body)
    wanted = None
    with contextlib.suppress(Exception):
        wanted = pb.WriteRequest.FromString(mutated)
    if wanted is None:
        with pytest.raises(BadInput):
            decode.decode(mutated)
    else:
        assert sorted(rows(decode.decode(mutated), names)) == sorted(rows_of_v1(wanted))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read(data: bytes) -> None:
    decode, _ = decoder()
    with contextlib.suppress(BadInput):
        decode.decode(data)


def test_usual_requests_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the slow path was taken")

    monkeypatch.setattr(remote_write_v1, "decode_slowly", never)
    decode, names = decoder()
    request = pb.WriteRequest(
        timeseries=[
            one("up", 1, job="a"),
            one("up", 0, job="b"),
            one("up", 2, 3, 4),
            one("up", 0, 5, job="c"),
        ]
    )
    assert sorted(rows(decode.decode(request.SerializeToString()), names)) == sorted(rows_of_v1(request))


def test_exemplars_histograms_and_metadata_beside_usual_series() -> None:
    decode, names = decoder()
    exemplar = one("up", job="a")
    exemplar.exemplars.append(
        pb.Exemplar(labels=[pb.Label(name=b"trace_id", value=b"t")], value=2.5, timestamp=NOW_MS)
    )
    native = one("native")
    native.histograms.append(
        pb.Histogram(
            count_int=6, sum=18.4, schema=1, zero_threshold=0.5, zero_count_int=1, timestamp=NOW_MS,
            positive_spans=[pb.BucketSpan(offset=-1, length=2), pb.BucketSpan(offset=1, length=1)],
            positive_deltas=[1, 1, -1], negative_spans=[pb.BucketSpan(offset=2, length=1)], negative_deltas=[1],
        )
    )  # fmt: skip
    request = pb.WriteRequest(
        timeseries=[one("up", 1, job="a"), exemplar, one("up", 2, job="b"), native],
        metadata=[pb.MetricMetadata(type=1, metric_family_name=b"up", help=b"says", unit=b"s")],
    )
    columns = decode.decode(request.SerializeToString())
    assert columns.metadata == (Metadata("up", "counter", "says", "s"),)
    assert [(e.labels, e.value, e.time_ms) for e in columns.exemplars] == [
        (encode_labels({"trace_id": "t"}), 2.5, NOW_MS)
    ]
    assert columns.exemplars[0].ref == columns.refs[0]
    assert [names.keys[ref] for ref in columns.refs] == [
        encode_labels(labels)
        for labels in ({"__name__": "up", "job": "a"}, {"__name__": "up", "job": "b"}, {"__name__": "native"})
    ]
    histograms = columns.histograms
    assert histograms is not None
    assert histograms.count.tolist() == [6]
    origin = 1 << 33
    assert histograms.bucket.tolist() == [-(origin + 2), origin - 1, origin, origin + 2]
    assert histograms.value.tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("histogram", "text"),
    [
        (pb.Histogram(count_int=1, sum=1), "observations found in buckets"),
        (pb.Histogram(schema=99), "unknown schema"),
        (pb.Histogram(positive_spans=[pb.BucketSpan(offset=0, length=4_000_000_000)]), "spans need"),
        (
            pb.Histogram(count_int=0, positive_spans=[pb.BucketSpan(offset=0, length=1)], positive_deltas=[-1]),
            "negative",
        ),
        (pb.Histogram(schema=-53, custom_values=[2, 1]), "strictly increasing"),
        (
            pb.Histogram(
                schema=-53, count_int=1, custom_values=[1], positive_deltas=[1],
                positive_spans=[pb.BucketSpan(offset=2, length=1)],
            ),
            "too few",
        ),
    ],
)  # fmt: skip
def test_a_faulty_histogram_is_refused_alone(histogram: pb.Histogram, text: str) -> None:
    series = one("native", 7)
    series.histograms.append(histogram)
    decode, _ = decoder()
    columns = decode.decode(pb.WriteRequest(timeseries=[series]).SerializeToString())
    assert columns.values.tolist() == [7]
    assert columns.refusals.counts == {"invalid_histogram": 1}
    assert text in columns.refusals.texts["invalid_histogram"]


def test_the_end_of_a_histogram_is_the_end_of_its_series() -> None:
    series = one("native")
    series.histograms.append(pb.Histogram(sum=np.array([STALE_BITS]).view(np.float64)[0], timestamp=NOW_MS))
    decode, _ = decoder()
    columns = decode.decode(pb.WriteRequest(timeseries=[series]).SerializeToString())
    assert columns.values.view(np.uint64).tolist() == [int(STALE_BITS)]
    assert columns.histograms is None


def test_foreign_nan_payloads_become_the_ordinary_nan() -> None:
    raw = np.array([0x7FFE_0000_0000_0000, 0xFFF8_0000_0000_0001, int(STALE_BITS)], np.uint64)
    request = pb.WriteRequest(timeseries=[one("m", *raw.view(np.float64).tolist())])
    decode, _ = decoder()
    values = decode.decode(request.SerializeToString()).values
    assert values.view(np.uint64).tolist() == [int(NAN_BITS), int(NAN_BITS), int(STALE_BITS)]


def test_memory_of_small_bodies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [pb.WriteRequest(timeseries=[one(f"m{n}", 1)]).SerializeToString() for n in range(1000)]
    decode, _ = decoder()
    held: list[int] = []
    for bound in (32 << 20, 100_000):
        monkeypatch.setattr(remote_write_v1, "_MAX_LAYOUT_BYTES", bound)
        decode, _ = decoder()
        tracemalloc.start()
        for body in bodies:
            assert len(decode.decode(body)) == len(decode.decode(body)) == 1
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert held[1] < held[0] - 500_000
