"""Alertmanager's matcher syntax, `alertname="Down"` and `{job=~"a|b", "my.label"!="x"}`, read and written.

There are two languages. The *classic* one is lenient: a legacy label name, an operator, and a value that needs no quotes
and may hold nearly anything. The *UTF-8* one takes any label name when it is quoted, and reads quoted text as Go does.
`parse_matchers` reads text as Alertmanager does by default (its package matcher/compat): as UTF-8; where only the classic
language understands it, or understands something else, as classic, with a warning that says how to write it.

As everywhere in Otero, `.` of a regular expression also matches a line feed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from otero.errors import BadInput, BadQuery, Bug
from otero.gotemplate.formatting import quoted
from otero.model.matchers import Matcher, MatchOp
from otero.query.syntax import scan_string, unquote

_OPS = {"=": MatchOp.EQUAL, "!=": MatchOp.NOT_EQUAL, "=~": MatchOp.REGEX, "!~": MatchOp.NOT_REGEX}
_ORDER = {op: index for index, op in enumerate(_OPS.values())}

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Go's unicode.IsSpace takes for white space, as part of a character class."""
_RESERVED = re.compile(rf"[{_SPACE}{{}}!=~,\\\"'`]")
_TOKEN = re.compile(
    rf"[{_SPACE}]*(?:(?P<open>\{{)|(?P<close>\}})|(?P<comma>,)|(?P<op>=~|!=|!~|=)|(?P<quote>\")"
    rf"|(?P<bare>[^{_SPACE}{{}}!=~,\\\"'`]+)|(?P<end>\Z)|(?P<bad>.))",
    re.DOTALL,
)
_CLASSIC = re.compile(r"[\t\n\f\r ]*([a-zA-Z_:][a-zA-Z0-9_:]*)[\t\n\f\r ]*(=~|=|!=|!~)[\t\n\f\r ]*", re.ASCII)
_CLASSIC_SPACE = "\t\n\f\r "
_GO_SPACE = "".join(char for char in map(chr, range(0x3001)) if re.match(f"[{_SPACE}]", char))


@dataclass(frozen=True, slots=True)
class Parsed:
    """The matchers of a text, in its order. `warning` says how the text should be written, "" when it is well."""

    matchers: tuple[Matcher, ...]
    warning: str = ""


def parse_matchers(text: str) -> Parsed:
    """Any number of matchers, separated by commas, in braces or without. Raises BadQuery with the position."""
    return _reconcile(text, parse_utf8, parse_classic)


def parse_matcher(text: str) -> Parsed:
    """Exactly one matcher, without braces. Raises BadQuery with the position."""
    if text.startswith("{") or text.endswith("}"):
        raise _complain(f"unexpected open or close brace: {text}", text, 0, len(text))
    return _reconcile(text, _one_utf8, lambda text: (_classic_matcher(text, 0, text),))


_Parse = Callable[[str], tuple[Matcher, ...]]


def _reconcile(text: str, utf8: _Parse, classic: _Parse) -> Parsed:
    fault = None
    modern = old = None
    try:
        modern = utf8(text)
    except BadQuery as error:
        fault = error
    try:
        old = classic(text)
    except BadQuery as error:
        if modern is None:
            raise _with_reason(error, fault) from None
        return Parsed(modern)
    if modern == old:
        return Parsed(old)
    suggestion = ",".join(map(matcher_text, old))
    if modern is None:
        return Parsed(
            old, f"only the classic syntax of matchers understands {text} ({fault}); write it as {suggestion}"
        )
    return Parsed(
        old,
        f"the classic and the UTF-8 syntax of matchers understand {text} differently; the classic one is taken:"
        f" {suggestion}",
    )


