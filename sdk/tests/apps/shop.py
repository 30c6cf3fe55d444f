"""A Flask shop for tests with real servers: `gunicorn --chdir sdk/tests/apps shop:app`."""

import os
import time

from flask import Flask

from otero_sdk import HealthChecks, instrument, metrics

app = Flask("shop")
health = HealthChecks(cache_s=0)
instrument(
    app,
    service="shop",
    health=health,
    access_log=False,
    metric_names=["http", "golden", "otel"],
    drain_s=float(os.environ.get("DRAIN_S", "0")),
)

ORDERS = metrics.counter("orders_total", "Orders.", {"outcome": ["paid", "refused"]})


@app.get("/orders/<int:order_id>")
def order(order_id: int) -> str:
    ORDERS.labels("paid" if order_id % 2 else "refused").inc()
    return f"order {order_id}\n"


@app.get("/slow")
def slow() -> str:
    time.sleep(0.2)
    return "slow\n"


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())
