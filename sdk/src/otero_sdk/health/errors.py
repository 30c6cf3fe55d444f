"""Errors as text that anybody may read: without credentials, on one line, short."""

import re
from typing import Final

MAX_LENGTH: Final = 300

_user_info = re.compile(r"(?<=://)[^/\s@]*(?:@[^/\s@]*)*@")
_named = re.compile(
    r"(?i)\b([\w.-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|authorization|credential)[\w.-]*)"
    r"(['\"]?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|(?:(?:bearer|basic)\s+)?[^\s,;&)}\]]+)"
)
_mentioned = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")


def safe_text(text: str) -> str:
    """The text with `user:password@` of URLs and values named password, token and the like as `***`."""
    text = _user_info.sub("***@", text)
    text = _named.sub(r"\1\2***", text)
    text = _mentioned.sub(r"\1 ***", text)
    line = " ".join(text.split())
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"


def safe_error(error: BaseException) -> str:
    """The kind of an error and what it says, without credentials. Never raises."""
    kind = type(error).__name__
    try:
        said = safe_text(str(error))
    except Exception:
        said = ""
    return f"{kind}: {said}" if said else kind
