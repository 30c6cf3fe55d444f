"""A small Flask shop that exposes `/metrics` with `prometheus_client`, for tests that scrape an application.

Run as a process of its own: `python -m tests.e2e.shop PORT`.
"""

import random
import sys
import threading
import time

from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from werkzeug.serving import make_server

REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "endpoint", "status"])
SECONDS = Histogram("http_request_duration_seconds", "Time to answer a request.", ["method", "endpoint"])
PRODUCTS = ("lamp", "chair", "table")
IN_STOCK = Gauge("shop_items_in_stock", "Items in stock, by product.", ["product"])


def create_app(chance: random.Random) -> Flask:
    """The application; `chance` decides how long a request takes and whether it fails."""
    app = Flask("shop")
    for name in PRODUCTS:
        IN_STOCK.labels(name).set(50)

    @app.before_request
    def start_clock() -> None:
        request.environ["shop.start"] = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        endpoint = request.url_rule.rule if request.url_rule else "unknown"
        if endpoint != "/metrics":
            REQUESTS.labels(request.method, endpoint, str(response.status_code)).inc()
            SECONDS.labels(request.method, endpoint).observe(
                time.perf_counter() - request.environ["shop.start"]
            )
        return response

    @app.get("/")
    def home() -> str:
        time.sleep(chance.expovariate(1 / 0.005))
        return "shop\n"

    @app.get("/products/<product>")
    def product(product: str) -> tuple[str, int]:
        time.sleep(chance.expovariate(1 / 0.01))
        return (f"{product}\n", 200) if product in PRODUCTS else ("no such product\n", 404)

    @app.post("/orders")
    def order() -> tuple[str, int]:
        time.sleep(chance.expovariate(1 / 0.03))
        if chance.random() < 0.03:
            return "payment failed\n", 500
        stock = IN_STOCK.labels(chance.choice(PRODUCTS))
        stock.dec() if chance.random() < 0.9 else stock.set(50)
        return "ordered\n", 201

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return app


def main(port: int) -> None:
    """Serve on loopback until standard input closes, so that it ends with whoever started it."""
    server = make_server("127.0.0.1", port, create_app(random.Random()), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
