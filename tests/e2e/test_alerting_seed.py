"""The seed's alert_rules.yml, prometheus.yml and alertmanager.yml: a service stops, the right people hear of it, `otero why`
tells the story.

Names lead to servers of this test by `hosts:`; they speak TLS with a certificate that the server trusts as it trusts any
other: by OpenSSL's SSL_CERT_FILE.
"""

import asyncio
import email
import email.policy
import json
import re
import ssl
import subprocess
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast
from urllib.request import Request, urlopen

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.config import load_alertmanager
from otero.alerting.template import Templates
from otero.http_client import Hosts
from otero.model.decisions import Decision, DecisionKind
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import State as AlertState
from otero.rules.config import load_rule_files
from otero.rules.group import Group, Surroundings
from otero.storage.state import State
from tests.alerting.clock import TurnedClock, without_threads
from tests.alerting.sink import Sink
from tests.alerting.test_outages import UnderWay
from tests.e2e.conftest import Exporter
from tests.e2e.server import ServerProcess, free_port
from tests.e2e.test_operation import otero
from tests.rules.memory import MemoryStore

pytestmark = pytest.mark.e2e

FILES = ("alert_rules.yml", "prometheus.yml", "alertmanager.yml")
NAMES = ("smtp.gmail.com", "hooks.slack.com")


class Mails:
    """A mail server's handler that keeps what arrives encrypted and with the password of the seed."""

    def __init__(self) -> None:
        self.arrived: list[EmailMessage] = []
        self._changed = asyncio.Condition()

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if session.ssl is None or not session.authenticated:
            return "530 first STARTTLS, then AUTH"
        message = email.message_from_bytes(cast("bytes", envelope.content), policy=email.policy.default)
        async with self._changed:
            self.arrived.append(message)
            self._changed.notify_all()
        return "250 kept"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        login = cast("LoginPassword", data)
        return AuthResult(success=(login.login, login.password) == (b"alerts@company.com", b"password"))

    async def until(self, count: int, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.arrived) >= count)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server that has the seed's names; servers that are started later trust it."""
    names = ",".join(f"DNS:{name}" for name in NAMES)
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem"
        f" -out cert.pem -subj /CN=test -addext subjectAltName={names}".split(),
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


def as_it_stands(text: str) -> str:
    return text


def hurried(text: str) -> str:
    """Seconds where the seed has minutes."""
    text = re.sub(r"(scrape_interval|evaluation_interval): \d+s", r"\1: 1s", text)
    text = re.sub(r"\bfor: \d+m", "for: 3s", text)
    return re.sub(r"(group_wait|group_interval): 10s", r"\1: 2s", text)


