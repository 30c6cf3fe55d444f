"""The order service: products, orders and payments, in a database."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError

from otero.demo import faults
from otero.demo.services.downstream import failed
from otero.demo.services.names import BAD_CARD
from otero.demo.services.order_table import OrderTable
from otero_sdk import HealthChecks, metrics

ORDERS = metrics.counter("orders_total", "Orders by outcome.", {"outcome": ["placed", "paid", "declined"]})
REVENUE = metrics.counter("revenue_euros_total", "What was paid.")
_MAX_QUANTITY: Final = 20

_logger = logging.getLogger(__name__)


def activities(table: OrderTable) -> Mapping[str, Callable[[threading.Event], None]]:
    """The faults that only this service has."""

    def be_slow(stop: threading.Event) -> None:
        table.slow = True
        stop.wait()
        table.slow = False

    return {"database": table.hold_lock, "slow-query": be_slow}


def install(app: Flask, health: HealthChecks, table: OrderTable, version: str) -> None:
    """Routes and checks: without its database it is not ready."""
    health.add("database", table.ask)

    @app.errorhandler(SQLAlchemyError)
    def database_failed(error: SQLAlchemyError) -> Response:
        _logger.error("the database failed", exc_info=error)
        return failed(503, "the database does not answer")

    @app.get("/products")
    def list_products() -> Response:
        return jsonify([{"name": row.name, "price": row.price} for row in table.products()])

    @app.get("/products/<name>")
    def show_product(name: str) -> Response:
        row = table.product(name)
        if row is None:
            return failed(404, f"there is no product {name[:40]}")
        return jsonify(name=row.name, price=row.price, stock=row.stock)

    @app.get("/orders")
    def list_orders() -> Response:
        found = table.of_buyer(request.args.get("user", ""))
        return jsonify(
            [
                {"number": row.number, "product": row.product, "total": row.total, "paid": bool(row.paid)}
                for row in found
            ]
        )

    @app.post("/orders")
    def order() -> Response:
        wanted: Any = request.get_json()
        row = table.product(str(wanted.get("product")))
        quantity = wanted.get("quantity", 1)
        if row is None or not isinstance(quantity, int) or not 0 < quantity <= _MAX_QUANTITY:
            return failed(400, f"a product and a quantity up to {_MAX_QUANTITY} are expected")
        total = price(row.price, quantity, version)
        number = table.order(wanted["user"], row.name, quantity, total)
        ORDERS.labels("placed").inc()
        _logger.info("order placed", extra={"order": number, "product": row.name, "total": total})
        return jsonify(number=number, total=total)

    @app.post("/orders/<int:number>/payment")
    def pay(number: int) -> Response:
        wanted: Any = request.get_json()
        if wanted.get("card") == BAD_CARD:
            ORDERS.labels("declined").inc()
            _logger.warning("payment declined", extra={"order": number})
            return failed(402, "the card was declined")
        total = table.pay(wanted["user"], number)
        if total is None:
            return failed(404, "there is no such open order")
        ORDERS.labels("paid").inc()
        REVENUE.inc(total)
        return jsonify(number=number, paid=total)


def price(single: float, quantity: int, version: str) -> float:
    """The price of an order. The bad version has a discount for two and more, which somebody forgot to fill in."""
    discounts: dict[int, Any] = {1: 0.0}
    if version == faults.BAD_VERSION:
        discounts[2] = None
    best = max(least for least in discounts if least <= quantity)
    return round(single * quantity * (1 - discounts[best]), 2)
