"""Django, over WSGI or ASGI: routes are those of its URL configuration."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception
from django.urls import URLPattern, URLResolver, get_resolver

from otero_sdk.frameworks import asgi, wsgi

ROUTE = "otero_sdk.route"


def wrap_wsgi(handler: WSGIHandler, middleware: Callable[[Any, wsgi.Route], Any]) -> Any:
    """The application to serve, in place of `get_wsgi_application()`."""
    answer = handler.get_response

    def get_response(request: Any) -> Any:
        try:
            return answer(request)
        finally:
            request.environ[ROUTE] = _route(request)

    handler.get_response = get_response
    got_request_exception.connect(_failed, weak=False, dispatch_uid="otero_sdk")
    return middleware(handler, wsgi.route_from_environ)


def wrap_asgi(handler: ASGIHandler, middleware: Callable[[Any, asgi.Route], Any]) -> Any:
    """The application to serve, in place of `get_asgi_application()`."""
    answer = handler.get_response_async

    async def get_response_async(request: Any) -> Any:
        try:
            return await answer(request)
        finally:
            request.scope[ROUTE] = _route(request)

    handler.get_response_async = get_response_async
    got_request_exception.connect(_failed, weak=False, dispatch_uid="otero_sdk")
    return middleware(handler, asgi.route_from_scope)


def routes(_: object) -> Iterable[tuple[str, str]]:
    """GET of each route, as views do not say which methods they answer; the admin's are left out."""
    for template in _templates(_patterns(get_resolver()), ""):
        yield "GET", template


def _templates(patterns: Iterable[Any], prefix: str) -> Iterable[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver) and pattern.app_name != "admin":
            yield from _templates(_patterns(pattern), prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield _normal(prefix + str(pattern.pattern))


def _patterns(resolver: Any) -> Iterable[Any]:
    return resolver.url_patterns


def _route(request: Any) -> str | None:
    match = request.resolver_match
    return None if match is None else _normal(match.route)


def _normal(route: str) -> str:
    return route if route.startswith(("/", "^")) else f"/{route}"


def _failed(sender: Any, request: Any = None, **_: Any) -> None:
    del sender

    place = getattr(request, "environ", None) or getattr(request, "scope", {})
    if (exchange := place.get(wsgi.EXCHANGE)) is not None:
        exchange.error = sys.exc_info()[1]
