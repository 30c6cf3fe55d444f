"""Mail over SMTP, one connection for each: TLS and authentication as Alertmanager does them.

Settings: https://prometheus.io/docs/alerting/latest/configuration/#email_config
"""

import asyncio
import base64
import logging
import os
import re
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import aiosmtplib
from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import Client
from otero.alerting.notify.email_message import Mailbox, compose, mailboxes, message_id, one_line, thread_id
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HostPort, Settings
from otero.alerting.template import Text
from otero.errors import BadField, Unavailable
from otero.fields import FilePath, Secret
from otero.http_client import TlsConfig, at_most_one, canonical_header, tls_context

ANSWER_S = 30.0
"""How long a server may take for each of its answers."""
TOTAL_S = 120.0
"""How long the sending of one mail may take."""
QUIT_S = 2.0
"""How long a good-bye is waited for; by then the mail is the server's."""

_HEADER_NAME = re.compile(r"[!-9;-~]+")
_IMPLICIT_TLS_PORTS = ("465", "smtps", "submissions")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_MAX_ANSWER = 300
_PERMANENT = 500
_HTML = '{{ template "email.default.html" . }}'
_TEXT = '{{ template "email.default.text" . }}'
_SUBJECT = '{{ template "email.default.subject" . }}'

_LOG = logging.getLogger(__name__)


class Threading(Settings, frozen=True, kw_only=True):
    """Whether the mails of a group are answers to each other, for as long as it lives or day by day."""

    enabled: bool = False
    thread_by_date: Literal["none", "daily"] = "daily"


class Config(Settings, frozen=True, kw_only=True):
    """`email_configs`, with two keys that Alertmanager does not have: `subject` for the header, `body` for the text.

    A `body` without `html` is all that is sent: beside an HTML part, clients would not show it.
    """

    send_resolved: bool = False
    to: str = ""
    from_: str = field(name="from", default="")
    hello: str = ""
    smarthost: HostPort = HostPort("")
    auth_username: str = ""
    auth_password: Secret = Secret("")
    auth_password_file: FilePath = FilePath("")
    auth_secret: Secret = Secret("")
    auth_secret_file: FilePath = FilePath("")
    auth_identity: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    body: str | None = None
    require_tls: bool | None = None
    tls_config: TlsConfig | None = None
    force_implicit_tls: bool | None = None
    threading: Threading = Threading()

    def __post_init__(self) -> None:
        if not self.to:
            raise BadField("missing to address in email config", "to")
        at_most_one(self, "auth_password", "auth_password_file")
        at_most_one(self, "auth_secret", "auth_secret_file")
        if self.body is not None and self.text is not None:
            raise BadField("text and body are the same part of a mail; keep one of them", "body")
        force_setattr(self, "headers", self._canonical_headers())
        if self.html is None:
            force_setattr(self, "html", _HTML if self.body is None else "")
        if self.text is None:
            force_setattr(self, "text", _TEXT if self.body is None else self.body)
        for folded in ("subject", "body"):  # they stand in headers and text now, where Alertmanager has them
            force_setattr(self, folded, None)

    def _canonical_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for given, value in self.headers.items():
            name = canonical_header(given)
            if not _HEADER_NAME.fullmatch(name):
                raise BadField(f'not the name of a header: "{given}"', f"headers.{given}")
            if name in headers:
                raise BadField(f'duplicate header "{name}" in email config', f"headers.{given}")
            headers[name] = value
        if self.subject is not None:
            if "Subject" in headers:
                raise BadField("the subject is given twice: as subject and in headers", "subject")
            headers["Subject"] = self.subject
        if self.threading.enabled:
            for name in ("References", "In-Reply-To"):
                if name in headers:
                    raise BadField(f"threading writes {name} itself; remove it from headers", "headers")
        return headers


def complete(config: Config, global_: Global) -> Config:
    """Each setting that is not given is the one of `global`; a password and its file are one setting."""
    smarthost = config.smarthost or global_.smtp_smarthost
    if not smarthost:
        raise BadField("no SMTP server is set: set smarthost here or smtp_smarthost in global")
    sender = config.from_ or global_.smtp_from
    if not sender:
        raise BadField("no sender is set: set from here or smtp_from in global")
    password, password_file = config.auth_password, config.auth_password_file
    if not password and not password_file:
        password, password_file = global_.smtp_auth_password, global_.smtp_auth_password_file
    secret, secret_file = config.auth_secret, config.auth_secret_file
    if not secret and not secret_file:
        secret, secret_file = global_.smtp_auth_secret, global_.smtp_auth_secret_file
    require_tls, implicit = config.require_tls, config.force_implicit_tls
    return replace(
        config,
        smarthost=smarthost,
        from_=sender,
        hello=config.hello or global_.smtp_hello,
        auth_username=config.auth_username or global_.smtp_auth_username,
        auth_password=password,
        auth_password_file=password_file,
        auth_secret=secret,
        auth_secret_file=secret_file,
        auth_identity=config.auth_identity or global_.smtp_auth_identity,
        require_tls=global_.smtp_require_tls if require_tls is None else require_tls,
        tls_config=global_.smtp_tls_config if config.tls_config is None else config.tls_config,
        force_implicit_tls=global_.smtp_force_implicit_tls if implicit is None else implicit,
        subject=None,  # it is in the headers
        body=None,  # it is the text
    )


