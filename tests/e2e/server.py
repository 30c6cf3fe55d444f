"""Starts `otero serve` as a user would: a process, a free port, real files."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerProcess:
    """One running `otero serve`. `url` answers once `start` has returned."""

    def __init__(self, arguments: Sequence[str | Path], *, data: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = data
        self._arguments = [str(argument) for argument in arguments]
        self._process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []

    def start(self, timeout_s: float = 60) -> float:
        """Start and wait for `ready on …`; seconds that it took."""
        start_s = time.monotonic()
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "otero", "serve", "--data", str(self.data),
                "--listen", f"127.0.0.1:{self.port}", *self._arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self._process, ready), daemon=True).start()
        if not ready.wait(timeout_s) or self._process.poll() is not None:
            self.kill()
            raise AssertionError("otero serve did not become ready:\n" + "".join(self.lines))
        return time.monotonic() - start_s

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line)
                if line.startswith("ready on "):
                    ready.set()
        ready.set()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: no chance to flush."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def stop(self, timeout_s: float = 60) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def hang_up(self) -> None:
        """SIGHUP: reload."""
        os.kill(self.pid, signal.SIGHUP)

    def get(self, path: str, **params: str | list[str]) -> Any:
        """The decoded JSON of a path; errors of the API too."""
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        try:
            with urlopen(f"{self.url}{path}{query}", timeout=60) as response:
                return json.load(response)
        except HTTPError as error:
            with error:
                return json.load(error)

    def text(self, path: str) -> str:
        with urlopen(f"{self.url}{path}", timeout=60) as response:
            return response.read().decode()

    def query(self, expr: str, **params: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        answer = self.get("/api/v1/query", query=expr, **params)
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def wait_for(self, expr: str, count: int = 1, timeout_s: float = 60) -> list[dict[str, Any]]:
        """Ask until at least `count` series answer."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            result = self.query(expr)
            if len(result) >= count:
                return result
            assert time.monotonic() < deadline_s, f"{expr} has {len(result)} of {count} series: {result}"
            time.sleep(0.1)


@contextlib.contextmanager
def running(arguments: Sequence[str | Path], data: Path, port: int | None = None) -> Iterator[ServerProcess]:
    """A started server that is stopped at the end."""
    server = ServerProcess(arguments, data=data, port=port)
    server.start()
    try:
        yield server
    finally:
        if server._process is not None and server._process.poll() is None:
            server.kill()
