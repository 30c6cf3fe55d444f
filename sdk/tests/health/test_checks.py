"""Checks of real servers; those that are not installed are skipped by name."""

import http.server
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otero_sdk.health import Check, Health, HealthChecks, checks


def ask(check: Check) -> dict[str, Any]:
    return dict(HealthChecks({"it": check}, timeout_s=10).report().checks["it"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server did not start")


@pytest.fixture(scope="module")
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


def test_postgres(postgres_port: int) -> None:
    dsn = f"postgresql://shop:{{}}@127.0.0.1:{postgres_port}/postgres"
    assert ask(checks.postgres(dsn.format("s3cret")))["status"] == "healthy"
    refused = ask(checks.postgres(dsn.format("wr0ng")))
    assert refused["status"] == "unhealthy"
    assert "password authentication failed" in refused["error"]
    assert "wr0ng" not in refused["error"]
    assert (
        ask(checks.postgres(f"postgresql://shop:s3cret@127.0.0.1:{free_port()}/shop"))["status"]
        == "unhealthy"
    )


@pytest.fixture(scope="module")
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


def test_redis(redis_port: int) -> None:
    import redis

    assert ask(checks.redis(f"redis://:s3cret@127.0.0.1:{redis_port}/0"))["status"] == "healthy"
    with redis.Redis(port=redis_port, password="s3cret") as client:
        assert ask(checks.redis(client))["status"] == "healthy"
    refused = ask(checks.redis(f"redis://:wr0ng@127.0.0.1:{redis_port}/0"))
    assert refused["status"] == "unhealthy"
    assert "wr0ng" not in refused["error"]


def test_a_broker_by_kombu(redis_port: int) -> None:
    assert ask(checks.broker("memory://"))["status"] == "healthy"
    assert ask(checks.broker(f"redis://:s3cret@127.0.0.1:{redis_port}/0"))["status"] == "healthy"
    gone = ask(checks.broker(f"amqp://shop:s3cret@127.0.0.1:{free_port()}//", timeout_s=1))
    assert gone["status"] == "unhealthy"
    assert "s3cret" not in str(gone)


def test_http() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert ask(checks.http(f"{url}/200")).items() >= {"status": "healthy", "http_status": 200}.items()
        assert ask(checks.http(f"{url}/503")).items() >= {"status": "unhealthy", "http_status": 503}.items()
        assert ask(checks.http(f"{url}/404", status=404))["status"] == "healthy"
        server.shutdown()
        thread.join()
    gone = ask(checks.http(f"http://shop:s3cret@127.0.0.1:{free_port()}/"))
    assert gone["status"] == "unhealthy"
    assert "s3cret" not in str(gone)
    with pytest.raises(ValueError, match="http or https"):
        checks.http("ftp://example.com")


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask(checks.tcp("127.0.0.1", server.getsockname()[1]))["status"] == "healthy"
    assert ask(checks.tcp("127.0.0.1", free_port()))["status"] == "unhealthy"


def test_sqlalchemy() -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine("sqlite://")
    assert ask(checks.sqlalchemy(engine))["status"] == "healthy"
    engine.dispose()
    broken = sqlalchemy.create_engine("sqlite:////nowhere/at/all.db")
    assert ask(checks.sqlalchemy(broken))["status"] == "unhealthy"
    broken.dispose()


@pytest.mark.parametrize("make", [checks.disk, checks.memory])
def test_disk_and_memory(make: Any) -> None:
    found = ask(make(degraded_percent=100, unhealthy_percent=100))
    assert found["status"] == "healthy"
    assert 0 < found["usage_percent"] < 100
    assert ask(make(degraded_percent=0, unhealthy_percent=100))["status"] == "degraded"
    assert ask(make(degraded_percent=0, unhealthy_percent=0))["status"] == "unhealthy"


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ImportError, match="needs the package nowhere: pip install nowhere"):
        checks._driver(("nowhere_at_all",), "a check", "nowhere")
    assert Health("healthy").details == {}
