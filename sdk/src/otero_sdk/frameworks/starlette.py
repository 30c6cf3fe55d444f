"""Starlette and FastAPI: the middleware is the outermost one, around the server's own error handling."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Host, Match, Mount

from otero_sdk.frameworks.asgi import Scope

_NOT_ASKED_FOR: Final = frozenset({"HEAD", "OPTIONS"})


def install(app: Starlette, middleware: Callable[[Any, Callable[[Scope], str | None]], Any]) -> None:
    """Put the middleware around the application's stack, which is built at its first request."""
    route_of = Routes(app).of
    if app.middleware_stack is not None:
        app.middleware_stack = middleware(app.middleware_stack, route_of)
        return
    build = app.build_middleware_stack

    def build_with_middleware() -> Any:
        return middleware(build(), route_of)

    app.build_middleware_stack = build_with_middleware


class Routes:
    """Finds the whole template of the route that a request took, through all mounts."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._templates: dict[int, list[tuple[str, Any]]] = {}

    def of(self, scope: Scope) -> str | None:
        """`/orders/{order_id}`, or None when nothing matched."""
        route = scope.get("route")
        if route is None:
            return self._match(scope) if scope.get("endpoint") is not None else None
        known = self._templates.get(id(route))
        if known is None:
            self._templates = {}
            for template, leaf in _leaves(self._app.routes, ""):
                self._templates.setdefault(id(leaf), []).append((template, leaf))
            known = self._templates.get(id(route))
        if known is None or known[0][1] is not route:
            return getattr(route, "path_format", None) or getattr(route, "path", None)
        if len(known) == 1:
            return known[0][0]
        return self._match(scope)

    def _match(self, scope: Scope) -> str | None:
        # Older releases do not say which route it was; and one application may be mounted at several places.
        fresh = {**scope, "path_params": {}, "root_path": scope.get("app_root_path", "")}
        fresh.pop("route", None)
        return _matching(self._app.routes, fresh, "")


def _matching(routes: Iterable[Any], scope: dict[str, Any], prefix: str) -> str | None:
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        template = prefix + (getattr(route, "path_format", None) or getattr(route, "path", ""))
        if isinstance(route, Mount | Host):
            prefix_of_children = prefix + (route.path if isinstance(route, Mount) else "")
            return _matching(route.routes, {**scope, **child}, prefix_of_children) or prefix_of_children
        return template
    return None


def _leaves(routes: Iterable[Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for route in routes:
        if isinstance(route, Mount | Host):
            own = prefix + (route.path if isinstance(route, Mount) else "")
            yield own, route
            yield from _leaves(route.routes, own)
        else:
            yield prefix + (getattr(route, "path", "") or ""), route


def routes(app: Starlette) -> Iterable[tuple[str, str]]:
    """Methods and templates of the application, but for FastAPI's documentation."""
    documentation = {getattr(app, name, None) for name in ("openapi_url", "docs_url", "redoc_url")}
    documentation.add(f"{getattr(app, 'docs_url', None)}/oauth2-redirect")
    for template, route in _leaves(app.routes, ""):
        if template not in documentation:
            for method in (getattr(route, "methods", None) or set()) - _NOT_ASKED_FOR:
                yield method, template
