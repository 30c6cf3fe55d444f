"""`instrument`: finds out what kind of application it was given and puts everything around it."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from otero_sdk import process
from otero_sdk.endpoints import endpoints
from otero_sdk.health import HealthChecks
from otero_sdk.settings import Options, Settings

_A = TypeVar("_A")
_MARK = "__otero_sdk__"
_logger = logging.getLogger(__name__)


def instrument(
    app: _A,
    service: str | None = None,
    *,
    health: HealthChecks | None = None,
    route: Callable[[Any], str | None] | None = None,
    **options: Unpack[Options],
) -> _A:
    """Let an application expose metrics, write JSON logs, take part in traces and answer health checks.

    `app` is a Flask, Starlette, FastAPI, Django, Celery, or any WSGI or ASGI application. Flask, Starlette, FastAPI and
    Celery are changed in place; of others the returned application is the one to serve:
    `application = instrument(get_wsgi_application(), service="orders")`.

    `service` is its name everywhere; without it OTEL_SERVICE_NAME. `health` are its checks. `route` names the route
    template of a request (from the environ or scope) for applications whose router is not known here. The other options
    are described in `otero_sdk.settings.Settings`.

    Instrumenting the same application again changes nothing. Raises TypeError for what is no such application or an
    unknown option, ValueError for values that make no sense, ImportError when what is asked for is not installed.
    """
    if getattr(app, _MARK, False):
        return app
    settings = Settings.of(service, options)
    kind = _kind(app)
    shared = process.current(settings)
    checks = health if health is not None else HealthChecks()
    if checks not in shared.health.all:
        shared.health.all.append(checks)
    paths = endpoints(settings, shared.exposition, checks, shared.draining)

    def around_wsgi(inner: Any, route_of: Callable[[Any], str | None]) -> Any:
        from otero_sdk.frameworks.wsgi import Middleware

        return Middleware(inner, shared.recorder, paths, route or route_of, shared.first_request)

    def around_asgi(inner: Any, route_of: Callable[[Any], str | None]) -> Any:
        from otero_sdk.frameworks.asgi import Middleware

        started = functools.partial(_started, shared, checks)
        return Middleware(inner, shared.recorder, paths, route or route_of, started)

    if route is not None:
        route = _safely(route)
    instrumented = _INSTALL[kind](app, shared, around_wsgi, around_asgi)
    if settings.metrics_port is not None:
        from otero_sdk.metrics.server import serve

        serve(shared.exposition, settings.metrics_host, settings.metrics_port)
    setattr(instrumented, _MARK, True)
    return instrumented


def _safely(route: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    def named(request: Any) -> str | None:
        try:
            return route(request)
        except Exception:
            _logger.exception("the route of a request cannot be named")
            return None

    return named


def _started(shared: process.Process, checks: HealthChecks, loop: Any) -> None:
    shared.started(loop, checks)


def _flask(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del around_asgi
    from otero_sdk.frameworks import flask  # only the framework that is there

    flask.install(app, around_wsgi)
    shared.requests.expect(lambda: flask.routes(app))
    return app


def _starlette(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del around_wsgi
    from otero_sdk.frameworks import starlette

    starlette.install(app, around_asgi)
    shared.requests.expect(lambda: starlette.routes(app))
    return app


def _django_wsgi(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del around_asgi
    from otero_sdk.frameworks import django

    shared.requests.expect(lambda: django.routes(app))
    return django.wrap_wsgi(app, around_wsgi)


def _django_asgi(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del around_wsgi
    from otero_sdk.frameworks import django

    shared.requests.expect(lambda: django.routes(app))
    return django.wrap_asgi(app, around_asgi)


def _celery(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del shared, around_wsgi, around_asgi
    from otero_sdk.frameworks import celery

    celery.Tasks(app).install()
    return app


def _wsgi(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del shared, around_asgi
    from otero_sdk.frameworks import wsgi

    return around_wsgi(app, wsgi.route_from_environ)


def _asgi(app: Any, shared: process.Process, around_wsgi: Any, around_asgi: Any) -> Any:
    del shared, around_wsgi
    from otero_sdk.frameworks import asgi

    return around_asgi(app, asgi.route_from_scope)


_INSTALL: dict[str, Callable[[Any, process.Process, Any, Any], Any]] = {
    "flask": _flask,
    "starlette": _starlette,
    "django-wsgi": _django_wsgi,
    "django-asgi": _django_asgi,
    "celery": _celery,
    "wsgi": _wsgi,
    "asgi": _asgi,
}
_CLASSES = (
    ("flask.app", "Flask", "flask"),
    ("starlette.applications", "Starlette", "starlette"),
    ("django.core.handlers.wsgi", "WSGIHandler", "django-wsgi"),
    ("django.core.handlers.asgi", "ASGIHandler", "django-asgi"),
    ("celery.app.base", "Celery", "celery"),
)


def _kind(app: Any) -> str:
    for module, name, kind in _CLASSES:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(app, known):
            return kind
    expected = "a Flask, Starlette, FastAPI, Django, Celery, WSGI or ASGI application"
    if isinstance(app, type) or not callable(app):
        raise TypeError(f"instrument() takes {expected}, not {app!r}")
    function = app if inspect.isroutine(app) else type(app).__call__
    if inspect.iscoroutinefunction(function):
        return "asgi"
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        pass
    else:
        return "asgi"
    try:
        inspect.signature(app).bind(None, None)
    except TypeError:
        raise TypeError(
            f"instrument() takes {expected}; {app!r} takes other arguments than one of these"
        ) from None
    return "wsgi"