@pytest.mark.parametrize(
    ("changed", "timeout_s"),
    [
        pytest.param(hurried, 60, id="hurried"),
        pytest.param(
            as_it_stands, 240, id="as it stands", marks=[pytest.mark.soak, pytest.mark.timeout(900)]
        ),
    ],
)
async def test_a_service_stops(
    tmp_path: Path, shared: Path, tls: ssl.SSLContext, changed: Callable[[str], str], timeout_s: float
) -> None:
    for name in FILES:
        (tmp_path / name).write_text(changed((shared / "seed" / name).read_text()))
    app, others, port = Exporter(lambda: b"x 1\n"), Exporter(lambda: b"y 1\n"), free_port()
    mails = Mails()
    mail_server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mails, tls_context=tls, authenticator=mails.authenticate, require_starttls=True),
        "127.0.0.1", 0,
    )  # fmt: skip
    async with Sink(tls=tls) as slack, Sink() as hook, Sink() as elsewhere, mail_server:
        hosts = {
            "smtp.gmail.com:587": f"127.0.0.1:{mail_server.sockets[0].getsockname()[1]}",
            "hooks.slack.com:443": slack.url.removeprefix("https://"),
            "localhost:5001": hook.url.removeprefix("http://"),
            "alertmanager:9093": elsewhere.url.removeprefix("http://"),
            "localhost:9090": f"127.0.0.1:{port}",
            "app:5000": f"127.0.0.1:{app.port}",
            "node-exporter:9100": f"127.0.0.1:{others.port}",
            "cadvisor:8080": f"127.0.0.1:{others.port}",
        }
        (tmp_path / "otero.yml").write_text(
            f"hosts: {json.dumps(hosts)}\nprometheus: prometheus.yml\nalertmanager: alertmanager.yml\n"
        )
        server = ServerProcess(["--config", tmp_path / "otero.yml"], data=tmp_path / "data", port=port)
        await asyncio.to_thread(server.start)
        try:
            await asyncio.to_thread(server.wait_for, "up == 1", 4, timeout_s)
            await asyncio.to_thread(app.close)
            await mails.until(1, timeout_s)
            await slack.until(lambda: slack.got, timeout_s)
            # A critical alert: one mail and one message of a group.
            mail = mails.arrived[0]
            assert mail["Subject"] == "🚨 CRITICAL ALERT: ServiceDown"
            assert mail["To"] == "oncall@company.com"
            body = cast("EmailMessage", mail.get_body(("plain",))).get_content()
            assert "Instance: app:5000" in body
            assert "application has been down for more than 2 minutes" in body
            [(path, message)] = slack.got
            assert path == "/services/YOUR/SLACK/WEBHOOK"
            assert message["channel"] == "#alerts"
            assert message["attachments"][0]["text"] == "application has been down for more than 2 minutes"
            # An alert without these severities comes to web.hook, a warning to the team's mail.
            await asyncio.to_thread(post, server, "firing", severity="info")
            await hook.until(lambda: hook.got, timeout_s)
            await asyncio.to_thread(post, server, "firing", severity="warning")
            await mails.until(2, timeout_s)
            assert mails.arrived[1]["To"] == "team@company.com"
            assert mails.arrived[1]["Subject"] == "⚠️ WARNING: Elsewhere"
            # All end: web.hook is told, mail and Slack are not, as they do not send resolved notices by default.
            back = Exporter(lambda: b"x 1\n", port=app.port)
            await asyncio.to_thread(server.wait_for, 'up{job="application"} == 1', 1, timeout_s)
            for severity in ("info", "warning"):
                await asyncio.to_thread(post, server, "resolved", severity=severity)
            await hook.until(lambda: any(one["status"] == "resolved" for _, one in hook.got), timeout_s)
            steps = await asyncio.to_thread(story, server, timeout_s)
            assert [one["status"] for path, one in hook.got] == ["firing", "resolved"]
            assert (len(mails.arrived), len(slack.got)) == (2, 1)
            assert steps[:5] == ["rule_pending", "rule_firing", "received", "routed", "waiting"]
            assert sorted(steps[5:7]) == ["delivered email[0]", "delivered slack[0]"]
            ended = steps.index("resolved")
            assert steps[ended - 1] == "rule_resolved"
            assert sorted(steps[ended + 1 : ended + 3]) == ["deduplicated email[0]", "deduplicated slack[0]"]
            assert elsewhere.got, "prometheus.yml names an Alertmanager elsewhere"
            told = await asyncio.to_thread(otero, "why", "ServiceDown", "--url", server.url)
            assert told.returncode == 0, told.stderr
            for text in (
                "rule ServiceDown: up == 0",
                'ServiceDown{instance="app:5000", job="application", severity="critical"}',
                "not firing",
                "Takes route",
                "critical-alerts email[0]: Delivered: 1 firing (first notification)",
                "critical-alerts slack[0]: Not told that all have ended",
                "→ Told: critical-alerts by email[0] at",
            ):
                assert text in told.stdout, told.stdout
            await asyncio.to_thread(back.close)
        except TimeoutError:
            said = await asyncio.to_thread(server.get, "/api/otero/v1/alerts/why", alertname="ServiceDown")
            raise AssertionError("\n".join([json.dumps(said, indent=1), *server.lines])) from None
        finally:
            others.close()
            if server.running:
                assert await asyncio.to_thread(server.stop) == 0


