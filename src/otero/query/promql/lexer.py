"""Cuts PromQL into tokens, as Prometheus 3.14 does: the text reads differently inside braces and brackets."""

import re

from otero.query.syntax import END, ERROR, Token, scan_string

IDENTIFIER = "identifier"
METRIC_IDENTIFIER = "metric identifier"
STRING = "string"
NUMBER = "number"
DURATION = "duration"

OPERATORS = frozenset(
    [
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "==",
        "!=",
        "<=",
        "<",
        ">=",
        ">",
        "=~",
        "!~",
        "@",
        "and",
        "or",
        "unless",
        "atan2",
    ]
)
AGGREGATORS = frozenset(
    [
        "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values",
        "quantile", "limitk", "limit_ratio",
    ]
)  # fmt: skip
KEYWORDS = frozenset(
    [
        "offset", "smoothed", "anchored", "by", "without", "on", "ignoring", "group_left", "group_right",
        "fill", "fill_left", "fill_right", "bool",
    ]
)  # fmt: skip
SCALAR_NAMES = frozenset(["start", "end", "step", "range"])
_WORDS = KEYWORDS | AGGREGATORS | SCALAR_NAMES | frozenset(["and", "or", "unless", "atan2"])

_BLANK = re.compile(r"(?:[ \t\n\r]+|#[^\n\r]*)+")
_SPACES = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYMBOL = re.compile(r"==|!=|<=|>=|</|>/|[-+*/%^=<>@(){}\[\],:]")
_BRACE_SYMBOL = re.compile(r"=~|!~|!=|[=,}]")
_NUMBER = re.compile(
    r"(?:0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
    r"|(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+(?:_[0-9]+)*)(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?"
    r")(?![A-Za-z0-9_.])"
)
_DURATION = re.compile(r"[0-9]+[smhdwy]s?(?:[0-9]+[smhdw]s?)*(?![A-Za-z0-9_])")
_BAD_NUMBER = re.compile(r"[0-9.][A-Za-z0-9_.]*")
_DURATION_WORDS = frozenset(["step", "range", "min_of", "max_of"])


def tokenize(source: str) -> list[Token]:
    """The tokens of a PromQL text; the last is of kind END, or of kind ERROR when the text cannot be cut further.

    Operators, punctuation and keywords are their own kind, in small letters.
    """
    return _Lexer(source).run()


