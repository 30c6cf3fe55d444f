"""Remote write 2.0: requests made with the generated classes, columns compared with what they say."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadInput
from otero.model.labels import encode_labels
from otero.model.metrics import Metadata
from otero.wire import remote_write_v2
from otero.wire.pb import remote_write_v1_pb2 as v1
from otero.wire.pb import remote_write_v2_pb2 as pb
from otero.wire.remote_write_v2 import WriteV2Decoder
from tests.wire.remote_write_requests import Names, requests, rows, rows_of_v1, usual_requests

NOW_MS = 1_700_000_000_000


def decoder() -> tuple[WriteV2Decoder, Names]:
    names = Names()
    return WriteV2Decoder(names.resolve), names


def as_v2(request: v1.WriteRequest) -> pb.Request:
    """The same series, with symbols numbered in order of appearance as senders do."""
    symbols: dict[bytes, int] = {b"": 0}

    def refs(labels: list[v1.Label]) -> list[int]:
        return [
            symbols.setdefault(text, len(symbols)) for label in labels for text in (label.name, label.value)
        ]

    found = [
        pb.TimeSeries(
            labels_refs=refs(list(series.labels)),
            samples=[pb.Sample(value=s.value, timestamp=s.timestamp) for s in series.samples],
            metadata=pb.Metadata(type=1, help_ref=symbols.setdefault(b"says", len(symbols))),
        )
        for series in request.timeseries
    ]
    return pb.Request(symbols=list(symbols), timeseries=found)


@given(st.lists(requests | usual_requests, min_size=1, max_size=4))
def test_requests_decode_to_what_they_say(found: list[v1.WriteRequest]) -> None:
    decode, names = decoder()
    for request in found:
        for _ in range(2):
            columns = decode.decode(as_v2(request).SerializeToString())
            assert sorted(rows(columns, names)) == sorted(rows_of_v1(request))


@given(usual_requests, st.data())
def test_mutated_bytes_never_crash(request_: v1.WriteRequest, data: st.DataObject) -> None:
    decode, _ = decoder()
    body = bytearray(as_v2(request_).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadInput):
        decode.decode(bytes(body))


SYMBOLS = [b"", b"__name__", b"http_total", b"trace_id", b"t", b"says", b"s"]


def test_start_timestamps_exemplars_and_metadata() -> None:
    decode, names = decoder()
    series = pb.TimeSeries(
        labels_refs=[1, 2],
        samples=[
            pb.Sample(value=1, timestamp=NOW_MS, start_timestamp=NOW_MS - 5),
            pb.Sample(value=2, timestamp=NOW_MS + 1),
        ],
        exemplars=[pb.Exemplar(labels_refs=[3, 4], value=7, timestamp=NOW_MS)],
        metadata=pb.Metadata(type=1, help_ref=5, unit_ref=6),
        created_timestamp=NOW_MS - 9,
    )
    columns = decode.decode(pb.Request(symbols=SYMBOLS, timeseries=[series]).SerializeToString())
    assert names.keys == [encode_labels({"__name__": "http_total"})]
    assert columns.start_ms is not None
    assert columns.start_ms.tolist() == [NOW_MS - 5, NOW_MS - 9]
    assert columns.metadata == (Metadata("http_total", "counter", "says", "s"),)
    [exemplar] = columns.exemplars
    assert (exemplar.ref, exemplar.labels) == (0, encode_labels({"trace_id": "t"}))


def test_histograms_with_custom_buckets() -> None:
    decode, _ = decoder()
    series = pb.TimeSeries(
        labels_refs=[1, 2],
        histograms=[
            pb.Histogram(
                count_float=3.5, sum=9, schema=-53, custom_values=[0.1, 1], timestamp=NOW_MS, start_timestamp=7,
                positive_spans=[pb.BucketSpan(offset=0, length=3)], positive_counts=[1, 0.5, 2],
            )
        ],
    )  # fmt: skip
    columns = decode.decode(pb.Request(symbols=SYMBOLS, timeseries=[series]).SerializeToString())
    histograms = columns.histograms
    assert histograms is not None
    assert histograms.custom_bounds == ((0.1, 1.0),)
    assert histograms.bounds.tolist() == [0]
    assert histograms.value.tolist() == [1, 0.5, 2]
    assert (histograms.bucket - (1 << 33)).tolist() == [0, 1, 2]
    assert columns.start_ms is not None
    assert columns.start_ms.tolist() == [7]


def test_a_bad_series_is_refused_alone() -> None:
    good = pb.TimeSeries(labels_refs=[1, 2], samples=[pb.Sample(value=1, timestamp=NOW_MS)])
    for bad, text in (
        ([1, 2, 3], "odd"),
        ([1, 99], "beyond the 7 symbols"),
        ([3, 4], "no __name__"),
        ([1, 2, 1, 2], "duplicated label"),
        ([1, 2, 0, 4], "has no name"),
    ):
        decode, _ = decoder()
        series = pb.TimeSeries(labels_refs=bad, samples=[pb.Sample(value=2, timestamp=NOW_MS)])
        request = pb.Request(symbols=SYMBOLS, timeseries=[series, good])
        columns = decode.decode(request.SerializeToString())
        assert columns.values.tolist() == [1]
        assert columns.refusals.counts == {"invalid_labels": 1}
        assert text in columns.refusals.texts["invalid_labels"]


def test_the_first_symbol_is_empty() -> None:
    decode, _ = decoder()
    with pytest.raises(BadInput, match="first symbol"):
        decode.decode(pb.Request(symbols=[b"a"]).SerializeToString())
    assert np.array_equal(decode.decode(b"").refs, [])


def test_symbols_that_repeat_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_write_v2, "_MAX_LABEL_BYTES", 100_000)
    decode, _ = decoder()
    symbols = [b"", b"__name__", b"m", b"x" * 1000]
    few = pb.TimeSeries(labels_refs=[1, 2, 3, 3] * 100, samples=[pb.Sample(value=1, timestamp=NOW_MS)])
    many = pb.TimeSeries(labels_refs=[1, 2, 2, 3], samples=[pb.Sample(value=1, timestamp=NOW_MS)])
    exemplar = pb.Exemplar(labels_refs=[2, 3], value=1, timestamp=NOW_MS)
    told = pb.TimeSeries(labels_refs=[1, 2], exemplars=[exemplar] * 200)
    for series, stored in (([few], 0), ([many] * 200, 99), ([told], 0)):
        columns = decode.decode(pb.Request(symbols=symbols, timeseries=series).SerializeToString())
        assert len(columns) == stored
        assert len(columns.exemplars) < 100
        assert any("written out" in text for text in columns.refusals.texts.values())
