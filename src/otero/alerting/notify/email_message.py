"""The mail itself: headers that no value can break out of, a text and an HTML part.

Rules: RFC 5322, RFC 2046 §5.1.4 (the best part last)
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.errors import HeaderParseError, NonASCIILocalPartDefect
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from otero.alerting.notification import DeliveryError, Notification

FIXED_HEADERS = frozenset(
    {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Mime-Version"}
)
"""What the parts of a mail need to be read; written here and by nobody else."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_ADDRESSES = frozenset({"To", "From", "Cc", "Bcc", "Sender", "Reply-To"})


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where a mail comes from or goes to, as SMTP names it: `oncall@example.com`."""

    address: str

    @property
    def ascii(self) -> bool:
        return self.address.isascii()


def mailboxes(text: str, what: str) -> list[Mailbox]:
    """The addresses of a list such as `"On call" <a@example.com>, b@example.com`; names and comments are left out.

    Domains in other scripts become ASCII. Raises DeliveryError, naming the setting `what`, when it is no such list.
    """
    addresses: Sequence[Address] = ()
    try:
        found: Any = HeaderRegistry()("To", one_line(text))
        if not _defects(found):
            addresses = found.addresses
    except (HeaderParseError, IndexError, ValueError):
        pass  # how the parser ends on much that is no address
    if not addresses:
        raise DeliveryError(f"{what}: not a list of mail addresses: {one_line(text)!r}", retry=False)
    made: list[Mailbox] = []
    for address in addresses:
        if not address.username or not address.domain or _CONTROL.search(address.addr_spec):
            raise DeliveryError(f"{what}: not a mail address: {str(address)!r}", retry=False)
        made.append(Mailbox(f"{address.addr_spec.rpartition('@')[0]}@{_domain(address.domain)}"))
    return made


def _defects(header: Any) -> bool:
    """Whether a header is malformed; what RFC 6531 allows is not."""
    return any(not isinstance(defect, NonASCIILocalPartDefect) for defect in header.defects)


def _domain(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain


def one_line(text: str) -> str:
    """A text fit for a header: what would begin another line is a blank."""
    return _CONTROL.sub(" ", text).strip()


def message_id(notification: Notification, host: str) -> str:
    """The same for every attempt at one notification, so that a mail that arrives twice is seen to be one."""
    said = "\n".join(
        [notification.group_key, notification.receiver, notification.integration, str(notification.now_ms)]
    )
    return f"<{hashlib.sha256(said.encode()).hexdigest()[:32]}@{host}>"


def thread_id(notification: Notification, day: str) -> str:
    """The mail, never sent, that all mails of a group answer: clients put them below each other.

    With a `day` there is one for each day.
    """
    group = hashlib.sha256(notification.group_key.encode()).hexdigest()[:16]
    return f"<alert-{group}-{day}@otero>"


def compose(headers: Mapping[str, str], *, text: str, html: str, sent_ms: int, utf8: bool = False) -> bytes:
    """A whole mail, lines ended by CRLF, in ASCII unless `utf8` (addresses of other scripts, RFC 6531).

    `headers` have canonical names; those of FIXED_HEADERS have no effect. An empty part is left out. Raises
    DeliveryError for a header that cannot be written.
    """
    mail = EmailMessage(policy=policy.SMTPUTF8 if utf8 else policy.SMTP)
    for name, value in headers.items():
        if name in FIXED_HEADERS:
            continue
        line = one_line(value)
        try:
            mail[name] = line
        except (HeaderParseError, IndexError, ValueError) as error:
            raise DeliveryError(f"header {name}: cannot be written: {error}", retry=False) from None
        if name in _ADDRESSES and _defects(mail[name]):
            raise DeliveryError(f"header {name}: not a list of mail addresses: {line!r}", retry=False)
    if "Date" not in mail:
        mail["Date"] = format_datetime(datetime.fromtimestamp(sent_ms / 1000, UTC))
    mail.make_alternative()
    for part, subtype in ((text, "plain"), (html, "html")):
        if part:
            mail.add_alternative(part, subtype=subtype, cte="quoted-printable")
    return mail.as_bytes()
