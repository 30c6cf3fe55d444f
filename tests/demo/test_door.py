"""The demo's door: faults, and messages by webhook and mail, asked of a running server."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from email.message import EmailMessage
from typing import Any

import aiohttp
import aiosmtplib
import pytest

from otero.clock import ManualClock
from otero.demo.door import MAX_WEBHOOK_BYTES, build_door
from otero.demo.faults import FAULTS, Active
from otero.demo.messages import KEPT, Mailbox, Message, Messages
from otero.http_server import HttpServer, bind


class Switches:
    """Faults that are only remembered."""

    def __init__(self) -> None:
        self._active: set[Active] = set()

    @property
    def active(self) -> Sequence[Active]:
        return sorted(self._active)

    async def switch(self, fault: Active, *, on: bool) -> None:
        (self._active.add if on else self._active.discard)(fault)


class Asking:
    """A client of the door; answers are status and JSON."""

    def __init__(self, session: aiohttp.ClientSession, told: list[Message], smtp_port: int) -> None:
        self._session = session
        self.told = told
        self.smtp_port = smtp_port

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self._session.request(method, path, **options) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())


@pytest.fixture
async def door() -> AsyncIterator[Asking]:
    told: list[Message] = []
    messages = Messages(ManualClock(1_700_000_000_000), told.append)
    listening, mail = bind("127.0.0.1:0"), bind("127.0.0.1:0")
    port, smtp_port = listening.getsockname()[1], mail.getsockname()[1]
    mailbox = Mailbox(messages)
    await mailbox.start(mail)
    server = HttpServer(build_door(Switches(), messages, {"otero": "http://127.0.0.1:9090"}), [listening])
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield Asking(session, told, smtp_port)
    await server.stop()
    await mailbox.stop()


async def test_faults_are_listed_and_switched(door: Asking) -> None:
    status, listed = await door.ask("GET", "/faults")
    assert (status, listed["active"]) == (200, [])
    assert [fault["fault"] for fault in listed["faults"]] == list(FAULTS)
    on = {"fault": "latency", "service": "gateway", "alert": "HighLatency"}
    assert await door.ask("POST", "/faults/latency?service=gateway") == (200, {"active": [on]})
    assert (await door.ask("POST", "/faults/errors"))[1]["active"] == [
        on,
        {"fault": "errors", "service": "orders", "alert": "HighErrorRate"},
    ]
    assert (await door.ask("DELETE", "/faults/errors"))[1]["active"] == [on]
    assert await door.ask("DELETE", "/faults") == (200, {"active": []})


async def test_what_cannot_be_is_said(door: Asking) -> None:
    status, answer = await door.ask("POST", "/faults/lag")
    assert (status, 'there is no fault "lag"' in answer["error"]) == (404, True)
    status, answer = await door.ask("POST", "/faults/database?service=users")
    assert (status, "one of orders" in answer["error"]) == (400, True)
    assert (await door.ask("GET", "/messages?after=x"))[0] == 400
    assert (await door.ask("POST", "/webhook", data=b"[1]"))[0] == 400
    assert (await door.ask("POST", "/webhook", data=io.BytesIO(b"{" + b" " * MAX_WEBHOOK_BYTES)))[0] == 400
    foreign = await door.ask("POST", "/faults/errors", headers={"Origin": "http://evil.example"})
    assert foreign[0] == 403
    assert (await door.ask("GET", "/faults", headers={"Host": "evil.example"}))[0] == 403
    assert (await door.ask("GET", "/faults"))[1]["active"] == []


async def test_a_webhook_becomes_a_message(door: Asking) -> None:
    payload = {
        "receiver": "on-call",
        "status": "firing",
        "alerts": [
            {"labels": {"alertname": "ServiceDown", "job": job}, "annotations": {"summary": f"{job} is down"}}
            for job in ("users", "orders")
        ],
    }
    assert (await door.ask("POST", "/webhook", json=payload))[0] == 200
    status, answer = await door.ask("GET", "/messages")
    assert status == 200
    [message] = answer["messages"]
    assert message == {
        "id": 1,
        "at_ms": 1_700_000_000_000,
        "kind": "webhook",
        "to": "on-call",
        "subject": "[firing] users is down; orders is down",
        "status": "firing",
        "alerts": ["ServiceDown"],
        "body": payload,
    }
    assert [told.line for told in door.told] == ["webhook to on-call: [firing] users is down; orders is down"]


async def test_a_mail_becomes_a_message(door: Asking) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = (
        "otero@demo.example",
        "on-call@demo.example",
        "[FIRING:1] Größe",
    )
    mail["X-Otero-Alert"] = "HighErrorRate"
    mail.set_content("It fails.\n")
    mail.add_alternative("<p>It fails.</p>", subtype="html")
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=door.smtp_port)
    [message] = (await door.ask("GET", "/messages?after=0"))[1]["messages"]
    assert (message["kind"], message["to"], message["subject"]) == (
        "mail",
        "on-call@demo.example",
        "[FIRING:1] Größe",
    )
    assert (message["status"], message["alerts"], message["body"]) == (
        "firing",
        ["HighErrorRate"],
        "It fails.\n",
    )
    assert (await door.ask("GET", "/messages?after=1"))[1]["messages"] == []
    assert (await door.ask("DELETE", "/messages"))[0] == 204
    assert (await door.ask("GET", "/messages"))[1]["messages"] == []


async def test_the_latest_messages_are_kept(door: Asking) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(KEPT + 20):
            group.create_task(door.ask("POST", "/webhook", json={"alerts": []}))
    kept = (await door.ask("GET", "/messages"))[1]["messages"]
    assert [message["id"] for message in kept] == list(range(21, KEPT + 21))
