"""JSON text into nodes with places; duplicate keys refused. For what YAML cannot read of JSON, and for speed."""

import re
from json import JSONDecodeError, decoder
from typing import Any, NoReturn

from otero.errors import BadConfig, Problem
from otero.source.nodes import MAX_BYTES, MAX_DEPTH, List, Map, Node, Scalar

_scanstring: Any = decoder.scanstring  # pyright: ignore[reportAttributeAccessIssue] (absent from the stubs)
_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_MAX_DIGITS = 400
_MAX_PROBLEMS = 100


def parse_json(text: str | bytes, file: str = "") -> Node:
    """The value of a JSON text. Raises BadConfig with file and line."""
    if len(text) > MAX_BYTES:
        raise BadConfig(Problem(f"larger than {MAX_BYTES >> 20} MiB", file))
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise BadConfig(Problem(f"not UTF-8 text, at byte {error.start}", file)) from None
    return _JsonParser(decoded, file).parse()


class _JsonParser:
    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._problems: list[Problem] = []

    def parse(self) -> Node:
        node = self._value(0)
        if self._peek():
            self._fail("unexpected text after the value")
        if self._problems:
            raise BadConfig(*self._problems[:_MAX_PROBLEMS])
        return node

    def _place(self, at: int) -> tuple[int, int]:
        low, high = 0, len(self._line_starts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._line_starts[middle] <= at else (low, middle)
        return low + 1, at - self._line_starts[low] + 1

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        place = self._place(self._at if at is None else at)
        raise BadConfig(
            *self._problems[:_MAX_PROBLEMS], Problem(f"not valid JSON: {message}", self._file, *place)
        )

    def _peek(self) -> str:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _string(self) -> str:
        if self._peek() != '"':
            self._fail('expected a text in ""')
        try:
            text, self._at = _scanstring(self._text, self._at + 1, True)
            text.encode()
        except JSONDecodeError as error:
            self._fail(error.msg, error.pos)
        except UnicodeEncodeError:
            self._fail("a text with half a surrogate pair")
        return text

    def _value(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels")
        char = self._peek()
        line, column = self._place(self._at)
        if char == '"':
            text = self._string()
            return Scalar(text, text, line, column)
        if char == "{":
            return self._object(Map(line, column), depth)
        if char == "[":
            return self._array(List(line, column), depth)
        match = _WORD.match(self._text, self._at)
        if match is None or match.end() - match.start() > _MAX_DIGITS:
            self._fail("expected a value" if char else "the text ends too early")
        self._at = match.end()
        word = match[0]
        value = _WORDS[word] if word in _WORDS else int(word) if word.lstrip("-").isdigit() else float(word)
        return Scalar(word, value, line, column)

    def _array(self, node: List, depth: int) -> List:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return node
        while True:
            node.items.append(self._value(depth + 1))
            if self._ends("]"):
                return node

    def _object(self, node: Map, depth: int) -> Map:
        self._at += 1
        if self._peek() == "}":
            self._at += 1
            return node
        while True:
            self._peek()
            place = self._place(self._at)
            key = self._string()
            if key in node.keys:
                message = f'key "{key}" is given twice; first on line {node.keys[key][0]}'
                self._problems.append(Problem(message, self._file, *place))
            if self._peek() != ":":
                self._fail('expected ":"')
            self._at += 1
            value = self._value(depth + 1)
            node.keys.setdefault(key, place)
            node.entries.setdefault(key, value)
            if self._ends("}"):
                return node

    def _ends(self, bracket: str) -> bool:
        char = self._peek()
        if char not in (",", bracket) or not char:
            self._fail(f'expected "," or "{bracket}"')
        self._at += 1
        return char == bracket
