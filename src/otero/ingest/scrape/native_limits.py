"""What one native histogram may have: how fine it may be, and how many buckets."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.ingest.scrape.config import ScrapeConfig
from otero.model.histograms import CUSTOM, MAX_SCHEMA, MIN_SCHEMA, Histograms, index_of, negative, positive


class NativeLimits:
    """`native_histogram_min_bucket_factor` and `native_histogram_bucket_limit` of a job."""

    def __init__(self, config: ScrapeConfig) -> None:
        self._bucket_limit = config.native_histogram_bucket_limit
        self._max_schema = finest_schema(config.native_histogram_min_bucket_factor)

    def __call__(self, histograms: Histograms) -> Histograms:
        """The histograms, made coarser where they must be, without empty buckets.

        Raises BadInput when one has too many buckets at any resolution, which fails the scrape.
        """
        out = _without_empty(histograms)
        fine = (out.schema > self._max_schema) & (out.schema != CUSTOM)
        if fine.any():
            out = _coarser(out, np.where(fine, out.schema.astype(np.int64) - self._max_schema, 0))
        while self._bucket_limit:
            many = np.diff(out.offsets) > self._bucket_limit
            if not many.any():
                break
            if (out.schema[many] <= MIN_SCHEMA).any():
                raise BadInput(
                    f"histogram bucket limit exceeded (native_histogram_bucket_limit {self._bucket_limit})"
                )
            out = _coarser(out, many.astype(np.int64))
        return out


def finest_schema(factor: float) -> int:
    """The finest schema whose buckets grow by at least this factor; 1 and less ask for the finest of all."""
    if factor <= 1:
        return MAX_SCHEMA
    return max(min(math.floor(-math.log2(math.log2(factor))), MAX_SCHEMA), MIN_SCHEMA)


def _without_empty(h: Histograms) -> Histograms:
    filled = h.value != 0
    if filled.all():
        return h
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(filled)])[h.offsets]
    return replace(h, offsets=offsets, bucket=h.bucket[filled], value=h.value[filled])


def _coarser(h: Histograms, by: NDArray[np.int64]) -> Histograms:
    """Each row with a schema that is smaller by `by`: buckets that fall into one are added up."""
    rows = h.rows()
    shift = by[rows]
    index = ((index_of(h.bucket) - 1) >> shift) + 1
    bucket = np.where(shift == 0, h.bucket, np.where(h.bucket < 0, negative(index), positive(index)))
    schema = (h.schema - by).astype(np.int8)
    if not len(bucket):
        return replace(h, schema=schema)
    new = np.concatenate([[True], (bucket[1:] != bucket[:-1]) | (rows[1:] != rows[:-1])])
    heads = np.flatnonzero(new)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows[heads], minlength=len(h)))])
    return replace(
        h, schema=schema, offsets=offsets, bucket=bucket[heads], value=np.add.reduceat(h.value, heads)
    )
