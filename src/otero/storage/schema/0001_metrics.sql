-- Samples of float series. Rows of one metric lie together, those of one series within it; the last insert of a series
-- and time wins when parts merge, and readers let it win before.
CREATE TABLE samples (
    metric LowCardinality(String) CODEC(ZSTD(1)),
    series UInt64 CODEC(ZSTD(1)),
    time Int64 CODEC(Delta(8), ZSTD(1)),
    value Float64 CODEC(Delta(8), ZSTD(1)),
    start Int64 CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(time, 86400000)
ORDER BY (metric, series, time)
SETTINGS {settings}, index_granularity = 8192;

-- One row for each series and day on which it had samples. `key` is the label bytes; `labels` serves conditions.
CREATE TABLE series (
    metric LowCardinality(String) CODEC(ZSTD(1)),
    id UInt64 CODEC(ZSTD(1)),
    day Int32 CODEC(Delta(4), ZSTD(1)),
    key String CODEC(ZSTD(1)),
    labels Map(LowCardinality(String), String) MATERIALIZED mapFromArrays(
        arrayFilter((part, at) -> at % 2 = 1 AND part != '', splitByChar('\xFF', key), arrayEnumerate(splitByChar('\xFF', key))),
        arrayFilter((part, at) -> at % 2 = 0, splitByChar('\xFF', key), arrayEnumerate(splitByChar('\xFF', key)))
    ) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(day, 32)
ORDER BY (metric, id, day)
SETTINGS {settings}, index_granularity = 1024;

-- What expositions say of metric families.
CREATE TABLE metadata (
    metric String,
    type LowCardinality(String),
    help String,
    unit LowCardinality(String),
    seen Int64
) ENGINE = ReplacingMergeTree(seen)
ORDER BY (metric, type, help, unit)
SETTINGS {settings};

CREATE TABLE exemplars (
    metric LowCardinality(String) CODEC(ZSTD(1)),
    series UInt64 CODEC(ZSTD(1)),
    time Int64 CODEC(Delta(8), ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    labels String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(time, 86400000)
ORDER BY (metric, series, time)
SETTINGS {settings};
