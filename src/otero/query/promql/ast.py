"""The syntax tree of PromQL.

Nodes are frozen and compare by what they mean: `start` and `end`, the character offsets in the query text
(`text[start:end]`), take no part in equality. Times and durations are milliseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from otero.model.matchers import Matcher


class ValueType(StrEnum):
    """What an expression evaluates to; the values are the `resultType` of Prometheus' API."""

    SCALAR = "scalar"
    VECTOR = "vector"
    MATRIX = "matrix"
    STRING = "string"


class BinaryOp(StrEnum):
    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    MOD = "%"
    POW = "^"
    ATAN2 = "atan2"
    EQ = "=="
    NE = "!="
    GT = ">"
    LT = "<"
    GE = ">="
    LE = "<="
    AND = "and"
    OR = "or"
    UNLESS = "unless"
    TRIM_UPPER = "</"
    TRIM_LOWER = ">/"


COMPARISONS = frozenset({BinaryOp.EQ, BinaryOp.NE, BinaryOp.GT, BinaryOp.LT, BinaryOp.GE, BinaryOp.LE})
SET_OPERATORS = frozenset({BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS})


class AggregateOp(StrEnum):
    SUM = "sum"
    AVG = "avg"
    COUNT = "count"
    MIN = "min"
    MAX = "max"
    GROUP = "group"
    STDDEV = "stddev"
    STDVAR = "stdvar"
    TOPK = "topk"
    BOTTOMK = "bottomk"
    COUNT_VALUES = "count_values"
    QUANTILE = "quantile"
    LIMITK = "limitk"
    LIMIT_RATIO = "limit_ratio"


PARAMETER_AGGREGATIONS = frozenset(
    {
        AggregateOp.TOPK,
        AggregateOp.BOTTOMK,
        AggregateOp.COUNT_VALUES,
        AggregateOp.QUANTILE,
        AggregateOp.LIMITK,
        AggregateOp.LIMIT_RATIO,
    }
)


class AtEdge(StrEnum):
    """`@ start()` and `@ end()`: an edge of the range of the whole query."""

    START = "start"
    END = "end"


At = int | AtEdge
"""The `@` modifier: milliseconds since the epoch, or an edge of the query."""


class Cardinality(StrEnum):
    """How many elements of each side may share one match group; values as /api/v1/parse_query shows them."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """How the elements of two vectors find each other.

    `on`: match on `labels` only; otherwise on all labels but `labels` (and the metric name). `include`: labels of
    group_left/group_right that the "one" side gives to the result. `fill_left`/`fill_right`: the value that stands
    for a missing element of that side.
    """

    card: Cardinality = Cardinality.ONE_TO_ONE
    on: bool = False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every node has: its place in the text, as offsets in characters."""

    start: int = field(default=-1, compare=False, repr=False)
    end: int = field(default=-1, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NumberLiteral(Node):
    """A number; `duration` when it was written as one (`5m` is 300), which matters to printing only."""

    value: float
    duration: bool = False


@dataclass(frozen=True, slots=True)
class StringLiteral(Node):
    value: str


@dataclass(frozen=True, slots=True)
class DurationBinary(Node):
    """Arithmetic inside a duration: op is one of + - * / % ^. Operands are seconds."""

    op: BinaryOp
    left: "DurationExpr"
    right: "DurationExpr"


@dataclass(frozen=True, slots=True)
class DurationUnary(Node):
    """A sign before a duration: op is "+" or "-"."""

    op: str
    expr: "DurationExpr"


@dataclass(frozen=True, slots=True)
class DurationCall(Node):
    """`step()`, `range()`, `min_of(a, b)`, `max_of(a, b)` inside a duration."""

    name: str
    args: tuple["DurationExpr", ...] = ()


@dataclass(frozen=True, slots=True)
class DurationParen(Node):
    expr: "DurationExpr"


DurationExpr = NumberLiteral | DurationBinary | DurationUnary | DurationCall | DurationParen
"""A duration that is computed when the query runs (see `durations.resolve`); numbers are seconds."""


@dataclass(frozen=True, slots=True)
class VectorSelector(Node):
    """`name{matchers} offset … @ …`.

    `matchers` holds every condition, the one on `__name__` included; `name` is the metric name as written ("" when the
    selector has none outside the braces or in quotes). `offset_ms` is the written offset, unless `offset_expr` must be computed.
    """

    name: str
    matchers: tuple[Matcher, ...]
    offset_ms: int = 0
    offset_expr: DurationExpr | None = None
    at: At | None = None
    anchored: bool = False
    smoothed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixSelector(Node):
    """`vector[range]`; offset, @, anchored and smoothed are those of the vector."""

    vector: VectorSelector
    range_ms: int
    range_expr: DurationExpr | None = None


@dataclass(frozen=True, slots=True)
class Subquery(Node):
    """`expr[range:step]`; `step_ms` 0 without `step_expr` means the default step."""

    expr: "Expr"
    range_ms: int
    step_ms: int = 0
    range_expr: DurationExpr | None = None
    step_expr: DurationExpr | None = None
    offset_ms: int = 0
    offset_expr: DurationExpr | None = None
    at: At | None = None


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-expr` or `+expr`, op "-" or "+". Signed number literals are NumberLiteral."""

    op: str
    expr: "Expr"


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`left op right`; `matching` is set when both sides are vectors and None otherwise.

    `returns` is the type of the result: a scalar when both sides are.
    """

    op: BinaryOp
    left: "Expr"
    right: "Expr"
    return_bool: bool = False
    matching: VectorMatching | None = None
    returns: ValueType = field(default=ValueType.VECTOR, compare=False)


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """`op by (grouping) (param, expr)`; without `by` and `without` it is `by ()`."""

    op: AggregateOp
    expr: "Expr"
    param: "Expr | None" = None
    grouping: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function call that fits its signature in `functions.signatures`; `returns` is the type of its result."""

    name: str
    args: tuple["Expr", ...]
    returns: ValueType = ValueType.VECTOR


@dataclass(frozen=True, slots=True)
class Paren(Node):
    expr: "Expr"


Expr = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Unary
    | Binary
    | Aggregate
    | Call
    | Paren
)


def type_of(expr: Expr) -> ValueType:
    """The type of the value of an expression."""
    while isinstance(expr, (Paren, Unary)):
        expr = expr.expr
    match expr:
        case NumberLiteral():
            return ValueType.SCALAR
        case StringLiteral():
            return ValueType.STRING
        case VectorSelector() | Aggregate():
            return ValueType.VECTOR
        case MatrixSelector() | Subquery():
            return ValueType.MATRIX
        case Call() | Binary():
            return expr.returns


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly below one, in the order of the text (an aggregation: parameter, then expression)."""
    match expr:
        case NumberLiteral() | StringLiteral() | VectorSelector():
            return ()
        case MatrixSelector():
            return (expr.vector,)
        case Subquery() | Unary() | Paren():
            return (expr.expr,)
        case Binary():
            return (expr.left, expr.right)
        case Aggregate():
            return (expr.expr,) if expr.param is None else (expr.param, expr.expr)
        case Call():
            return expr.args


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything below it, parents first."""
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(children(node))
