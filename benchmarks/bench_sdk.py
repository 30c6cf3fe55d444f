"""What the SDK costs a request: the CPU time of an instrumented application less that of the same one without.

`python benchmarks/bench_sdk.py`. Applications are called through their own protocols (WSGI, ASGI) without a server; both are
called in turns of 25 requests, and the best turn of each counts, so that other work on the machine matters little. Log lines
go to /dev/null, spans to a receiver that answers, values to memory or, as with several workers, to files. The time is that
of the thread that answers, which is what a request waits for; what the thread that encodes and sends spans takes is shown
beside it, as a mean.
"""

import argparse
import asyncio
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TURN = 25
GOALS_US = {"metrics, logs, correlation": 60, "and traces": 150}
VARIANTS: dict[str, dict[str, Any]] = {
    "metrics, logs, correlation": {"traces": False},
    "and traces": {"traces": True},
}


def flask_app(options: dict[str, Any] | None) -> Callable[[], None]:
    """One request to a Flask application."""
    from flask import Flask

    app = Flask("bench")

    @app.get("/orders/<int:order_id>")
    def order(order_id: int) -> str:
        return f"order {order_id}"

    if options is not None:
        from otero_sdk import instrument

        instrument(app, service="bench", **options)
    return wsgi(app)


def wsgi(app: Any) -> Callable[[], None]:
    """One request to a WSGI application."""
    base = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/orders/7",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "bench",
        "HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
    }

    def request() -> None:
        environ = {**base, "wsgi.input": io.BytesIO()}
        body = app(environ, lambda _status, _headers, _error=None: None)
        for _ in body:
            pass
        body.close()

    return request


def starlette_app(options: dict[str, Any] | None) -> Callable[[], None]:
    """One request to a Starlette application."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def order(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"order {request.path_params['order_id']}")

    app = Starlette(routes=[Route("/orders/{order_id:int}", order)])
    if options is not None:
        from otero_sdk import instrument

        instrument(app, service="bench", **options)
    loop = asyncio.new_event_loop()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        return

    async def one() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/orders/7",
            "raw_path": b"/orders/7",
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "http_version": "1.1",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 5000),
            "headers": [
                (b"host", b"localhost"),
                (b"user-agent", b"bench"),
                (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ],
        }
        await app(scope, receive, send)

    return lambda: loop.run_until_complete(one())


APPS = {"Flask": flask_app, "Starlette": starlette_app}


def measure(app: str, variant: str, seconds: float) -> tuple[float, float, float]:
    """CPU microseconds of a request: of the bare application, of the instrumented one, of its other threads."""
    bare, instrumented = APPS[app](None), APPS[app](VARIANTS[variant])
    for _ in range(300):
        bare()
        instrumented()
    best = [float("inf"), float("inf")]
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for index, request in enumerate((bare, instrumented)):
            start = time.thread_time()
            for _ in range(TURN):
                request()
            best[index] = min(best[index], (time.thread_time() - start) / TURN * 1e6)
    time.sleep(2)  # what is still queued is sent
    process, thread = time.process_time(), time.thread_time()
    for _ in range(1000):
        instrumented()
    time.sleep(2)
    others = (time.process_time() - process - time.thread_time() + thread) / 1000 * 1e6
    return best[0], best[1], others


class Receiver(BaseHTTPRequestHandler):
    """Takes spans and says yes."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="for each row")
    parser.add_argument("--one", nargs=2, metavar=("APP", "VARIANT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], given.one[1], given.seconds)))
        return
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    print(f"{'CPU µs a request':<48}{'bare':>8}{'with':>8}{'added':>8}{'goal':>6}{'sending':>9}")
    for app, workers, variant in itertools.product(APPS, ("memory", "files"), VARIANTS):
        environ = {
            **os.environ,
            "OTERO_SDK_MULTIPROCESS": "1" if workers == "files" else "0",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}",
        }
        command = [sys.executable, __file__, "--seconds", str(given.seconds), "--one", app, variant]
        with Path(os.devnull).open("w") as nowhere:
            done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=nowhere, check=True)
        bare, instrumented, others = json.loads(done.stdout)
        print(
            f"{f'{app}: {variant}':<40}{workers:<8}{bare:>8.1f}{instrumented:>8.1f}"
            f"{instrumented - bare:>8.1f}{GOALS_US[variant]:>6}{others:>9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
