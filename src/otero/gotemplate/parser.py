"""Template text to a tree.

Grammar: https://pkg.go.dev/text/template
"""

import re
from collections.abc import Collection

from otero.gotemplate.lexer import KEYWORDS, TemplateError, Token, complain, tokens
from otero.gotemplate.nodes import (
    Action,
    Break,
    Call,
    Command,
    Continue,
    Dot,
    Field,
    Function,
    If,
    Literal,
    Node,
    Operand,
    Pipeline,
    Range,
    Template,
    Text,
    Variable,
    With,
)

MAX_DEPTH = 60
"""Actions and parentheses within each other."""
MAX_LENGTH = 1 << 20
"""Characters of one text."""

_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)


def parse(source: str, file: str, functions: Collection[str]) -> dict[str, Template]:
    """The templates that a text defines, by name; the text itself is the one named `file`.

    `functions` are the names that may be called. Raises TemplateError.
    """
    if len(source) > MAX_LENGTH:
        raise TemplateError(f"template: {file}: the text is longer than {MAX_LENGTH:,} characters")
    return _Parser(source, file, functions).run()


def is_blank(body: tuple[Node, ...]) -> bool:
    """Whether a template says nothing. Such a definition does not replace another one."""
    return all(isinstance(node, Text) and not node.text.strip() for node in body)


