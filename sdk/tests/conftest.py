"""Runs applications in processes of their own: what `instrument` sets up is one for each process."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sdk.tests.running import Ran, Receiver


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
