"""Arithmetic of native histograms: pure functions on `model.histograms.Histograms`, many rows at a time.

`layout`: where buckets lie, and how layouts are brought together
    bounds_of(h) -> (lower, upper)                 bounds of every bucket, float64 [K], lower < upper whatever the sign
    upper_bound(schema, index) -> float64          bound of exponential buckets by index, above zero
    common_bounds(h) -> (table, start)             custom bounds as one table: bucket i of bounds b ends at table[start[b] + i + 1]
    to_schema(h, schema) -> Histograms             at most as fine as `schema` (int8 [N]); custom buckets as they are
    widen_zero(h, threshold) -> Histograms         zero buckets up to `threshold` (float64 [N]), buckets inside absorbed
    settle_thresholds(h, groups, count)            float64 [count]: the zero threshold that a group's histograms can share
    compact(h) -> Histograms                       without empty buckets
    stats_only(h) -> Histograms                    without any bucket: what histogram_count and histogram_sum look at
    with_hint(h, hint) -> Histograms               the same with another counter reset hint
    bucket_keys(h), keys(rows, bucket)             int64 [K], ascending: row and bucket number in one

`arithmetic`
    group_sum(h, groups, count, weights=None, mean=False) -> Sums     sums or means of groups, weighted
    sum_rows(h, rows, groups, count, …) -> Sums                       group_sum of h.take(rows), in bounded pieces
    subtract_alike(h, minuends, subtrahends) -> rows, Histograms      differences of pairs of rows of one layout
    add(left, right) -> Sums, subtract(left, right) -> Sums           row by row
    scale(h, factor), divide(h, divisor) -> Histograms                by one number per row; negative ones make gauges
    Sums: histograms, and per group: mixed (exponential and custom: no result), reconciled (custom bounds differed),
          conflicting (counter resets and none)

`compare`
    equal(left, right) -> bool [N]                 same bits, same layout, hints aside
    counter_reset(current, previous) -> bool [N]   whether a counter began anew in between
    resets_of_rows(h, current, previous), changes_of_rows(h, current, previous)    of pairs of rows, in bounded pieces

`trim`
    trim(h, at, upper=…) -> Histograms             `h </ at` (upper) and `h >/ at`

`text`
    describe(h) -> list[str]                       as count_values and string conversions show them

Rules: https://prometheus.io/docs/specs/native_histograms/
"""
