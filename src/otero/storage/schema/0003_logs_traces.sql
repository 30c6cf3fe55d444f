-- Logs and spans, with the column names of the OpenTelemetry ClickHouse exporter and what else OTLP carries.
-- Attributes are texts in maps; what a text alone cannot tell is kept beside them:
--   …Types      one letter for each attribute, in order: s(tring) i(nt) b(ool) d(ouble) a(rray) k(vlist) y (bytes) n(othing);
--               empty when all are strings
--   RawValues   the protobuf bytes of arrays, key-value lists and byte strings, in order of the columns that mention them
--   OriginalTimes  the times as they were sent, only where a column cannot tell them
--   InsertId    rises from insert to insert; rows of one insert share it
CREATE TABLE otel_logs (
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    ObservedTimestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt32 CODEC(ZSTD(1)),
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber Int32 CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    BodyType LowCardinality(String) CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceAttributeTypes LowCardinality(String) CODEC(ZSTD(1)),
    ResourceDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    ResourceEntityRefs Array(String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName LowCardinality(String) CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeAttributeTypes LowCardinality(String) CODEC(ZSTD(1)),
    ScopeDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributeTypes LowCardinality(String) CODEC(ZSTD(1)),
    LogDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    EventName LowCardinality(String) CODEC(ZSTD(1)),
    RawValues Array(String) CODEC(ZSTD(1)),
    OriginalTimes Array(UInt64) CODEC(ZSTD(1)),
    InsertId UInt64 CODEC(ZSTD(1)),
    INDEX idx_trace TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_val mapValues(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_kv arrayFilter(x -> length(x) < 32, arrayMap((k, v) -> concat(k, '=', v), mapKeys(LogAttributes), mapValues(LogAttributes)))
        TYPE text(tokenizer = 'array', posting_list_codec = 'bitpacking'),
    INDEX idx_body Body TYPE text(tokenizer = 'splitByNonAlpha', preprocessor = lower(Body), posting_list_codec = 'bitpacking')
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (Timestamp)
SETTINGS {settings}, index_granularity = 1024;

CREATE TABLE otel_traces (
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceAttributeTypes LowCardinality(String) CODEC(ZSTD(1)),
    ResourceDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    ResourceEntityRefs Array(String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName LowCardinality(String) CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeAttributeTypes LowCardinality(String) CODEC(ZSTD(1)),
    ScopeDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    SpanAttributeTypes LowCardinality(String) CODEC(ZSTD(1)),
    SpanDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String),
        AttributeTypes LowCardinality(String),
        DroppedAttributesCount UInt32
    ) CODEC(ZSTD(1)),
    DroppedEventsCount UInt32 CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String),
        AttributeTypes LowCardinality(String),
        DroppedAttributesCount UInt32,
        Flags UInt32
    ) CODEC(ZSTD(1)),
    DroppedLinksCount UInt32 CODEC(ZSTD(1)),
    RawValues Array(String) CODEC(ZSTD(1)),
    OriginalTimes Array(UInt64) CODEC(ZSTD(1)),
    InsertId UInt64 CODEC(ZSTD(1)),
    INDEX idx_trace TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_val mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (Timestamp)
SETTINGS {settings}, index_granularity = 2048;
