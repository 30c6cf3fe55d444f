"""Where buckets lie: bounds, resolutions, zero buckets and custom bounds, and how different ones are brought together."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, MAX_SCHEMA, Histograms, ResetHint, index_of, negative, positive

Floats = NDArray[np.float64]
Rows = NDArray[np.intp] | NDArray[np.int64]


def _fractions() -> Floats:
    """Bounds of the finest schema in [0.5, 1); those of coarser ones are among them.

    These are the very numbers of Prometheus, which are up to four units in the last place from the nearest ones: each
    finer schema puts between two bounds the lower one times its base, and the base of schema 1 is a bit too small.
    """
    bounds = np.array([0.5])
    for schema in range(1, MAX_SCHEMA + 1):
        base = 1.414213562373095 if schema == 1 else 2.0 ** (2.0**-schema)
        bounds = np.stack([bounds, bounds * base], axis=1).reshape(-1)
    return bounds


_FRACTIONS = _fractions()

_LARGEST = float(np.finfo(np.float64).max)
_BUCKET_BITS = 35
_BUCKET_ZERO = 1 << (_BUCKET_BITS - 1)


def upper_bound(schema: NDArray[np.int64], index: NDArray[np.int64]) -> Floats:
    """The bound base^index of exponential buckets; beyond the largest float, that one, and then infinity."""
    finest = index << (MAX_SCHEMA - schema)
    fraction = _FRACTIONS[finest & ((1 << MAX_SCHEMA) - 1)]
    exponent = (finest >> MAX_SCHEMA) + 1
    exact = (fraction == 0.5) & (exponent == 1025)
    with np.errstate(over="ignore", under="ignore"):
        out = np.ldexp(fraction, np.clip(exponent, -5000, 5000).astype(np.int32))
    return np.where(exact, _LARGEST, out)


def common_bounds(h: Histograms) -> tuple[Floats, NDArray[np.int64]]:
    """All custom bounds, each between -Inf and +Inf, and where each begins: bucket i of bounds b lies between
    table[start[b] + i] and the next."""
    parts = [np.array([-np.inf, *bounds, np.inf]) for bounds in h.custom_bounds]
    start = np.cumsum([0, *map(len, parts)], dtype=np.int64)[:-1]
    return np.concatenate([np.zeros(0), *parts]), start


def bounds_of(h: Histograms) -> tuple[Floats, Floats]:
    """The lower and upper bound of every bucket, float64 [K]."""
    rows = h.rows()
    schema = h.schema.astype(np.int64)[rows]
    index = index_of(h.bucket)
    custom = schema == CUSTOM
    exponential = np.where(custom, 0, schema)
    far = upper_bound(exponential, np.where(custom, 0, index))
    near = upper_bound(exponential, np.where(custom, 0, index) - 1)
    below = h.bucket < 0
    lower, upper = np.where(below, -far, near), np.where(below, -near, far)
    if custom.any():
        table, start = common_bounds(h)
        which = h.bounds[rows[custom]]
        lengths = np.array([len(bounds) for bounds in h.custom_bounds], np.int64)
        at = start[which] + np.clip(index[custom], 0, lengths[which])
        lower[custom], upper[custom] = table[at], table[at + 1]
    return lower, upper


def keys(rows: NDArray[np.int64], bucket: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row and bucket number in one number, in their order."""
    return (rows << _BUCKET_BITS) + (bucket + _BUCKET_ZERO)


def bucket_keys(h: Histograms) -> NDArray[np.int64]:
    """int64 [K], ascending."""
    return keys(h.rows(), h.bucket)


