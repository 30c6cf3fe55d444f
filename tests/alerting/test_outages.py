"""An evening on which nearly every receiver is out of order: real servers and clients, by a clock that is turned."""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.config import read_alertmanager
from otero.alerting.notification import Notification
from otero.alerting.notify import NOTIFIERS
from otero.alerting.template import Templates
from otero.model.alerts import Alert
from otero.model.decisions import Decision, DecisionKind
from otero.source import Reader, parse_yaml
from otero.storage.state import State
from tests.alerting.clock import TurnedClock, settle, without_threads
from tests.alerting.sink import Sink

CONFIG = """
global: {smtp_smarthost: '127.0.0.1:SMTP', smtp_from: otero@example.org, smtp_require_tls: false}
route:
  receiver: good
  group_by: [alertname]
  group_wait: 10s
  group_interval: 5m
  routes:
  - {receiver: mail, continue: true}
  - {receiver: busy, continue: true}
  - {receiver: broken, continue: true}
  - {receiver: hangs, continue: true}
  - {receiver: template, continue: true}
  - {receiver: good}
receivers:
- {name: mail, email_configs: [{to: ops@example.org}]}
- {name: busy, slack_configs: [{api_url: 'SINK/429', channel: '#ops'}]}
- {name: broken, slack_configs: [{api_url: 'SINK/500', channel: '#ops'}]}
- {name: hangs, webhook_configs: [{url: 'SINK/hangs'}]}
- {name: template, slack_configs: [{api_url: 'SINK/template', channel: '#ops', title: '{{ (index .Alerts 100).Status }}'}]}
- {name: good, webhook_configs: [{url: 'SINK/good'}]}
"""


class UnderWay:
    """Real notifiers, and how many attempts of each receiver are under way: so that a test can wait for the rest."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    def wrapped(self) -> dict[str, Any]:
        return {key: SimpleNamespace(send=self._wrap(notifier.send)) for key, notifier in NOTIFIERS.items()}

    def _wrap(self, send: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def wrapped(config: Any, notification: Notification, text: Any, client: Any) -> None:
            self.counts[notification.receiver] += 1
            try:
                await send(config, notification, text, client)
            finally:
                async with self._changed:
                    self.counts[notification.receiver] -= 1
                    self._changed.notify_all()

        return wrapped

    async def end(self) -> None:
        """Wait until nothing is under way but what hangs."""
        await settle()
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: not sum(self.counts.values()) - self.counts["hangs"])
        await settle()


class Mailbox:
    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        lines = envelope.content.decode().splitlines()
        self.subjects += [line for line in lines if line.startswith("Subject:")]
        return "250 OK"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_each_fails_on_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = State.beside(tmp_path)
    clock = TurnedClock()
    said: list[Decision] = []
    under_way = UnderWay()
    port = free_port()
    without_threads()
    async with Sink() as sink:
        sink.answers["/429"] = lambda: (429, {"Retry-After": "120"})
        sink.answers["/500"] = lambda: (500, {})
        sink.hanging.add("/hangs")
        config = read_alertmanager(
            parse_yaml(CONFIG.replace("SINK", sink.url).replace("SMTP", str(port))), Reader()
        )
        alertmanager = Alertmanager(
            state, clock, said.append, config, Templates.builtin(),
            notifiers=under_way.wrapped(), sleep=clock.sleep, random=lambda: 0.5,
        )  # fmt: skip
        await alertmanager.start()

        async def turn(seconds: int, step: int = 5) -> None:
            for _ in range(0, seconds, step):
                await clock.turn(step * 1000)
                await under_way.end()

        now_ms = clock.now_ms()
        alertmanager.inbox.put(
            [Alert({"alertname": "A", "instance": "1"}, {"summary": "s"}, now_ms, now_ms + 5 * 3_600_000)]
        )
        await turn(15)
        # Ten seconds after the alert, whoever is in order has been told; nobody waits for the others.
        assert [body["status"] for body in sink.bodies("/good")] == ["firing"]
        await turn(3600)
        assert len(sink.bodies("/good")) == 1
        # Slack asked for two minutes each time, and got them.
        assert 20 <= len(sink.bodies("/429")) <= 31
        assert len(sink.bodies("/500")) > 60
        assert sink.bodies("/template") == []
        assert len(sink.bodies("/hangs")) == 13  # one for each group_interval

        def story(receiver: str) -> list[tuple[DecisionKind, str]]:
            kinds = (DecisionKind.ATTEMPT_FAILED, DecisionKind.GIVEN_UP, DecisionKind.DELIVERED)
            return [(one.kind, one.text) for one in said if one.receiver == receiver and one.kind in kinds]

        expected = {
            "mail": "refused",
            "busy": "429 Too Many Requests",
            "broken": "500 Internal Server Error",
            "hangs": "the receiver has not answered",
            "template": "template",
        }
        for receiver, reason in expected.items():
            [*attempts, given_up] = story(receiver)
            assert [kind for kind, _ in attempts] == [DecisionKind.ATTEMPT_FAILED] * (receiver != "hangs")
            assert all(reason in text for _, text in attempts), story(receiver)
            assert given_up[0] is DecisionKind.GIVEN_UP
            assert reason in given_up[1]
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert sorted(record.__dict__["receiver"] for record in errors) == sorted(expected)
        assert {record.message for record in errors} == {"a notification was given up"}

        # The mail server comes back, and Slack.
        mailbox = Mailbox()
        controller = Controller(mailbox, hostname="127.0.0.1", port=port)
        controller.start()
        sink.answers.clear()
        await turn(600)
        controller.stop()
        assert len(mailbox.subjects) == 1
        for receiver in ("mail", "busy", "broken"):
            kind, text = story(receiver)[-1]
            assert kind is DecisionKind.DELIVERED
            assert "after failures since 2023-11-14 22:13:30 UTC" in text
        assert len(sink.bodies("/good")) == 1
        await alertmanager.stop()
    state.close()
