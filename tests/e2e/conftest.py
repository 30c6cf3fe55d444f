"""Real programs and small exporters for the end-to-end tests."""

import contextlib
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.server import free_port

PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
"""Debian's packages of programs that have another name."""


def program(name: str) -> str:
    """The path of a program; skips the test by name when it is absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}")
    return path


@contextlib.contextmanager
def running_prometheus(config: Path, *flags: str, port: int = 0) -> Iterator[str]:
    """A real Prometheus with this configuration and its data beside it, once it is ready; its address."""
    port = port or free_port()
    process = subprocess.Popen(
        [
            program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", *flags,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + 60
        while True:
            try:
                urlopen(f"{url}/-/ready", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, f"Prometheus ended with {process.returncode}"
                assert time.monotonic() < deadline_s, "Prometheus does not answer"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(30)


class Exporter:
    """Serves whatever `body` returns on /metrics."""

    def __init__(
        self, body: Callable[[], bytes], content_type: str = "text/plain; version=0.0.4", *, port: int = 0
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                payload = body()
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_args: object) -> None:
                pass

        connections = self._connections = list[socket.socket]()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def get_request(self) -> Any:
                connection, address = super().get_request()
                connections.append(connection)
                return connection, address

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def shop() -> Iterator[int]:
    """The Flask shop as a process of its own; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.shop", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        for path in ("/", "/products/lamp", "/products/none"):
            with contextlib.suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).close()
        yield port
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


@pytest.fixture
def node_exporter() -> Iterator[int]:
    """Debian's node_exporter; its port."""
    path = program("prometheus-node-exporter")
    port = free_port()
    process = subprocess.Popen(
        [path, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline_s = time.monotonic() + 30
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline_s, "node_exporter does not answer"
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)