def buckets_of_keys(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket numbers of keys."""
    return (key & ((1 << _BUCKET_BITS) - 1)) - _BUCKET_ZERO


def rows_of_keys(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of keys."""
    return key >> _BUCKET_BITS


def with_buckets(h: Histograms, key: NDArray[np.int64], value: Floats) -> Histograms:
    """The histograms with other buckets; keys ascend and none is there twice."""
    offsets = np.searchsorted(rows_of_keys(key), np.arange(len(h) + 1)).astype(np.int64)
    return replace(h, offsets=offsets, bucket=buckets_of_keys(key), value=value)


def kept(h: Histograms, keep: NDArray[np.bool_]) -> Histograms:
    """Only some of the buckets (bool [K])."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])
    return replace(h, offsets=before[h.offsets], bucket=h.bucket[keep], value=h.value[keep])


def compact(h: Histograms) -> Histograms:
    """Without empty buckets."""
    keep = h.value != 0
    return h if keep.all() else kept(h, keep)


def stats_only(h: Histograms) -> Histograms:
    """Without any bucket; count, sum, hint and whether buckets are custom stay."""
    custom = h.schema == CUSTOM
    return replace(
        h,
        schema=np.where(custom, CUSTOM, 0).astype(np.int8),
        zero_threshold=np.zeros(len(h)),
        zero_count=np.zeros(len(h)),
        bounds=np.where(custom, 0, -1).astype(np.int32),
        custom_bounds=((),),
        offsets=np.zeros(len(h) + 1, np.int64),
        bucket=np.zeros(0, np.int64),
        value=np.zeros(0),
    )


def with_hint(h: Histograms, hint: ResetHint) -> Histograms:
    """The same histograms with one counter reset hint."""
    return replace(h, hint=np.full(len(h), hint, np.uint8))


def to_schema(h: Histograms, schema: NDArray[np.int8]) -> Histograms:
    """Histograms of a resolution that is no finer than `schema` [N]: buckets that fall into one are added up."""
    custom = h.schema == CUSTOM
    lower = (schema < h.schema) & ~custom
    if not lower.any():
        return h
    rows = h.rows()
    shift = np.where(lower, h.schema.astype(np.int64) - schema, 0)
    index = ((index_of(h.bucket) - 1) >> shift[rows]) + 1
    bucket = np.where(shift[rows] == 0, h.bucket, np.where(h.bucket < 0, negative(index), positive(index)))
    merged = _merged(replace(h, bucket=bucket), rows)
    return replace(merged, schema=np.where(lower, schema, h.schema).astype(np.int8))


def _merged(h: Histograms, rows: NDArray[np.int64]) -> Histograms:
    """Neighbouring buckets with one number are added up."""
    key = keys(rows, h.bucket)
    first = np.ones(len(key), np.bool_)
    np.not_equal(key[1:], key[:-1], out=first[1:])
    if first.all():
        return h
    value = np.add.reduceat(h.value, np.flatnonzero(first))
    return with_buckets(h, key[first], value)


def settle_thresholds(h: Histograms, groups: Rows, count: int) -> Floats:
    """The least threshold that every histogram of a group can be widened to: not within a populated bucket of one that
    has to be widened. Zero for groups without histograms."""
    out = np.zeros(count)
    np.maximum.at(out, groups, h.zero_threshold)
    if (h.zero_threshold == out[groups]).all():
        return out
    rows = h.rows()
    group = groups[rows]
    near, far = _distances(h)
    populated = h.value != 0
    while True:
        limit = out[group]
        across = populated & (near < limit) & (far > limit) & (h.zero_threshold[rows] < limit)
        if not across.any():
            return out
        np.maximum.at(out, group[across], far[across])


def _distances(h: Histograms) -> tuple[Floats, Floats]:
    """How near to and how far from zero each exponential bucket reaches; custom ones are infinitely far."""
    rows = h.rows()
    custom = (h.schema == CUSTOM)[rows]
    schema = np.where(custom, 0, h.schema.astype(np.int64)[rows])
    index = np.where(custom, 0, index_of(h.bucket))
    near, far = upper_bound(schema, index - 1), upper_bound(schema, index)
    return np.where(custom, np.inf, near), np.where(custom, np.inf, far)


def widen_zero(h: Histograms, threshold: Floats) -> Histograms:
    """Zero buckets up to `threshold` [N]; buckets that begin below it are absorbed. What has a wider one stays."""
    wider = threshold > h.zero_threshold
    if not wider.any():
        return h
    rows = h.rows()
    near, _ = _distances(h)
    inside = wider[rows] & (near < threshold[rows])
    zero_count = h.zero_count.copy()
    np.add.at(zero_count, rows[inside], h.value[inside])
    return replace(
        kept(h, ~inside), zero_threshold=np.where(wider, threshold, h.zero_threshold), zero_count=zero_count
    )


def share_bounds(h: Histograms, groups: Rows, count: int) -> tuple[Histograms, NDArray[np.bool_]]:
    """Custom buckets of each group moved to the bounds that all its histograms have, and which groups needed that."""
    custom = np.flatnonzero(h.schema == CUSTOM)
    differ = np.zeros(count, np.bool_)
    if len(custom) == 0 or len(h.custom_bounds) < 2:
        return h, differ
    one = np.zeros(count, np.int64)
    one[groups[custom]] = h.bounds[custom]
    differ[groups[custom][h.bounds[custom] != one[groups[custom]]]] = True
    odd = custom[differ[groups[custom]]]
    if len(odd) == 0:
        return h, differ
    table = list(h.custom_bounds)
    known = {bounds: number for number, bounds in enumerate(table)}
    pairs = np.unique(np.stack([groups[odd], h.bounds[odd]], axis=1), axis=0)
    common: dict[int, set[float]] = {}
    for group, which in pairs.tolist():
        own = set(h.custom_bounds[which])
        common[group] = common[group] & own if group in common else own
    target = np.full(count, -1, np.int64)
    for group, bounds in common.items():
        shared = tuple(sorted(bounds))
        if shared not in known:
            known[shared] = len(table)
            table.append(shared)
        target[group] = known[shared]
    moved = replace(h, custom_bounds=tuple(table))
    rows = h.rows()
    there = np.zeros(len(h), np.bool_)
    there[odd] = True
    bucket = h.bucket.copy()
    inside = np.flatnonzero(there[rows])
    source, goal = h.bounds[rows[inside]].astype(np.int64), target[groups[rows[inside]]]
    for a, b in np.unique(np.stack([source, goal], axis=1), axis=0).tolist():
        # A bucket goes to the first shared bound that is not below its own; the last one, to the last one.
        places = np.append(np.searchsorted(table[b], table[a], "left"), len(table[b]))
        mine = inside[(source == a) & (goal == b)]
        bucket[mine] = positive(places[np.clip(index_of(bucket[mine]), 0, len(table[a]))].astype(np.int64))
    bounds = np.where(there, target[groups], h.bounds).astype(np.int32)
    return _merged(replace(moved, bucket=bucket, bounds=bounds), rows), differ
