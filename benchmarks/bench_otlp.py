"""Spans and log records from gRPC to storage: `python benchmarks/bench_otlp.py [--seconds 20]`.

Starts a server, sends requests of 500 records of about 260 bytes with eight attributes as fast as they are answered, and
divides by the CPU seconds of the server's process, until everything is in the engine. The client is another process.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import psutil
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.e2e.server import ServerProcess, free_port

BATCH = 500
CALLS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


def request(signal: str, seed: int) -> bytes:
    """A serialized request of BATCH records."""
    rng = random.Random(seed)
    out: Any = ExportTraceServiceRequest() if signal == "traces" else ExportLogsServiceRequest()
    resource = out.resource_spans.add() if signal == "traces" else out.resource_logs.add()
    for key, value in (
        ("service.name", f"shop{seed % 5}"),
        ("host.name", "h1"),
        ("telemetry.sdk.language", "python"),
    ):
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_spans.add() if signal == "traces" else resource.scope_logs.add()
    scope.scope.name = "bench"
    now_ns = time.time_ns()
    for number in range(BATCH):
        if signal == "traces":
            record = scope.spans.add(
                trace_id=rng.randbytes(16), span_id=rng.randbytes(8), parent_span_id=rng.randbytes(8),
                name=f"GET /x/{number % 20}", kind=2, start_time_unix_nano=now_ns + number,
                end_time_unix_nano=now_ns + number + rng.randrange(10**7),
            )  # fmt: skip
        else:
            record = scope.log_records.add(
                time_unix_nano=now_ns + number, observed_time_unix_nano=now_ns + number, severity_number=9,
                severity_text="INFO", trace_id=rng.randbytes(16), span_id=rng.randbytes(8),
            )  # fmt: skip
            record.body.string_value = f"GET /x/{rng.randrange(10_000)} took {rng.randrange(5000)} ms for user {rng.randrange(10**5)}"
        for key, text in (
            ("http.method", "GET"), ("http.url", f"http://shop/x/{rng.randrange(10_000)}"), ("http.flavor", "1.1"),
            ("net.peer.ip", f"10.0.0.{rng.randrange(255)}"), ("user.id", f"u{rng.randrange(10**5)}"),
        ):  # fmt: skip
            record.attributes.add(key=key).value.string_value = text
        record.attributes.add(key="http.status_code").value.int_value = 200
        record.attributes.add(key="thread.id").value.int_value = rng.randrange(20)
        record.attributes.add(key="cached").value.bool_value = bool(rng.randrange(2))
    return out.SerializeToString()


def send(signal: str, port: int, seconds: float, results: Any) -> None:
    """Send until the time is over; puts the number of records into `results`."""

    async def run() -> int:
        sent = 0
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(CALLS[signal])
            bodies = [request(signal, seed) for seed in range(20)]
            until_s = time.monotonic() + seconds

            async def worker(number: int) -> None:
                nonlocal sent
                turn = 0
                while time.monotonic() < until_s:
                    turn += 1
                    # A field that OTLP does not know makes each request another one, at no cost for the client.
                    mark = b"\xc0\x3f" + bytes((turn % 128 | 128, turn // 128 % 128 | 128, number))
                    await call(bodies[turn % len(bodies)] + mark)
                    sent += BATCH

            await asyncio.gather(*(worker(number) for number in range(4)))
        return sent

    results.put(asyncio.run(run()))


def measure(signal: str, seconds: float) -> None:
    """Print records per CPU second of the server."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "otero.yml").write_text(
            "host: {enabled: false}\nprometheus: {scrape_configs: []}\n"
            f"receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n"
        )
        server = ServerProcess(["--config", folder / "otero.yml"], data=folder / "data")
        server.start(180)
        process = psutil.Process(server.pid)
        results: Any = multiprocessing.Queue()
        client = multiprocessing.Process(target=send, args=(signal, port, seconds, results))
        before, began_s = sum(process.cpu_times()[:2]), time.monotonic()
        client.start()
        records = results.get()
        client.join()
        while json.load(urlopen(f"{server.url}/api/otero/v1/status"))["records"][signal]["waiting"]:
            time.sleep(0.1)
        cpu_s, wall_s = sum(process.cpu_times()[:2]) - before, time.monotonic() - began_s
        print(
            f"{signal}: {records:,} records, {records / cpu_s:,.0f} per CPU second of the server, {records / wall_s:,.0f} per"
            f" second, {process.memory_info().rss / 1e6:,.0f} MB resident",
            flush=True,
        )
        server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    for signal in CALLS:
        measure(signal, arguments.seconds)
