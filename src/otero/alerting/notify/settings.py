"""What the settings of receivers have in common: their base, kinds of URLs, spans of time as Go writes them."""

import re
from pathlib import Path
from typing import Self

import msgspec

from otero.alerting.notification import DeliveryError
from otero.errors import BadField
from otero.fields import Duration, FilePath, Secret, Url
from otero.gotemplate import TemplateError
from otero.gotemplate.parser import parse
from otero.http_client import HttpClientConfig, at_most_one

REDACTED = "<secret>"
"""What a secret reads in a configuration that was printed; taken back without a look at what it stands for."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this package."""


_PLAIN_HTTP = HttpClientConfig()


class ReceiverSettings(Settings, frozen=True, kw_only=True):
    """What every receiver that is reached over HTTP has. `complete` fills `http_config` from `global`."""

    http_config: HttpClientConfig | None = None

    @property
    def http(self) -> HttpClientConfig:
        """What requests are made with."""
        return self.http_config or _PLAIN_HTTP


class HttpUrl(Url):
    """An absolute http or https URL; nothing else, not even an empty text."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        url = super().parse(value)
        url.require_http("")
        return url

    def below(self, path: str) -> "HttpUrl":
        """The URL with `path` after its own path, one slash between them; its query stays at the end."""
        before, mark, query = self.partition("?")
        return HttpUrl(f"{before.rstrip('/')}/{path.lstrip('/')}{mark}{query}")


class SecretUrl(Secret):
    """An http or https URL that is a secret, such as a webhook with a token in its path."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        secret = super().parse(value)
        if secret.reveal() != REDACTED:
            _check_secret_url(secret.reveal())
        return secret


class ByWebhook(ReceiverSettings, frozen=True, kw_only=True):
    """A receiver whose place and permission are one secret URL: Discord, Microsoft Teams."""

    webhook_url: SecretUrl | None = None
    webhook_url_file: FilePath = FilePath("")

    def __post_init__(self) -> None:
        require_one(self, "webhook_url", "webhook_url_file")
        at_most_one(self, "webhook_url", "webhook_url_file")

    def url(self) -> str:
        """Where to send now. Raises DeliveryError when the file cannot be read."""
        return revealed(self.webhook_url, self.webhook_url_file)


class TemplateUrl(SecretUrl):
    """A secret URL that may also be a template of one; only one without templates can be checked before it is used."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        if "{{" not in text:
            return super().parse(value)
        check_template(text)
        return cls(text)


def _check_secret_url(text: str) -> None:
    try:
        HttpUrl.parse(text)
    except BadField:  # its text may quote the secret
        raise BadField("not an absolute http or https URL (it is a secret and not shown)") from None


class _EveryName(frozenset[str]):
    def __contains__(self, name: object) -> bool:
        return True


def check_template(text: str) -> None:
    """Raises BadField when the text is no template; functions and templates that it names are not looked up."""
    try:
        parse(text, "", _EveryName())
    except TemplateError as error:
        raise BadField(f"not a valid template: {error}") from None


_GO_UNITS_MS = {
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
    "us": 1e-3,
    "µs": 1e-3,
    "μs": 1e-3,
    "ns": 1e-6,
}
_GO_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)")
_MAX_TEXT = 64


class GoDuration(Duration):
    """A span of time as Go writes it: fractions (`1.5h`), no days. In milliseconds, what is smaller is cut off."""

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        digits = text[1:] if text[:1] in ("+", "-") else text
        if digits == "0":
            return cls(0)
        total = 0.0
        at = 0
        while at < len(digits) <= _MAX_TEXT:
            match = _GO_PART.match(digits, at)
            if match is None or match[1] in ("", "."):
                break
            total += float(match[1]) * _GO_UNITS_MS[match[2]]
            at = match.end()
        if not at or at != len(digits):
            raise BadField(f'not a duration: "{text[:_MAX_TEXT]}"; write it as "10s" or "1m30s"')
        if text.startswith("-"):
            raise BadField(f'a duration cannot be negative: "{text}"')
        return cls(int(total))


class HostPort(str):
    """`HOST:PORT`, the port a number or a name; an empty text stands for none."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        host, colon, port = text.rpartition(":")
        if text and not colon:
            raise BadField(f'"{text}" has no port; write it as host:25')
        if text and not port:
            raise BadField(f'the port of "{text}" cannot be empty')
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise BadField(f'too many colons in "{text}"; an IPv6 address stands in brackets')
        return cls(text)

    @property
    def host(self) -> str:
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> str:
        return self.rpartition(":")[2]


def require_one(config: msgspec.Struct, *names: str) -> None:
    """Raises BadField unless one of the named settings is given; `http_client.at_most_one` is its other half."""
    if not any(getattr(config, name) for name in names):
        raise BadField(f"one of {' or '.join(names)} must be configured")


def inherit(config: ReceiverSettings, global_http: HttpClientConfig) -> dict[str, HttpClientConfig]:
    """The one setting that every receiver takes from `global` when it has none of its own."""
    return {"http_config": config.http_config or global_http}


def revealed(secret: Secret | None, file: FilePath) -> str:
    """A secret as it was given, or as its file has it now, without the white space around it.

    Raises DeliveryError, to be retried: a file that is being replaced is there a moment later.
    """
    if not file:
        return secret.reveal() if secret is not None else ""
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(f"cannot read {file}: {getattr(error, 'strerror', error)}", retry=True) from None