class _Lexer:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.tokens: list[Token] = []
        self.parens = 0
        self.in_braces = False
        self.in_brackets = False
        self.number_in_brackets = False
        self.colon_in_brackets = False

    def run(self) -> list[Token]:
        size = len(self.source)
        while True:
            blank = _BLANK.match(self.source, self.at)
            if blank is not None:
                self.at = blank.end()
            if self.at >= size:
                complaint = self._unclosed()
                self.tokens.append(Token(ERROR if complaint else END, complaint, size, size))
                return self.tokens
            if self.in_braces:
                complaint = self._brace()
            else:
                complaint = self._statement()
            if complaint:
                self.tokens.append(Token(ERROR, complaint, self.at, size))
                return self.tokens

    def _unclosed(self) -> str:
        if self.in_braces:
            return "unexpected end of input inside braces"
        if self.parens:
            return "unclosed left parenthesis"
        if self.in_brackets:
            seen = self.number_in_brackets
            return "unclosed left bracket" if seen else "unexpected end of input in duration expression"
        return ""

    def _emit(self, kind: str, end: int) -> None:
        self.tokens.append(Token(kind, self.source[self.at : end], self.at, end))
        self.at = end

    def _string(self) -> str:
        end, complaint = scan_string(self.source, self.at)
        if not complaint:
            self._emit(STRING, end)
        return complaint

    def _brace(self) -> str:
        char = self.source[self.at]
        if char in "\"'`":
            return self._string()
        if (name := _NAME.match(self.source, self.at)) is not None:
            self._emit(IDENTIFIER, name.end())
            return ""
        if (symbol := _BRACE_SYMBOL.match(self.source, self.at)) is not None:
            self.in_braces = symbol[0] != "}"
            self._emit(symbol[0], symbol.end())
            return ""
        if char == "{":
            return "unexpected left brace '{'"
        if char == "!":
            following = self.source[self.at + 1 : self.at + 2]
            return f"unexpected character after '!' inside braces: '{following}'"
        return f"unexpected character inside braces: {_rune(char)}"

    def _statement(self) -> str:
        char = self.source[self.at]
        if "0" <= char <= "9" or (char == "." and "0" <= self.source[self.at + 1 : self.at + 2] <= "9"):
            return self._number()
        if char in "\"'`":
            if self.in_brackets:
                return f"unexpected character in duration expression: {_rune(char)}"
            return self._string()
        if (word := _WORD.match(self.source, self.at)) is not None and not (self.in_brackets and char == ":"):
            return self._duration_word() if self.in_brackets else self._word(word.end())
        if (symbol := _SYMBOL.match(self.source, self.at)) is None:
            if char == "!":
                following = self.source[self.at + 1 : self.at + 2]
                return f"unexpected character after '!': {_rune(following) if following else '-1'}"
            return f"unexpected character: {_rune(char)}"
        if char == "=" and self.source[self.at + 1 : self.at + 2] == "~":
            return "unexpected character after '=': '~'"
        return self._symbol(symbol[0])

    def _symbol(self, symbol: str) -> str:
        match symbol:
            case "(":
                self.parens += 1
            case ")":
                self.parens -= 1
                if self.parens < 0:
                    return "unexpected right parenthesis ')'"
            case "{":
                self.in_braces = True
            case "[":
                if self.in_brackets:
                    return "unexpected left bracket '['"
                self.in_brackets = True
                self.number_in_brackets = self.colon_in_brackets = False
            case "]":
                if not self.in_brackets:
                    return "unexpected right bracket ']'"
                self.in_brackets = False
            case ":":
                if self.colon_in_brackets:
                    return "unexpected colon ':'"
                self.colon_in_brackets = True
            case _:
                pass
        self._emit(symbol, self.at + len(symbol))
        return ""

    def _number(self) -> str:
        for kind, pattern in ((NUMBER, _NUMBER), (DURATION, _DURATION)):
            if (found := pattern.match(self.source, self.at)) is not None:
                self.number_in_brackets = True
                self._emit(kind, found.end())
                return ""
        bad = _BAD_NUMBER.match(self.source, self.at)
        return f'bad number or duration syntax: "{bad[0] if bad else ""}"'

    def _duration_word(self) -> str:
        name = _NAME.match(self.source, self.at)
        if name is not None and name[0].lower() in _DURATION_WORDS:
            self.number_in_brackets = True
            self._emit(name[0].lower(), name.end())
            return ""
        rune = _rune(self.source[self.at])
        if self.number_in_brackets:
            return f"unexpected character: {rune}, expected ':'"
        return f"unexpected character in duration expression: {rune}"

    def _word(self, end: int) -> str:
        word = self.source[self.at : end]
        keyword = word.lower()
        if keyword in ("inf", "nan"):
            kind = NUMBER
        elif keyword in _WORDS and (not keyword.startswith("fill") or self._parenthesis_follows(end)):
            kind = keyword
        else:
            kind = METRIC_IDENTIFIER if ":" in word else IDENTIFIER
        self._emit(kind, end)
        return ""

    def _parenthesis_follows(self, at: int) -> bool:
        spaces = _SPACES.match(self.source, at)
        return spaces is not None and self.source.startswith("(", spaces.end())


def _rune(char: str) -> str:
    return f"'{char}'" if char.isprintable() else f"'\\u{ord(char):04x}'"


def describe(token: Token) -> str:
    """How error messages name a token."""
    kind = token.kind
    if kind == END:
        return kind
    if kind in (IDENTIFIER, METRIC_IDENTIFIER):
        return f'{kind} "{token.text}"'
    if kind in KEYWORDS:
        return f"<{token.text}>"
    if kind in OPERATORS:
        return f"<op:{token.text}>"
    if kind in AGGREGATORS:
        return f"<aggr:{token.text}>"
    text = token.text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    if len(token.text) > 10:
        text = token.text[:10].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{kind} "{text}"...'
    return f'{kind} "{text}"' if kind in (STRING, NUMBER, DURATION) else f'"{text}"'