def called(body: tuple[Node, ...]) -> set[str]:
    """The names of the templates that a body calls."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, Call):
            names.add(node.name)
        elif isinstance(node, (If, With, Range)):
            names |= called(node.body) | called(node.otherwise)
    return names


class _Parser:
    def __init__(self, source: str, file: str, functions: Collection[str]) -> None:
        self._source = source
        self._file = file
        self._functions = functions
        self._tokens = list(tokens(source, file))
        self._at = 0
        self._depth = 0
        self._ranges = 0
        self._variables = ["$"]
        self._templates: dict[str, Template] = {}

    def run(self) -> dict[str, Template]:
        body, ended_by = self._list(top=True)
        if ended_by.kind != "end":
            raise self._complain(ended_by, f"unexpected {{{{{ended_by.text}}}}}")
        self._define(self._file, body, 0)
        return self._templates

    def _define(self, name: str, body: tuple[Node, ...], at: int) -> None:
        # A definition of nothing but blanks neither replaces one that says something nor counts as a second one.
        known = self._templates.get(name)
        if known is None or is_blank(known.body):
            self._templates[name] = Template(name, body, self._source, self._file)
        elif not is_blank(body):
            raise complain(self._file, self._source, at, f'multiple definition of template "{name}"')

    # -- tokens --------------------------------------------------------------------------------------------------

    def _complain(self, token: Token, message: str) -> TemplateError:
        return complain(self._file, self._source, token.at, message)

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _skip_space(self) -> Token:
        """The next token that is no space, not taken."""
        while self._peek().kind == "space":
            self._at += 1
        return self._peek()

    def _take(self, kind: str, context: str) -> Token:
        token = self._skip_space()
        if token.kind != kind:
            raise self._unexpected(token, context)
        return self._next()

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        if token.kind in ("end", "text", "left"):
            return self._complain(token, f"unclosed action in {context}")
        return self._complain(token, f'unexpected "{token.text}" in {context}')

    # -- lists and control ---------------------------------------------------------------------------------------

    def _list(self, *, top: bool = False) -> tuple[tuple[Node, ...], Token]:
        """Nodes up to the word that ends the list (`end`, `else`; taken), or the end of the text."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._complain(self._peek(), f"actions nest deeper than {MAX_DEPTH} levels")
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "text":
                nodes.append(Text(token.text, token.at))
            elif token.kind == "end":
                if not top:
                    raise self._complain(token, "unexpected EOF: an {{end}} is missing")
                break
            else:
                word = self._skip_space()
                if word.kind == "word" and word.text in ("end", "else"):
                    self._next()
                    token = word
                    break
                node = self._action(word, top=top)
                if node is not None:
                    nodes.append(node)
        self._depth -= 1
        return tuple(nodes), token

    def _action(self, word: Token, *, top: bool) -> Node | None:
        if word.kind != "word" or word.text not in KEYWORDS or word.text == "nil":
            pipeline = self._pipeline("command", "right")
            return Action(pipeline, pipeline.at)
        self._next()
        match word.text:
            case "if" | "with" | "range":
                return self._control(word)
            case "break" | "continue":
                if not self._ranges:
                    raise self._complain(word, f"{{{{{word.text}}}}} outside {{{{range}}}}")
                self._take("right", word.text)
                return Break(word.at) if word.text == "break" else Continue(word.at)
            case "template":
                name = self._name("template clause")
                pipeline = (
                    None if self._skip_space().kind == "right" else self._pipeline("template clause", "right")
                )
                if pipeline is None:
                    self._next()
                return Call(name, pipeline, word.at, self._tokens[self._at - 1].at)
            case "define":
                if not top:
                    raise self._complain(
                        word, "unexpected {{define}}: definitions do not stand within other actions"
                    )
                name = self._name("define clause")
                self._take("right", "define clause")
                self._define(name, self._own_body(word), word.at)
                return None
            case _:
                name = self._name("block clause")
                pipeline = self._pipeline("block clause", "right")
                end = self._tokens[self._at - 1].at
                self._define(name, self._own_body(word), word.at)
                return Call(name, pipeline, word.at, end)

    def _own_body(self, word: Token) -> tuple[Node, ...]:
        """The body of a template within the text: it knows no variables of its surroundings."""
        variables, self._variables = self._variables, ["$"]
        ranges, self._ranges = self._ranges, 0
        body, ended_by = self._list()
        if ended_by.text != "end":
            raise self._complain(ended_by, f"unexpected {{{{else}}}} in {{{{{word.text}}}}}")
        self._take("right", "end")
        self._variables, self._ranges = variables, ranges
        return body

    def _name(self, context: str) -> str:
        token = self._skip_space()
        if token.kind not in ("string", "raw"):
            raise self._unexpected(token, context)
        self._next()
        return self._unquote(token)

    def _control(self, word: Token) -> Node:
        mark = len(self._variables)
        pipeline = self._pipeline(word.text, "right")
        is_range = word.text == "range"
        self._ranges += is_range
        body, ended_by = self._list()
        self._ranges -= is_range
        otherwise: tuple[Node, ...] = ()
        if ended_by.text == "else":
            following = self._skip_space()
            if following.kind == "word" and following.text == word.text and not is_range:
                # `else if` is an `if` within the `else` that shares its end.
                self._next()
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise self._complain(following, f"actions nest deeper than {MAX_DEPTH} levels")
                otherwise = (self._control(following),)
                self._depth -= 1
                del self._variables[mark:]
                return self._made(word, pipeline, body, otherwise)
            self._take("right", "else")
            otherwise, ended_by = self._list()
            if ended_by.text != "end":
                raise self._complain(ended_by, "expected end; found {{else}}")
        self._take("right", "end")
        del self._variables[mark:]
        return self._made(word, pipeline, body, otherwise)

    def _made(
        self, word: Token, pipeline: Pipeline, body: tuple[Node, ...], otherwise: tuple[Node, ...]
    ) -> Node:
        kind = {"if": If, "with": With, "range": Range}[word.text]
        return kind(pipeline, body, otherwise, word.at)

    # -- pipelines -----------------------------------------------------------------------------------------------

    def _pipeline(self, context: str, closing: str) -> Pipeline:
        """A pipeline with its declarations; the token of kind `closing` after it is taken."""
        start = self._skip_space()
        variables, assigns = self._declarations(context)
        commands: list[Command] = []
        while True:
            token = self._skip_space()
            if token.kind == closing and commands:
                break
            commands.append(self._command(context))
            token = self._skip_space()
            if token.kind == "pipe":
                self._next()
                if self._skip_space().kind == closing:
                    raise self._complain(token, f"missing value for {context} after |")
                continue
            if token.kind != closing:
                raise self._unexpected(token, context)
        for at, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], (Literal, Dot)):
                raise complain(
                    self._file, self._source, command.at, f"non executable command in pipeline stage {at}"
                )
        end = self._next()
        return Pipeline(tuple(commands), variables, assigns, start.at, end.at)

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        mark = self._at
        names: list[str] = []
        while self._skip_space().kind == "variable":
            names.append(self._next().text)
            token = self._skip_space()
            if token.kind in ("declare", "assign"):
                self._next()
                if token.kind == "declare":
                    self._variables += names
                else:
                    for name in names:
                        self._known(name, token)
                return tuple(names), token.kind == "assign"
            if token.kind == "comma" and context == "range" and len(names) == 1:
                self._next()
                continue
            break
        self._at = mark
        return (), False

    def _known(self, name: str, token: Token) -> None:
        if name not in self._variables:
            raise self._complain(token, f'undefined variable "{name}"')

    def _command(self, context: str) -> Command:
        operands: list[Operand] = []
        start = self._skip_space()
        while True:
            token = self._skip_space()
            if token.kind in ("pipe", "right", "close", "end", "text", "left"):
                break
            operands.append(self._operand(context))
            if self._peek().kind not in ("space", "pipe", "right", "close"):
                raise self._unexpected(self._peek(), "operand")
        if not operands:
            raise self._complain(start, f"missing value for {context}")
        if isinstance(operands[0], Literal) and operands[0].value is None:
            raise self._complain(start, "nil is not a command")
        return Command(tuple(operands), start.at, self._tokens[self._at - 1].end)

    def _operand(self, context: str) -> Operand:
        token = self._next()
        base: Operand
        match token.kind:
            case "field":
                self._at -= 1
                names = self._field_names()
                end = self._tokens[self._at - 1].end
                return Field(Dot(token.at, token.at), names, token.at, end)
            case "dot":
                return Dot(token.at, token.end)
            case "variable":
                self._known(token.text, token)
                base = Variable(token.text, token.at, token.end)
            case "open":
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise self._complain(token, f"parentheses nest deeper than {MAX_DEPTH} levels")
                base = self._pipeline("parenthesized pipeline", "close")
                self._depth -= 1
            case "word":
                base = self._word(token)
            case "number":
                base = Literal(self._number(token), token.at, token.end)
            case "string" | "raw":
                base = Literal(self._unquote(token), token.at, token.end)
            case "char":
                text = self._unquote(token)
                if len(text) != 1:
                    raise self._complain(token, f"malformed character constant: {token.text}")
                base = Literal(ord(text), token.at, token.end)
            case _:
                raise self._unexpected(token, context)
        names = self._field_names()
        if not names:
            return base
        if isinstance(base, Literal):
            raise self._complain(token, f'unexpected . after term "{token.text}"')
        if isinstance(base, Function):
            # A function that is called without arguments, and fields of what it gives.
            call = Command((base,), base.at, base.end)
            base = Pipeline((call,), (), False, base.at, base.end)
        return Field(base, names, token.at, self._tokens[self._at - 1].end)

    def _field_names(self) -> tuple[str, ...]:
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        return tuple(names)

    def _word(self, token: Token) -> Operand:
        if token.text in ("true", "false"):
            return Literal(token.text == "true", token.at, token.end)
        if token.text == "nil":
            return Literal(None, token.at, token.end)
        if token.text in KEYWORDS:
            raise self._complain(token, f"unexpected <{token.text}> in operand")
        if token.text not in self._functions:
            raise self._complain(token, f'function "{token.text}" not defined')
        return Function(token.text, token.at, token.end)

    def _number(self, token: Token) -> int | float:
        text = token.text.replace("_", "")
        try:
            unsigned = text.lstrip("+-")
            if len(unsigned) > 1 and unsigned[0] == "0" and unsigned.isdigit():
                return int(text, 8)
            return int(text, 0)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise self._complain(token, f'bad number syntax: "{token.text}"') from None

    def _unquote(self, token: Token) -> str:
        if token.kind == "raw":
            return token.text[1:-1].replace("\r", "")

        def replace(found: re.Match[str]) -> str:
            escape = found[1]
            if escape in _SIMPLE_ESCAPES:
                return _SIMPLE_ESCAPES[escape]
            if len(escape) > 1:
                code = int(escape, 8) if escape[0] in "01234567" else int(escape[1:], 16)
                if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
                    return chr(code)
            raise self._complain(token, f"invalid escape in {token.text}")

        return _ESCAPE.sub(replace, token.text[1:-1])