async def send(
    config: Config, notification: Notification, text: Text, client: Client, *, answer_s: float = ANSWER_S
) -> None:
    """Send a complete configuration's mail. The templates are filled in before any connection is made.

    Recipients that the server refuses are logged while it takes others. Raises DeliveryError: to be retried after
    failures of the network and answers of 4xx, not after 5xx, faults of TLS and of templates.
    """
    sender, *others = mailboxes(text.text(config.from_), "from")
    if others:
        raise DeliveryError(f"from: one address only, found {len(others) + 1}", retry=False)
    recipients = mailboxes(text.text(config.to), "to")
    utf8 = not all(mailbox.ascii for mailbox in (sender, *recipients))
    mail = _mail(config, notification, text, client, utf8=utf8)
    try:
        async with asyncio.timeout(TOTAL_S):
            smtp = await _connected(config, client, answer_s)
            try:
                await _greet(smtp, config)
                await _authenticate(smtp, config)
                await _transfer(smtp, sender, recipients, mail, utf8=utf8)
            except (DeliveryError, aiosmtplib.SMTPResponseException):
                raise
            except BaseException:
                smtp.close()  # who does not answer is not told good-bye
                raise
            finally:
                await _leave(smtp)
    except DeliveryError as error:
        raise _placed(config, error) from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        raise _placed(config, _delivery_error(error)) from None


def _mail(config: Config, notification: Notification, text: Text, client: Client, *, utf8: bool) -> bytes:
    headers = {"Subject": _SUBJECT, "To": config.to, "From": config.from_, **config.headers}
    filled = {name: text.text(value) for name, value in headers.items()}
    filled.setdefault("Message-Id", message_id(notification, _own_name()))
    sent_ms = client.clock.now_ms()
    if config.threading.enabled:
        by_day = config.threading.thread_by_date == "daily"
        day = datetime.fromtimestamp(sent_ms / 1000, UTC).strftime("%Y-%m-%d") if by_day else ""
        filled["References"] = filled["In-Reply-To"] = thread_id(notification, day)
    return compose(
        filled,
        text=text.text(config.text or ""),
        html=text.html(config.html or ""),
        sent_ms=sent_ms,
        utf8=utf8,
    )


def _own_name() -> str:
    name = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())
    return name or "localhost.localdomain"


# -- the conversation ---------------------------------------------------------------------------------------------------


async def _connected(config: Config, client: Client, answer_s: float) -> aiosmtplib.SMTP:
    tls = config.tls_config or TlsConfig()
    try:
        # Certificates are read again for each mail; that takes milliseconds which the loop has not.
        wanted = config.require_tls or _implicit_tls(config)
        context = await asyncio.to_thread(tls_context, tls) if wanted else None
    except Unavailable as error:
        raise DeliveryError(str(error), retry=False) from None
    sock = await _socket(config, client, answer_s)
    smtp = aiosmtplib.SMTP(
        hostname=tls.server_name or config.smarthost.host,
        port=None,
        sock=sock,
        local_hostname=config.hello or "localhost",
        timeout=answer_s,
        use_tls=_implicit_tls(config),
        start_tls=False,
        tls_context=context,
    )
    try:
        await smtp.connect()
    except BaseException:
        smtp.close()
        sock.close()
        raise
    return smtp


def _implicit_tls(config: Config) -> bool:
    if config.force_implicit_tls is not None:
        return config.force_implicit_tls
    return config.smarthost.port in _IMPLICIT_TLS_PORTS


