"""Template text into tokens: what is printed as it stands, and the words within `{{ }}`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from otero.errors import BadInput

KEYWORDS = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"}
)

_ACTION = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<field>\.[A-Za-z_\u0080-\U0010ffff][\w]*)
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
            |(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?)(?![\w.]))
      | (?P<dot>\.)
      | (?P<variable>\$\w*)
      | (?P<word>[A-Za-z_\u0080-\U0010ffff]\w*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<char>'(?:[^'\\\n]|\\.[^']*)')
      | (?P<declare>:=)
      | (?P<assign>=)
      | (?P<pipe>\|)
      | (?P<open>\()
      | (?P<close>\))
      | (?P<comma>,)
    """,
    re.VERBOSE,
)
_BLANKS = " \t\r\n"


class TemplateError(BadInput):
    """A template that cannot be parsed or executed: `template: NAME:LINE:COLUMN: …`. Lines count from 1, columns from
    0, in bytes, as Go writes them; `reason` is the text without its place. Line 0 where no place is known."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.reason = reason or message


def complain(file: str, source: str, at: int, message: str) -> TemplateError:
    """The error about a place in a template's text."""
    before = source[:at]
    line = before.count("\n") + 1
    column = len(before[before.rfind("\n") + 1 :].encode())
    text = f"template: {file}:{line}:{column}: {message}"
    return TemplateError(text, line=line, column=column, reason=message)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is one of the names above, or text, left, right, end; `at` and `end` are offsets in characters."""

    kind: str
    text: str
    at: int
    end: int


def tokens(source: str, file: str) -> Iterator[Token]:
    """The tokens of a template. Comments are gone and `{{-`, `-}}` have trimmed the text around them.

    Raises TemplateError.
    """
    at = 0
    trim_next = False
    while at <= len(source):
        begin = source.find("{{", at)
        text = source[at:] if begin < 0 else source[at:begin]
        shift = at
        if trim_next:
            stripped = text.lstrip(_BLANKS)
            shift += len(text) - len(stripped)
            text = stripped
            trim_next = False
        if begin < 0:
            if text:
                yield Token("text", text, shift, len(source))
            break
        inside = begin + 2
        if source[inside : inside + 1] == "-" and source[inside + 1 : inside + 2] in (" ", "\t", "\r", "\n"):
            text = text.rstrip(_BLANKS)
            inside += 2
        if text:
            yield Token("text", text, shift, shift + len(text))
        if source.startswith("/*", inside):
            close = source.find("*/", inside + 2)
            if close < 0:
                raise complain(file, source, begin, "unclosed comment")
            end = close + 2
            if source[end : end + 1] in _BLANKS and source.startswith("-}}", end + 1):
                trim_next, at = True, end + 4
            elif source.startswith("}}", end):
                at = end + 2
            else:
                raise complain(file, source, begin, "comment ends before closing delimiter")
            continue
        yield Token("left", "{{", begin, inside)
        at = inside
        while True:
            if source.startswith("}}", at):
                yield Token("right", "}}", at, at + 2)
                at += 2
                break
            if source[at : at + 1] in _BLANKS and source.startswith("-}}", at + 1):
                yield Token("right", "-}}", at, at + 4)
                at += 4
                trim_next = True
                break
            found = _ACTION.match(source, at)
            if found is None:
                raise complain(file, source, at, _unreadable(source, at))
            kind = found.lastgroup or ""
            word = found[0]
            if kind == "space" and source.startswith("-}}", found.end()) and len(word) > 1:
                yield Token("space", word[:-1], at, found.end() - 1)
                at = found.end() - 1
                continue
            yield Token(kind, word, at, found.end())
            at = found.end()
    yield Token("end", "", len(source), len(source))


def _unreadable(source: str, at: int) -> str:
    char = source[at : at + 1]
    if not char:
        return "unclosed action"
    if char == '"':
        return "unterminated quoted string"
    if char == "`":
        return "unterminated raw quoted string"
    if char == "'":
        return "unterminated character constant"
    if char.isdigit() or char in "+-.":
        return f'bad number syntax: "{source[at : at + 20].split()[0]}"'
    return f"unexpected {char!r} in an action"
