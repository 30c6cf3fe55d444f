"""Checks of real servers; those that are not installed are skipped by name."""

import http.server
import socket
import threading
from typing import Any

import pytest

from otero_sdk.health import Check, Health, HealthChecks, checks
from sdk.tests.running import free_port


def ask(check: Check) -> dict[str, Any]:
    return dict(HealthChecks({"it": check}, timeout_s=10).report().checks["it"])


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
