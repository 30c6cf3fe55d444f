"""Native histograms next to each other: equality, and whether a counter began anew."""

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, ResetHint, index_of
from otero.query.promql.native.layout import (
    Floats,
    bucket_keys,
    kept,
    share_bounds,
    to_schema,
    upper_bound,
    widen_zero,
)

_PAIRS = 1 << 17
"""Pairs that are compared at a time."""


def _differ(left: Floats, right: Floats) -> NDArray[np.bool_]:
    """Whether the bits differ: this is about data, NaN equals NaN."""
    return np.ascontiguousarray(left).view(np.uint64) != np.ascontiguousarray(right).view(np.uint64)


def equal(left: Histograms, right: Histograms) -> NDArray[np.bool_]:
    """Row by row, whether both are the same to the bit, empty buckets included. Hints do not matter."""
    size = len(left)
    bounds = Histograms.concat([left, right]).bounds
    different = left.schema != right.schema
    different |= bounds[:size] != bounds[size:]
    different |= left.zero_threshold != right.zero_threshold
    for a, b in ((left.zero_count, right.zero_count), (left.count, right.count), (left.sum, right.sum)):
        different |= _differ(a, b)
    different |= np.diff(left.offsets) != np.diff(right.offsets)
    rest = np.flatnonzero(~different)
    if len(rest) < size:
        left, right = left.take(rest), right.take(rest)
    off = (left.bucket != right.bucket) | _differ(left.value, right.value)
    different[rest[left.rows()[off]]] = True
    return ~different


def counter_reset(current: Histograms, previous: Histograms) -> NDArray[np.bool_]:
    """Row by row, whether the counter began anew between `previous` and `current`.

    The hint of `current` decides where it knows. Else a reset is: a smaller count, zero bucket or bucket, a populated
    bucket that is gone, a finer resolution, a smaller zero threshold or one within a populated bucket, custom buckets
    after exponential ones. Custom bounds that differ are compared on those they share.
    """
    reset = current.hint == ResetHint.RESET
    open_rows = np.flatnonzero((current.hint != ResetHint.RESET) & (current.hint != ResetHint.NOT_RESET))
    if len(open_rows) == 0:
        return reset
    a, b = current.take(open_rows), previous.take(open_rows)
    found = a.count < b.count
    found |= (a.schema > b.schema) | ((a.schema == CUSTOM) != (b.schema == CUSTOM))
    found |= a.zero_threshold < b.zero_threshold
    left = _decide_alike(found, a, b)
    if len(left):
        found[left] = _buckets_fell(a.take(left), b.take(left))
    reset[open_rows] = found
    return reset


def resets_of_rows(
    h: Histograms, current: NDArray[np.int64], previous: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """`counter_reset` of pairs of rows, in bounded pieces; buckets are looked at only where hints leave it open."""
    hint = h.hint[current]
    out = hint == ResetHint.RESET
    rest = np.flatnonzero((hint != ResetHint.RESET) & (hint != ResetHint.NOT_RESET))
    for start in range(0, len(rest), _PAIRS):
        some = rest[start : start + _PAIRS]
        out[some] = counter_reset(h.take(current[some]), h.take(previous[some]))
    return out


def changes_of_rows(
    h: Histograms, current: NDArray[np.int64], previous: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether rows differ, pair by pair, in bounded pieces."""
    out = np.zeros(len(current), np.bool_)
    for start in range(0, len(current), _PAIRS):
        some = slice(start, start + _PAIRS)
        out[some] = ~equal(h.take(current[some]), h.take(previous[some]))
    return out


def _decide_alike(found: NDArray[np.bool_], a: Histograms, b: Histograms) -> NDArray[np.intp]:
    """Add to `found` the pairs of one layout in which a count fell; answers which other pairs are still open."""
    alike = (a.schema == b.schema) & (a.zero_threshold == b.zero_threshold) & ~found
    alike &= np.diff(a.offsets) == np.diff(b.offsets)
    if len(a.custom_bounds) > 1 or len(b.custom_bounds) > 1:
        bounds = Histograms.concat([a, b]).bounds
        alike &= bounds[: len(a)] == bounds[len(a) :]
    rows = np.flatnonzero(alike)
    if len(rows) == 0:
        return np.flatnonzero(~found)
    now, before = (a, b) if len(rows) == len(a) else (a.take(rows), b.take(rows))
    owner = now.rows()
    moved = np.zeros(len(rows), np.bool_)
    moved[owner[now.bucket != before.bucket]] = True
    fell = now.zero_count < before.zero_count
    fell[owner[now.value < before.value]] = True
    alike[rows[moved]] = False
    found[rows[fell & ~moved]] = True
    return np.flatnonzero(~found & ~alike)


def _buckets_fell(a: Histograms, b: Histograms) -> NDArray[np.bool_]:
    """The same for pairs of which `a` has the lower resolution and the larger zero bucket."""
    size = len(a)
    custom = a.schema == CUSTOM
    if custom.any():
        pairs = np.tile(np.arange(size), 2)
        both, _ = share_bounds(Histograms.concat([a, b]), pairs, size)
        a, b = both.take(np.arange(size)), both.take(np.arange(size, 2 * size))
    fell = _cuts(b, a.zero_threshold)
    fell |= a.zero_count < widen_zero(b, a.zero_threshold).zero_count
    a, b = _beyond(a, a.zero_threshold), _beyond(to_schema(b, a.schema), a.zero_threshold)
    now, before = bucket_keys(a), bucket_keys(b)
    at = np.searchsorted(now, before)
    there = at < len(now)
    there[there] = now[at[there]] == before[there]
    lost = ~there & (b.value != 0)
    lost[there] = a.value[at[there]] < b.value[there]
    fell[b.rows()[lost]] = True
    return fell


def _cuts(h: Histograms, threshold: Floats) -> NDArray[np.bool_]:
    """Whether a larger zero threshold lies within a populated bucket."""
    if (h.zero_threshold >= threshold).all():
        return np.zeros(len(h), np.bool_)
    rows = h.rows()
    schema = np.where(h.schema == CUSTOM, 0, h.schema).astype(np.int64)[rows]
    index = index_of(h.bucket)
    limit = threshold[rows]
    cut = (h.value != 0) & (upper_bound(schema, index - 1) < limit) & (upper_bound(schema, index) > limit)
    cut &= (h.zero_threshold < threshold)[rows]
    out = np.zeros(len(h), np.bool_)
    out[rows[cut]] = True
    return out


def _beyond(h: Histograms, threshold: Floats) -> Histograms:
    """Only buckets that reach beyond the zero bucket."""
    exponential = (h.schema != CUSTOM) & (threshold > 0)
    if not exponential.any():
        return h
    rows = h.rows()
    schema = np.where(exponential, h.schema, 0).astype(np.int64)[rows]
    inside = upper_bound(schema, index_of(h.bucket)) <= threshold[rows]
    return kept(h, ~(inside & exponential[rows]))