async def _socket(config: Config, client: Client, answer_s: float) -> socket.socket:
    """A connected socket: to the server, or to where `hosts` leads its name."""
    host, port = config.smarthost.host, config.smarthost.port
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(answer_s):
        infos = (
            await loop.getaddrinfo(host or "localhost", port, type=socket.SOCK_STREAM)
            if not port.isdigit()
            else []
        )
        number = int(port) if port.isdigit() else infos[0][4][1]
        place = client.hosts.place(host, int(number)) or (host or "localhost", int(number))
        failed: OSError | None = None
        for family, kind, protocol, _, address in await loop.getaddrinfo(*place, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                failed = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
    raise failed or OSError("no address")


async def _greet(smtp: aiosmtplib.SMTP, config: Config) -> None:
    """EHLO, and STARTTLS where it is required."""
    await _hello(smtp)
    if not config.require_tls or _implicit_tls(config):
        return
    if not smtp.supports_extension("starttls"):
        raise DeliveryError(
            "the server does not offer STARTTLS, and require_tls is true (the default): "
            "use a port that offers it, or set require_tls: false to send mail and password in the clear",
            retry=False,
        )
    await smtp.starttls(
        server_hostname=(config.tls_config or TlsConfig()).server_name or config.smarthost.host
    )
    await _hello(smtp)


async def _hello(smtp: aiosmtplib.SMTP) -> None:
    try:
        await smtp.ehlo()
    except aiosmtplib.SMTPHeloError:
        await smtp.helo()


async def _authenticate(smtp: aiosmtplib.SMTP, config: Config) -> None:
    """The first mechanism of the server's list that there is a secret for; none without a user name."""
    if not config.auth_username or not smtp.server_auth_methods:
        return
    missing: list[str] = []
    for method in smtp.server_auth_methods:
        if method == "cram-md5":
            if secret := _secret(config.auth_secret, config.auth_secret_file):
                await smtp.auth_crammd5(config.auth_username, secret)
                return
            missing.append("auth_secret for CRAM-MD5")
        elif method in ("plain", "login"):
            if password := _secret(config.auth_password, config.auth_password_file):
                await _log_in(smtp, config, method, password)
                return
            missing.append(f"auth_password for {method.upper()}")
    raise DeliveryError(
        "no way to log in: " + (f"set {' or '.join(missing)}" if missing else _offered(smtp)), retry=False
    )


def _offered(smtp: aiosmtplib.SMTP) -> str:
    return f"the server offers {', '.join(smtp.server_auth_methods).upper()}, not PLAIN, LOGIN or CRAM-MD5"


async def _log_in(smtp: aiosmtplib.SMTP, config: Config, method: str, password: str) -> None:
    if method == "login":
        await smtp.auth_login(config.auth_username, password)
        return
    encrypted = config.require_tls or _implicit_tls(config)
    if not encrypted and config.smarthost.host not in _LOCAL:
        raise DeliveryError(
            "the password is not sent over a connection without TLS: set require_tls: true", retry=False
        )
    said = f"{config.auth_identity}\0{config.auth_username}\0{password}"
    response = await smtp.execute_command(b"AUTH", b"PLAIN", base64.b64encode(said.encode()))
    if response.code != aiosmtplib.SMTPStatus.auth_successful:
        raise aiosmtplib.SMTPAuthenticationError(response.code, response.message)


def _secret(secret: Secret, file: str) -> str:
    if not file:
        return secret.reveal()
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(
            f"cannot read {file}: {getattr(error, 'strerror', 'not UTF-8')}", retry=True
        ) from None


async def _transfer(
    smtp: aiosmtplib.SMTP, sender: Mailbox, recipients: list[Mailbox], mail: bytes, *, utf8: bool
) -> None:
    if utf8 and not smtp.supports_extension("smtputf8"):
        raise DeliveryError("the server takes ASCII addresses only (it does not offer SMTPUTF8)", retry=False)
    options, encoding = (["SMTPUTF8", "BODY=8BITMIME"], "utf-8") if utf8 else ([], "ascii")
    await smtp.mail(sender.address, options=options, encoding=encoding)
    refused: list[aiosmtplib.SMTPRecipientRefused] = []
    for mailbox in recipients:
        try:
            await smtp.rcpt(mailbox.address, encoding=encoding)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused.append(error)
    if len(refused) == len(recipients):
        raise max(refused, key=lambda error: error.code < _PERMANENT)
    for error in refused:
        _LOG.warning("%s gets no mail: %s", error.recipient, _answer(error))
    await smtp.data(mail)


async def _leave(smtp: aiosmtplib.SMTP) -> None:
    try:
        if smtp.is_connected:
            async with asyncio.timeout(QUIT_S):
                await smtp.quit()
    except (aiosmtplib.SMTPException, OSError):
        pass  # what was to be sent has been sent, or the error of that is on its way
    finally:
        smtp.close()


# -- errors -------------------------------------------------------------------------------------------------------------


def _placed(config: Config, error: DeliveryError) -> DeliveryError:
    return DeliveryError(f"smtp {config.smarthost}: {error}", retry=error.retry, status=error.status)


def _delivery_error(error: BaseException) -> DeliveryError:
    if isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ is not None:
        return _delivery_error(error.__cause__)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return DeliveryError(_answer(error), retry=error.code < _PERMANENT, status=error.code)
    if isinstance(error, ssl.SSLCertVerificationError):
        return DeliveryError(f"the server's certificate: {error.verify_message}", retry=False)
    if isinstance(error, ssl.SSLError):
        return DeliveryError(f"TLS: {error.reason or error}", retry=True)
    if isinstance(error, socket.gaierror):
        return DeliveryError(f"lookup: {error.strerror}", retry=True)
    if isinstance(error, TimeoutError):
        return DeliveryError("the server does not answer in time", retry=True)
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return DeliveryError("the server closed the connection", retry=True)
    if isinstance(error, ValueError):
        return DeliveryError(one_line(str(error)), retry=False)
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return DeliveryError(one_line(reason) or type(error).__name__, retry=True)


def _answer(error: aiosmtplib.SMTPResponseException) -> str:
    """What the server answered, on one line."""
    text = one_line(error.message)
    return f"answered {error.code} {text[:_MAX_ANSWER]}".rstrip()
