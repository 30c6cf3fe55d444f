"""Bounds of buckets."""

import math

import numpy as np
import pytest

from otero.query.promql.native.layout import bounds_of, compact, stats_only, to_schema, upper_bound
from tests.query.promql.native.one import buckets_of, many, one


@pytest.mark.parametrize(
    ("schema", "index", "bound"),
    [
        (0, 0, 1.0),
        (0, 1, 2.0),
        (0, -1, 0.5),
        (1, 1, math.sqrt(2)),
        (2, 4, 2.0),
        (8, 256, 2.0),
        (-1, 1, 4.0),
        (-4, 1, 65536.0),
        (-4, -1, 1 / 65536),
        (0, 1024, 1.7976931348623157e308),
        (-4, 64, 1.7976931348623157e308),
        (0, 1025, math.inf),
        (0, -1074, 5e-324),
    ],
)
def test_bounds_of_exponential_buckets(schema: int, index: int, bound: float) -> None:
    assert upper_bound(np.array([schema]), np.array([index]))[0] == pytest.approx(bound, rel=1e-15)


def test_bounds_of_all_kinds() -> None:
    h = many(one(buckets=[1, 1], below=[1, 1]), one(buckets=[1, 1, 1], bounds=[-2, 5]))
    lower, upper = bounds_of(h)
    assert lower.tolist() == [-2, -1, 0.5, 1, -math.inf, -2, 5]
    assert upper.tolist() == [-1, -0.5, 1, 2, -2, 5, math.inf]


def test_a_lower_resolution_adds_up_neighbours() -> None:
    h = many(one(buckets=[1, 2, 4, 8], schema=1, offset=1, below=[1, 1], below_offset=1), one(buckets=[3]))
    out = to_schema(h, np.array([0, 3], np.int8))
    assert out.schema.tolist() == [0, 0]
    assert out.offsets.tolist() == [0, 3, 4]
    assert out.value.tolist() == [2, 3, 12, 3]


def test_empty_buckets_go() -> None:
    h = many(one(buckets=[0, 2, 0], below=[0]), one(buckets=[0]))
    assert compact(h).offsets.tolist() == [0, 1, 1]
    assert buckets_of(compact(h)) == buckets_of(h)
    assert stats_only(h).offsets.tolist() == [0, 0, 0]
