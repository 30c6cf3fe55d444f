"""Deltas that are added up: the sums of exponential histograms, and the bounds of what is kept."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.ingest.receivers.otlp_metrics import deltas
from otero.ingest.receivers.otlp_metrics.deltas import MAX_BUCKETS, OUT_OF_ORDER, TOO_MANY, Streams, Sum

Point = pb.ExponentialHistogramDataPoint


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    out: list[Point] = []
    for at in range(draw(st.integers(1, 6))):
        sides = [
            {"offset": draw(st.integers(-300, 300)), "bucket_counts": draw(st.lists(st.integers(0, 3), max_size=9))}
            for _ in range(2)
        ]  # fmt: skip
        zero = draw(st.integers(0, 3))
        count = zero + sum(sum(side["bucket_counts"]) for side in sides)
        out.append(
            Point(
                start_time_unix_nano=10 * at + 10,
                time_unix_nano=10 * at + 20,
                scale=draw(st.integers(-2, 10)),
                zero_count=zero,
                count=count,
                sum=float(count),
                positive=sides[0],
                negative=sides[1],
            )
        )
    return out


def at_scale(point: Point, scale: int) -> Counter[tuple[str, int]]:
    out: Counter[tuple[str, int]] = Counter()
    for sign, side in (("+", point.positive), ("-", point.negative)):
        for at, count in enumerate(side.bucket_counts):
            if count:
                out[sign, math.floor((side.offset + at) / 2 ** (point.scale - scale))] += count
    return out


@given(points())
def test_exponential_histograms_add_up(stream: list[Point]) -> None:
    streams = Streams()
    given_points = [Point.FromString(point.SerializeToString()) for point in stream]
    for point in stream:
        changes = streams.begin(0.0)
        assert changes.add_exponential(b"s", point) is None
        changes.commit()
    total = stream[-1]
    wanted: Counter[tuple[str, int]] = Counter()
    for point in given_points:
        wanted.update(at_scale(point, total.scale))
    assert at_scale(total, total.scale) == wanted
    assert total.scale <= min(point.scale for point in given_points)
    assert total.count == sum(point.count for point in given_points)
    assert total.sum == sum(point.sum for point in given_points)
    assert total.zero_count == sum(point.zero_count for point in given_points)
    assert total.start_time_unix_nano == 10
    if len(stream) > 1:
        assert len(total.positive.bucket_counts) <= MAX_BUCKETS
        assert len(total.negative.bucket_counts) <= MAX_BUCKETS


def test_zero_widens_over_the_buckets_that_begin_in_it() -> None:
    changes = Streams().begin(0.0)
    # At scale 0 the buckets are (1, 2], (2, 4], (4, 8].
    first = Point(time_unix_nano=1, count=3, positive={"offset": 0, "bucket_counts": [1, 1, 1]})
    second = Point(time_unix_nano=2, count=5, zero_count=5, zero_threshold=3.0)
    assert changes.add_exponential(b"s", first) is None
    assert changes.add_exponential(b"s", second) is None
    assert second.zero_threshold == 4.0
    assert second.zero_count == 7
    assert (second.positive.offset, list(second.positive.bucket_counts)) == (2, [1])
    assert second.count == 8


def test_a_sum_that_is_missing_once_is_gone() -> None:
    changes = Streams().begin(0.0)
    changes.add_exponential(b"s", Point(time_unix_nano=1, count=1, zero_count=1))
    second = Point(time_unix_nano=2, count=1, zero_count=1, sum=1.0)
    changes.add_exponential(b"s", second)
    assert not second.HasField("sum")


def test_counts_over_64_bits_are_an_error() -> None:
    changes = Streams().begin(0.0)
    huge = (1 << 64) - 1
    changes.add_histogram(b"h", pb.HistogramDataPoint(time_unix_nano=1, count=huge))
    with pytest.raises(ValueError, match=r"range|bounds|[Vv]alue"):
        changes.add_histogram(b"h", pb.HistogramDataPoint(time_unix_nano=2, count=1))


def test_changes_count_when_they_are_committed() -> None:
    streams = Streams()
    changes = streams.begin(0.0)
    assert changes.add_number(b"a", 1, 2, 5.0) == Sum(1, 2, 5.0)
    assert len(streams) == 0
    changes.commit()
    assert len(streams) == 1
    lost = streams.begin(1.0)
    assert lost.add_number(b"a", 2, 3, 1.0) == Sum(1, 3, 6.0)
    assert streams.begin(2.0).add_number(b"a", 2, 3, 1.0) == Sum(1, 3, 6.0)
    assert streams.begin(2.0).add_number(b"a", 2, 2, 1.0) == OUT_OF_ORDER


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "MAX_STREAMS", 2)
    streams = Streams()
    changes = streams.begin(0.0)
    results = [changes.add_number(name, 1, 2, 1.0) for name in (b"a", b"b", b"c", b"a")]
    assert results[2] == TOO_MANY
    changes.commit()
    assert len(streams) == 2
    later = streams.begin(301.0)  # what is idle makes room
    assert len(streams) == 0
    assert later.add_number(b"c", 1, 2, 1.0) == Sum(1, 2, 1.0)
