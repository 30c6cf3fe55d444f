"""Lexing and parsing machinery that the query languages share.

A language brings a function that cuts its text into tokens, and a subclass of `Pratt` that says which tokens begin an
expression, how strongly operators bind and what to build. Positions are offsets in characters.
"""

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from otero.errors import BadQuery

ERROR = "error"
"""Kind of the token that stands where a text could not be cut further; its `text` is the complaint."""

END = "end of input"
"""Kind of the last token."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a query: what it is, how it was written, and where (`source[start:end]`)."""

    kind: str
    text: str
    start: int
    end: int


def place(source: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1."""
    before = source[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def complain(source: str, message: str, start: int, end: int) -> BadQuery:
    """The error about `source[start:end]`, worded as the field words it: `line:column: parse error: message`."""
    line, column = place(source, start)
    return BadQuery(
        f"{line}:{column}: parse error: {message}", line=line, column=column, start=start, end=end
    )


N = TypeVar("N")


class Pratt(Generic[N]):
    """Operator-precedence parser over a list of tokens that ends with END or ERROR.

    Binding powers are integers; an operator with powers (left, right) takes operands that bind tighter: left < right
    makes it left-associative. `max_depth` bounds how deep expressions nest, so that no text exhausts the stack.
    """

    def __init__(self, source: str, tokens: Sequence[Token], *, max_depth: int) -> None:
        self.source = source
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._max_depth = max_depth
        self.token = tokens[0]
        self.last_end = 0
        self._refuse_error_token()

    @abstractmethod
    def prefix(self) -> N:
        """Parse what may begin an expression, at the current token."""

    @abstractmethod
    def powers(self, token: Token) -> tuple[int, int] | None:
        """Binding powers of a token that continues an expression; None when it ends one."""

    @abstractmethod
    def infix(self, left: N, right_power: int) -> N:
        """Parse the operator at the current token and what follows, `left` being its left operand."""

    def expression(self, min_power: int = 0) -> N:
        """Parse an expression whose operators bind at least as strongly as `min_power`."""
        self._depth += 1
        if self._depth > self._max_depth:
            raise self.error(f"expressions nest deeper than {self._max_depth} levels")
        left = self.prefix()
        while (powers := self.powers(self.token)) is not None and powers[0] >= min_power:
            left = self.infix(left, powers[1])
        self._depth -= 1
        return left

    def peek(self) -> Token:
        """The token after the current one."""
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def advance(self) -> Token:
        """Step over the current token and return it."""
        passed = self.token
        self.last_end = passed.end
        self._at = min(self._at + 1, len(self._tokens) - 1)
        self.token = self._tokens[self._at]
        self._refuse_error_token()
        return passed

    def at(self, *kinds: str) -> bool:
        """Whether the current token is of one of these kinds."""
        return self.token.kind in kinds

    def accept(self, kind: str) -> Token | None:
        """Step over the current token if it is of this kind."""
        return self.advance() if self.token.kind == kind else None

    def error(self, message: str, start: int | None = None, end: int | None = None) -> BadQuery:
        """The error about a part of the text; without places, about the current token."""
        start = self.token.start if start is None else start
        return complain(self.source, message, start, self.token.end if end is None else end)

    def _refuse_error_token(self) -> None:
        if self.token.kind == ERROR:
            raise self.error(self.token.text, self.token.start, len(self.source))


_SIMPLE_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)
_HEX = "0123456789abcdefABCDEF"
_DIGITS = {"x": (_HEX, 2), "u": (_HEX, 4), "U": (_HEX, 8), **dict.fromkeys("01234567", ("01234567", 3))}


def scan_string(source: str, start: int) -> tuple[int, str]:
    """Find the end of the string literal that begins at `start` with one of `'`, `"` and a backtick.

    Returns (end, "") or (0, complaint).
    """
    quote = source[start]
    if quote == "`":
        end = source.find("`", start + 1)
        return (end + 1, "") if end >= 0 else (0, "unterminated raw string")
    at = start + 1
    while at < len(source):
        char = source[at]
        if char == quote:
            return at + 1, ""
        if char == "\n":
            break
        if char != "\\":
            at += 1
            continue
        escape = _ESCAPE.match(source, at)
        if escape is None or (escape[1] in ("'", '"') and escape[1] != quote):
            return 0, _bad_escape(source, at + 1)
        if (code := escape[4] or escape[5]) is not None:
            point = int(code, 16)
            if point > 0x10FFFF or 0xD800 <= point < 0xE000:
                return 0, "escape sequence is an invalid Unicode code point"
        elif escape[2] is not None and int(escape[2], 8) > 255:
            return 0, "escape sequence is an invalid Unicode code point"
        at = escape.end()
    return 0, "unterminated quoted string"


def _bad_escape(source: str, at: int) -> str:
    if at >= len(source):
        return "escape sequence not terminated"
    if source[at] in "xuU01234567":
        digits, wanted = _DIGITS[source[at]]
        first = at if source[at] in "01234567" else at + 1
        for index in range(first, first + wanted):
            if index >= len(source):
                return "escape sequence not terminated"
            if source[index] not in digits:
                return f"illegal character U+{ord(source[index]):04X} '{source[index]}' in escape sequence"
    return f"unknown escape sequence U+{ord(source[at]):04X} '{source[at]}'"


def unquote(literal: str) -> str:
    r"""The value of a string literal that `scan_string` found.

    `\x` and octal escapes give bytes; bytes that are no UTF-8 become surrogates, as in `surrogateescape`.
    """
    body = literal[1:-1]
    if literal[0] == "`" or "\\" not in body:
        return body
    out = bytearray()
    at = 0
    for escape in _ESCAPE.finditer(body):
        out += body[at : escape.start()].encode()
        simple, octal, byte, short, long = escape.groups()
        if simple is not None:
            out += _SIMPLE_ESCAPES[simple].encode()
        elif octal is not None:
            out.append(int(octal, 8))
        elif byte is not None:
            out.append(int(byte, 16))
        else:
            out += chr(int(short or long, 16)).encode()
        at = escape.end()
    out += body[at:].encode()
    return out.decode("utf-8", "surrogateescape")


def quote(text: str) -> str:
    """The text as a literal in double quotes, which `unquote` turns back."""
    out: list[str] = []
    for char in text:
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif char in _LETTERS:
            out.append("\\" + _LETTERS[char])
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif char.isprintable() or char == " ":
            out.append(char)
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(out)}"'


_LETTERS = {value: letter for letter, value in _SIMPLE_ESCAPES.items() if letter.isalpha()}
