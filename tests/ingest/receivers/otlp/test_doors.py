"""OTLP's doors: whatever comes in by HTTP or gRPC is stored or refused as OTLP says."""

import asyncio
import contextlib
import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from typing import Any, Self

import aiohttp
import bcrypt
import cramjam
import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otero.clock import ManualClock
from otero.errors import BadConfig, BadInput, Conflict, LimitExceeded, Unavailable
from otero.http_server import Access
from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp.config import Cors, OtlpGrpc, OtlpHttp, OtlpProtocols, OtlpReceiver
from otero.ingest.receivers.otlp.doors import OtlpDoors
from otero.ingest.receivers.otlp.export import OtlpExport, unpacked
from otero.model.records import RecordBatch
from otero.wire.otlp_json import to_json
from tests.fakes import RecordingStore

NOW_MS = 1_700_000_000_000
LIMIT = 4096


class Records:
    """Keeps batches in memory; refuses them while `error` is set."""

    def __init__(self) -> None:
        self.batches: list[RecordBatch] = []
        self.error: Exception | None = None
        self.seen: set[bytes] = set()

    def append(self, batch: RecordBatch) -> bool:
        if self.error is not None:
            raise self.error
        if batch.digest in self.seen:
            return False
        self.seen.add(batch.digest)
        self.batches.append(batch)
        return True


class Metrics:
    """Takes requests of metrics and finds fault with one point of each."""

    points, rejected, message = 2, 1, "one is bad"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def write(self, body: bytes) -> "Metrics":
        self.bodies.append(body)
        return self


class Seen(set[bytes]):
    """Digests in memory."""


class Doors:
    """Open doors on free ports and what stands behind them."""

    def __init__(self, access: Access, cors: Cors, max_waiting_bytes: int = 1 << 20) -> None:
        self.logs, self.traces, self.metrics = Records(), Records(), Metrics()
        intake = Intake(RecordingStore(), {"logs": self.logs, "traces": self.traces})
        self.export = OtlpExport(
            intake,
            ManualClock(NOW_MS),
            self.metrics.write,
            Seen(),
            retention_ms={"logs": 0, "traces": 3_600_000},
            max_waiting_bytes=max_waiting_bytes,
        )
        receiver = OtlpReceiver(
            protocols=OtlpProtocols(
                grpc=OtlpGrpc(endpoint="127.0.0.1:0", max_recv_msg_size=LIMIT),  # pyright: ignore[reportArgumentType]
                http=OtlpHttp(endpoint="127.0.0.1:0", max_request_body_size=LIMIT, cors=cors),  # pyright: ignore[reportArgumentType]
            )
        )
        self.doors = OtlpDoors(receiver, access)
        self.grpc = self.http = ""

    async def __aenter__(self) -> Self:
        addresses = dict(await self.doors.start(self.export))
        self.grpc, self.http = addresses["otlp/grpc"], addresses["otlp/http"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.doors.stop()
        self.export.close()

    async def post(
        self, path: str, body: bytes, content_type: str = "application/x-protobuf", **headers: str
    ) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                self.http + path,
                data=body,
                headers={"Content-Type": content_type} | headers,
                auto_decompress=False,
            ) as response,
        ):
            return response.status, response.headers, await response.read()


def opened(access: Access | None = None, cors: Cors | None = None, **kw: Any) -> Doors:
    return Doors(access or Access(), cors or Cors(), **kw)


def spans(*start_ms: int, trace: bytes = b"t" * 16) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, at_ms in enumerate(start_ms):
        scope.spans.add(
            trace_id=trace, span_id=bytes([number + 1]) * 8, start_time_unix_nano=at_ms * 1_000_000, name="x"
        )
    return request


def logs(text: str) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = text
    return request


RAW = spans(NOW_MS).SerializeToString()


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (RAW, ""),
        (RAW, "gzip"),  # the bytes are right, whatever the header says
        (gzip.compress(RAW), "gzip"),
        (gzip.compress(RAW), ""),
        (gzip.compress(RAW[:5]) + gzip.compress(RAW[5:]), "gzip"),
        (zlib.compress(RAW), "deflate"),
        (zlib.compress(RAW, wbits=-15), "deflate"),
        (zlib.compress(RAW), "gzip,deflate"),
        (bytes(cramjam.zstd.compress(RAW)), "zstd"),
    ],
    ids=["plain", "no-gzip", "gzip", "gzip-unsaid", "two-members", "zlib", "deflate", "zlib-as-both", "zstd"],
)
async def test_http_takes_every_compression_and_answers_in_its_form(packed: bytes, encoding: str) -> None:
    async with opened() as doors:
        status, headers, body = await doors.post("/v1/traces", packed, **{"Content-Encoding": encoding})
        assert (status, headers["Content-Type"]) == (200, "application/x-protobuf")
        assert ExportTraceServiceResponse.FromString(body) == ExportTraceServiceResponse()
        assert [batch.payload for batch in doors.traces.batches] == [RAW]
        json_body = to_json(logs("hello"))
        status, headers, body = await doors.post("/v1/logs", json_body, "application/json; charset=utf-8")
        assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", {})
        assert doors.logs.batches[0].payload == logs("hello").SerializeToString()


