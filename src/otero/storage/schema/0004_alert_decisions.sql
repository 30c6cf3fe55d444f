-- Decisions about alerts, appended when they are made. `sequence` rises from decision to decision and names each once;
-- `detail` is JSON. `fingerprint` is 0 for what concerns a rule or a group of alerts as a whole.
CREATE TABLE alert_decisions (
    time Int64 CODEC(Delta(8), ZSTD(1)),
    sequence UInt64 CODEC(Delta(8), ZSTD(1)),
    kind LowCardinality(String) CODEC(ZSTD(1)),
    alertname LowCardinality(String) CODEC(ZSTD(1)),
    fingerprint UInt64 CODEC(ZSTD(1)),
    labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    group_key String CODEC(ZSTD(1)),
    receiver LowCardinality(String) CODEC(ZSTD(1)),
    integration LowCardinality(String) CODEC(ZSTD(1)),
    text String CODEC(ZSTD(1)),
    detail String CODEC(ZSTD(1)),
    INDEX idx_fingerprint fingerprint TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_group group_key TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY intDiv(time, 86400000)
ORDER BY (alertname, time, sequence)
SETTINGS {settings}, index_granularity = 1024;
