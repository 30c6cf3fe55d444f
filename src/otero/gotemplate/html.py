"""Escaping for HTML by place, as html/template does: text, attributes, addresses, styles and scripts.

What a template writes itself moves a small state machine; what it fills in is escaped for the state that it meets. Rules:
https://pkg.go.dev/html/template#hdr-Contexts (of which the places are kept that a mail or a page of alerts has).
"""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from otero.gotemplate.formatting import to_text
from otero.gotemplate.json_text import to_json
from otero.gotemplate.values import FunctionError, SafeHtml, SafeUrl

UNSAFE = "ZgotmplZ"
"""Stands where a value would have broken out of its place."""

_TEXT = str.maketrans(
    {'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "+": "&#43;", "\0": "\ufffd"}
)
_UNQUOTED = str.maketrans(
    {
        **{char: f"&#{ord(char)};" for char in "\t\n\v\f\r \"'+=`"},
        "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "&#xfffd;",
    }
)  # fmt: skip
_URL_ATTRIBUTES = frozenset(
    {"action", "archive", "background", "cite", "classid", "codebase", "data", "formaction", "href", "icon",
     "longdesc", "manifest", "poster", "profile", "src", "usemap", "xmlns"}
)  # fmt: skip
_SAFE_SCHEMES = frozenset({"http", "https", "mailto"})
_CSS_VALUE = re.compile(r"[\w\s#%.,!*/+-]*")
_TAG_END = re.compile(r"\s*(/?>)|\s+")
_NAME = re.compile(r"[^\s=>/\"']+")


class HtmlEscaper:
    """Follows the HTML that is written; one per execution.

    state: text | tag (within a tag) | value (within an attribute's value) | comment | rcdata (title, textarea)
    | script | style
    """

    def __init__(self) -> None:
        self._state = "text"
        self._attribute = ""
        self._quote = ""
        self._element = ""
        self._value = ""

    def static(self, text: str) -> str:
        """What the template writes as it stands; comments are left out."""
        written, state = _static(text, self._where())
        self._state, self._attribute, self._quote, self._element, self._value = state
        return written

    def _where(self) -> tuple[str, str, str, str, str]:
        """All that what follows depends on. Of a value counts whether it has begun and where its query begins."""
        value = "?" if "?" in self._value or "#" in self._value else self._value[:1] and "."
        return self._state, self._attribute, self._quote, self._element, value

    @classmethod
    def at(cls, where: tuple[str, str, str, str, str]) -> "HtmlEscaper":
        escaper = cls()
        escaper._state, escaper._attribute, escaper._quote, escaper._element, escaper._value = where
        return escaper

    def follow(self, text: str) -> tuple[str, tuple[str, str, str, str, str]]:
        """A text as it is written, and where it ends."""
        out: list[str] = []
        at = 0
        while at < len(text):
            before = at
            kept, at = getattr(self, f"_in_{self._state}")(text, at)
            out.append(kept)
            if at == before and not kept:
                out.append(text[at])
                at += 1
        return "".join(out), self._where()

    def _in_text(self, text: str, at: int) -> tuple[str, int]:
        found = re.compile(r"<!--|</?([a-zA-Z][\w:-]*)").search(text, at)
        if found is None:
            return text[at:], len(text)
        if found[0] == "<!--":
            self._state = "comment"
            return text[at : found.start()], found.end()
        self._state = "tag"
        self._element = "" if found[0].startswith("</") else found[1].lower()
        return text[at : found.end()], found.end()

    def _in_comment(self, text: str, at: int) -> tuple[str, int]:
        end = text.find("-->", at)
        if end < 0:
            return "", len(text)
        self._state = "text"
        return "", end + 3

    def _in_tag(self, text: str, at: int) -> tuple[str, int]:
        closing = _TAG_END.match(text, at)
        if closing is not None:
            if closing[1]:
                self._state = {
                    "script": "script",
                    "style": "style",
                    "title": "rcdata",
                    "textarea": "rcdata",
                }.get(self._element, "text")
            return closing[0], closing.end()
        if text[at] == "=":
            end = at + 1
            while end < len(text) and text[end].isspace():
                end += 1
            self._quote = text[end] if end < len(text) and text[end] in "\"'" else ""
            end += len(self._quote)
            self._state, self._value = "value", ""
            return text[at:end], end
        name = _NAME.match(text, at)
        if name is None:
            return text[at], at + 1
        self._attribute = name[0].lower()
        return name[0], name.end()

    def _in_value(self, text: str, at: int) -> tuple[str, int]:
        if self._quote:
            end = text.find(self._quote, at)
        else:
            found = re.compile(r"[\s>]").search(text, at)
            end = found.start() if found else -1
        if end < 0:
            self._value += text[at:]
            return text[at:], len(text)
        self._state = "tag"
        return text[at : end + len(self._quote)], end + len(self._quote)

    def _until(self, closing: str, text: str, at: int) -> tuple[str, int]:
        found = re.compile(closing, re.IGNORECASE).search(text, at)
        if found is None:
            return text[at:], len(text)
        self._state, self._element = "tag", ""
        return text[at : found.end()], found.end()

    def _in_script(self, text: str, at: int) -> tuple[str, int]:
        return self._until(r"</script", text, at)

    def _in_style(self, text: str, at: int) -> tuple[str, int]:
        return self._until(r"</style", text, at)

    def _in_rcdata(self, text: str, at: int) -> tuple[str, int]:
        return self._until(r"</(title|textarea)", text, at)

    def dynamic(self, value: Any) -> str:
        """A value where the template fills it in."""
        text = "" if value is None else to_text(value)
        match self._state:
            case "text":
                return text if isinstance(value, SafeHtml) else text.translate(_TEXT)
            case "rcdata":
                return text.translate(_TEXT)
            case "comment":
                return ""
            case "script":
                return _json(value)
            case "style":
                return text if _CSS_VALUE.fullmatch(text) else UNSAFE
            case "tag":
                return (
                    text
                    if re.fullmatch(r"[a-zA-Z][\w-]*", text) and not text.lower().startswith("on")
                    else UNSAFE
                )
            case _:
                return self._in_attribute(value, text)

    def _in_attribute(self, value: Any, text: str) -> str:
        name = self._attribute
        if name in _URL_ATTRIBUTES:
            text = self._address(text, trusted=isinstance(value, SafeUrl))
        elif name == "style":
            text = text if _CSS_VALUE.fullmatch(text) else UNSAFE
        elif name.startswith("on"):
            text = _json(value)
        elif isinstance(value, SafeHtml):
            text = re.sub(r"<[^>]*>", "", text)
        self._value += text
        return text.translate(_TEXT if self._quote else _UNQUOTED)

    def _address(self, text: str, *, trusted: bool) -> str:
        """A part of an address: its begin must have a harmless scheme, its query is percent-encoded."""
        if "?" in self._value or "#" in self._value:
            return _percent(text, "-._~")
        if not self._value and not trusted:
            scheme, colon, _ = text.partition(":")
            if colon and "/" not in scheme and scheme.lower() not in _SAFE_SCHEMES:
                return f"#{UNSAFE}"
        return _percent(text, "!#$&*+,-./:;=?@_~%[]")


@lru_cache(maxsize=4096)
def _static(text: str, where: tuple[str, str, str, str, str]) -> tuple[str, tuple[str, str, str, str, str]]:
    """The same text at the same place is followed once: a mail of many alerts repeats itself."""
    return HtmlEscaper.at(where).follow(text)


def _percent(text: str, safe: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quote(text, safe=safe)) if text else text


def _json(value: Any) -> str:
    """A value within a script; what JSON does not have is written as text."""
    try:
        text = to_json(value)
    except FunctionError:
        text = to_json(to_text(value))
    return text.replace("'", "\\u0027")
