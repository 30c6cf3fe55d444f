"""Runs applications in processes of their own: what `instrument` sets up is one for each process."""

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sdk.tests.running import Ran, Receiver, free_port


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


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server did not start")


@pytest.fixture(scope="session")
def postgres_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    # The server refuses to run as root.
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid} if os.getuid() == 0 else {}
    if as_user:
        for parent in (folder, *folder.parents[:3]):
            if parent.owner() == "root" and parent != Path("/tmp"):
                parent.chmod(0o755)
        os.chown(folder, user.pw_uid, user.pw_gid)
    data, port = folder / "data", free_port()
    (folder / "password").write_text("s3cret")
    (folder / "password").chmod(0o644)
    environ = {**os.environ, "HOME": str(folder)}
    command = [binaries[-1].with_name("initdb"), "-D", data, "-U", "shop", "-A", "scram-sha-256", "--no-sync"]
    subprocess.run(
        [*command, f"--pwfile={folder / 'password'}"],
        check=True,
        capture_output=True,
        env=environ,
        cwd=folder,
        **as_user,
    )
    server = subprocess.Popen(
        [binaries[-1], "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        cwd=folder,
        **as_user,
    )
    wait_for(port, server)
    yield port
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("Redis is not installed: apt-get install redis-server")
    port = free_port()
    server = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "s3cret", "--save", ""],
        cwd=tmp_path_factory.mktemp("redis"),
        stdout=subprocess.DEVNULL,
    )
    wait_for(port, server)
    yield port
    server.terminate()
    server.wait(30)
