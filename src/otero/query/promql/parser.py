"""PromQL text to a checked syntax tree, as Prometheus 3.14 reads it, its words for errors included."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from otero.errors import BadInput, BadQuery
from otero.model.labels import METRIC_NAME
from otero.model.matchers import Matcher, MatchOp
from otero.query.promql.ast import (
    PARAMETER_AGGREGATIONS,
    Aggregate,
    AggregateOp,
    At,
    AtEdge,
    BinaryOp,
    Call,
    Cardinality,
    DurationExpr,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from otero.query.promql.check import Checker
from otero.query.promql.functions.signatures import SIGNATURES
from otero.query.promql.lexer import (
    AGGREGATORS,
    DURATION,
    IDENTIFIER,
    KEYWORDS,
    METRIC_IDENTIFIER,
    NUMBER,
    SCALAR_NAMES,
    STRING,
)
from otero.query.promql.terms import (
    DURATION_EXPRESSIONS,
    DURATION_HINT,
    POWERS,
    UNARY_POWER,
    TermParser,
    milliseconds,
)
from otero.query.syntax import END, Token, complain, unquote

EXPERIMENTAL_FUNCTIONS = "promql-experimental-functions"
EXTENDED_RANGES = "promql-extended-range-selectors"
FILL_MODIFIERS = "promql-binop-fill-modifiers"
FEATURES = frozenset({EXPERIMENTAL_FUNCTIONS, DURATION_EXPRESSIONS, EXTENDED_RANGES, FILL_MODIFIERS})
"""Every feature flag that widens the language; `engine.FEATURES` has those too that change results."""

MAX_LENGTH = 256 * 1024
"""Characters of one query."""
_CACHED_LENGTH = 4096

_POSTFIX: dict[str, tuple[int, int]] = dict.fromkeys(("offset", "@", "[", "anchored", "smoothed"), (70, 70))

# Words that may stand for a metric, and words that may stand for a label in grouping.
_METRIC_WORDS = (
    frozenset(["and", "or", "unless", "by", "without", "offset", "anchored", "smoothed"])
    | AGGREGATORS
    | SCALAR_NAMES
    | {IDENTIFIER, METRIC_IDENTIFIER}
)
_LABEL_WORDS = _METRIC_WORDS | KEYWORDS | {"atan2"}


def parse(text: str, *, features: frozenset[str] = frozenset()) -> Expr:
    """The checked tree of a query.

    `features`: names out of FEATURES, as Prometheus' `--enable-feature` takes them. Raises BadQuery with Prometheus' words,
    also for a text longer than MAX_LENGTH or nested too deeply.
    """
    if len(text) <= _CACHED_LENGTH:
        return _parse_cached(text, features)
    return _parse(text, features)


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The conditions of an instant vector selector and nothing else: what `match[]` takes. Raises BadQuery."""
    expr = parse(text)
    if not isinstance(expr, VectorSelector) or expr.offset_ms or expr.at is not None:
        raise complain(text, "expected a metric selector, without offset and @", expr.start, expr.end)
    return expr.matchers