async def test_what_swells_beyond_the_limit_is_refused_packed_or_not() -> None:
    bomb = bytes(100_000_000)
    bodies = [bytes(LIMIT + 1), zlib.compress(bomb), bytes(cramjam.zstd.compress(bomb))]
    async with opened() as doors:
        for body in bodies:
            status, _, answer = await doors.post("/v1/traces", body)
            assert status == 413
            assert Status.FromString(answer).code == 8
        async with grpc.aio.insecure_channel(doors.grpc, compression=grpc.Compression.Gzip) as channel:
            await TraceServiceStub(channel).Export(ExportTraceServiceRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await LogsServiceStub(channel).Export(logs("a" * 2_000_000))  # packed it is small enough
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not doors.logs.batches


@given(st.binary(max_size=300), st.sampled_from(["", "deflate", "gzip"]))
def test_unpacking_any_bytes_raises_nothing_else(body: bytes, encoding: str) -> None:
    for prefix in (b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x9c"):
        with contextlib.suppress(BadInput, LimitExceeded):
            unpacked(prefix + body, encoding, 1000)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/x-protobuf", b"\xff\xff", 400),
        ("application/json", b"{", 400),
        ("application/json", b'{"resourceSpans": 1}', 400),
        ("application/x-protobuf", b"\x1f\x8b\x08\x00", 400),
        ("text/plain", RAW, 415),
        ("", RAW, 415),
    ],
)
async def test_http_says_what_is_wrong_as_a_status(content_type: str, body: bytes, status: int) -> None:
    async with opened() as doors:
        answered, headers, answer = await doors.post("/v1/traces", body, content_type)
        assert answered == status
        if content_type == "application/json":
            told = json.loads(answer)
            assert (headers["Content-Type"], told["code"]) == ("application/json", 3)
            assert told["message"]
        else:
            assert Status.FromString(answer).code == 3
        assert not doors.traces.batches


async def test_what_is_refused_in_part_is_counted_and_explained() -> None:
    old = NOW_MS - 3_600_001
    async with opened() as doors:
        status, _, body = await doors.post("/v1/traces", spans(NOW_MS, old, old).SerializeToString())
        told = ExportTraceServiceResponse.FromString(body).partial_success
        assert (status, told.rejected_spans) == (200, 2)
        assert told.error_message == "2 spans are older than the retention"
        assert [batch.records for batch in doors.traces.batches] == [1]
        async with grpc.aio.insecure_channel(doors.grpc) as channel:
            answer = await TraceServiceStub(channel).Export(spans(old))
            assert answer.partial_success.rejected_spans == 1
        assert len(doors.traces.batches) == 1
        status, _, body = await doors.post("/api/v1/otlp/v1/metrics", b"")
        assert status == 200
        assert b"one is bad" in body


async def test_a_request_of_metrics_that_comes_again_is_not_written_again() -> None:
    async with opened() as doors:
        for _ in range(2):
            assert (await doors.post("/v1/metrics", b'{"resourceMetrics": [{}]}', "application/json"))[
                0
            ] == 200
        assert doors.metrics.bodies == [b"\n\x00"]


