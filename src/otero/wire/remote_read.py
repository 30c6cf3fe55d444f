"""Remote read, `prometheus.ReadRequest` and `ReadResponse`, both ways. Answers are samples, not streamed chunks.

The result of one query has the fields of a write request, so series are encoded and decoded as those are.

Protocol: https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from otero.errors import BadInput
from otero.model.histograms import Histograms, boxed_rows
from otero.model.labels import LabelBytes, encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import ABSENT_BITS, NO_TIME, SampleBlock, bits
from otero.wire.pb import remote_read_pb2 as pb
from otero.wire.remote_write_encode import Run, encodable, encode_v1, encode_v1_extras

_OPS = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.REGEX, MatchOp.NOT_REGEX)
_MAX_QUERIES = 1000


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """Series that satisfy all matchers, from `start_ms` to `end_ms`, both included."""

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int


def decode_request(body: bytes) -> list[ReadQuery]:
    """The queries of a request. Raises BadInput."""
    try:
        request = pb.ReadRequest.FromString(body)
        if len(request.queries) > _MAX_QUERIES:
            raise BadInput(f"a request may hold {_MAX_QUERIES} queries, not {len(request.queries)}")
        return [
            ReadQuery(
                tuple(Matcher(m.name.decode(), _OPS[m.type], m.value.decode()) for m in query.matchers),
                query.start_timestamp_ms,
                query.end_timestamp_ms,
            )
            for query in request.queries
        ]
    except (DecodeError, UnicodeDecodeError, IndexError) as error:
        raise BadInput(f"the body is not a prometheus.ReadRequest: {error}") from None


def encode_request(query: ReadQuery) -> bytes:
    """A request with one query, which accepts samples."""
    matchers = [
        pb.LabelMatcher(type=_OPS.index(m.op), name=m.name.encode(), value=m.value.encode())
        for m in query.matchers
    ]
    return pb.ReadRequest(
        queries=[
            pb.Query(start_timestamp_ms=query.start_ms, end_timestamp_ms=query.end_ms, matchers=matchers)
        ],
        accepted_response_types=[0],
    ).SerializeToString()


def encode_response(results: Sequence[bytes]) -> bytes:
    """A response of results as `encode_result` makes them."""
    return pb.ReadResponse(results=results).SerializeToString()


def decode_response(body: bytes) -> list[bytes]:
    """The results of a response, each a write request's bytes. Raises BadInput."""
    try:
        return list(pb.ReadResponse.FromString(body).results)
    except DecodeError as error:
        raise BadInput(f"the answer is not a prometheus.ReadResponse: {error}") from None


def encode_result(
    blocks: Sequence[SampleBlock], start_ms: int, end_ms: int, external_labels: dict[str, str]
) -> bytes:
    """The samples of blocks in a time range, staleness markers included, series in order of their labels.

    External labels that a series does not have are added to it.
    """
    found: list[tuple[LabelBytes, np.ndarray, np.ndarray, Histograms | None]] = []
    for block in blocks:
        raw = bits(np.ascontiguousarray(block.values))
        for column, labels in enumerate(block.labels.rows()):
            times = block.times_ms[:, block.group[column]]
            there = (times >= start_ms) & (times <= end_ms) & (times != NO_TIME)
            there &= (raw[:, column] != ABSENT_BITS) & encodable(times)
            if there.any():
                key = encode_labels({**external_labels, **labels})
                found.append((key, times[there], block.values[there, column], block.histograms))
    found.sort(key=lambda series: series[0].split(b"\xff"))
    parts: list[bytes] = []
    for key, times, values, histograms in found:
        native = boxed_rows(values) if histograms is not None else None
        if native is None or not (native >= 0).any():
            parts.append(encode_v1([Run(key, 0, len(times))], times, values))
            continue
        floats = native < 0
        if floats.any():
            parts.append(encode_v1([Run(key, 0, int(floats.sum()))], times[floats], values[floats]))
        if histograms is not None:
            rows = [
                (key, int(times[at]), int(native[at]), histograms) for at in np.flatnonzero(~floats).tolist()
            ]
            parts.append(encode_v1_extras(rows, ()))
    return b"".join(parts)
