"""`/-/healthy`, `/-/ready`, `/-/reload` and `/health…`: what orchestrators and people ask first."""

import time
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from otero.api.context import ApiContext
from otero.errors import OteroError


class HealthRoutes:
    """Tells whether the server lives, is ready and works."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def healthy(self, _request: Request) -> Response:
        return PlainTextResponse("Otero is Healthy.\n")

    async def ready(self, _request: Request) -> Response:
        if self._context.lifecycle.ready:
            return PlainTextResponse("Otero is Ready.\n")
        return PlainTextResponse(
            "Otero is starting: it reads back what it has stored.\n", 503, {"Retry-After": "1"}
        )

    async def reload(self, _request: Request) -> Response:
        await self._context.lifecycle.reload()
        return Response(status_code=200)

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"status": "healthy", "timestamp": datetime.now(UTC).isoformat(), "checks": {}})

    async def health(self, _request: Request) -> Response:
        checks = {"storage": self._storage(), "configuration": self._configuration(), "ready": self._ready()}
        healthy = all(check["status"] == "healthy" for check in checks.values())
        body = {
            "status": "healthy" if healthy else "unhealthy",
            "timestamp": datetime.now(UTC).isoformat(),
            "checks": checks,
        }
        return JSONResponse(body, 200 if healthy else 503)

    def _ready(self) -> dict[str, object]:
        ready = self._context.lifecycle.ready
        return _check(ready, 0.0, "the journal is being replayed")

    def _configuration(self) -> dict[str, object]:
        ok = self._context.lifecycle.reload_ok
        return _check(ok, 0.0, "the last reload failed; the configuration before it is in force")

    def _storage(self) -> dict[str, object]:
        start_s = time.perf_counter()
        try:
            writable = not self._context.lifecycle.ready or self._context.store.status().writable
        except OteroError as error:
            return _check(False, time.perf_counter() - start_s, str(error))
        return _check(writable, time.perf_counter() - start_s, "writes are refused; the log says why")


def _check(ok: bool, response_time_s: float, error: str) -> dict[str, object]:
    check: dict[str, object] = {
        "status": "healthy" if ok else "unhealthy",
        "response_time": round(response_time_s, 6),
    }
    return check if ok else {**check, "error": error}