def _parse(text: str, features: frozenset[str]) -> Expr:
    if len(text) > MAX_LENGTH:
        raise BadQuery(f"the query is longer than {MAX_LENGTH} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise complain(text, "invalid UTF-8 rune", error.start, error.end) from None
    return _Parser(text, features).run()


_parse_cached = lru_cache(maxsize=1024)(_parse)

T = TypeVar("T")


class _Parser(TermParser):
    def __init__(self, source: str, features: frozenset[str]) -> None:
        self.checker = Checker(source)
        super().__init__(source, features)

    def run(self) -> Expr:
        if self.at(END):
            raise self.error("no expression found in input", 0, 0)
        expr = self.expression()
        if not self.at(END):
            raise self.unexpected()
        self.checker.finish(expr)
        return expr

    # Expressions

    def powers(self, token: Token) -> tuple[int, int] | None:
        return POWERS.get(token.kind) or _POSTFIX.get(token.kind)

    def prefix(self) -> Expr:
        kind = self.token.kind
        follows = self.peek().kind
        if kind in (NUMBER, DURATION):
            return self.number()
        if kind == STRING:
            token = self.advance()
            return StringLiteral(unquote(token.text), start=token.start, end=token.end)
        if kind in ("+", "-"):
            return self.unary()
        if kind == "(":
            return self.paren()
        if kind == "{":
            return self.selector()
        if kind in AGGREGATORS and follows in ("(", "by", "without"):
            return self.aggregate()
        if kind in SCALAR_NAMES | {IDENTIFIER} and follows == "(":
            return self.call()
        if kind in _METRIC_WORDS:
            return self.selector()
        raise self.unexpected()

    def infix(self, left: Expr, right_power: int) -> Expr:
        match self.token.kind:
            case "offset":
                return self.offset(left)
            case "@":
                return self.at_modifier(left)
            case "[":
                return self.brackets(left)
            case "anchored" | "smoothed":
                return self.extended(left)
            case _:
                return self.binary(left, right_power)

    def unary(self) -> Expr:
        sign = self.advance()
        expr = self.expression(UNARY_POWER)
        if isinstance(expr, NumberLiteral):
            return replace(expr, value=-expr.value if sign.kind == "-" else expr.value, start=sign.start)
        unary = Unary(sign.kind, expr, start=sign.start, end=expr.end)
        self.checker.unary(unary)
        return unary

    def paren(self) -> Expr:
        start = self.advance().start
        expr = self.expression()
        end = self.need(")").end
        return Paren(expr, start=start, end=end)

    def arguments(self) -> tuple[Expr, ...]:
        self.need("(")
        args: list[Expr] = []
        while not self.at(")"):
            args.append(self.expression())
            if not self.at(","):
                break
            comma = self.advance()
            if self.at(")"):
                raise self.error("trailing commas not allowed in function call args", comma.start, comma.end)
        self.need(")")
        return tuple(args)

    def call(self) -> Expr:
        token = self.advance()
        name = token.kind if token.kind in SCALAR_NAMES else token.text
        signature = SIGNATURES.get(name)
        args = self.arguments()
        if signature is None:
            raise self.error(f'unknown function with name "{name}"', token.start, token.end)
        if signature.experimental and EXPERIMENTAL_FUNCTIONS not in self.features:
            raise self.error(
                f'function "{name}" is not enabled (feature {EXPERIMENTAL_FUNCTIONS})', token.start, token.end
            )
        call = Call(name, args, signature.returns, start=token.start, end=self.last_end)
        self.checker.call(call, signature)
        return call

    def aggregate(self) -> Expr:
        token = self.advance()
        op = AggregateOp(token.kind)
        self.in_aggregations += 1
        grouping: tuple[str, ...] = ()
        without = grouped = False
        if not self.at("("):
            without, grouping, grouped = self.at("without"), self.grouping_clause(), True
        args = self.arguments()
        if not grouped and self.at("by", "without"):
            without, grouping = self.at("without"), self.grouping_clause()
        self.in_aggregations -= 1
        end = self.last_end
        if not args:
            raise self.error("no arguments for aggregate expression provided", token.start, end)
        if (
            op in (AggregateOp.LIMITK, AggregateOp.LIMIT_RATIO)
            and EXPERIMENTAL_FUNCTIONS not in self.features
        ):
            raise self.error(
                f"{op}() is experimental and must be enabled with --enable-feature={EXPERIMENTAL_FUNCTIONS}",
                token.start,
                end,
            )
        wanted = 2 if op in PARAMETER_AGGREGATIONS else 1
        if len(args) != wanted:
            raise self.error(
                "wrong number of arguments for aggregate expression provided,"
                f" expected {wanted}, got {len(args)}",
                token.start,
                end,
            )
        param = args[0] if wanted == 2 else None
        aggregate = Aggregate(op, args[-1], param, grouping, without, start=token.start, end=end)
        self.checker.aggregate(aggregate)
        return aggregate

    def grouping_clause(self) -> tuple[str, ...]:
        self.advance()
        return self.grouping()

    def grouping(self) -> tuple[str, ...]:
        self.need("(", "grouping opts", '"("')
        names: list[str] = []
        while not self.at(")"):
            token = self.token
            if token.kind == STRING:
                names.append(self.checked_text(self.advance()))
                if not names[-1]:
                    raise self.error('invalid label name for grouping: ""', token.start, token.end)
            elif token.kind in _LABEL_WORDS:
                names.append(self.advance().text)
            else:
                raise self.unexpected("grouping opts", "label")
            if not self.at(")") and self.accept(",") is None:
                raise self.unexpected("grouping opts", '"," or ")"')
        self.advance()
        return tuple(names)

    def binary(self, left: Expr, right_power: int) -> Expr:
        operator = self.advance()
        return_bool = self.accept("bool") is not None
        matching = self.matching()
        right = self.expression(right_power)
        if (
            matching.fill_left is not None or matching.fill_right is not None
        ) and FILL_MODIFIERS not in self.features:
            raise self.error("binop fill modifiers are experimental and not enabled", left.start, right.end)
        op = BinaryOp(operator.kind)
        return self.checker.binary(op, left, right, return_bool, matching, (operator.start, operator.end))

    def matching(self) -> VectorMatching:
        on = False
        labels: tuple[str, ...] = ()
        include: tuple[str, ...] = ()
        card = Cardinality.ONE_TO_ONE
        if self.at("on", "ignoring"):
            on, labels = self.at("on"), self.grouping_clause()
            if self.at("group_left", "group_right"):
                left = self.advance().kind == "group_left"
                card = Cardinality.MANY_TO_ONE if left else Cardinality.ONE_TO_MANY
                include = self.grouping() if self.at("(") else ()
        fills: dict[str, float] = {}
        while self.at("fill", "fill_left", "fill_right"):
            kind = self.token.kind
            if kind in fills or "fill" in fills or (kind == "fill" and fills):
                raise self.unexpected()
            self.advance()
            fills[kind] = self.fill_value()
        both = fills.get("fill")
        return VectorMatching(
            card, on, labels, include, fills.get("fill_left", both), fills.get("fill_right", both)
        )

    def fill_value(self) -> float:
        self.need("(", "fill modifier", '"("')
        value = self.signed_number("fill modifier", "number")
        self.need(")", "fill modifier", '")"')
        return value

    # Selectors

    def selector(self) -> Expr:
        start = self.token.start
        name = ""
        matchers: list[Matcher] = []
        if self.token.kind in _METRIC_WORDS:
            name = self.advance().text
        if self.at("{"):
            self.matchers(matchers)
        if name:
            matchers.append(Matcher(METRIC_NAME, MatchOp.EQUAL, name))
        selector = VectorSelector(name, tuple(matchers), start=start, end=self.last_end)
        self.checker.selector(selector)
        return selector

    def matchers(self, into: list[Matcher]) -> None:
        self.advance()
        while self.accept("}") is None:
            token = self.token
            if token.kind not in (IDENTIFIER, STRING):
                raise self.unexpected("label matching", 'identifier or "}"')
            name = self.checked_text(self.advance())
            if token.kind == STRING and self.at(",", "}"):
                into.append(Matcher(METRIC_NAME, MatchOp.EQUAL, name))
            else:
                into.append(self.matcher(token, name))
            if not self.at("}") and self.accept(",") is None:
                raise self.unexpected("label matching", '"," or "}"')

    def matcher(self, token: Token, name: str) -> Matcher:
        if not self.at("=", "!=", "=~", "!~"):
            raise self.unexpected("label matching", "label matching operator")
        op = MatchOp(self.advance().kind)
        if not self.at(STRING):
            raise self.unexpected("label matching", "string")
        value = self.advance()
        try:
            return Matcher(name, op, self.checked_text(value))
        except BadQuery:
            raise
        except BadInput as error:
            raise self.error(str(error), token.start, value.end) from None

    def checked_text(self, token: Token) -> str:
        """The text of a name or string literal; labels hold UTF-8 only."""
        if token.kind != STRING:
            return token.text
        text = unquote(token.text)
        if any("\udc80" <= char <= "\udcff" for char in text):
            raise self.error(f"invalid UTF-8 in string {token.text}", token.start, token.end)
        return text

    def modify(self, expr: Expr, what: str, change: Callable[[VectorSelector | Subquery], T]) -> Expr:
        """Apply a modifier to the selector or subquery that it follows."""
        if isinstance(expr, MatrixSelector):
            return replace(expr, vector=change(expr.vector), end=self.last_end)
        if isinstance(expr, (VectorSelector, Subquery)):
            return replace(change(expr), end=self.last_end)  # pyright: ignore[reportArgumentType]
        raise self.error(
            f"{what} modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            expr.start,
            expr.end,
        )

    def offset(self, expr: Expr) -> Expr:
        self.advance()
        duration = self.duration_atom()

        def change(node: VectorSelector | Subquery) -> VectorSelector | Subquery:
            if node.offset_ms or node.offset_expr is not None:
                raise self.error("offset may not be set multiple times", expr.start, expr.end)
            if isinstance(duration, NumberLiteral):
                return replace(node, offset_ms=milliseconds(duration))
            return replace(node, offset_expr=duration)

        return self.modify(expr, "offset", change)

    def at_modifier(self, expr: Expr) -> Expr:
        self.advance()
        at: At
        if self.at("start", "end") and self.peek().kind == "(":
            at = AtEdge(self.advance().kind)
            self.advance()
            self.need(")", "@", "timestamp")
        else:
            seconds = self.signed_number("@", "timestamp")
            if not math.isfinite(seconds) or abs(seconds) >= 2**63:
                shown = (
                    f"{seconds:f}"
                    if math.isfinite(seconds)
                    else {"inf": "+Inf", "-inf": "-Inf"}.get(str(seconds), "NaN")
                )
                raise self.error(f"timestamp out of bounds for @ modifier: {shown}", expr.start, expr.end)
            at = round(seconds * 1000)

        def change(node: VectorSelector | Subquery) -> VectorSelector | Subquery:
            if node.at is not None:
                raise self.error("@ <timestamp> may not be set multiple times", expr.start, expr.end)
            return replace(node, at=at)

        return self.modify(expr, "@", change)

    def extended(self, expr: Expr) -> Expr:
        name = self.advance().kind
        if EXTENDED_RANGES not in self.features:
            raise self.error(f"{name} modifier is experimental and not enabled", expr.start, expr.end)
        if isinstance(expr, Subquery):
            raise self.error(f"{name} modifier is not supported for subqueries", expr.start, expr.end)
        if not isinstance(expr, (VectorSelector, MatrixSelector)):
            raise self.error(f"{name} modifier not implemented", expr.start, expr.end)
        vector = expr.vector if isinstance(expr, MatrixSelector) else expr
        if vector.smoothed if name == "anchored" else vector.anchored:
            raise self.error("anchored and smoothed modifiers cannot be used together", expr.start, expr.end)
        vector = replace(vector, anchored=True) if name == "anchored" else replace(vector, smoothed=True)
        if isinstance(expr, MatrixSelector):
            return replace(expr, vector=vector, end=self.last_end)
        return replace(vector, end=self.last_end)

    def brackets(self, expr: Expr) -> Expr:
        opening = self.advance()
        length = self.positive_duration("subquery or range selector", DURATION_HINT)
        if self.at(":"):
            return self.subquery(expr, length)
        if not self.at("]"):
            raise self.unexpected("subquery or range", '":" or "]"')
        end = self.advance().end
        if not isinstance(expr, VectorSelector):
            raise self.error("ranges only allowed for vector selectors", opening.start, end)
        if expr.offset_ms or expr.offset_expr is not None:
            raise self.error("no offset modifiers allowed before range", opening.start, end)
        if expr.at is not None:
            raise self.error("no @ modifiers allowed before range", opening.start, end)
        if isinstance(length, NumberLiteral):
            return MatrixSelector(expr, milliseconds(length), start=expr.start, end=end)
        return MatrixSelector(expr, 0, length, start=expr.start, end=end)

    def subquery(self, expr: Expr, length: DurationExpr) -> Expr:
        self.advance()
        step: DurationExpr | None = None
        if not self.at("]"):
            step = self.positive_duration("subquery selector", 'number, duration, step(), range(), or "]"')
            if not self.at("]"):
                raise self.unexpected("subquery selector", '"]"')
        end = self.advance().end
        fixed_length = isinstance(length, NumberLiteral)
        fixed_step = isinstance(step, NumberLiteral)
        subquery = Subquery(
            expr,
            milliseconds(length) if fixed_length else 0,
            milliseconds(step) if fixed_step else 0,
            None if fixed_length else length,
            None if fixed_step else step,
            start=expr.start,
            end=end,
        )
        self.checker.subquery(subquery)
        return subquery
