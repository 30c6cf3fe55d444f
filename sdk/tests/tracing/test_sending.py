"""What the receiver does never matters to the application."""

import base64
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk.tests.running import Receiver, attributes

pytestmark = pytest.mark.e2e

APP = """
    import json, os, threading, time
    from flask import Flask
    from otero_sdk import instrument
    app = Flask("shop")
    instrument(app, service="shop", version="1.2", environment="test", access_log=False, otlp_logs=True)
    @app.get("/orders/<int:order_id>")
    def order(order_id):
        if order_id == 13: raise ValueError("unlucky")
        app.logger.warning("order %d", order_id, extra={"user": "ada", "password": "x"})
        return "ok"
    client = app.test_client()
"""


def test_spans_and_logs_arrive(run: Callable, receiver: Receiver) -> None:
    ran = run(
        APP
        + """
    sent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Correlation-ID": "abc"}
    client.get("/orders/7?token=x", headers=sent)
    client.get("/orders/13")
    client.get("/nope")
    client.get("/health"); client.get("/metrics")
    print("0")
    """,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    assert ran.lines[0]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    first, failed, unknown = receiver.spans
    assert first["name"] == "GET /orders/<int:order_id>"
    assert first["kind"] == "SPAN_KIND_SERVER"
    assert (
        attributes(first).items()
        >= {
            "http.request.method": "GET",
            "http.route": "/orders/<int:order_id>",
            "http.response.status_code": "200",
            "url.path": "/orders/7",
            "url.scheme": "http",
            "correlation_id": "abc",
        }.items()
    )
    resource = attributes(first["resource"])
    assert (resource["service.name"], resource["service.version"]) == ("shop", "1.2")
    assert resource["deployment.environment.name"] == "test"
    assert failed["status"]["code"] == "STATUS_CODE_ERROR"
    assert attributes(failed)["error.type"] == "ValueError"
    assert attributes(failed["events"][0])["exception.message"] == "unlucky"
    assert unknown["name"] == "GET"
    assert "status" not in unknown or "code" not in unknown["status"]
    log = next(record for record in receiver.logs if record["body"]["stringValue"] == "order 7")
    assert log["severityText"] == "WARNING"
    assert log["traceId"] == first["traceId"]
    assert attributes(log).items() >= {"user": "ada", "password": "***", "correlation_id": "abc"}.items()
    error = next(record for record in receiver.logs if record["severityText"] == "ERROR")
    assert attributes(error)["exception.type"] == "ValueError"


def test_a_receiver_that_never_answers_delays_neither_requests_nor_the_end(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        textwrap.dedent(
            """
    import atexit, time
    atexit.register(lambda: print(time.monotonic() - end, flush=True))  # the last one to be called
    """
            + APP
            + """
    for _ in range(600): client.get("/orders/7")
    slowest = 0.0
    for _ in range(100):
        start = time.perf_counter(); client.get("/orders/7"); slowest = max(slowest, time.perf_counter() - start)
    time.sleep(1.5)  # the exporter is inside of its call by now
    start = time.perf_counter(); client.get("/orders/7"); last = time.perf_counter() - start
    print(json.dumps([slowest, last]), flush=True)
    end = time.monotonic()
    """
        )
    )
    with socket.create_server(("127.0.0.1", 0), backlog=128) as hanging:
        environ = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hanging.getsockname()[1]}",
        }
        environ.pop("OTEL_TRACES_EXPORTER", None)
        app = subprocess.Popen(
            [sys.executable, str(script)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert app.stdout is not None
        slowest, last = json.loads(app.stdout.readline())
        delay_s = float(app.stdout.readline())
        app.wait(30)
        app.stdout.close()
        hanging.settimeout(0)
        hanging.accept()[0].close()  # it did connect
    assert app.returncode == 0
    assert slowest < 1
    assert last < 1
    assert 0.7 < delay_s < 1.5, "0.75 s for both signals together, the rest is for a busy machine"


@pytest.mark.parametrize("exits", ["sys.exit(3)", "raise SystemExit(3)"])
def test_an_absent_receiver_is_told_once_and_changes_no_exit_code(exits: str, tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(textwrap.dedent(APP + f"\n    import sys\n    client.get('/orders/7')\n    {exits}\n"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    environ.pop("OTEL_TRACES_EXPORTER", None)
    done = subprocess.run(
        [sys.executable, str(script)], env=environ, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 3
    assert done.stderr.count("encountered while exporting") <= 2


def test_spans_of_forked_children_arrive(run: Callable, receiver: Receiver) -> None:
    run(
        APP
        + """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork with the exporter's thread running
    client.get("/orders/1")
    children = []
    for number in (2, 3):
        if (pid := os.fork()) == 0:
            client.get(f"/orders/{number}")
            raise SystemExit
        children.append(pid)
    for pid in children: os.waitpid(pid, 0)
    print("0")
    """,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    assert sorted(attributes(span)["url.path"] for span in receiver.spans) == [
        "/orders/1",
        "/orders/2",
        "/orders/3",
    ]
    assert len({span["traceId"] for span in receiver.spans}) == 3


def test_sampling(run: Callable, receiver: Receiver) -> None:
    run(
        APP.replace('service="shop"', 'service="shop", sample_ratio=0.0')
        + """
    client.get("/orders/1")
    client.get("/orders/2", headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    client.get("/orders/3", headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
    text = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}).text
    print(json.dumps(text.count("# {")))
    """,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    assert [attributes(span)["url.path"] for span in receiver.spans] == ["/orders/2"]


def test_libraries_are_instrumented_when_they_are_imported(run: Callable, receiver: Receiver) -> None:
    ran = run(
        """
    import json, sys
    from flask import Flask
    from otero_sdk import instrument
    app = Flask("shop"); instrument(app, service="shop", access_log=False)
    loaded = [name for name in ("sqlalchemy", "aiohttp", "celery", "redis", "django") if name in sys.modules]
    import requests, httpx, sqlalchemy, threading, http.server
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool,
                                      connect_args={"check_same_thread": False})
    seen = []
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append([self.headers["traceparent"][3:35], self.headers["X-Correlation-ID"], self.headers["baggage"],
                         self.headers["b3"][:32], self.headers["uber-trace-id"][:32]])
            self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    @app.get("/")
    def home():
        requests.get(url); httpx.get(url)
        with engine.connect() as connection: connection.execute(sqlalchemy.text("SELECT 1"))
        return "ok"
    client = app.test_client()
    client.get("/", headers={"X-Correlation-ID": "abc"})
    print(json.dumps([loaded, seen]))
    """,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    loaded, seen = ran.answer
    assert loaded == []
    server = next(span for span in receiver.spans if span["kind"] == "SPAN_KIND_SERVER")
    assert {span["traceId"] for span in receiver.spans} == {server["traceId"]}
    assert {span["kind"] for span in receiver.spans} == {"SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"}
    assert any("SELECT" in span["name"] for span in receiver.spans)
    assert all(attributes(span)["correlation_id"] == "abc" for span in receiver.spans)
    assert len(seen) == 2
    trace_id = base64.b64decode(server["traceId"]).hex()
    for found in seen:
        assert found == [trace_id, "abc", "correlation_id=abc", trace_id, trace_id]


def test_calls_of_databases_are_spans(
    run: Callable, receiver: Receiver, postgres_port: int, redis_port: int
) -> None:
    run(
        f"""
    import json
    from otero_sdk import correlation, instrument
    instrument(lambda environ, start_response: [], service="shop")
    import psycopg, redis
    with correlation.use("abc"):
        with psycopg.connect("postgresql://shop:s3cret@127.0.0.1:{postgres_port}/postgres") as connection:
            connection.execute("SELECT 42")
        with redis.Redis(port={redis_port}, password="s3cret") as client: client.set("lamp", "3")
    print("0")
    """,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    found = {(span["name"], attributes(span)["correlation_id"]) for span in receiver.spans}
    assert found >= {("SELECT", "abc"), ("SET", "abc")}
    assert "s3cret" not in str(receiver.spans)
