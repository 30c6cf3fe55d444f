"""Type checks of a PromQL tree, in the order and with the words of Prometheus."""

from dataclasses import replace

from otero.errors import BadQuery
from otero.model.labels import METRIC_NAME
from otero.query.promql.ast import (
    COMPARISONS,
    SET_OPERATORS,
    Aggregate,
    AggregateOp,
    Binary,
    BinaryOp,
    Call,
    Cardinality,
    Expr,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
    children,
    type_of,
)
from otero.query.promql.functions.signatures import Signature
from otero.query.syntax import complain

MAX_TREE_DEPTH = 300
"""Levels of a tree, so that nothing that walks it recursively exhausts the stack. A chain of n operators has n levels."""

_WORDS = {
    ValueType.SCALAR: "scalar",
    ValueType.VECTOR: "instant vector",
    ValueType.MATRIX: "range vector",
    ValueType.STRING: "string",
}


class Checker:
    """Finds what is wrong with the types of nodes as the parser builds them, children before parents.

    Complaints wait in `complaints` until the text is known to be free of syntax errors, which come first.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.complaints: list[BadQuery] = []
        self._empty_selectors: dict[int, BadQuery] = {}

    def complain(self, message: str, start: int, end: int) -> BadQuery:
        complaint = complain(self.source, message, start, end)
        self.complaints.append(complaint)
        return complaint

    def finish(self, expr: Expr) -> None:
        """Raises the first complaint, or one about a tree that is too deep."""
        if self.complaints:
            raise self.complaints[0]
        level = [expr]
        for _ in range(MAX_TREE_DEPTH):
            level = [child for node in level for child in children(node)]
            if not level:
                return
        raise complain(
            self.source, f"expressions nest deeper than {MAX_TREE_DEPTH} levels", level[0].start, level[0].end
        )

    def selector(self, expr: VectorSelector) -> None:
        if expr.name:
            for matcher in expr.matchers[:-1]:
                if matcher.name == METRIC_NAME:
                    self.complain(
                        f'metric name must not be set twice: "{expr.name}" or "{matcher.value}"',
                        expr.start,
                        expr.end,
                    )
        elif all(matcher.matches("") for matcher in expr.matchers):
            self._empty_selectors[expr.start] = self.complain(
                "vector selector must contain at least one non-empty matcher", expr.start, expr.end
            )

    def unary(self, expr: Unary) -> None:
        kind = type_of(expr)
        if kind not in (ValueType.SCALAR, ValueType.VECTOR):
            self.complain(
                "unary expression only allowed on expressions of type scalar or instant vector,"
                f' got "{_WORDS[kind]}"',
                expr.start,
                expr.end,
            )

    def subquery(self, expr: Subquery) -> None:
        kind = type_of(expr.expr)
        if kind is not ValueType.VECTOR:
            self.complain(
                f"subquery is only allowed on instant vector, got {kind} instead", expr.start, expr.end
            )

    def aggregate(self, expr: Aggregate) -> None:
        self._expect(expr.expr, ValueType.VECTOR, "aggregation expression")
        if expr.param is not None:
            wanted = ValueType.STRING if expr.op is AggregateOp.COUNT_VALUES else ValueType.SCALAR
            self._expect(expr.param, wanted, "aggregation parameter")

    def call(self, expr: Call, signature: Signature) -> None:
        count, wanted = len(expr.args), len(signature.args)
        if not signature.variadic and count != wanted:
            self._count(expr, f"expected {wanted}", count)
        elif count < signature.min_args:
            self._count(expr, f"expected at least {signature.min_args}", count)
        elif signature.max_args is not None and count > signature.max_args:
            self._count(expr, f"expected at most {signature.max_args}", count)
        if expr.name == "info" and count > 1:
            self._info_labels(expr.args[1])
        for index, arg in enumerate(expr.args):
            if index >= wanted and not signature.variadic:
                break
            self._expect(arg, signature.args[min(index, wanted - 1)], f'call to function "{expr.name}"')

    def _count(self, expr: Call, expected: str, count: int) -> None:
        self.complain(f'{expected} argument(s) in call to "{expr.name}", got {count}', expr.start, expr.end)

    def _info_labels(self, arg: Expr) -> None:
        """The second argument of info() is a bare set of conditions, which may match everything."""
        if isinstance(arg, VectorSelector) and not arg.name:
            allowed = self._empty_selectors.get(arg.start)
            self.complaints = [complaint for complaint in self.complaints if complaint is not allowed]
            return
        found = ", got vector selector instead" if isinstance(arg, VectorSelector) else ""
        self.complain(f"expected label selectors only{found}", arg.start, arg.end)

    def _expect(self, expr: Expr, wanted: ValueType, context: str) -> None:
        kind = type_of(expr)
        if kind is not wanted:
            self.complain(
                f"expected type {_WORDS[wanted]} in {context}, got {_WORDS[kind]}", expr.start, expr.end
            )

    def binary(
        self,
        op: BinaryOp,
        left: Expr,
        right: Expr,
        return_bool: bool,
        matching: VectorMatching,
        op_place: tuple[int, int],
    ) -> Binary:
        """The node of an operator; what was said about matching stays only where it can apply."""
        types = (type_of(left), type_of(right))
        scalars = types == (ValueType.SCALAR, ValueType.SCALAR)
        vectors = types == (ValueType.VECTOR, ValueType.VECTOR)
        whole = (left.start, right.end)
        if return_bool and op not in COMPARISONS:
            self.complain("bool modifier can only be used on comparison operators", *op_place)
        if op in COMPARISONS and not return_bool and scalars:
            self.complain("comparisons between scalars must use BOOL modifier", *op_place)
        if op in SET_OPERATORS and matching.card is Cardinality.ONE_TO_ONE:
            matching = replace(matching, card=Cardinality.MANY_TO_MANY)
        if matching.on:
            for label in matching.labels:
                if label in matching.include:
                    self.complain(f'label "{label}" must not occur in ON and GROUP clause at once', *op_place)
        for side, kind in zip((left, right), types, strict=True):
            if kind not in (ValueType.SCALAR, ValueType.VECTOR):
                self.complain(
                    "binary expression must contain only scalar and instant vector types",
                    side.start,
                    side.end,
                )
        self._matching(op, matching, vectors, whole)
        if ValueType.SCALAR in types and op in SET_OPERATORS:
            self.complain(f'set operator "{op}" not allowed in binary scalar expression', *whole)
        returns = ValueType.SCALAR if scalars else ValueType.VECTOR
        return Binary(
            op,
            left,
            right,
            return_bool,
            matching if vectors else None,
            returns,
            start=whole[0],
            end=whole[1],
        )

    def _matching(
        self, op: BinaryOp, matching: VectorMatching, vectors: bool, whole: tuple[int, int]
    ) -> None:
        fills = matching.fill_left is not None or matching.fill_right is not None
        if not vectors:
            if matching.labels:
                self.complain("vector matching only allowed between instant vectors", *whole)
            if fills:
                self.complain("filling in missing series only allowed between instant vectors", *whole)
        elif op in SET_OPERATORS:
            if matching.card is not Cardinality.MANY_TO_MANY:
                self.complain(f'no grouping allowed for "{op}" operation', *whole)
            if fills:
                self.complain("filling in missing series not allowed for set operators", *whole)