def post(server: ServerProcess, status: str, **labels: str) -> None:
    """An alert from elsewhere, by the webhook."""
    alert = {"status": status, "labels": {"alertname": "Elsewhere", **labels}}
    request = Request(
        f"{server.url}/api/otero/v1/webhook",
        json.dumps({"alerts": [alert]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=60) as response:
        assert response.status == 200


def story(server: ServerProcess, timeout_s: float) -> list[str]:
    """The steps of ServiceDown, when both integrations know of its end."""
    for _ in range(int(timeout_s * 5)):
        [alert] = server.get("/api/otero/v1/alerts/why", alertname="ServiceDown")["alerts"]
        steps = [f"{one['kind']} {one['integration']}".strip() for one in alert["decisions"]]
        ended = steps.index("resolved") if "resolved" in steps else len(steps)
        if sum(step.startswith("deduplicated") for step in steps[ended:]) == 2:
            return steps
        time.sleep(0.2)
    raise AssertionError(f"the story does not end: {steps}")


async def test_by_the_seeds_own_times(tmp_path: Path, shared: Path, tls: ssl.SSLContext) -> None:
    """Rules and Alertmanager of the seed as they stand, by a clock that is turned; mail and Slack are real servers."""
    clock, store, said = TurnedClock(), MemoryStore(), list[Decision]()
    [rules] = load_rule_files([str(shared / "seed" / "alert_rules.yml")], frozenset())
    around = Surroundings(interval_ms=15_000)
    groups = [Group(rules.path, config, around, clock) for config in rules.content.groups]
    mails, under_way = Mails(), UnderWay()
    mail_server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mails, tls_context=tls, authenticator=mails.authenticate, require_starttls=True),
        "127.0.0.1", 0,
    )  # fmt: skip
    state = State.beside(tmp_path)
    without_threads()
    async with Sink(tls=tls) as slack, Sink() as hook, mail_server:
        hosts = {
            "smtp.gmail.com:587": f"127.0.0.1:{mail_server.sockets[0].getsockname()[1]}",
            "hooks.slack.com:443": slack.url.removeprefix("https://"),
            "localhost:5001": hook.url.removeprefix("http://"),
        }
        config, _ = load_alertmanager(shared / "seed" / "alertmanager.yml")
        alertmanager = Alertmanager(
            state, clock, said.append, config, Templates.builtin(), hosts=Hosts(hosts),
            notifiers=under_way.wrapped(), sleep=clock.sleep, random=lambda: 0.5,
        )  # fmt: skip
        await alertmanager.start()

        requests = fast = 0

        async def run(minutes: int, *, up: bool, slow: bool = False) -> None:
            nonlocal requests, fast
            for _ in range(minutes * 4):
                requests += 15
                fast += 0 if slow else 15
                now_ms = clock.now_ms()
                store.clock.advance(now_ms - store.clock.now_ms())
                store.give(now_ms, *scraped(up, requests, fast))
                for group in groups:
                    alertmanager.inbox.put(group.evaluate(now_ms, store.queries, store.intake))
                for _ in range(3):
                    await clock.turn(5000)
                    await under_way.end()

        await run(5, up=True)
        assert said == []
        down_ms = clock.now_ms()
        await run(2, up=False)
        rules_of_alerts = [rule for group in groups for rule in group.rules if isinstance(rule, AlertingRule)]
        assert [alert.state for rule in rules_of_alerts for alert in rule.active.values()] == [
            AlertState.PENDING
        ]
        assert said == []
        await run(1, up=False)
        [mail], [(_, message)] = mails.arrived, slack.got
        delivered = [one for one in said if one.kind is DecisionKind.DELIVERED]
        # Firing after two minutes; group_wait of ten seconds.
        assert [one.time_ms - down_ms for one in delivered] == [130_000, 130_000]
        assert mail["Subject"] == "🚨 CRITICAL ALERT: ServiceDown"
        assert message["channel"] == "#alerts"
        await run(1, up=True)
        assert (len(mails.arrived), len(slack.got)) == (1, 1), "neither is told of the end"
        await run(12, up=True, slow=True)
        assert [one["Subject"] for one in mails.arrived[1:]] == ["⚠️ WARNING: HighResponseTime"]
        assert hook.got == [], "no alert of the seed is without both severities"
        await alertmanager.stop()
    state.close()


AT = {"job": "application", "instance": "app:5000"}
BUCKET = {"__name__": "http_request_duration_seconds_bucket", **AT}


def scraped(up: bool, requests: int, fast: int) -> list[tuple[dict[str, str], float]]:
    """What a scrape of the seed's application gives: its requests, answered in 0.25 s if they are fast, else in 1 s."""
    samples = [({"__name__": "up", **AT}, float(up))]
    return samples + [
        ({**BUCKET, "le": le}, float(count))
        for le, count in (("0.25", fast), ("1.0", requests), ("+Inf", requests))
    ]
