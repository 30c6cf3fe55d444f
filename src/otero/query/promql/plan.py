"""What is decided about a query before any sample is read. One pass, one decision:

- `resolve`         computed durations, `@ start()` and `@ end()` become numbers; parentheses around arguments go.
- `find_constant`   which parts have the same value at every step, so that they are computed once.
- `find_repeated`   which selectors occur more than once, so that their result is kept.
- `find_unread_buckets`  which selectors need no buckets of native histograms, only counts and sums.
- `hints`           which time range each selector reads; ranges of the same matchers that touch become one read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from otero.errors import BadQuery
from otero.model.matchers import Matcher
from otero.query.promql import ast
from otero.query.promql.durations import resolve as milliseconds
from otero.query.series import Steps

VARYING_FUNCTIONS = frozenset(
    {"time", "timestamp", "predict_linear", "days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour",
     "minute", "month", "year"}
)  # fmt: skip
"""Functions that look at the evaluation time, so that constant arguments do not make a constant result."""


@dataclass(frozen=True, slots=True)
class Edges:
    """First and last step of the whole query and their distance (of an instant query: 0)."""

    start_ms: int
    end_ms: int
    step_ms: int


@dataclass(frozen=True, slots=True)
class Read:
    """One request to storage: samples of `matchers` within [start_ms, end_ms]."""

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`constant` holds the ids of nodes of `expr` (topmost ones, worth computing apart), `repeated` selectors that
    occur more than once, `unread_buckets` the ids of vector selectors of whose histograms nobody reads the buckets."""

    expr: ast.Expr
    constant: frozenset[int]
    repeated: frozenset[ast.Expr]
    unread_buckets: frozenset[int] = frozenset()


def make_plan(expr: ast.Expr, edges: Edges) -> Plan:
    resolved = resolve(expr, edges)
    return Plan(resolved, find_constant(resolved), find_repeated(resolved), find_unread_buckets(resolved))


def depends_on_edges(expr: ast.Expr) -> bool:
    """Whether `resolve` gives another tree for other edges."""
    for node in ast.walk(expr):
        if isinstance(node, (ast.VectorSelector, ast.Subquery)) and (
            node.offset_expr is not None or isinstance(node.at, ast.AtEdge)
        ):
            return True
        if isinstance(node, (ast.MatrixSelector, ast.Subquery)) and node.range_expr is not None:
            return True
        if isinstance(node, ast.Subquery) and node.step_expr is not None:
            return True
    return False


def resolve(expr: ast.Expr, edges: Edges) -> ast.Expr:
    """The same expression with numbers for everything that the query's edges decide. Raises BadQuery for a duration
    that cannot be."""
    match expr:
        case ast.NumberLiteral() | ast.StringLiteral():
            return expr
        case ast.VectorSelector():
            if expr.offset_expr is None and not isinstance(expr.at, ast.AtEdge):
                return expr
            return replace(expr, at=_edge(expr.at, edges), offset_ms=_offset(expr, edges), offset_expr=None)
        case ast.MatrixSelector():
            vector = resolve(expr.vector, edges)
            if vector is expr.vector and expr.range_expr is None:
                return expr
            range_ms = _positive(expr.range_expr, expr.range_ms, edges)
            return replace(expr, vector=vector, range_ms=range_ms, range_expr=None)
        case ast.Subquery():
            return replace(
                expr,
                expr=resolve(expr.expr, edges),
                at=_edge(expr.at, edges),
                offset_ms=_offset(expr, edges),
                offset_expr=None,
                range_ms=_positive(expr.range_expr, expr.range_ms, edges),
                range_expr=None,
                step_ms=_positive(expr.step_expr, expr.step_ms, edges),
                step_expr=None,
            )
        case ast.Paren() | ast.Unary():
            return replace(expr, expr=resolve(expr.expr, edges))
        case ast.Binary():
            return replace(expr, left=resolve(expr.left, edges), right=resolve(expr.right, edges))
        case ast.Aggregate():
            param = None if expr.param is None else resolve(without_parens(expr.param), edges)
            return replace(expr, param=param, expr=resolve(without_parens(expr.expr), edges))
        case ast.Call():
            return replace(expr, args=tuple(resolve(without_parens(arg), edges) for arg in expr.args))


def _offset(node: ast.VectorSelector | ast.Subquery, edges: Edges) -> int:
    if node.offset_expr is None:
        return node.offset_ms
    return milliseconds(node.offset_expr, step_ms=edges.step_ms, range_ms=edges.end_ms - edges.start_ms)


def _positive(expr: ast.DurationExpr | None, given_ms: int, edges: Edges) -> int:
    """Ranges and steps must be longer than nothing."""
    if expr is None:
        return given_ms
    found = milliseconds(expr, step_ms=edges.step_ms, range_ms=edges.end_ms - edges.start_ms)
    if found <= 0:
        raise BadQuery("duration must be greater than 0", start=expr.start, end=expr.end)
    return found


def _edge(at: ast.At | None, edges: Edges) -> int | None:
    if isinstance(at, ast.AtEdge):
        return edges.start_ms if at is ast.AtEdge.START else edges.end_ms
    return at


def without_parens(expr: ast.Expr) -> ast.Expr:
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    return expr


