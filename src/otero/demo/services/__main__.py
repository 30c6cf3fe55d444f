"""One service of the demo as a process: `python -m otero.demo.services`, with its `Options` as one JSON argument.

It writes `listening` to standard output once it answers, and JSON log lines to standard error. Each line of its standard
input is a JSON list: the faults that are on from then on, answered by `faults`. It ends when standard input does.
"""

import json
import logging
import random
import sys
import threading

import msgspec
from flask import Flask
from werkzeug.serving import make_server

from otero.demo.faults import ORDERS, USERS
from otero.demo.lifeline import die_with
from otero.demo.services.options import Options
from otero.demo.services.trouble import Trouble
from otero_sdk import HealthChecks, instrument, metrics


def build(options: Options) -> tuple[Flask, Trouble]:
    """The instrumented application that the options name, and its faults."""
    app, health = Flask(options.service), HealthChecks(timeout_s=3)
    # Before the database's engine is made, so that its statements become spans.
    instrument(
        app,
        service=options.service,
        version=options.version,
        environment="demo",
        health=health,
        metric_names=["http", "golden"],
        otlp_endpoint=options.otlp,
        otlp_logs=True,
    )
    chance = random.Random(options.seed)  # noqa: S311 — no secret
    urls = options.urls
    # Metrics are made when a module is imported: those of this service only.
    if options.service == ORDERS:
        from otero.demo.services import orders
        from otero.demo.services.order_table import OrderTable

        table = OrderTable(options.database)
        trouble = Trouble(chance, orders.activities(table))
        trouble.install(app)
        orders.install(app, health, table, options.version)
        return app, trouble
    trouble = Trouble(chance)
    trouble.install(app)
    if options.service == USERS:
        from otero.demo.services import users

        users.install(app, health, urls[ORDERS], options.redis)
    else:
        from otero.demo.services import gateway

        gateway.install(app, health, urls[USERS], urls[ORDERS])
    return app, trouble


def main(options: Options) -> None:
    """Serve on loopback until standard input ends."""
    die_with(options.parent)
    app, trouble = build(options)
    metrics.gauge(
        "build_info", "1, labelled with the version that runs.", {"version": [options.version]}
    ).labels(options.version).set(1)
    server = make_server("127.0.0.1", options.port, app, threaded=True)
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    logging.getLogger("otero.demo").info("listening", extra={"port": options.port})
    print("listening", flush=True)
    for line in sys.stdin:
        trouble.set(json.loads(line))
        print("faults", flush=True)
    server.shutdown()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Options))
