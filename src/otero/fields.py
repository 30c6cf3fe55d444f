"""Types of configuration values: each is made from text by `parse`, which raises BadField.

They are plain subclasses of `int` and `str` (but for Secret), so that the rest of the program uses them as what they are.
"""

import ipaddress
import re
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from otero.errors import BadField

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_DURATION = re.compile(
    r"(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?"
)
_MAX_DURATION_MS = (1 << 63) // 1_000_000
_MAX_TEXT = 64

_SIZE_PART = re.compile(r"([0-9]*\.?[0-9]*)([A-Za-z]+)")
_SIZE_UNITS = {"B": 1} | {
    prefix + suffix: 1024 ** (power + 1) for power, prefix in enumerate("KMGTPE") for suffix in ("B", "iB")
}


class Duration(int):
    """A span of time in milliseconds, written as Prometheus does: `1h30m`, `15s`, `250ms`, `0`."""

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        if text == "0":
            return cls(0)
        if not text:
            raise BadField('empty duration string; write a number and a unit, such as "15s"')
        match = _DURATION.fullmatch(text) if len(text) <= _MAX_TEXT else None
        if match is None:
            raise BadField(f'not a valid duration string: "{text[:_MAX_TEXT]}"; write it as "15s" or "1h30m"')
        total = sum(
            int(number) * unit
            for number, unit in zip(match.groups(), _UNITS_MS.values(), strict=True)
            if number
        )
        if total >= _MAX_DURATION_MS:
            raise BadField(f'duration out of range: "{text}"')
        return cls(total)

    @property
    def seconds(self) -> float:
        return self / 1000

    def __str__(self) -> str:
        """The shortest text that Prometheus prints: years and weeks only where nothing smaller follows."""
        rest = int(self)
        if rest == 0:
            return "0s"
        sign = "-" if rest < 0 else ""
        rest = abs(rest)
        parts: list[str] = []
        for name, unit in _UNITS_MS.items():
            if name in ("y", "w", "d") and rest % unit:
                if name == "d" and rest >= unit:
                    parts.append(f"{rest // unit}{name}")
                    rest %= unit
                continue
            if count := rest // unit:
                parts.append(f"{count}{name}")
                rest %= unit
        return sign + "".join(parts)

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"


class Size(int):
    """A number of bytes, written with binary units: `15MB` and `15MiB` are both 15 x 1024 x 1024; `0` is allowed."""

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        if text == "0":
            return cls(0)
        if not text or len(text) > _MAX_TEXT:
            raise BadField(f'not a size: "{text[:_MAX_TEXT]}"; write a number and a unit, such as "15MB"')
        total = 0.0
        at = 0
        while at < len(text):
            match = _SIZE_PART.match(text, at)
            if match is None or match[1] in ("", "."):
                raise BadField(
                    f'missing unit in size "{text}"; write it as "15MB"'
                    if text[at].isdigit()
                    else f'not a size: "{text}"; write a number and a unit, such as "15MB"'
                )
            unit = _SIZE_UNITS.get(match[2])
            if unit is None:
                raise BadField(
                    f'unknown unit "{match[2]}" in size "{text}"; use one of {", ".join(_SIZE_UNITS)}'
                )
            total += float(match[1]) * unit
            at = match.end()
        if total >= 1 << 63:
            raise BadField(f'size out of range: "{text}"')
        return cls(total)

    def __str__(self) -> str:
        for unit in ("EiB", "PiB", "TiB", "GiB", "MiB", "KiB"):
            if self and self % _SIZE_UNITS[unit] == 0:
                return f"{int(self) // _SIZE_UNITS[unit]}{unit}"
        return f"{int(self)}B"

    def __repr__(self) -> str:
        return f"Size({str(self)!r})"


class Secret:
    """A text that does not print itself: not in str, repr, format, pickles or error messages. `reveal` gives it out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(value if isinstance(value, str) else str(value))

    def reveal(self) -> str:
        """The secret itself; for the one who sends or compares it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __str__(self) -> str:
        return "<secret>" if self._text else ""

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a secret cannot be pickled")


class Url(str):
    """A URL as it was written; the printed form hides a password in it."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise BadField("a URL cannot contain control characters")
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError as error:
            raise BadField(f'not a URL: "{_without_password(text)}": {error}') from None
        return cls(text)

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self)

    def redacted(self) -> str:
        """The URL with its password replaced."""
        return _without_password(self)

    def require_http(self, at: str = "url") -> None:
        """Raises BadField unless it is an absolute http or https URL with a host."""
        if not self.parts.scheme:
            raise BadField("URL scheme must be 'http' or 'https'; the URL has no scheme", at)
        if self.parts.scheme not in ("http", "https"):
            raise BadField(f"URL scheme must be 'http' or 'https', not '{self.parts.scheme}'", at)
        if not self.parts.hostname:
            raise BadField("host is missing in URL", at)


def _without_password(url: str) -> str:
    return re.sub(r"(//[^/?#@:]*:)[^/?#@]*@", r"\1xxxxx@", url)


class FilePath(str):
    """A path of a file; the decoder makes it absolute, from the folder of the file that names it."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        if "\0" in text:
            raise BadField("a path cannot contain a null character")
        return cls(text)

    def resolve_in(self, folder: Path) -> "FilePath":
        """The path seen from `folder`; an empty one stays empty."""
        return FilePath(folder / self) if self else self


class Endpoint(str):
    """Where to listen, as `HOST:PORT`; an IPv6 host stands in brackets."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = value if isinstance(value, str) else str(value)
        check_endpoint(text)
        return cls(text)


def check_endpoint(text: str, at: str = "") -> None:
    """Raises BadField unless it is HOST:PORT."""
    host, separator, port = text.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or int(port[:6]) > 65_535:
        raise BadField(f'expected HOST:PORT, such as 127.0.0.1:9090, found "{text}"', at)
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            raise BadField(f'not an IPv6 address: "{host}"', at) from None
    elif ":" in host:
        raise BadField(f'an IPv6 address stands in brackets, as [::1]:9090, found "{text}"', at)


def dec_hook(type_: type[Any], value: object) -> Any:
    """For `msgspec.convert(..., dec_hook=dec_hook)`."""
    parse = getattr(type_, "parse", None)
    if parse is None:
        raise NotImplementedError(f"no way to read a {type_.__name__}")
    return parse(value)


def valid_label_name(name: str) -> bool:
    """Whether Prometheus 3 takes it as a label name under its default (UTF-8) scheme."""
    return bool(name) and _is_utf8(name)


_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def valid_legacy_label_name(name: str) -> bool:
    """Whether it is a label name of the classic alphabet."""
    return _LEGACY_LABEL.fullmatch(name) is not None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
