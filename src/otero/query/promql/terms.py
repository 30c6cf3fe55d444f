"""What the PromQL parser reads below expressions: numbers and durations, and how it complains about a token."""

import math
from dataclasses import replace

from otero.errors import BadQuery
from otero.query.promql.ast import (
    BinaryOp,
    DurationBinary,
    DurationCall,
    DurationExpr,
    DurationParen,
    DurationUnary,
    Expr,
    NumberLiteral,
)
from otero.query.promql.durations import MAX_SECONDS, bad_duration, parse_duration
from otero.query.promql.lexer import DURATION, NUMBER, describe, tokenize
from otero.query.syntax import Pratt, Token

DURATION_EXPRESSIONS = "promql-duration-expr"

MAX_DEPTH = 100
"""Levels of parentheses, calls, signs and right-hand sides within each other."""

DURATION_HINT = "number, duration, step(), or range()"
UNARY_POWER = 51
POWERS = {
    "or": (10, 11),
    "and": (20, 21),
    "unless": (20, 21),
    "==": (30, 31),
    "!=": (30, 31),
    "<": (30, 31),
    "<=": (30, 31),
    ">": (30, 31),
    ">=": (30, 31),
    "</": (30, 31),
    ">/": (30, 31),
    "+": (40, 41),
    "-": (40, 41),
    "*": (50, 51),
    "/": (50, 51),
    "%": (50, 51),
    "atan2": (50, 51),
    "^": (61, 60),
}
"""Binding powers of the binary operators, left and right."""

_DURATION_POWERS = {op: POWERS[op] for op in "+-*/%^"}


class TermParser(Pratt[Expr]):
    """Parses numbers and durations; `features` are the flags that are on."""

    def __init__(self, source: str, features: frozenset[str]) -> None:
        self.features = features
        self.in_aggregations = 0
        super().__init__(source, tokenize(source), max_depth=MAX_DEPTH)

    def unexpected(self, context: str = "", expected: str = "") -> BadQuery:
        """The complaint about the current token."""
        if not context and self.in_aggregations:
            context = "aggregation"
        message = f"unexpected {describe(self.token)}"
        message += f" in {context}" if context else ""
        message += f", expected {expected}" if expected else ""
        return self.error(message)

    def need(self, kind: str, context: str = "", expected: str = "") -> Token:
        """Step over a token of this kind; the complaint when there is another."""
        if self.token.kind != kind:
            raise self.unexpected(context, expected)
        return self.advance()

    def number(self) -> NumberLiteral:
        token = self.advance()
        if token.kind == DURATION:
            ms = parse_duration(token.text)
            if ms is None:
                raise self.error(bad_duration(token.text), token.start, token.end)
            return NumberLiteral(ms / 1000, duration=True, start=token.start, end=token.end)
        value = _number(token.text)
        if math.isinf(value) and token.text.lower() != "inf":
            raise self.error(
                f'error parsing number: strconv.ParseFloat: parsing "{token.text}": value out of range',
                token.start,
                token.end,
            )
        return NumberLiteral(value, start=token.start, end=token.end)

    def signed_number(self, context: str, expected: str) -> float:
        sign = self.advance().kind if self.at("+", "-") else ""
        if not self.at(NUMBER, DURATION):
            raise self.unexpected(context, expected)
        value = self.number().value
        return -value if sign == "-" else value

    def positive_duration(self, context: str, expected: str) -> DurationExpr:
        duration = self.duration(0, context, expected)
        if isinstance(duration, NumberLiteral) and duration.value <= 0:
            raise self.error("duration must be greater than 0", duration.start, duration.end)
        return duration

    def duration(self, min_power: int, context: str, expected: str) -> DurationExpr:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"expressions nest deeper than {MAX_DEPTH} levels")
        if self.at("+", "-"):
            sign = self.advance()
            left = self.signed(sign, self.duration(UNARY_POWER, context, expected))
        else:
            left = self.duration_operand(context, expected)
        operators = 0
        while (powers := _DURATION_POWERS.get(self.token.kind)) is not None and powers[0] >= min_power:
            operator = self.advance()
            self.need_feature(left)
            right = self.duration(powers[1], context, expected)
            op = BinaryOp(operator.kind)
            operators += 1
            if operators > MAX_DEPTH:
                raise self.error(
                    f"a duration of more than {MAX_DEPTH} operators", operator.start, operator.end
                )
            if op in (BinaryOp.DIV, BinaryOp.MOD) and isinstance(right, NumberLiteral) and right.value == 0:
                what = "division" if op is BinaryOp.DIV else "modulo"
                raise self.error(f"{what} by zero", operator.start, operator.end)
            left = DurationBinary(op, left, right, start=left.start, end=right.end)
        self._depth -= 1
        return left

    def duration_atom(self) -> DurationExpr:
        """What `offset` takes: one operand with at most one sign, so that `offset -2^2` is `(… offset -2)^2`."""
        if self.at("+", "-"):
            sign = self.advance()
            return self.signed(sign, self.duration_operand("offset", DURATION_HINT))
        return self.duration_operand("offset", DURATION_HINT)

    def signed(self, sign: Token, operand: DurationExpr) -> DurationExpr:
        if isinstance(operand, NumberLiteral):
            value = -operand.value if sign.kind == "-" else operand.value
            return replace(operand, value=value, start=sign.start)
        if sign.kind == "+":
            return operand
        return DurationUnary(sign.kind, operand, start=sign.start, end=operand.end)

    def duration_operand(self, context: str, expected: str) -> DurationExpr:
        token = self.token
        name = token.text.lower()
        if token.kind in (NUMBER, DURATION):
            literal = self.number()
            if not abs(literal.value) <= MAX_SECONDS:
                raise self.error("duration out of range", token.start, token.end)
            return literal
        if token.kind == "(":
            self.advance()
            inner = self.duration(0, context, expected)
            end = self.need(")", context, '")"').end
            self.need_feature(inner)
            return DurationParen(inner, start=token.start, end=end)
        if name in ("step", "range", "min_of", "max_of") and self.peek().kind == "(":
            self.advance()
            self.advance()
            args: tuple[DurationExpr, ...] = ()
            if name in ("min_of", "max_of"):
                first = self.duration(0, context, expected)
                self.need(",", context, '","')
                args = (first, self.duration(0, context, expected))
            end = self.need(")", context, '")"').end
            call = DurationCall(name, args, start=token.start, end=end)
            self.need_feature(call)
            return call
        raise self.unexpected(context, expected)

    def need_feature(self, expr: DurationExpr) -> None:
        if DURATION_EXPRESSIONS not in self.features:
            raise self.error("experimental duration expression is not enabled", expr.start, expr.end)


def milliseconds(duration: NumberLiteral) -> int:
    """Milliseconds; what is shorter than one and no zero counts as one."""
    ms = round(duration.value * 1000)
    return ms or (duration.value > 0) - (duration.value < 0)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number(text: str) -> float:
    plain = text.replace("_", "").lower()
    if plain.startswith("0x"):
        return _as_float(int(plain, 16))
    if len(plain) > 1 and plain[0] == "0" and all(char in "01234567" for char in plain):
        return _as_float(int(plain, 8))
    if plain == "nan":
        return math.nan
    return float(plain)
