"""What the instrumented application answers beside its own routes: metrics and health."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from otero_sdk.health import HealthChecks
from otero_sdk.health.draining import Draining
from otero_sdk.metrics.exposition import Exposition
from otero_sdk.settings import Settings


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    content_type: str
    body: bytes


Endpoint = Callable[[str], Answer]
"""Takes the Accept header."""


def endpoints(
    settings: Settings, exposition: Exposition, health: HealthChecks, draining: Draining
) -> Mapping[str, Endpoint]:
    """By path: metrics, health, readiness and liveness."""
    paths: dict[str, Endpoint] = {}
    if settings.metrics_path is not None:
        paths[settings.metrics_path] = lambda accept: _metrics(exposition, accept)
    if settings.health_path is not None:
        paths[settings.health_path] = lambda _: _health(health)
        paths[f"{settings.health_path}/ready"] = lambda _: _ready(health, draining)
        paths[f"{settings.health_path}/live"] = lambda _: _json(200, {"status": "alive"})
    return paths


def _metrics(exposition: Exposition, accept: str) -> Answer:
    body, content_type = exposition.render(accept)
    return Answer(200, content_type, body)


def _health(health: HealthChecks) -> Answer:
    report = health.report()
    ok = report.status == "healthy" or (report.status == "degraded" and health.degraded_is_ok)
    return _json(200 if ok else 503, report.as_json())


def _ready(health: HealthChecks, draining: Draining) -> Answer:
    if draining.is_draining:
        return _json(503, {"status": "draining"})
    report = health.report()
    if report.critical_ok:
        return _json(200, {"status": "ready"})
    return _json(503, {**report.as_json(), "status": "not_ready"})


def _json(status: int, body: Mapping[str, object]) -> Answer:
    # Details of checks are the application's and may be anything.
    return Answer(status, "application/json", json.dumps(body, default=str, ensure_ascii=False).encode())
