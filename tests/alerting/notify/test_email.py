"""Mail to a real SMTP server, aiosmtpd, in the loop of the test."""

import asyncio
import email
import email.policy
import logging
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from msgspec.structs import replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import Client
from otero.alerting.notify.email import Config, Threading, complete, send
from otero.alerting.notify.email_message import mailboxes
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HostPort
from otero.alerting.template import Templates
from otero.clock import ManualClock
from otero.errors import BadField
from otero.fields import FilePath, Secret
from otero.http_client import Hosts, TlsConfig
from otero.model.alerts import Alert

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")

NOW_MS = 1_732_276_990_000
GLOBAL = Global(smtp_from="Otero <otero@example.com>", smtp_smarthost=HostPort("mail.example.com:587"))


class Box:
    """Keeps what arrives; `answers` are given instead of taking it, by command (`RCPT a@b.c` for one recipient)."""

    def __init__(self, **answers: str) -> None:
        self.envelopes: list[Envelope] = []
        self.greeted = ""
        self.encrypted = False
        self.logins: list[tuple[str, Any]] = []
        self.answers = answers

    async def handle_EHLO(
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.greeted = session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: Sequence[str]
    ) -> str:
        answer = self.answers.get(address) or self.answers.get("RCPT")
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_MAIL(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: Sequence[str]
    ) -> str:
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        self.encrypted = session.ssl is not None
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.envelopes.append(envelope)
        return "250 kept"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.logins.append((mechanism, data))
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"otero", b"open sesame")
        return AuthResult(success=right, handled=False)

    def mail(self) -> EmailMessage:
        """The one that arrived."""
        (envelope,) = self.envelopes
        return cast(
            "EmailMessage",
            email.message_from_bytes(cast("bytes", envelope.content), policy=email.policy.default),
        )


