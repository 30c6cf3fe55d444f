-- Native histograms. The table `samples` says with a NaN of its own that the sample of a series and time is one; here it
-- is whole. `schema` -4 to 8 has exponential buckets, -53 those whose upper bounds are listed in `bounds`. The buckets
-- are `bucket`, ascending, with their counts in `value`: the number of a positive bucket is its index + 2^33, that of a
-- negative one -(index + 2^33).
CREATE TABLE histograms (
    metric LowCardinality(String) CODEC(ZSTD(1)),
    series UInt64 CODEC(ZSTD(1)),
    time Int64 CODEC(Delta(8), ZSTD(1)),
    schema Int8 CODEC(ZSTD(1)),
    zero_threshold Float64 CODEC(ZSTD(1)),
    zero_count Float64 CODEC(ZSTD(1)),
    count Float64 CODEC(Delta(8), ZSTD(1)),
    sum Float64 CODEC(Delta(8), ZSTD(1)),
    hint UInt8 CODEC(ZSTD(1)),
    bounds Array(Float64) CODEC(ZSTD(1)),
    bucket Array(Int64) CODEC(Delta(8), ZSTD(1)),
    value Array(Float64) CODEC(Delta(8), ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(time, 86400000)
ORDER BY (metric, series, time)
SETTINGS {settings}, index_granularity = 1024;
