"""The operators that cut a native histogram at a value: `</` keeps what lies below, `>/` what lies above.

A bucket that holds the value is divided as histogram_quantile interpolates: on a logarithmic scale between exponential
bounds, linearly in the zero bucket and between custom bounds. The sum of what is left is estimated from the middle of
each bucket. Where nothing is cut, the histogram stays as it is, sum included.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms
from otero.query.promql.native.layout import Floats, bounds_of, compact


def trim(h: Histograms, at: Floats, *, upper: bool) -> Histograms:
    """`h </ at` when `upper`, else `h >/ at`; `at` is one number per row."""
    rows = h.rows()
    limit = at[rows]
    linear = (h.schema == CUSTOM)[rows]
    low, high = bounds_of(h)
    with np.errstate(all="ignore"):
        share, middle = _cut(low, high, limit, linear, upper)
        value = np.where(h.value == 0, 0.0, h.value * share)
        zero_count, zero_middle = _cut_zero(h, at, upper)
        changed = (zero_count != h.zero_count) & ~((zero_count == 0) & (h.zero_count == 0))
        np.logical_or.at(changed, rows, (value != h.value) & (h.value != 0))
        size = len(h)
        count = np.bincount(rows, value, size) + zero_count
        total = np.bincount(rows, np.where(value == 0, 0.0, value * middle), size).astype(np.float64)
        total += np.where(zero_count == 0, 0.0, zero_count * zero_middle)
    cut = replace(
        h,
        zero_count=np.where(changed, zero_count, h.zero_count),
        count=np.where(changed, count, h.count),
        sum=np.where(changed, total, h.sum),
        value=np.where(changed[rows], value, h.value),
    )
    return compact(cut)


def _cut(
    low: Floats, high: Floats, limit: Floats, linear: NDArray[np.bool_], upper: bool
) -> tuple[Floats, Floats]:
    """What share of each bucket stays, and where the middle of that is."""
    whole = high <= limit if upper else low >= limit
    inside = (low < limit) & (high > limit)
    share = np.where(whole, 1.0, np.where(inside, _share(low, high, limit, linear, upper), 0.0))
    kept_low = np.where(inside & ~np.bool_(upper), limit, low)
    kept_high = np.where(inside & np.bool_(upper), limit, high)
    middle = np.where(
        linear,
        (kept_low + kept_high) / 2,
        np.where(low < 0, -1.0, 1.0) * np.sqrt(np.abs(kept_low * kept_high)),
    )
    endless_low, endless_high = np.isneginf(low), np.isposinf(high)
    # The first custom bucket is taken to begin at zero where it ends above it, as everywhere.
    middle = np.where(endless_low, np.where(high > 0, kept_high / 2, high), middle)
    middle = np.where(endless_high, low, middle)
    middle = np.where(endless_low & endless_high, 0.0, middle)
    if upper:
        middle = np.where(endless_low & inside & (high <= 0), limit, middle)
    else:
        middle = np.where(endless_low & inside, (np.maximum(limit, 0.0) + high) / 2, middle)
        middle = np.where(endless_high & inside & ~endless_low, limit, middle)
    return share, middle


def _share(low: Floats, high: Floats, limit: Floats, linear: NDArray[np.bool_], upper: bool) -> Floats:
    """The share of a bucket, with the limit within it, that stays."""
    ratio = (np.log2(np.abs(limit)) - np.log2(np.abs(low))) / (np.log2(np.abs(high)) - np.log2(np.abs(low)))
    below = np.where(linear, (limit - low) / (high - low), ratio)
    out = below if upper else 1.0 - below
    # Nothing is known of how observations lie in a bucket without an end, but for a first one that ends above zero.
    first = np.where((high > 0) & (high < np.inf), np.clip(limit / high, 0.0, 1.0), 1.0 if upper else 0.0)
    if upper:
        out = np.where(np.isneginf(low), np.where(high == np.inf, 0.0, first), out)
        return np.where(np.isposinf(high), 0.0, out)
    above = np.where((high > 0) & (high < np.inf) & (limit >= 0), 1.0 - limit / high, 0.0)
    out = np.where(np.isposinf(high), 1.0, out)
    return np.where(np.isneginf(low), above, out)


def _cut_zero(h: Histograms, at: Floats, upper: bool) -> tuple[Floats, Floats]:
    """What stays of each zero bucket, and its middle. It lies on the side on which there are buckets."""
    rows = h.rows()
    negative = np.zeros(len(h), np.bool_)
    negative[rows[h.bucket < 0]] = True
    positive = np.zeros(len(h), np.bool_)
    positive[rows[h.bucket > 0]] = True
    low = np.where(positive & ~negative, 0.0, -h.zero_threshold)
    high = np.where(negative & ~positive, 0.0, h.zero_threshold)
    edge = np.clip(at, low, high)
    width = high - low
    part = np.where(
        width > 0, ((edge - low) if upper else (high - edge)) / np.where(width > 0, width, 1.0), 0.0
    )
    whole = high <= at if upper else low >= at
    part = np.where(whole, 1.0, np.where(np.isnan(at), 0.0, part))
    middle = (low + edge) / 2 if upper else (edge + high) / 2
    return h.zero_count * part, np.where(whole, (low + high) / 2, middle)