def matches(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy every matcher; an absent label is an empty one."""
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def matcher_text(matcher: Matcher) -> str:
    """As Alertmanager prints it; the name is quoted only where it must be."""
    if _RESERVED.search(matcher.name):
        return f"{quoted(matcher.name)}{matcher.op}{quoted(matcher.value)}"
    return str(matcher)


def matchers_text(matchers: Iterable[Matcher]) -> str:
    """`{severity="page",team=~"a|b"}`."""
    return "{" + ",".join(map(matcher_text, matchers)) + "}"


def in_order(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """By name, value and operator (`=`, `!=`, `=~`, `!~`): the order in which keys of routes have them."""
    return tuple(sorted(matchers, key=lambda matcher: (matcher.name, matcher.value, _ORDER[matcher.op])))


def parse_utf8(text: str) -> tuple[Matcher, ...]:
    """The matchers by the UTF-8 syntax alone. Raises BadQuery."""
    tokens = _Tokens(text)
    braces = tokens.accept("open")
    found: list[Matcher] = []
    while not tokens.at("close", "end"):
        found.append(_utf8_matcher(tokens))
        if not tokens.accept("comma"):
            if not tokens.at("close", "end"):
                raise tokens.unexpected("expected a comma or close brace")
            break
    if tokens.at("close") and not braces:
        raise tokens.unexpected("expected opening brace")
    if braces and not tokens.accept("close"):
        raise tokens.unexpected("expected close brace")
    if not tokens.at("end"):
        raise tokens.unexpected("expected end of input")
    return tuple(found)


def _one_utf8(text: str) -> tuple[Matcher, ...]:
    found = parse_utf8(text)
    if len(found) != 1:
        raise _complain(
            f"expected 1 matcher, found {len(found)}" if found else "no matchers", text, 0, len(text)
        )
    return found


def _utf8_matcher(tokens: "_Tokens") -> Matcher:
    name = tokens.text("expected label name")
    if not tokens.at("op"):
        raise tokens.unexpected("expected an operator such as '=', '!=', '=~' or '!~'")
    op = _OPS[tokens.value]
    tokens.advance()
    start = tokens.start
    value = tokens.text("expected label value")
    return _matcher(name, op, value, tokens.source, start)


class _Tokens:
    """The tokens of the UTF-8 syntax: `kind`, `value` and place of the current one."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.kind = self.value = ""
        self.start = self._end = 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.source, self._end)
        if match is None:  # `bad` and `end` leave nothing out
            raise Bug("a text that no token begins")
        self.kind = match.lastgroup or ""
        self.value = match[self.kind]
        self.start, self._end = match.span(self.kind)
        if self.kind == "quote":
            end, complaint = scan_string(self.source, self.start)
            if not end:
                raise _complain(
                    f"{complaint}: {self.source[self.start :]}", self.source, self.start, len(self.source)
                )
            self._end = end
            self.value = self.source[self.start : end]
        elif self.kind == "bad":
            raise self.unexpected("invalid input")

    def at(self, *kinds: str) -> bool:
        return self.kind in kinds

    def accept(self, kind: str) -> bool:
        """Step over the current token if it is of this kind."""
        if self.kind != kind:
            return False
        self.advance()
        return True

    def text(self, complaint: str) -> str:
        """Step over a name or value, quoted or not, and give its text."""
        if self.kind not in ("quote", "bare"):
            raise self.unexpected(complaint)
        value = self.value
        if self.kind == "quote":
            value = unquote(value)
            if any("\ud800" <= char <= "\udfff" for char in value):
                raise self.unexpected("the quoted text is not valid UTF-8")
        self.advance()
        return value

    def unexpected(self, complaint: str) -> BadQuery:
        shown = "end of input" if self.kind == "end" else f"unexpected {self.value}"
        return _complain(f"{shown}: {complaint}", self.source, self.start, self._end)


def parse_classic(text: str) -> tuple[Matcher, ...]:
    """The matchers by the classic syntax alone. Raises BadQuery."""
    start = 1 if text.startswith("{") else 0
    stop = len(text) - 1 if text.endswith("}") and len(text) > start else len(text)
    found: list[Matcher] = []
    for at, end in _classic_parts(text, start, stop):
        found.append(_classic_matcher(text[at:end], at, text))
    return tuple(found)


def _classic_parts(text: str, start: int, stop: int) -> Sequence[tuple[int, int]]:
    """Start and end of what stands between commas outside double quotes; white space after the last comma is nothing."""
    parts: list[tuple[int, int]] = []
    inside = escaped = False
    for at in range(start, stop):
        char = text[at]
        if char == ",":
            if not inside:
                parts.append((start, at))
                start = at + 1
        elif char == '"':
            inside = inside if escaped else not inside
            escaped = False
        else:
            escaped = char == "\\" and not escaped
    if rest := text[start:stop].strip(_GO_SPACE):
        start = text.index(rest, start)
        parts.append((start, start + len(rest)))
    return parts


def _classic_matcher(part: str, at: int, text: str) -> Matcher:
    head = _CLASSIC.match(part)
    if head is None:
        raise _complain(f"bad matcher format: {part}", text, at, at + len(part))
    raw = part[head.end() :].rstrip(_CLASSIC_SPACE)
    start = at + head.end()
    body = raw.removeprefix('"')
    opened = raw.startswith('"')
    value: list[str] = []
    index = 0
    while index < len(body):
        char = body[index]
        following = body[index + 1 : index + 2]
        if char == "\\" and following:
            value.append({"n": "\n", '"': '"', "\\": "\\"}.get(following, "\\" + following))
            index += 2
            continue
        if char == '"':
            if not opened or index < len(body) - 1:
                raise _unescaped_quote(raw, text, start)
            opened = False
        else:
            value.append(char)
        index += 1
    if opened:
        raise _unescaped_quote(raw, text, start)
    return _matcher(head[1], _OPS[head[2]], "".join(value), text, start)


def _unescaped_quote(raw: str, text: str, start: int) -> BadQuery:
    return _complain(f"matcher value contains unescaped double quote: {raw}", text, start, start + len(raw))


def _matcher(name: str, op: MatchOp, value: str, text: str, start: int) -> Matcher:
    try:
        return Matcher(name, op, value)
    except BadInput as error:
        raise _complain(str(error), text, start, len(text)) from None


def _with_reason(classic: BadQuery, modern: BadQuery | None) -> BadQuery:
    """The classic syntax's complaint, as Alertmanager tells it, with the UTF-8 syntax's more precise one behind it."""
    if modern is None or str(modern) in str(classic):
        return classic
    return BadQuery(
        f"{classic} (column {modern.column}: {modern})",
        line=modern.line,
        column=modern.column,
        start=modern.start,
        end=modern.end,
    )


def _complain(message: str, text: str, start: int, end: int) -> BadQuery:
    line_start = text.rfind("\n", 0, start) + 1
    return BadQuery(
        message, line=text.count("\n", 0, start) + 1, column=start - line_start + 1, start=start, end=end
    )
