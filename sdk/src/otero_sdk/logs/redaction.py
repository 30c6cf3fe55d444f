"""Which fields are secrets, by their names, and values that can be written as JSON whatever they are."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

REDACTED: Final = "***"
MAX_DEPTH: Final = 12
MAX_ITEMS: Final = 1000

_ANYWHERE: Final = frozenset(
    {
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials"),
        *("authorization", "cookie", "cookies", "apikey", "csrf", "dsn"),
    }
)
_AT_THE_END: Final = frozenset(("token", "auth", "jwt"))
_PAIRS: Final = frozenset(
    (("api", "key"), ("private", "key"), ("access", "key"), ("session", "id"), ("secret", "key"))
)
_word = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


class Redaction:
    """Decides by a field's name, split into words at `_`, `-`, `.` and capitals; `token_count` is no secret.

    `words` are further ones, in lower case, that make a name secret wherever they stand in it.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._anywhere = _ANYWHERE | {word.lower() for word in words}
        self._known: dict[str, bool] = {}

    def is_secret(self, name: str) -> bool:
        """Whether values of this name are not to be written."""
        known = self._known.get(name)
        if known is None:
            known = self._decide(name)
            if len(self._known) < 10_000:
                self._known[name] = known
        return known

    def _decide(self, name: str) -> bool:
        words = [word.lower() for word in _word.findall(name)]
        return (
            name.lower() in self._anywhere
            or not self._anywhere.isdisjoint(words)
            or bool(words and words[-1] in _AT_THE_END)
            or any(pair in _PAIRS for pair in itertools.pairwise(words))
        )

    def clean(self, value: Any) -> Any:
        """A dict, list or tuple without secrets in it, a plain value as it is."""
        if isinstance(value, Mapping | list | tuple):
            try:
                return self.plain(value)
            except Exception:
                return unprintable(value)
        return value

    def plain(self, value: Any, depth: int = 0) -> Any:
        """The value made of what JSON has, without secrets; what it does not have as text. Bounded in depth and size."""
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(value)
        if depth >= MAX_DEPTH:
            return "…"
        if isinstance(value, Mapping):
            fields: dict[str, Any] = {}
            for key, item in list(value.items())[:MAX_ITEMS]:
                name = key if isinstance(key, str) else as_text(key)
                fields[name] = REDACTED if self.is_secret(name) else self.plain(item, depth + 1)
            return fields
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        return as_text(value)


def as_text(value: Any) -> str:
    """What JSON has no form for, as text: bytes decoded, others as their `str`. Never raises."""
    try:
        if isinstance(value, bytes | bytearray):
            return bytes(value).decode("utf-8", "backslashreplace")
        if isinstance(value, set | frozenset):
            return repr(sorted(value, key=repr))
        return str(value)
    except Exception:
        return unprintable(value)


def unprintable(value: Any) -> str:
    """What to write of an object that cannot even be turned into text."""
    return f"<unprintable {type(value).__name__}>"
