"""Starts `otero demo` as a user would, and asks it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psutil

_R = TypeVar("_R")


class DemoProcess:
    """One running demo, whose temporary files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otero", "demo", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with self._heard:
                    self.lines.append(line)
                    self._heard.notify_all()

    def wait_for_line(self, pattern: str, timeout_s: float = 150) -> re.Match[str]:
        """The match in the first line that has it."""
        found: re.Match[str] | None = None

        def heard() -> bool:
            nonlocal found
            found = next((match for line in self.lines if (match := re.search(pattern, line))), None)
            return found is not None or self.process.poll() is not None

        with self._heard:
            self._heard.wait_for(heard, timeout_s)
        assert found is not None, f"no line has {pattern}:\n" + "".join(self.lines)
        return found

    def find_places(self) -> None:
        """Read the tour: where things are."""
        self.door = self.wait_for_line(r"demo door +(http://\S+)")[1]
        _, places = ask(self.door)
        self.otero: str = places["otero"]
        self.services: dict[str, str] = places["services"]
        self.logs = {name: Path(path) for name, path in places["logs"].items()}

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def end(self) -> None:
        """Whatever happened before."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def ask(url: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of a URL, errors too."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urlopen(request, timeout=30) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def query(otero: str, expr: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    status, answer = ask(f"{otero}/api/v1/query?{urlencode({'query': expr})}")
    assert status == 200, answer
    return answer["data"]["result"]


def eventually(what: Callable[[], _R | None], timeout_s: float = 60) -> _R:
    """What it gives once it gives something."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        if found := what():
            return found
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.2)
