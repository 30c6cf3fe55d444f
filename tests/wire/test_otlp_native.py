"""OTLP's histograms as native histograms, against a plain reading of the specifications."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.model.histograms import CUSTOM, Histograms, boxed_rows, index_of
from otero.model.samples import STALE_BITS, bits
from otero.wire.otlp_native import read_custom, read_exponential

COUNTS = st.lists(st.integers(0, 4), max_size=12)


def buckets(histograms: Histograms, row: int) -> dict[tuple[int, int], float]:
    """Counts by sign and index of one row; the order of the buckets is checked on the way."""
    part = slice(int(histograms.offsets[row]), int(histograms.offsets[row + 1]))
    numbers = histograms.bucket[part]
    assert (numbers[1:] > numbers[:-1]).all()
    return {
        (1 if number > 0 else -1, int(index)): value
        for number, index, value in zip(
            numbers.tolist(), index_of(numbers), histograms.value[part].tolist(), strict=True
        )
    }


@given(st.lists(st.tuples(st.integers(-4, 30), st.integers(-40, 40), COUNTS, st.integers(-40, 40), COUNTS)))
def test_every_bucket_finds_its_place(rows: list[tuple[int, int, list[int], int, list[int]]]) -> None:
    points = [
        pb.ExponentialHistogramDataPoint(
            time_unix_nano=1,
            scale=scale,
            count=2 + sum(above) + sum(below),
            zero_count=2,
            sum=1.5,
            positive={"offset": high, "bucket_counts": above},
            negative={"offset": low, "bucket_counts": below},
        )
        for scale, high, above, low, below in rows
    ]
    columns, histograms = read_exponential(points)
    assert not columns.faults
    assert boxed_rows(columns.values).tolist() == list(range(len(rows)))
    if histograms is None:
        assert not rows
        return
    for row, (scale, high, above, low, below) in enumerate(rows):
        schema = min(scale, 8)
        wanted: Counter[tuple[int, int]] = Counter()
        for sign, offset, counts in ((1, high, above), (-1, low, below)):
            for at, count in enumerate(counts):
                # OTLP's bucket ends at base ** (at + 1); the native one with the smaller base that has that end in it
                end = (offset + at + 1) / 2 ** (scale - schema)
                wanted[sign, math.ceil(end)] += count
        assert buckets(histograms, row) == {key: float(count) for key, count in wanted.items() if count}
        assert histograms.schema[row] == schema
        assert histograms.count[row] == 2 + sum(above) + sum(below)
        assert histograms.zero_threshold[row] == 1e-128


def exponential(**fields: object) -> pb.ExponentialHistogramDataPoint:
    return pb.ExponentialHistogramDataPoint(time_unix_nano=1, **fields)


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        (exponential(scale=-5), "the scale is below -4"),
        (exponential(count=3), "the buckets do not add up to the count"),
        (exponential(count=1, positive={"bucket_counts": [1, 1]}), "the buckets do not add up to the count"),
        (exponential(count=1, sum=math.nan, zero_count=2), "the buckets do not add up to the count"),
        (exponential(zero_threshold=math.nan), "the zero threshold is no finite number of 0 or more"),
        (exponential(zero_threshold=-1.0), "the zero threshold is no finite number of 0 or more"),
        (None, "not a valid message"),
    ],
)
def test_what_is_no_histogram_is_refused_alone(
    point: pb.ExponentialHistogramDataPoint | None, fault: str
) -> None:
    good = exponential(count=1, zero_count=1, zero_threshold=0.5)
    columns, histograms = read_exponential([point, good])
    assert {one.text: count for one, count in columns.faults.items()} == {fault: 1}
    assert histograms is not None
    assert histograms.zero_threshold.tolist() == [0.5]
    assert len(columns.keys) == 1


def test_observations_of_nan_are_in_no_bucket() -> None:
    columns, histograms = read_exponential([exponential(count=3, sum=math.nan, zero_count=2)])
    assert not columns.faults
    assert histograms is not None
    assert histograms.count.tolist() == [3.0]


def test_extreme_scales_and_offsets() -> None:
    side = {"offset": -(1 << 31), "bucket_counts": [1]}
    columns, histograms = read_exponential([exponential(scale=(1 << 31) - 1, count=1, positive=side)])
    assert not columns.faults
    assert histograms is not None
    assert buckets(histograms, 0) == {(1, 0): 1.0}


def test_the_end_of_a_series_has_no_histogram() -> None:
    columns, histograms = read_exponential([exponential(flags=1), exponential(count=1, zero_count=1)])
    assert bits(columns.values)[0] == STALE_BITS
    assert boxed_rows(columns.values).tolist() == [-1, 0]
    assert histograms is not None
    assert len(histograms) == 1


def explicit(**fields: object) -> pb.HistogramDataPoint:
    return pb.HistogramDataPoint(time_unix_nano=1, **fields)


def test_explicit_buckets_as_custom_bounds() -> None:
    columns, histograms = read_custom(
        [
            explicit(count=6, sum=9.5, bucket_counts=[1, 0, 5], explicit_bounds=[0.5, 2.0]),
            explicit(count=2, sum=3.0, bucket_counts=[0, 0, 2], explicit_bounds=[0.5, 2.0]),
            explicit(count=4),
            explicit(flags=1),
        ]
    )
    assert histograms is not None
    assert histograms.schema.tolist() == [CUSTOM] * 3
    assert histograms.custom_bounds == ((0.5, 2.0), ())
    assert histograms.bounds.tolist() == [0, 0, 1]
    assert buckets(histograms, 0) == {(1, 0): 1.0, (1, 2): 5.0}
    assert buckets(histograms, 1) == {(1, 2): 2.0}
    assert buckets(histograms, 2) == {(1, 0): 4.0}
    assert boxed_rows(columns.values).tolist() == [0, 1, 2, -1]
    assert columns.keys[0] == columns.keys[1] == b""


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        (explicit(bucket_counts=[1], explicit_bounds=[1.0]), "the number of buckets does not fit"),
        (explicit(bucket_counts=[0, 0, 0], explicit_bounds=[2.0, 2.0]), "not strictly ascending"),
        (explicit(bucket_counts=[0, 0], explicit_bounds=[math.nan]), "not strictly ascending"),
        (explicit(bucket_counts=[0, 0], explicit_bounds=[math.inf]), "not strictly ascending"),
        (explicit(count=3, bucket_counts=[1, 1], explicit_bounds=[1.0]), "do not add up to the count"),
    ],
)
def test_what_are_no_custom_buckets_is_refused_alone(point: pb.HistogramDataPoint, fault: str) -> None:
    columns, histograms = read_custom([point])
    (told,) = columns.faults
    assert fault in told.text
    assert histograms is None
