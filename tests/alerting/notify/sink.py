"""A local server that takes what receivers send, keeps it, and answers as it is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from multidict import CIMultiDictProxy

from otero.alerting.notification import Notification
from otero.model.alerts import Alert


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(slots=True)
class Answer:
    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Answering = Callable[[Request], Answer]


@dataclass(slots=True)
class Sink:
    """`requests` in the order in which they came; `answer` says what each gets, by default what success looks like."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Answering = lambda request: success(request)

    async def handle(self, request: web.Request) -> web.Response:
        kept = Request(request.method, request.path_qs, request.headers, await request.read())
        self.requests.append(kept)
        answer = self.answer(kept)
        return web.Response(
            status=answer.status, text=answer.body, content_type=answer.content_type, headers=answer.headers
        )

    @property
    def last(self) -> Request:
        return self.requests[-1]


def success(request: Request) -> Answer:
    """What the service of that path says when all is well."""
    path = request.path.partition("?")[0]
    if path.startswith("/slack"):
        return Answer(body="ok", content_type="text/plain")
    if path.endswith(("/chat.postMessage", "/chat.update")) and "/api/v1/" not in path:
        return Answer(body='{"ok": true, "channel": "C1", "ts": "17.1"}')
    if path.endswith("/api/v1/chat.postMessage"):
        return Answer(body='{"success": true}')
    if path.endswith("/gettoken"):
        return Answer(body='{"errcode": 0, "access_token": "t"}')
    if path.endswith("/sendMessage"):
        return Answer(body='{"ok": true, "result": {"message_id": 1, "chat": {"id": 1}}}')
    if request.body.startswith(b"Action=Publish"):
        xml = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
        return Answer(body=xml, content_type="text/xml")
    return Answer(body='{"errcode": 0}')


@asynccontextmanager
async def running(sink: Sink) -> AsyncIterator[Sink]:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", sink.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield sink
    finally:
        await runner.cleanup()


NOW_MS = 1_795_348_981_000
"""2026-11-22T12:03:01Z"""


def notification(*alerts: Alert, receiver: str = "all", integration: str = "webhook[0]") -> Notification:
    """One of a group by `alertname`."""
    shown = alerts or (alert(),)
    return Notification(
        receiver=receiver,
        integration=integration,
        group_key=f'{{}}:{{alertname="{shown[0].name}"}}',
        group_labels={"alertname": shown[0].name},
        alerts=shown,
        now_ms=NOW_MS,
        external_url="http://vm:28193",
    )


def alert(name: str = "A", *, summary: str = "s", ends_ms: int = 0, **labels: str) -> Alert:
    """One that fires since half a second, or has ended."""
    return Alert(
        labels=dict(sorted({"alertname": name, "severity": "page", **labels}.items())),
        annotations={"summary": summary} if summary else {},
        starts_ms=ends_ms or NOW_MS - 501,
        ends_ms=ends_ms,
        generator_url="" if ends_ms else "http://g",
    )
