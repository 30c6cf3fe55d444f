"""Runs applications in processes of their own: what `instrument` sets up is one for each process."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).parent / "apps"


@dataclass
class Ran:
    """What a script printed: its answer as JSON, and the log lines of standard error."""

    answer: Any
    lines: list[dict[str, Any]]
    stderr: str


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Runs a script that prints one JSON document."""

    def run(script: str, **environ: str) -> Ran:
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        env = {**os.environ, "OTEL_TRACES_EXPORTER": "none", "PYTHONWARNINGS": "default", **environ}
        done = subprocess.run(
            [sys.executable, str(file)], env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr[-3000:]
        lines = []
        for line in done.stderr.splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return Ran(json.loads(done.stdout or "null"), lines, done.stderr)

    return run


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url: str, **headers: str) -> tuple[int, str]:
    """Status and body of a GET."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@dataclass
class Receiver:
    """An OTLP receiver that keeps what it was sent."""

    url: str
    spans: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running OTLP/HTTP receiver."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                for resource in MessageToDict(ExportTraceServiceRequest.FromString(body)).get(
                    "resourceSpans", []
                ):
                    for scope in resource["scopeSpans"]:
                        found.spans.extend(
                            {**span, "resource": resource["resource"]} for span in scope["spans"]
                        )
            else:
                for resource in MessageToDict(ExportLogsServiceRequest.FromString(body)).get(
                    "resourceLogs", []
                ):
                    for scope in resource["scopeLogs"]:
                        found.logs.extend(scope["logRecords"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    """A span's attributes as plain values."""
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span.get("attributes", [])}
