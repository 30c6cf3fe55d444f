"""The ASGI middleware: Starlette, FastAPI and Django go through it too, and tell it their routes."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from otero_sdk import correlation
from otero_sdk.endpoints import Answer, Endpoint
from otero_sdk.recording import Recorder

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Route = Callable[[Scope], str | None]
"""The route template of a request that was answered, such as `/orders/{id}`; None when no route matched."""

EXCHANGE = "otero_sdk.exchange"
_HEADER = correlation.HEADER.lower().encode()


class Middleware:
    """Answers the SDK's own paths and records all other requests.

    `started` is called with the running loop when the application starts, or else at its first request.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        recorder: Recorder,
        endpoints: Mapping[str, Endpoint],
        route: Route,
        started: Callable[[asyncio.AbstractEventLoop], None],
    ) -> None:
        self.app = app
        self._recorder = recorder
        self._endpoints = endpoints
        self._route = route
        self._started = started
        self._wanted = {name.encode(): name for name in recorder.headers_wanted}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getattr__(self, name: str) -> Any:
        # What wraps an application is asked for its attributes (state, routes, …) in its place.
        return getattr(self.app, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._started(loop)
        kind = scope["type"]
        if kind == "websocket":
            headers = self._headers(scope)
            with correlation.use(correlation.accept(headers.get("x-correlation-id"), headers.get("baggage"))):
                await self.app(scope, receive, send)
            return
        if kind != "http":
            await self.app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        endpoint = self._endpoints.get(path.removeprefix(scope.get("root_path", "")) or path)
        if endpoint is not None and method in ("GET", "HEAD"):
            accept = next(
                (value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), ""
            )
            await _answer(await in_thread(lambda: endpoint(accept)), method, send)
            return
        exchange = self._recorder.begin(method, path, scope.get("scheme", "http"), self._headers(scope))
        scope[EXCHANGE] = exchange
        named = (_HEADER, exchange.correlation_id.encode())

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [
                    *(pair for pair in message.get("headers", ()) if pair[0].lower() != _HEADER),
                    named,
                ]
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                # Before the last bytes go, so that whoever has the whole answer finds it counted.
                exchange.route = self._route(scope)
                self._recorder.end(exchange)
            await send(message)

        try:
            await self.app(scope, receive, send_recorded)
        except BaseException as error:
            exchange.error = error
            exchange.status = exchange.status or (499 if isinstance(error, asyncio.CancelledError) else 500)
            raise
        finally:
            if not exchange.done:
                exchange.route = self._route(scope)
                self._recorder.end(exchange)

    def _headers(self, scope: Scope) -> dict[str, str]:
        """The headers that matter, by name in lower case; of several with one name the last."""
        wanted = self._wanted
        return {wanted[name]: value.decode("latin-1") for name, value in scope["headers"] if name in wanted}


async def in_thread(call: Callable[[], Answer]) -> Answer:
    """Run a call in a thread of its own: the application's pools may be full when its health is asked for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(result: Answer | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="otero-sdk-endpoint", daemon=True).start()
    return await future


async def _answer(answer: Answer, method: str, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


def route_from_scope(scope: Scope) -> str | None:
    """Where an application without a router that we know names its routes itself: `scope["otero_sdk.route"]`."""
    return scope.get("otero_sdk.route")
