"""Durations of PromQL: their notation, and the arithmetic that the feature "promql-duration-expr" allows."""

import math
import re

from otero.errors import BadQuery
from otero.query.promql.ast import (
    BinaryOp,
    DurationBinary,
    DurationCall,
    DurationExpr,
    DurationParen,
    DurationUnary,
    NumberLiteral,
)

_UNITS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_DURATION = re.compile(
    r"(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?"
)
MAX_SECONDS = 2**63 / 1e9
"""Beyond this a duration does not fit Prometheus' nanoseconds."""


def parse_duration(text: str) -> int | None:
    """Milliseconds of `1h30m` and the like (largest unit first, each at most once); None when it is no duration."""
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    return sum(
        int(count) * unit for count, unit in zip(found.groups(), _UNITS.values(), strict=True) if count
    )


def bad_duration(text: str) -> str:
    """What is wrong with a text that `parse_duration` does not take."""
    for unit in re.findall(r"[0-9]+([a-z]+)", text):
        if unit not in _UNITS:
            return f'unknown unit "{unit}" in duration "{text}"'
    return f'not a valid duration string: "{text}"'


def format_duration(ms: int) -> str:
    """The shortest notation, as Prometheus writes durations; years, weeks and days only when nothing remains below."""
    if ms == 0:
        return "0s"
    out = "-" if ms < 0 else ""
    ms = abs(ms)
    for unit, size in _UNITS.items():
        if unit in ("y", "w", "d") and ms % size:
            continue
        count, ms = divmod(ms, size)
        if count:
            out += f"{count}{unit}"
    return out


def resolve(expr: DurationExpr, *, step_ms: int, range_ms: int) -> int:
    """The milliseconds of a duration expression in a query with this step and this range (end - start).

    Raises BadQuery when it divides by zero or does not give a number that fits.
    """
    seconds = _seconds(expr, step_ms / 1000, range_ms / 1000)
    if not math.isfinite(seconds) or abs(seconds) > MAX_SECONDS:
        raise BadQuery("duration out of range", start=expr.start, end=expr.end)
    return round(seconds * 1000)


def _seconds(expr: DurationExpr, step_s: float, range_s: float) -> float:
    match expr:
        case NumberLiteral():
            return expr.value
        case DurationParen():
            return _seconds(expr.expr, step_s, range_s)
        case DurationUnary():
            value = _seconds(expr.expr, step_s, range_s)
            return -value if expr.op == "-" else value
        case DurationCall():
            if expr.name == "step":
                return step_s
            if expr.name == "range":
                return range_s
            values = [_seconds(arg, step_s, range_s) for arg in expr.args]
            return min(values) if expr.name == "min_of" else max(values)
        case DurationBinary():
            left = _seconds(expr.left, step_s, range_s)
            right = _seconds(expr.right, step_s, range_s)
            return _arithmetic(expr, left, right)


def _arithmetic(expr: DurationBinary, left: float, right: float) -> float:
    match expr.op:
        case BinaryOp.ADD:
            return left + right
        case BinaryOp.SUB:
            return left - right
        case BinaryOp.MUL:
            return left * right
        case BinaryOp.DIV:
            if right == 0:
                raise BadQuery("division by zero", start=expr.start, end=expr.end)
            return left / right
        case BinaryOp.MOD:
            if right == 0:
                raise BadQuery("modulo by zero", start=expr.start, end=expr.end)
            return math.fmod(left, right)
        case _:
            try:
                return math.pow(left, right)
            except (OverflowError, ValueError):
                return math.inf