@asynccontextmanager
async def listening(
    box: Box, *, implicit: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A client for whom `mail.example.com` is a server that keeps its mails in the box."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, **options), "127.0.0.1", 0, ssl=implicit)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield Client(Hosts({"mail.example.com": f"127.0.0.1:{port}"}), ManualClock(NOW_MS))


def config(global_: Global = GLOBAL, **given: Any) -> Config:
    settings: dict[str, Any] = {"to": "oncall@example.com", "require_tls": False, **given}
    return complete(Config(**settings), global_)


def notification(**more: Any) -> Notification:
    alert = Alert(
        {"alertname": "Down", "severity": "page"}, {"summary": "it is <down>", "é": "ñ"}, NOW_MS - 60_000
    )
    given: dict[str, Any] = {"group_labels": {"alertname": "Down"}, "alerts": [alert], "now_ms": NOW_MS}
    return Notification(
        "team", "email[0]", '{}:{alertname="Down"}', external_url="http://otero", **given | more
    )


async def sent(config: Config, client: Client, told: Notification | None = None, **options: Any) -> None:
    told = told or notification()
    await send(config, told, Templates.builtin().bind(told), client, **options)


async def failure(config: Config, client: Client, **options: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as failed:
        await sent(config, client, **options)
    return failed.value


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the self-signed certificate of mail.example.com."""
    folder = tmp_path_factory.mktemp("smtp")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-keyout key.pem -out cert.pem -subj /CN=mail.example.com -addext subjectAltName=DNS:mail.example.com"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def trusting(certificate: Path) -> TlsConfig:
    return TlsConfig(ca_file=FilePath(certificate / "cert.pem"))


# -- the mail -----------------------------------------------------------------------------------------------------------


async def test_a_mail_as_it_arrives() -> None:
    box = Box()
    async with listening(box) as client:
        await sent(config(to='"On call" <oncall@example.com>, b@example.com', hello="otero.example"), client)
    (envelope,) = box.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "otero@example.com",
        ["oncall@example.com", "b@example.com"],
    )
    assert box.greeted == "otero.example"
    mail = box.mail()
    assert mail["Subject"] == "[FIRING:1] Down (page)"
    assert mail["From"] == "Otero <otero@example.com>"
    assert mail["To"] == "On call <oncall@example.com>, b@example.com"
    assert mail["Date"] == "Fri, 22 Nov 2024 12:03:10 +0000"
    assert mail["Message-Id"].startswith("<")
    assert "References" not in mail
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    for part in (plain, html):
        assert part["Content-Transfer-Encoding"] == "quoted-printable"
        assert part.get_content_charset() == "utf-8"
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    text, page = cast("EmailMessage", plain).get_content(), cast("EmailMessage", html).get_content()
    assert "it is <down>" in text
    assert "é: ñ" in text
    assert "it is &lt;down&gt;" in page
    assert "http://otero/#/alerts?receiver=team" in page
    assert cast("bytes", envelope.content).isascii()


async def test_subject_and_body_are_the_mail() -> None:
    box = Box()
    async with listening(box) as client:
        await sent(
            config(subject="🚨 {{ .GroupLabels.alertname }} ñ", body="Alert: {{ .Status }}\n.\n..x\n"), client
        )
    assert box.mail()["Subject"] == "🚨 Down ñ"
    (only,) = box.mail().iter_parts()
    assert only.get_content_type() == "text/plain"
    assert cast("EmailMessage", only).get_content() == "Alert: firing\r\n.\r\n..x\r\n"


async def test_an_attempt_again_is_the_same_mail_and_another_notification_is_another() -> None:
    box = Box()
    async with listening(box) as client:
        for told in (notification(), notification(), notification(now_ms=NOW_MS + 1)):
            await sent(config(), client, told)
    first, second, third = (
        email.message_from_bytes(cast("bytes", one.content))["Message-Id"] for one in box.envelopes
    )
    assert first == second != third


@pytest.mark.parametrize(("by", "day"), [("daily", "2024-11-22"), ("none", "")])
async def test_mails_of_a_group_hang_together(by: Any, day: str) -> None:
    box = Box()
    async with listening(box) as client:
        await sent(config(threading=Threading(enabled=True, thread_by_date=by)), client)
    reference = box.mail()["References"]
    assert reference == box.mail()["In-Reply-To"]
    assert reference.startswith("<alert-")
    assert reference.endswith(f"-{day}@otero>")


async def test_headers_are_templates_and_no_value_breaks_out_of_them() -> None:
    box = Box()
    evil = "x\r\nBcc: all@example.com\r\n\r\nbody\u2028y\0"
    alert = Alert({"alertname": "A"}, {"evil": evil})
    headers = {
        "subject": "{{ .CommonAnnotations.evil }}",
        "X-Alert": "{{ .CommonAnnotations.evil }}",
        "reply-to": "Team <team@example.com>",
        "Content-Type": "text/evil",
    }
    async with listening(box) as client:
        await sent(config(headers=headers), client, notification(alerts=[alert]))
    mail = box.mail()
    assert "Bcc" not in mail
    assert mail["Subject"] == "x Bcc: all@example.com body y"
    assert mail["X-Alert"] == "x Bcc: all@example.com body y"
    assert mail["Reply-To"] == "Team <team@example.com>"
    assert mail.get_content_type() == "multipart/alternative"
    assert box.envelopes[0].rcpt_tos == ["oncall@example.com"]


async def test_addresses_may_be_templates() -> None:
    box = Box()
    async with listening(box) as client:
        await sent(
            config(to="{{ .CommonLabels.severity }}@example.com", from_="{{ .Status }}@example.com"),
            client,
        )
    assert (box.envelopes[0].mail_from, box.envelopes[0].rcpt_tos) == (
        "firing@example.com",
        ["page@example.com"],
    )


async def test_addresses_of_other_scripts_need_a_server_that_takes_them() -> None:
    box = Box()
    async with listening(box) as client:
        assert "SMTPUTF8" in str(await failure(config(to="señora@example.com"), client))
    async with listening(box, enable_SMTPUTF8=True) as client:
        await sent(config(to="señora@example.com, x@bücher.example"), client)
    assert box.envelopes[0].rcpt_tos == ["señora@example.com", "x@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "to",
    [
        '{{ "" }}',
        "nobody",
        "a@",
        "@b",
        "a@b.c\r\nRCPT TO:<x@y.z>",
        "a b@c.d",
        "<a@b.c",
        "a@b.c d@e.f",
        ";",
        "\0",
    ],
)
async def test_what_is_no_address_goes_nowhere(to: str) -> None:
    box = Box()
    async with listening(box) as client:
        error = await failure(replace(config(), to=to), client)
    assert not error.retry
    assert "to: not a" in str(error)
    assert box.greeted == ""


def test_mailboxes() -> None:
    found = mailboxes('"Doe, J." <j@x.y>, plain@x.y (note), =?utf-8?q?=C3=B1?= <n@x.y>', "to")
    assert [mailbox.address for mailbox in found] == ["j@x.y", "plain@x.y", "n@x.y"]


async def test_a_template_that_fails_sends_nothing() -> None:
    box = Box()
    async with listening(box) as client:
        error = await failure(config(html="{{ .Nothing }}"), client)
    assert "can't evaluate field Nothing" in str(error)
    assert not error.retry
    assert box.greeted == ""


# -- TLS and authentication ---------------------------------------------------------------------------------------------


async def test_starttls(certificate: Path, server_tls: ssl.SSLContext) -> None:
    box = Box()
    async with listening(box, tls_context=server_tls, require_starttls=True) as client:
        await sent(config(require_tls=None, tls_config=trusting(certificate)), client)
        assert box.encrypted
        untrusted = await failure(config(require_tls=True), client)
        named = replace(trusting(certificate), server_name="other.example.com")
        misnamed = await failure(config(require_tls=True, tls_config=named), client)
    assert "certificate" in str(untrusted)
    assert "mail.example.com:587" in str(untrusted)
    assert not untrusted.retry
    assert "other.example.com" in str(misnamed)
    assert len(box.envelopes) == 1


@pytest.mark.parametrize(("port", "force"), [("465", None), ("587", True)])
async def test_tls_from_the_first_byte(
    certificate: Path, server_tls: ssl.SSLContext, port: str, force: bool | None
) -> None:
    box = Box()
    async with listening(box, implicit=server_tls) as client:
        await sent(
            config(
                smarthost=HostPort(f"mail.example.com:{port}"),
                tls_config=trusting(certificate),
                force_implicit_tls=force,
                require_tls=True,
            ),
            client,
        )
    assert len(box.envelopes) == 1


async def test_a_server_without_starttls_is_a_clear_error() -> None:
    box = Box()
    async with listening(box) as client:
        error = await failure(config(require_tls=None), client)
    assert "does not offer STARTTLS" in str(error)
    assert "require_tls: false" in str(error)
    assert not error.retry
    assert not box.envelopes


PASSWORD = {"auth_username": "otero", "auth_password": Secret("open sesame")}


@pytest.mark.parametrize(("method", "other"), [("PLAIN", "LOGIN"), ("LOGIN", "PLAIN")])
async def test_the_password_is_given_in_the_way_that_the_server_wants(
    certificate: Path, server_tls: ssl.SSLContext, method: str, other: str
) -> None:
    box = Box()
    options = {"authenticator": box.authenticate, "auth_required": True, "auth_exclude_mechanism": [other]}
    async with listening(box, tls_context=server_tls, **options) as client:
        await sent(config(require_tls=True, tls_config=trusting(certificate), **PASSWORD), client)
        wrong = {**PASSWORD, "auth_password": Secret("let me in")}
        error = await failure(config(require_tls=True, tls_config=trusting(certificate), **wrong), client)
    assert [login[0] for login in box.logins] == [method, method]
    assert len(box.envelopes) == 1
    assert (error.status, error.retry) == (535, False)
    assert "let me in" not in str(error)


async def test_passwords_come_from_files_too(
    certificate: Path, server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    box = Box()
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    options = {"authenticator": box.authenticate, "auth_required": True}
    settings = config(
        require_tls=True,
        tls_config=trusting(certificate),
        auth_username="otero",
        auth_password_file=FilePath(file),
    )
    async with listening(box, tls_context=server_tls, **options) as client:
        await sent(settings, client)
        file.unlink()
        error = await failure(settings, client)
    assert len(box.envelopes) == 1
    assert (str(file) in str(error), error.retry) == (True, True)


async def test_no_password_goes_over_an_open_connection() -> None:
    box = Box()
    options = {
        "authenticator": box.authenticate,
        "auth_require_tls": False,
        "auth_exclude_mechanism": ["LOGIN"],
    }
    async with listening(box, **options) as client:
        error = await failure(config(**PASSWORD), client)
        assert "without TLS" in str(error)
        missing = await failure(config(auth_username="otero"), client)
        assert "set auth_password for PLAIN" in str(missing)
        await sent(config(), client)  # without a user there is nothing to say
    assert box.logins == []
    assert len(box.envelopes) == 1


async def test_the_answer_to_cram_md5_proves_the_secret() -> None:
    """aiosmtpd has no CRAM-MD5, so the server is a few lines; the challenge and the answer are those of RFC 2195."""
    lines = [
        (b"", b"220 here\r\n"),
        (b"EHLO", b"250-here\r\n250 AUTH CRAM-MD5\r\n"),
        (b"AUTH CRAM-MD5", b"334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n"),
        (b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw", b"235 yes\r\n"),
        (b"MAIL", b"450 later\r\n"),
        (b"QUIT", b"221 bye\r\n"),
    ]
    async with scripted(lines) as client:
        error = await failure(config(auth_username="tim", auth_secret=Secret("tanstaaftanstaaf")), client)
    assert (error.status, error.retry) == (450, True)
    assert lines == []


# -- servers that refuse, hang and go away ------------------------------------------------------------------------------


@asynccontextmanager
async def scripted(lines: list[tuple[bytes, bytes]]) -> AsyncIterator[Client]:
    """A server that waits for the begin of each line and answers; answered lines are gone from the list."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while lines:
            begin, answer = lines[0]
            if begin and not (await reader.readline()).startswith(begin):
                break
            del lines[0]
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Client(Hosts({"mail.example.com": f"127.0.0.1:{port}"}), ManualClock(NOW_MS))


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(("answer", "retry"), [("451 try later", True), ("550 5.1.1 no\tsuch", False)])
async def test_4xx_is_retried_and_5xx_is_not(command: str, answer: str, retry: bool) -> None:
    box = Box(**{command: answer})
    async with listening(box) as client:
        error = await failure(config(), client)
    assert (error.retry, error.status) == (retry, int(answer[:3]))
    assert str(error) == f"smtp mail.example.com:587: answered {answer.replace(chr(9), ' ')}"


async def test_one_refused_recipient_does_not_keep_the_mail_from_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = Box(**{"gone@example.com": "550 who?"})
    async with listening(box) as client:
        with caplog.at_level(logging.WARNING):
            await sent(config(to="gone@example.com, oncall@example.com"), client)
    assert box.envelopes[0].rcpt_tos == ["oncall@example.com"]
    assert "gone@example.com gets no mail: answered 550 who?" in caplog.text


async def test_when_all_are_refused_one_that_may_be_taken_later_decides() -> None:
    box = Box(**{"a@example.com": "550 who?", "b@example.com": "450 busy"})
    async with listening(box) as client:
        error = await failure(config(to="a@example.com, b@example.com"), client)
    assert (error.status, error.retry) == (450, True)


HANGS: list[Callable[[], list[tuple[bytes, bytes]]]] = [
    list,
    lambda: [(b"", b"220 here\r\n"), (b"EHLO", b"")],
    lambda: [
        (b"", b"220 here\r\n"),
        (b"EHLO", b"250 here\r\n"),
        (b"MAIL", b"250-not yet\r\n"),
        (b"never", b""),
    ],
]


@pytest.mark.parametrize("lines", HANGS)
async def test_a_server_that_hangs_is_left(lines: Callable[[], list[tuple[bytes, bytes]]]) -> None:
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for begin, answer in lines():
            if begin:
                await reader.readline()
            writer.write(answer)
        await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = Client(Hosts({"mail.example.com": f"127.0.0.1:{port}"}), ManualClock(NOW_MS))
        error = await failure(config(), client, answer_s=0.1)
        await left.wait()
    assert (error.retry, "in time" in str(error)) == (True, True)


async def test_a_server_that_goes_away_and_one_that_is_not_there() -> None:
    async with scripted([(b"", b"220 here\r\n"), (b"EHLO", b"250 here\r\n")]) as client:
        gone = await failure(config(), client)
    nobody = await failure(config(), client)
    unknown = await failure(config(smarthost=HostPort("no.such.invalid:25")), Client())
    assert [error.retry for error in (gone, nobody, unknown)] == [True, True, True]
    assert "refused" in str(nobody)
    assert "lookup" in str(unknown)


async def test_what_a_server_says_cannot_fill_the_log() -> None:
    async with scripted([(b"", b"554 " + b"x" * 400 + b"\x1b[31m\r\n")]) as client:
        error = await failure(config(), client)
    assert not error.retry
    assert len(str(error)) < 400
    assert "\x1b" not in str(error)


# -- settings -----------------------------------------------------------------------------------------------------------


def test_what_is_not_said_comes_from_global() -> None:
    global_ = replace(
        GLOBAL,
        smtp_hello="me",
        smtp_auth_username="u",
        smtp_auth_password=Secret("p"),
        smtp_auth_secret=Secret("s"),
        smtp_auth_identity="i",
        smtp_require_tls=False,
        smtp_force_implicit_tls=True,
        smtp_tls_config=TlsConfig(server_name="n"),
    )
    taken = complete(Config(to="a@b.c"), global_)
    assert (taken.smarthost, taken.from_, taken.hello) == (
        "mail.example.com:587",
        "Otero <otero@example.com>",
        "me",
    )
    assert (taken.auth_username, taken.auth_password, taken.auth_secret) == ("u", Secret("p"), Secret("s"))
    assert (taken.auth_identity, taken.require_tls, taken.force_implicit_tls) == ("i", False, True)
    assert taken.tls_config == TlsConfig(server_name="n")
    own = complete(
        Config(to="a@b.c", auth_password_file=FilePath("/p"), require_tls=True, tls_config=TlsConfig()),
        global_,
    )
    assert (own.auth_password, own.auth_password_file) == (Secret(""), "/p")
    assert (own.require_tls, own.tls_config) == (True, TlsConfig())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"to": ""}, "missing to address"),
        ({"headers": {"subject": "a", "SUBJECT": "b"}}, 'duplicate header "Subject"'),
        ({"subject": "a", "headers": {"Subject": "b"}}, "the subject is given twice"),
        ({"body": "a", "text": "b"}, "text and body"),
        ({"headers": {"X: y\r\nBcc": "b"}}, "not the name of a header"),
        ({"threading": Threading(enabled=True), "headers": {"references": "b"}}, "threading writes References itself"),
        ({"auth_password": Secret("a"), "auth_password_file": FilePath("b")}, "at most one of auth_password"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"to": "a@b.c", **given}
    with pytest.raises(BadField, match=message):
        Config(**settings)


def test_a_server_and_a_sender_are_needed() -> None:
    with pytest.raises(BadField, match="smtp_smarthost"):
        complete(Config(to="a@b.c"), Global(smtp_from="a@b.c"))
    with pytest.raises(BadField, match="smtp_from"):
        complete(Config(to="a@b.c"), Global(smtp_smarthost=HostPort("h:25")))
