"""The paths of Alertmanager's API v2, on the main port and on one of their own."""

import platform
from collections.abc import Awaitable, Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from otero import __version__
from otero.alerting.alertmanager import Alertmanager
from otero.api.alertmanager.alerts import AlertRoutes
from otero.api.alertmanager.silences import SilenceRoutes
from otero.api.context import Lifecycle
from otero.api.problem import WrongShape
from otero.clock import Clock
from otero.model.times import rfc3339_ms

Handler = Callable[[Request], Awaitable[Response]]

COMPATIBLE_VERSION = "0.28.1"
"""The release of Alertmanager whose API this is."""
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
"""Every path answers to all of them: that one is not allowed is told in JSON, too."""


def alertmanager_paths(
    alertmanager: Alertmanager, lifecycle: Lifecycle, clock: Clock
) -> Mapping[str, Handler]:
    """The handler of each path, for all methods."""
    alerts = AlertRoutes(alertmanager, clock)
    silences = SilenceRoutes(alertmanager.silences, clock)
    general = _General(alertmanager, lifecycle)
    return {
        "/api/v2/status": by_method(GET=general.status),
        "/api/v2/receivers": by_method(GET=general.receivers),
        "/api/v2/alerts": by_method(GET=alerts.get, POST=alerts.post),
        "/api/v2/alerts/groups": by_method(GET=alerts.groups),
        "/api/v2/silences": by_method(GET=silences.list, POST=silences.post),
        "/api/v2/silence/{id}": by_method(GET=silences.get, DELETE=silences.delete),
    }


def by_method(**handlers: Handler) -> Handler:
    """One handler that hands on by method and refuses the others."""

    async def answer(request: Request) -> Response:
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ",".join(handlers)
            message = f"method {request.method} is not allowed, but [{allowed}] are"
            body = orjson.dumps({"code": 405, "message": message})
            return Response(body, 405, {"allow": allowed}, "application/json")
        return await handler(request)

    return answer


async def unknown(request: Request) -> Response:
    """Any other path of the own port."""
    raise WrongShape(f"path {request.url.path} was not found", status=404, code=404)


class _General:
    def __init__(self, alertmanager: Alertmanager, lifecycle: Lifecycle) -> None:
        self._alertmanager = alertmanager
        self._lifecycle = lifecycle

    async def status(self, _request: Request) -> Response:
        """The configuration in force and the version; amtool asks for it before every command."""
        return _answer(
            {
                "cluster": {"peers": [], "status": "disabled"},
                "config": {"original": self._alertmanager.config.text},
                "uptime": rfc3339_ms(self._lifecycle.started_ms),
                "versionInfo": {
                    "branch": "main",
                    "buildDate": "",
                    "buildUser": "",
                    "goVersion": f"{platform.python_implementation()} {platform.python_version()}",
                    "revision": f"otero-{__version__}",
                    "version": COMPATIBLE_VERSION,
                },
            }
        )

    async def receivers(self, _request: Request) -> Response:
        """Their names, in the order of the file."""
        return _answer([{"name": receiver.name} for receiver in self._alertmanager.config.receivers])


def _answer(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json", headers={"cache-control": "no-store"})
