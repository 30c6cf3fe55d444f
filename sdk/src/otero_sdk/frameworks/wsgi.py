"""The WSGI middleware: Flask and Django go through it too, and tell it their routes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from otero_sdk.correlation import HEADER
from otero_sdk.endpoints import Answer, Endpoint
from otero_sdk.recording import Exchange, Recorder

Environ = dict[str, Any]
Route = Callable[[Environ], str | None]
"""The route template of a request that was answered, such as `/orders/<int:id>`; None when no route matched."""

EXCHANGE = "otero_sdk.exchange"
"""The key of the environ under which frameworks find the exchange."""


class Middleware:
    """Answers the SDK's own paths and records all other requests."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        recorder: Recorder,
        endpoints: Mapping[str, Endpoint],
        route: Route,
        first_request: Callable[[], None],
    ) -> None:
        self.app = app
        self._recorder = recorder
        self._endpoints = endpoints
        self._route = route
        self._wanted = [(f"HTTP_{name.upper().replace('-', '_')}", name) for name in recorder.headers_wanted]
        self._first_request: Callable[[], None] | None = first_request

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._first_request is not None:
            self._first_request, first = None, self._first_request
            first()
        path = environ.get("PATH_INFO", "")
        method = environ.get("REQUEST_METHOD", "GET")
        endpoint = self._endpoints.get(path)
        if endpoint is not None and method in ("GET", "HEAD"):
            return _answer(endpoint(environ.get("HTTP_ACCEPT", "")), method, start_response)
        headers = {name: environ[variable] for variable, name in self._wanted if variable in environ}
        exchange = self._recorder.begin(method, path, environ.get("wsgi.url_scheme", "http"), headers)
        environ[EXCHANGE] = exchange
        route = self._route

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            exchange.status = int(status[:3])
            # Now, as Flask forgets its request before the body is iterated.
            exchange.route = route(environ)
            named = False
            for name, value in headers:
                if name in _LENGTH and value.isdigit():
                    exchange.length = int(value)
                elif name == HEADER:
                    named = True
            if not named:
                headers.append((HEADER, exchange.correlation_id))
            return (
                start_response(status, headers)
                if exc_info is None
                else start_response(status, headers, exc_info)
            )

        try:
            body = self.app(environ, start)
        except BaseException as error:
            exchange.error, exchange.status = error, 500
            exchange.route = exchange.route or route(environ)
            self._recorder.end(exchange)
            raise
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
            # The server may send the file without us, if it finds its own wrapper.
            self._recorder.end(exchange)
            return body
        if method == "HEAD":
            exchange.length = -1
        return _Body(body, exchange, self._recorder)


_LENGTH = frozenset(("Content-Length", "content-length"))


class _Body:
    """The application's body. The request ends before its last byte is handed on, as far as that can be known.

    So whoever has the whole answer finds it counted.
    """

    __slots__ = ("_body", "_exchange", "_recorder")

    def __init__(self, body: Iterable[bytes], exchange: Exchange, recorder: Recorder) -> None:
        self._body = body
        self._exchange = exchange
        self._recorder = recorder

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        sent = 0
        try:
            for chunk in self._body:
                sent += len(chunk)
                if sent >= exchange.length >= 0:
                    self._recorder.end(exchange)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            exchange.error, exchange.status = error, 500
            raise
        finally:
            self._recorder.end(exchange)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._recorder.end(self._exchange)


def _answer(answer: Answer, method: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    phrase = "OK" if answer.status == 200 else "Service Unavailable"
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    start_response(f"{answer.status} {phrase}", [*headers, ("Cache-Control", "no-store")])
    return [b"" if method == "HEAD" else answer.body]


def route_from_environ(environ: Environ) -> str | None:
    """Where an application without a router that we know names its routes itself: `environ["otero_sdk.route"]`."""
    return environ.get("otero_sdk.route")
