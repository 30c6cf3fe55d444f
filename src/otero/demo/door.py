"""The demo's own door: faults on and off, messages that came, where everything is.

| request | does |
|---|---|
| `GET /` | where everything is |
| `GET /faults` | what there is, and what is on |
| `POST /faults/NAME[?service=S]`, `DELETE /faults/NAME[?service=S]` | one on, one off |
| `DELETE /faults` | all off |
| `GET /messages[?after=ID]`, `DELETE /messages` | what Alertmanager sent |
| `POST /webhook` | where Alertmanager sends to |
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otero.demo.faults import FAULTS, Active, chosen
from otero.demo.messages import Messages
from otero.errors import BadInput, NotFound, OteroError
from otero.http_server import Access, Gate

MAX_WEBHOOK_BYTES: Final = 1 << 20

Handler = Callable[[Request], Awaitable[Response]]


class Switchboard(Protocol):
    """Who has the faults."""

    @property
    def active(self) -> Sequence[Active]: ...

    async def switch(self, fault: Active, *, on: bool) -> None: ...


def build_door(switchboard: Switchboard, messages: Messages, places: Mapping[str, Any]) -> Gate:
    """The ASGI application, open to this machine's own programs only."""

    async def where(_request: Request) -> Response:
        return JSONResponse(dict(places))

    def now() -> list[dict[str, str]]:
        return [
            {"fault": active.name, "service": active.service, "alert": active.fault.alert}
            for active in switchboard.active
        ]

    async def list_faults(_request: Request) -> Response:
        known = [
            {"fault": fault.name, "what": fault.what, "services": fault.services, "alert": fault.alert}
            for fault in FAULTS.values()
        ]
        return JSONResponse({"active": now(), "faults": known})

    async def switch(request: Request) -> Response:
        fault = chosen(request.path_params["name"], request.query_params.get("service"))
        await switchboard.switch(fault, on=request.method == "POST")
        return JSONResponse({"active": now()})

    async def clear_faults(_request: Request) -> Response:
        for active in list(switchboard.active):
            await switchboard.switch(active, on=False)
        return JSONResponse({"active": now()})

    async def list_messages(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isascii() or not after.isdigit():
            raise BadInput(f'after="{after}": the id of a message is expected')
        return JSONResponse({"messages": msgspec.to_builtins(messages.after(int(after)))})

    async def clear_messages(_request: Request) -> Response:
        messages.clear()
        return Response(status_code=204)

    async def take_webhook(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_WEBHOOK_BYTES:
                raise BadInput(f"more than {MAX_WEBHOOK_BYTES} bytes")
        try:
            payload = msgspec.json.decode(bytes(body), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise BadInput(f"a JSON object is expected: {error}") from None
        messages.take_webhook(payload)
        return Response(status_code=200)

    routes: Sequence[tuple[str, str, Handler]] = (
        ("GET", "/", where),
        ("GET", "/faults", list_faults),
        ("POST", "/faults/{name}", switch),
        ("DELETE", "/faults/{name}", switch),
        ("DELETE", "/faults", clear_faults),
        ("GET", "/messages", list_messages),
        ("DELETE", "/messages", clear_messages),
        ("POST", "/webhook", take_webhook),
    )
    app = Starlette(
        routes=[Route(path, _plain(handler), methods=[method]) for method, path, handler in routes]
    )
    return Gate(app, Access(allowed_hosts=frozenset({"messages"})), realm="otero demo")


def _plain(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except OteroError as error:
            return JSONResponse({"error": str(error)}, 404 if isinstance(error, NotFound) else 400)

    return handle
