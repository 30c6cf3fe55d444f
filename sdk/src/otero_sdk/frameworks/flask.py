"""Flask: routes are those of its URL map, errors those that its handlers turn into answers."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask, got_request_exception

from otero_sdk.frameworks.wsgi import EXCHANGE, Environ

_NOT_ASKED_FOR: Final = frozenset({"HEAD", "OPTIONS"})


def install(app: Flask, middleware: Callable[[Any, Callable[[Environ], str | None]], Any]) -> None:
    """Put the middleware around the application, which stays the same object."""
    app.wsgi_app = middleware(app.wsgi_app, route_of)
    # Flask answers unexpected errors itself; the signal tells which.
    got_request_exception.connect(_failed, app)


def route_of(environ: Environ) -> str | None:
    """The rule that matched, as it was written: `/orders/<int:order_id>`."""
    request = environ.get("werkzeug.request")
    rule = getattr(request, "url_rule", None)
    return None if rule is None else rule.rule


def routes(app: Flask) -> Iterable[tuple[str, str]]:
    """Methods and rules of the application, but for its static files."""
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.endswith("static"):
            for method in (rule.methods or set()) - _NOT_ASKED_FOR:
                yield method, rule.rule


def _failed(sender: Flask, exception: BaseException, **_: Any) -> None:
    del sender
    from flask import request  # a proxy, bound while a request is handled

    if (exchange := request.environ.get(EXCHANGE)) is not None:
        exchange.error = exception
        # Where errors are let through (debugging, tests) no answer begins that would tell it.
        exchange.route = route_of(request.environ)