async def test_while_nothing_can_be_stored_clients_are_told_when_to_come_again() -> None:
    async with opened() as doors:
        doors.traces.error = Unavailable("the disk is full", retry_after_s=30)
        status, headers, body = await doors.post("/v1/traces", RAW)
        assert (status, headers["Retry-After"]) == (503, "30")
        assert Status.FromString(body).message == "the disk is full"
        async with grpc.aio.insecure_channel(doors.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await TraceServiceStub(channel).Export(spans(NOW_MS))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        trailing: dict[str, Any] = dict(caught.value.trailing_metadata())  # pyright: ignore[reportArgumentType]
        retry = RetryInfo()
        assert Status.FromString(trailing["grpc-status-details-bin"]).details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 30
        doors.traces.error = RuntimeError("inside")
        status, _, body = await doors.post("/v1/traces", RAW)
        assert (status, b"inside" in body) == (500, False)


async def test_too_many_waiting_requests_are_told_to_slow_down() -> None:
    async with opened(max_waiting_bytes=len(RAW)) as doors:
        gate, taken = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        append = doors.traces.append

        def slow(batch: RecordBatch) -> bool:
            loop.call_soon_threadsafe(taken.set)
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)
            return append(batch)

        doors.traces.append = slow
        first = asyncio.create_task(doors.post("/v1/traces", RAW))
        await taken.wait()
        status, headers, _ = await doors.post("/v1/traces", RAW)
        assert (status, headers["Retry-After"]) == (429, "1")
        async with grpc.aio.insecure_channel(doors.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await TraceServiceStub(channel).Export(spans(NOW_MS))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.set()
        assert (await first)[0] == 200


async def test_both_doors_want_the_credentials_of_the_main_port() -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    access = Access(users={"alice": hashed}, tokens=("t0ken",))
    basic = "Basic YWxpY2U6c2VjcmV0"
    async with opened(access) as doors:
        assert (await doors.post("/v1/traces", RAW))[0] == 401
        assert (await doors.post("/v1/traces", RAW, Authorization=basic))[0] == 200
        async with grpc.aio.insecure_channel(doors.grpc) as channel:
            stub = TraceServiceStub(channel)
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Export(spans(NOW_MS), metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            for good in ("Bearer t0ken", basic):
                await stub.Export(spans(NOW_MS, NOW_MS), metadata=(("authorization", good),))
    assert len(doors.traces.batches) == 2


async def test_pages_may_send_from_origins_that_are_named() -> None:
    cors = Cors(allowed_origins=("https://*.example.org",), allowed_headers=("x-tenant",))
    async with opened(cors=cors) as doors, aiohttp.ClientSession() as session:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-tenant",
        }
        good, bad = {"Origin": "https://app.example.org"}, {"Origin": "https://evil.org"}
        async with session.options(doors.http + "/v1/traces", headers=good | asked) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == good["Origin"]
        async with session.options(doors.http + "/v1/traces", headers=bad | asked) as response:
            assert response.status == 400
            assert "Access-Control-Allow-Origin" not in response.headers
        status, headers, _ = await doors.post("/v1/traces", RAW, **good)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, good["Origin"])
        assert (await doors.post("/v1/traces", RAW, **bad))[0] == 403
    async with opened() as doors:
        assert (await doors.post("/v1/traces", RAW, **good))[0] == 403, (
            "nothing is allowed unless it is named"
        )


async def test_concurrent_clients_of_both_doors_lose_nothing() -> None:
    async with opened() as doors, grpc.aio.insecure_channel(doors.grpc) as channel:
        stub = LogsServiceStub(channel)
        calls = [stub.Export(logs(f"grpc {number}")) for number in range(50)]
        posts = [doors.post("/v1/logs", logs(f"http {number}").SerializeToString()) for number in range(50)]
        answers = await asyncio.gather(*calls, *posts)
        assert all(answer == ExportLogsServiceResponse() or answer[0] == 200 for answer in answers)
        assert len(doors.logs.batches) == 100


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_configured_port_that_is_taken_is_fatal_a_usual_one_stays_closed(
    protocol: str, taken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door: Any = OtlpGrpc(endpoint=taken) if protocol == "grpc" else OtlpHttp(endpoint=taken)
    receiver = OtlpReceiver(protocols=OtlpProtocols(**{protocol: door}))
    with pytest.raises(Conflict, match=r"Address already in use \(receivers.otlp\)"):
        OtlpDoors(receiver, Access())
    monkeypatch.setattr("otero.ingest.receivers.otlp.doors.OtlpReceiver", lambda: receiver)
    OtlpDoors(None, Access()).close()
    assert "a usual port of OTLP stays closed" in caplog.text


def test_doors_for_the_network_want_credentials() -> None:
    receiver = OtlpReceiver(protocols=OtlpProtocols(http=OtlpHttp(endpoint="0.0.0.0:0")))
    with pytest.raises(BadConfig, match=r"receivers.otlp.protocols.http.endpoint: listening on 0.0.0.0:0"):
        OtlpDoors(receiver, Access())
    OtlpDoors(receiver, Access(), insecure=True).close()
    OtlpDoors(receiver, Access(tokens=("t",))).close()
