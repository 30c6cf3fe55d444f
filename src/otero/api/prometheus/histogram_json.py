"""Native histograms as Prometheus' JSON writes them.

`{"count":"3","sum":"7.5","buckets":[[0,"1","2","3"]]}`: of each bucket that is not empty a number that says which of its
bounds belong to it, the bounds, the count. 0: the upper one; 1: the lower one; 2: neither; 3: both.
"""

import numpy as np
from numpy.typing import NDArray

from otero.api.prometheus.numbers import value_texts
from otero.model.histograms import CUSTOM, Histograms
from otero.query.promql.native.layout import bounds_of

_UPPER, _LOWER, _BOTH = 0, 1, 3


def histogram_texts(histograms: Histograms) -> list[bytes]:
    """The JSON object of each row."""
    h = histograms
    pieces = _bucket_texts(h)
    out: list[bytes] = []
    ends = np.searchsorted(pieces.row, np.arange(len(h)), side="right").tolist()
    at = 0
    for end, count, total in zip(ends, value_texts(h.count), value_texts(h.sum), strict=True):
        inside = b",".join(pieces.text[at:end])
        buckets = b',"buckets":[%b]' % inside if inside else b""
        out.append(b'{"count":"%b","sum":"%b"%b}' % (count, total, buckets))
        at = end
    return out


class _Pieces:
    """The text of each bucket that is shown, in order, and the row that it belongs to."""

    def __init__(self, row: NDArray[np.int64], text: list[bytes]) -> None:
        self.row = row
        self.text = text


def _bucket_texts(h: Histograms) -> _Pieces:
    rows = h.rows()
    threshold = h.zero_threshold[rows]
    lower, upper = bounds_of(h)
    # A bucket that the zero bucket reaches into is shown for the rest of its width.
    lower = np.where((lower > 0) & (lower < threshold), threshold, lower)
    upper = np.where((upper < 0) & (upper > -threshold), -threshold, upper)
    custom = h.schema[rows] == CUSTOM
    has_lower = np.where(custom, np.isneginf(lower), lower < 0)
    has_upper = custom | (upper > 0)
    code = np.where(has_lower, np.where(has_upper, _BOTH, _LOWER), np.where(has_upper, _UPPER, 2))

    zero = np.flatnonzero(h.zero_count > 0)
    row = np.concatenate([rows, zero])
    side = np.concatenate([np.where(h.bucket < 0, -1, 1), np.zeros(len(zero), np.int64)])
    count = np.concatenate([h.value, h.zero_count[zero]])
    order = np.lexsort((side, row))  # stable: buckets of one side keep their order
    order = order[count[order] != 0]
    lower = np.concatenate([lower, -h.zero_threshold[zero]])[order]
    upper = np.concatenate([upper, h.zero_threshold[zero]])[order]
    codes: list[int] = np.concatenate([code, np.full(len(zero), _BOTH)])[order].tolist()
    texts = zip(codes, value_texts(lower), value_texts(upper), value_texts(count[order]), strict=True)
    return _Pieces(row[order], [b'[%d,"%b","%b","%b"]' % parts for parts in texts])
