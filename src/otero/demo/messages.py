"""Where the demo's Alertmanager sends to: a mailbox and a webhook whose messages can be read."""

import asyncio
import email
import email.policy
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

from otero.clock import Clock

KEPT: Final = 500
MAX_MAIL_BYTES: Final = 1 << 20


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message as its reader sees it.

    kind      "mail" or "webhook".
    id        counts up from 1.
    at_ms     when it came.
    to        the addresses of a mail, or the receiver of a webhook.
    status    "firing" or "resolved", as far as the message says.
    alerts    the names of the alerts that it tells of.
    body      the text of a mail, or the JSON of a webhook.
    """

    id: int
    at_ms: int
    kind: str
    to: str
    subject: str
    status: str
    alerts: tuple[str, ...]
    body: Any

    @property
    def line(self) -> str:
        """The message in one line."""
        return f"{self.kind} to {self.to}: {self.subject}"


class Messages:
    """The latest messages; `tell` is called with each as it comes."""

    def __init__(self, clock: Clock, tell: Callable[[Message], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._kept: deque[Message] = deque(maxlen=KEPT)
        self._count = 0

    def after(self, id: int) -> Sequence[Message]:  # noqa: A002 — the field's name
        """Those with a higher id, the oldest first."""
        return [message for message in self._kept if message.id > id]

    def clear(self) -> None:
        """Forget all; ids go on counting."""
        self._kept.clear()

    def take_webhook(self, payload: dict[str, Any]) -> None:
        """Alertmanager's JSON. https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"""
        alerts: list[dict[str, Any]] = payload.get("alerts", [])
        status = str(payload.get("status", ""))
        names = [str(alert.get("labels", {}).get("alertname", "")) for alert in alerts]
        summaries = [str(alert.get("annotations", {}).get("summary", "")) for alert in alerts]
        self._keep(
            kind="webhook",
            to=str(payload.get("receiver", "")),
            subject=f"[{status}] " + "; ".join(filter(None, summaries or names)),
            status=status,
            alerts=tuple(dict.fromkeys(names)),
            body=payload,
        )

    def take_mail(self, to: Sequence[str], content: bytes) -> None:
        """A mail as SMTP brought it."""
        mail = email.message_from_bytes(content, policy=email.policy.default)
        part = mail.get_body(("plain", "html"))
        subject = str(mail["Subject"] or "")
        self._keep(
            kind="mail",
            to=", ".join(to),
            subject=subject,
            status="resolved" if "RESOLVED" in subject else "firing",
            alerts=tuple(filter(None, str(mail["X-Otero-Alert"] or "").split(","))),
            body=part.get_content().replace("\r\n", "\n") if part is not None else "",
        )

    def _keep(self, **fields: Any) -> None:
        self._count += 1
        message = Message(id=self._count, at_ms=self._clock.now_ms(), **fields)
        self._kept.append(message)
        self._tell(message)


class Mailbox:
    """An SMTP server that takes every mail."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._server: asyncio.Server | None = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 — aiosmtpd's
        """A mail is there."""
        content = envelope.content
        if isinstance(content, bytes):
            self._messages.take_mail(envelope.rcpt_tos, content)
        return "250 OK"

    async def start(self, listening: socket.socket) -> None:
        """Accept mail on this socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, data_size_limit=MAX_MAIL_BYTES, hostname="mail", enable_SMTPUTF8=True),
            sock=listening,
        )

    async def stop(self) -> None:
        """Close the door."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
