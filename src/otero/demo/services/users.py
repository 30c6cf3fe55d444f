"""The user service: who somebody is, and what they may see of the order service."""

import logging
from typing import Any

from flask import Flask, Response, jsonify, request

from otero.demo.services.downstream import Downstream, failed
from otero.demo.services.names import PASSWORD, USERS
from otero.demo.services.sessions import LocalSessions, RedisSessions, Sessions
from otero_sdk import HealthChecks, metrics
from otero_sdk.health import checks

LOGINS = metrics.counter("logins_total", "Logins by outcome.", {"outcome": ["accepted", "refused"]})
ACTIVE = metrics.active_users()

_logger = logging.getLogger(__name__)


def install(app: Flask, health: HealthChecks, orders_url: str, redis_url: str | None = None) -> None:
    """Routes and checks. Sessions are in Redis when its URL is given."""
    orders = Downstream("orders", orders_url)
    health.add("orders", checks.http(f"{orders_url}/health/ready", timeout_s=2), critical=False)
    sessions: Sessions = LocalSessions()
    if redis_url is not None:
        in_redis = RedisSessions(redis_url)
        health.add("redis", checks.redis(in_redis.client))
        sessions = in_redis

    @app.post("/sessions")
    def log_in() -> Response:
        wanted: Any = request.get_json()
        user = wanted.get("user")
        if user not in USERS or wanted.get("password") != PASSWORD:
            LOGINS.labels("refused").inc()
            _logger.warning("login refused", extra={"user": str(user)[:40]})
            return failed(401, "unknown user or wrong password")
        LOGINS.labels("accepted").inc()
        ACTIVE.inc()
        return jsonify(token=sessions.open(user), user=user)

    @app.delete("/sessions")
    def log_out() -> Response:
        if sessions.close(_token()):
            ACTIVE.dec()
        return Response(status=204)

    @app.get("/users/me/orders")
    def list_orders() -> Response:
        user = sessions.user(_token())
        if user is None:
            return failed(401, "log in first")
        return orders.call("GET", "/orders", params={"user": user})

    @app.post("/users/me/orders")
    def order() -> Response:
        user = sessions.user(_token())
        if user is None:
            return failed(401, "log in first")
        return orders.call("POST", "/orders", body={**(request.get_json() or {}), "user": user})

    @app.post("/users/me/orders/<int:number>/payment")
    def pay(number: int) -> Response:
        user = sessions.user(_token())
        if user is None:
            return failed(401, "log in first")
        return orders.call(
            "POST", f"/orders/{number}/payment", body={**(request.get_json() or {}), "user": user}
        )


def _token() -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")