def find_constant(expr: ast.Expr) -> frozenset[int]:
    """Ids of the topmost nodes that read samples and have the same value at every step."""
    found: set[int] = set()

    def visit(node: ast.Expr) -> bool:
        below = [(child, visit(child)) for child in ast.children(node)]
        match node:
            case ast.NumberLiteral() | ast.StringLiteral():
                return True
            case ast.VectorSelector():
                constant = node.at is not None
            case ast.Subquery():
                constant = node.at is not None
            case ast.Call() if node.name in VARYING_FUNCTIONS:
                constant = False
            case ast.Call() if node.name == "info":
                constant = below[0][1]
            case _:
                constant = all(flag for _, flag in below)
        if not constant or isinstance(node, ast.Subquery):
            found.update(id(child) for child, flag in below if flag and _worth_keeping(child))
        return constant

    if visit(expr) and _worth_keeping(expr):
        found.add(id(expr))
    return frozenset(found)


def _worth_keeping(expr: ast.Expr) -> bool:
    """Literals cost nothing, and range selectors have no value of their own."""
    return not isinstance(
        without_parens(expr), (ast.NumberLiteral, ast.StringLiteral, ast.MatrixSelector, ast.Subquery)
    )


def find_repeated(expr: ast.Expr) -> frozenset[ast.Expr]:
    """Selectors that occur more than once, equal but for their position in the text."""
    seen: set[ast.Expr] = set()
    repeated: set[ast.Expr] = set()
    for node in ast.walk(expr):
        if isinstance(node, (ast.VectorSelector, ast.MatrixSelector)):
            (repeated if node in seen else seen).add(node)
    return frozenset(repeated)


_READ_COUNTS = frozenset({"histogram_avg", "histogram_count", "histogram_sum"})
_READ_BUCKETS = frozenset(
    {
        "histogram_fraction",
        "histogram_quantile",
        "histogram_quantiles",
        "histogram_stddev",
        "histogram_stdvar",
    }
)


def find_unread_buckets(expr: ast.Expr) -> frozenset[int]:
    """Ids of vector selectors below a function that looks at counts and sums only, with none between that needs buckets.

    A binary operator may look at buckets itself, and so may a subquery, which has to find counter resets. As resets are
    found sample by sample where buckets are left out, this also decides which hints there are, as in Prometheus.
    """
    found: set[int] = set()

    def visit(node: ast.Expr, unread: bool) -> None:
        match node:
            case ast.VectorSelector():
                if unread and not (node.anchored or node.smoothed):
                    found.add(id(node))
                return
            case ast.Call():
                unread = (unread or node.name in _READ_COUNTS) and node.name not in _READ_BUCKETS
            case ast.Binary() | ast.Subquery():
                unread = False
            case _:
                pass
        for child in ast.children(node):
            visit(child, unread)

    visit(expr, False)
    return frozenset(found)


def hints(expr: ast.Expr, steps: Steps, lookback_ms: int, default_step_ms: int) -> list[Read]:
    """The reads that serve every selector of the expression when it is evaluated on `steps`.

    Selectors with the same matchers share a read when their ranges overlap.
    """
    wanted: dict[tuple[Matcher, ...], list[tuple[int, int]]] = {}

    def visit(node: ast.Expr, grid: Steps) -> None:
        match node:
            case ast.VectorSelector():
                first, last = window_ends(node, grid)
                ahead = lookback_ms if node.smoothed else 0
                _want(wanted, node, first - lookback_ms + 1, last + ahead)
            case ast.MatrixSelector():
                first, last = window_ends(node.vector, grid)
                behind = lookback_ms if node.vector.anchored or node.vector.smoothed else 0
                ahead = lookback_ms if node.vector.smoothed else 0
                _want(wanted, node.vector, first - node.range_ms - behind + 1, last + ahead)
            case ast.Subquery():
                inner = subquery_grid(node, grid, default_step_ms)
                if inner.count > 0:
                    visit(node.expr, inner)
            case ast.Call() if node.name == "info":
                visit(node.args[0], grid)  # the other argument says what to look for, and is read by itself
            case _:
                for child in ast.children(node):
                    visit(child, grid)

    visit(expr, steps)
    reads: list[Read] = []
    for matchers, ranges in wanted.items():
        ranges.sort()
        start, end = ranges[0]
        for next_start, next_end in ranges[1:]:
            if next_start <= end:
                end = max(end, next_end)
            else:
                reads.append(Read(matchers, start, end))
                start, end = next_start, next_end
        reads.append(Read(matchers, start, end))
    return reads


def _want(
    wanted: dict[tuple[Matcher, ...], list[tuple[int, int]]],
    selector: ast.VectorSelector,
    start_ms: int,
    end_ms: int,
) -> None:
    wanted.setdefault(selector.matchers, []).append((start_ms, end_ms))


def window_ends(node: ast.VectorSelector | ast.Subquery, grid: Steps) -> tuple[int, int]:
    """The times at which the selector looks, at the first and at the last step of the grid."""
    if isinstance(node.at, int):
        return node.at - node.offset_ms, node.at - node.offset_ms
    return grid.start_ms - node.offset_ms, grid.end_ms - node.offset_ms


def subquery_grid(node: ast.Subquery, grid: Steps, default_step_ms: int) -> Steps:
    """The inner steps of a subquery: multiples of its step, after the first window's start, up to the last one's end."""
    step_ms = node.step_ms or default_step_ms
    first, last = window_ends(node, grid)
    start_ms = (first - node.range_ms) // step_ms * step_ms + step_ms
    return Steps(start_ms, step_ms, max((last - start_ms) // step_ms + 1, 0))


def read_for(reads: Sequence[Read], matchers: tuple[Matcher, ...], start_ms: int, end_ms: int) -> Read | None:
    """The read that covers a selector's range."""
    for read in reads:
        if read.matchers == matchers and read.start_ms <= start_ms and end_ms <= read.end_ms:
            return read
    return None
