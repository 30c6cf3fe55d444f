"""A real PostgreSQL and a real Redis, where they are installed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import free_port


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    as_user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() == 0:  # as which the server refuses to run
            user = pwd.getpwnam("postgres")
            as_user = {"user": user.pw_uid, "group": user.pw_gid}
            os.chown(folder, user.pw_uid, user.pw_gid)
        port, data = free_port(), f"{folder}/data"
        initdb = [binaries[-1].with_name("initdb"), "-D", data, "-U", "shop", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **as_user)
        serve = [binaries[-1], "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(serve, cwd=folder, **quiet, **as_user)
        _wait_for(port, server)
        yield f"postgresql://shop@127.0.0.1:{port}/postgres"
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """The URL of an empty Redis."""
    if shutil.which("redis-server") is None:
        pytest.skip("Redis is not installed: apt-get install redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _wait_for(port, server)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(30)


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline_s, "the server does not answer"
            time.sleep(0.05)
