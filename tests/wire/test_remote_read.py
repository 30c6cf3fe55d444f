"""Remote read: requests and results survive the wire."""

import numpy as np
import pytest

from otero.errors import BadInput
from otero.model.labels import LabelTable, decode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import ABSENT, NO_TIME, STALE, SampleBlock
from otero.wire.remote_read import (
    ReadQuery,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    encode_result,
)
from otero.wire.remote_write_v1 import decode_slowly
from tests.wire.remote_write_requests import Names, rows


def test_requests() -> None:
    query = ReadQuery((Matcher("a", MatchOp.REGEX, "x|y"), Matcher("b", MatchOp.NOT_EQUAL, "")), 5, 9)
    assert decode_request(encode_request(query)) == [query]
    with pytest.raises(BadInput, match="ReadRequest"):
        decode_request(b"\xff\xff")


def test_results_hold_the_samples_of_the_range_in_order_of_labels() -> None:
    labels = LabelTable.of([{"__name__": "m", "n": "2"}, {"__name__": "m", "n": "1", "cluster": "own"}])
    block = SampleBlock(
        labels,
        np.array([[10], [20], [30], [NO_TIME]]),
        np.zeros(2, np.intp),
        np.array([[1.0, 5.0], [ABSENT, 6.0], [STALE, 7.0], [ABSENT, ABSENT]]),
    )
    [result] = decode_response(encode_response([encode_result([block], 10, 30, {"cluster": "ours"})]))
    names = Names()
    found = rows(decode_slowly(result, names.resolve), names)
    assert [(decode_labels(key)["n"], decode_labels(key)["cluster"], time_ms) for key, time_ms, _ in found] == [
        ("2", "ours", 10), ("2", "ours", 30), ("1", "own", 10), ("1", "own", 20), ("1", "own", 30),
    ]  # fmt: skip
