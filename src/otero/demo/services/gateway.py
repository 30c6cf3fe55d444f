"""The gateway: the one service that customers see. It hands requests on to users and orders."""

from flask import Flask, Response, request

from otero.demo.services.downstream import Downstream
from otero_sdk import HealthChecks
from otero_sdk.health import checks


def install(app: Flask, health: HealthChecks, users_url: str, orders_url: str) -> None:
    """Routes and checks: it cannot work without users, and with less when orders are not ready."""
    users, orders = Downstream("users", users_url), Downstream("orders", orders_url)
    health.add("users", checks.http(f"{users_url}/health/live", timeout_s=2))
    health.add("orders", checks.http(f"{orders_url}/health/ready", timeout_s=2), critical=False)

    @app.get("/")
    def home() -> dict[str, str]:
        return {"shop": "otero demo", "products": "/products"}

    @app.get("/products")
    def products() -> Response:
        return orders.call("GET", "/products")

    @app.get("/products/<name>")
    def product(name: str) -> Response:
        return orders.call("GET", f"/products/{name}")

    @app.post("/login")
    def login() -> Response:
        return users.call("POST", "/sessions", body=_body())

    @app.post("/logout")
    def logout() -> Response:
        return users.call("DELETE", "/sessions", headers=_credentials())

    @app.get("/orders")
    def my_orders() -> Response:
        return users.call("GET", "/users/me/orders", headers=_credentials())

    @app.post("/orders")
    def order() -> Response:
        return users.call("POST", "/users/me/orders", body=_body(), headers=_credentials())

    @app.post("/orders/<int:number>/payment")
    def pay(number: int) -> Response:
        path = f"/users/me/orders/{number}/payment"
        return users.call("POST", path, body=_body(), headers=_credentials())


def _body() -> object:
    return request.get_json(silent=True) or {}


def _credentials() -> dict[str, str]:
    return {"Authorization": request.headers.get("Authorization", "")}
