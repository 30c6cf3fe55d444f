"""Log records and spans: acknowledged, inserted by the engine's own parser, read back equal, once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otero.clock import ManualClock
from otero.errors import Bug, Unavailable
from otero.model.budget import Budget
from otero.model.records import Placed, Signal
from otero.storage.chdb import EmbeddedEngine
from otero.storage.logs import Logs
from otero.storage.migrate import migrate, set_record_retention
from otero.storage.otlp_view import LAST_NS, make_views
from otero.storage.requests import REMEMBER_MS
from otero.storage.signals import SignalStore
from otero.storage.traces import Traces
from otero.wire.otlp import accepted, digest_of
from tests.storage.otlp_strategies import LOG_REQUESTS, TRACE_REQUESTS

NOW_MS = 1_700_000_000_000
S = 1_000_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(tmp_path_factory.mktemp("signals") / "engine")
    migrate(engine, ManualClock(NOW_MS))
    make_views(engine)
    yield engine
    engine.close()


@pytest.fixture
def empty(engine: EmbeddedEngine) -> EmbeddedEngine:
    for table in ("otel_logs", "otel_traces"):
        engine.command(f"TRUNCATE TABLE {table}")
    return engine


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


def budget(clock: ManualClock) -> Budget:
    return Budget(clock, timeout_s=60, max_samples=1_000_000)


def store(
    engine: EmbeddedEngine, folder: Path, clock: ManualClock, signal: Signal = "traces", **kw: Any
) -> SignalStore:
    return SignalStore(signal, engine, folder, clock, fsync="never", **kw)


def append(store: SignalStore, request: Any, digest: bytes | None = None) -> bool:
    raw = request.SerializeToString()
    batch, refused = accepted(store.signal, type(request).FromString(raw), digest or digest_of(raw))
    assert not refused
    return store.append(batch)


def one_span(number: int, trace: bytes = b"t" * 16, **fields: Any) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = fields.pop("service", "shop")
    resource.scope_spans.add().spans.add(
        **{
            "trace_id": trace,
            "span_id": (number + 1).to_bytes(8, "big"),
            "name": f"span {number}",
            "start_time_unix_nano": NOW_MS * 1_000_000 + number,
            "end_time_unix_nano": NOW_MS * 1_000_000 + number + S,
        }
        | fields
    )
    return request


def names(found: list[Placed[Any]]) -> list[str]:
    return [span.record.name for span in found]


def canonical(message: Any) -> bytes:
    return message.SerializeToString(deterministic=True)


def flat(request: Any) -> list[tuple[bytes, ...]]:
    """Every record of a request with all that it belongs to, in an order of its own."""
    is_traces = isinstance(request, ExportTraceServiceRequest)
    return sorted(
        (
            canonical(record),
            canonical(resource.resource),
            resource.schema_url.encode(),
            canonical(scope.scope),
            scope.schema_url.encode(),
        )
        for resource in (request.resource_spans if is_traces else request.resource_logs)
        for scope in (resource.scope_spans if is_traces else resource.scope_logs)
        for record in (scope.spans if is_traces else scope.log_records)
    )


def placed(found: Any) -> list[tuple[bytes, ...]]:
    return sorted(
        (
            canonical(one.record),
            canonical(one.resource),
            one.resource_schema_url.encode(),
            canonical(one.scope),
            one.scope_schema_url.encode(),
        )
        for one in found
    )


def filled(request: Any) -> Any:
    """The request with what protobuf alone tells apart made the same: a value that is absent and one that is empty."""

    def walk(message: Any) -> None:
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            for child in value if field.is_repeated else [value]:
                walk(child)
        if isinstance(message, KeyValue) and not message.HasField("value"):
            message.value.SetInParent()
        for name in ("body", "status"):
            if (
                message.DESCRIPTOR.fields_by_name.get(name)
                and message.HasField(name)
                and not message.__getattribute__(name).ByteSize()
            ):
                message.ClearField(name)

    copy = type(request).FromString(request.SerializeToString())
    walk(copy)
    return copy


@settings(max_examples=25)
@given(TRACE_REQUESTS, st.booleans())
def test_every_field_of_any_span_reads_back(
    engine: EmbeddedEngine,
    tmp_path_factory: pytest.TempPathFactory,
    request_: ExportTraceServiceRequest,
    inserted: bool,
) -> None:
    engine.command("TRUNCATE TABLE otel_traces")
    clock = ManualClock(NOW_MS)
    spans = store(engine, tmp_path_factory.mktemp("journal"), clock)
    append(spans, request_)
    if inserted:
        spans.flush()
    ids = {s.trace_id for r in request_.resource_spans for c in r.scope_spans for s in c.spans}
    found = [span for trace_id in ids for span in Traces(spans).trace(trace_id, budget(clock))]
    assert placed(filled_all(found)) == flat(filled(request_))
    spans.stop()


def filled_all(found: list[Placed[Any]]) -> list[Placed[Any]]:
    return [
        Placed(
            filled(one.resource),
            one.resource_schema_url,
            filled(one.scope),
            one.scope_schema_url,
            filled(one.record),
        )
        for one in found
    ]


@settings(max_examples=25)
@given(LOG_REQUESTS, st.booleans())
def test_every_field_of_any_log_record_reads_back(
    engine: EmbeddedEngine,
    tmp_path_factory: pytest.TempPathFactory,
    request_: ExportLogsServiceRequest,
    inserted: bool,
) -> None:
    engine.command("TRUNCATE TABLE otel_logs")
    clock = ManualClock(NOW_MS)
    logs = store(engine, tmp_path_factory.mktemp("journal"), clock, "logs")
    append(logs, request_)
    if inserted:
        logs.flush()
    found = Logs(logs).newest(0, LAST_NS, limit=1000, budget=budget(clock), now_ns=NOW_MS * 1_000_000)
    assert placed(filled_all([record for _, record in found])) == flat(filled(request_))
    assert [time_ns for time_ns, _ in found] == sorted((time_ns for time_ns, _ in found), reverse=True)
    logs.stop()


def test_the_same_request_within_five_minutes_is_stored_once_also_after_a_restart(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    spans = store(empty, tmp_path, clock)
    assert append(spans, one_span(1))
    assert not append(spans, one_span(1))
    spans.stop()
    spans = store(empty, tmp_path, clock)
    assert not append(spans, one_span(1))
    spans.flush()
    assert not append(spans, one_span(1))
    clock.advance(REMEMBER_MS - 1)
    assert not append(spans, one_span(1))
    clock.advance(2)
    assert append(spans, one_span(1))
    assert names(Traces(spans).trace(b"t" * 16, budget(clock))) == ["span 1", "span 1"]
    spans.stop()


def test_requests_are_known_again_when_their_segment_is_gone(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otero.storage.signals._SEGMENT_BYTES", 2000)
    spans = store(empty, tmp_path, clock)
    for number in range(60):
        append(spans, one_span(number))
    spans.flush()
    assert len(list(tmp_path.glob("*.log"))) == 1
    spans.stop()
    spans = store(empty, tmp_path, clock)
    assert not any(append(spans, one_span(number)) for number in range(60))
    spans.flush()
    assert len(Traces(spans).trace(b"t" * 16, budget(clock))) == 60
    spans.stop()


def test_an_insert_that_was_cut_short_is_made_again_and_stores_once(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = store(empty, tmp_path, clock)
    append(spans, one_span(1))

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            "otero.storage.requests.RequestJournal.stored", die
        )  # after the insert, before it is written down
        with pytest.raises(KeyboardInterrupt):
            spans.flush()
    spans.stop()
    assert empty.table("SELECT count() AS n FROM otel_traces")["n"][0].as_py() == 1

    spans = store(empty, tmp_path, clock)
    assert names(Traces(spans).trace(b"t" * 16, budget(clock))) == ["span 1"], "once, before the replay"
    append(spans, one_span(2))
    spans.flush()
    assert names(Traces(spans).trace(b"t" * 16, budget(clock))) == ["span 1", "span 2"]
    assert empty.table("SELECT count() AS n FROM otel_traces")["n"][0].as_py() == 2
    spans.stop()


def test_a_restored_table_is_seen_whole_though_its_journal_is_new_and_the_clock_behind(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    before = store(empty, tmp_path / "before", clock)
    append(before, one_span(1))
    before.flush()
    before.stop()
    behind = ManualClock(NOW_MS - 3_600_000)
    spans = store(empty, tmp_path / "after", behind)
    assert names(Traces(spans).trace(b"t" * 16, budget(clock))) == ["span 1"]
    append(spans, one_span(2))
    spans.flush()
    assert names(Traces(spans).trace(b"t" * 16, budget(clock))) == ["span 1", "span 2"]
    spans.stop()


def test_a_view_sees_what_was_acknowledged_whatever_is_inserted_meanwhile(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otero.storage.signals._SEGMENT_BYTES", 1)
    spans = store(empty, tmp_path, clock)
    append(spans, one_span(1))
    with spans.view() as view:
        spans.flush()
        append(spans, one_span(2))
        spans.flush()
        assert [stored.records for stored in view.waiting()] == [1]
        rows = empty.table(f"SELECT count() AS n FROM otel_traces WHERE InsertId <= {view.insert_id}")
        assert rows["n"][0].as_py() == 0
    assert len(Traces(spans).trace(b"t" * 16, budget(clock))) == 2
    spans.stop()


class Failing:
    """An engine of which inserts fail."""

    def __init__(self, engine: EmbeddedEngine, error: Exception, poison: bytes = b"") -> None:
        self._engine, self.error, self._poison = engine, error, poison

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def insert_message(self, table: str, parts: list[bytes], schema: str, **kw: Any) -> None:
        if any(self._poison in part for part in parts):
            raise self.error
        self._engine.insert_message(table, parts, schema, **kw)


def test_while_the_engine_does_not_store_reads_go_on_and_a_full_journal_refuses(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine: Any = Failing(empty, Unavailable("the disk is full"))
    spans = SignalStore("traces", engine, tmp_path, clock, fsync="never", max_bytes=2000)
    number = 0

    def fill() -> None:
        nonlocal number
        while True:
            append(spans, one_span(number))
            number += 1

    with pytest.raises(Unavailable, match="engine lags behind"):
        fill()
    assert number > 3
    assert not spans.status().writable
    with pytest.raises(Unavailable):
        spans.flush()
    assert len(Traces(spans).trace(b"t" * 16, budget(clock))) == number
    engine.error = None
    spans.engine = empty
    spans.flush()  # writes down what it inserts, though the journal is full
    assert len(Traces(spans).trace(b"t" * 16, budget(clock))) == number
    spans.stop()


def test_a_request_that_the_engine_cannot_read_does_not_hold_up_others(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine: Any = Failing(empty, Bug("cannot parse"), b"span 2")
    spans = SignalStore("traces", engine, tmp_path, clock, fsync="never")
    for number in (1, 2, 3):
        append(spans, one_span(number))
    spans.flush()
    assert names(Traces(spans).trace(b"t" * 16, budget(clock))) == ["span 1", "span 3"]
    [kept] = (tmp_path / "unreadable").iterdir()
    assert b"span 2" in kept.read_bytes()
    spans.stop()


def test_traces_by_time_and_service(empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock) -> None:
    spans = store(empty, tmp_path, clock)
    begin_ns = NOW_MS * 1_000_000
    a, b, c = b"a" * 16, b"b" * 16, b"c" * 16
    append(spans, one_span(1, a, service="web", name="GET /"))
    append(spans, one_span(2, a, service="db", name="SELECT", parent_span_id=b"p" * 8, status={"code": 2}))
    append(
        spans,
        one_span(
            3,
            b,
            service="db",
            name="vacuum",
            start_time_unix_nano=begin_ns + 60 * S,
            end_time_unix_nano=begin_ns + 61 * S,
        ),
    )
    spans.flush()
    append(
        spans,
        one_span(
            4, a, service="db", name="late", parent_span_id=b"p" * 8, end_time_unix_nano=begin_ns + 5 * S
        ),
    )
    append(spans, one_span(5, c, service="web", name="GET /c", start_time_unix_nano=begin_ns + 90 * S))
    traces = Traces(spans)

    def search(start_ns: int, end_ns: int, service: str = "", limit: int = 10) -> list[str]:
        found = traces.search(start_ns, end_ns, service, limit, budget(clock))
        return [
            f"{t.root_service}:{t.root_name} {t.spans} {t.errors} {(t.end_ns - t.start_ns) // S}"
            for t in found
        ]

    whole = search(begin_ns, begin_ns + 100 * S)
    assert whole == ["web:GET /c 1 0 0", "db:vacuum 1 0 1", "web:GET / 3 1 4"]
    assert search(begin_ns, begin_ns + 100 * S, limit=2) == whole[:2]
    assert search(begin_ns, begin_ns + 100 * S, "db") == whole[1:]
    assert search(begin_ns + 59 * S, begin_ns + 61 * S) == whole[1:2]
    assert search(begin_ns + 200 * S, begin_ns + 300 * S) == []
    spans.stop()


def test_logs_by_time_service_and_trace(empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock) -> None:
    logs = store(empty, tmp_path, clock, "logs")
    begin_ns = NOW_MS * 1_000_000

    def add(number: int, service: str, trace: bytes = b"", at_ns: int | None = None) -> None:
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service
        record = resource.scope_logs.add().log_records.add(
            time_unix_nano=begin_ns + number * S if at_ns is None else at_ns, trace_id=trace
        )
        record.body.string_value = f"log {number}"
        append(logs, request)

    for number in range(6):
        add(number, "web" if number % 2 else "db", b"t" * 16 if number > 2 else b"")
        if number == 3:
            logs.flush()
    add(6, "db", at_ns=0)  # without a time it counts as of now

    def bodies(start_ns: int = 0, end_ns: int = begin_ns + 100 * S, limit: int = 100, **kw: Any) -> str:
        found = Logs(logs).newest(
            start_ns, end_ns, limit=limit, budget=budget(clock), now_ns=begin_ns + 10 * S, **kw
        )
        return " ".join(record.record.body.string_value.removeprefix("log ") for _, record in found)

    assert bodies() == "6 5 4 3 2 1 0"
    assert bodies(limit=4) == "6 5 4 3"
    assert bodies(service="web") == "5 3 1"
    assert bodies(trace_id=b"t" * 16) == "5 4 3"
    assert bodies(begin_ns + 2 * S, begin_ns + 4 * S) == "4 3 2"
    logs.stop()


def test_a_thread_inserts_within_a_second_and_stop_inserts_the_rest(
    empty: EmbeddedEngine, tmp_path: Path, clock: ManualClock
) -> None:
    spans = store(empty, tmp_path, clock, interval_s=0.0)
    append(spans, one_span(1))
    spans.start()
    for number in range(2, 20):
        append(spans, one_span(number))
    spans.stop()
    assert spans.status().waiting == 0
    assert empty.table("SELECT count() AS n FROM otel_traces")["n"][0].as_py() == 19


def test_the_retention_of_each_signal_is_its_tables_ttl(empty: EmbeddedEngine) -> None:
    def ttl(table: str) -> str:
        return str(
            empty.table(f"SELECT create_table_query AS q FROM system.tables WHERE name = '{table}'")["q"][
                0
            ].as_py()
        )

    for signal, days in (("logs", 14), ("traces", 7), ("logs", 3)):
        set_record_retention(empty, signal, days * 86_400_000)
        assert f"toIntervalSecond({days * 86400})" in ttl(f"otel_{signal}")
    for signal in ("logs", "traces"):
        set_record_retention(empty, signal, 0)
        assert "TTL" not in ttl(f"otel_{signal}")
