"""Which labels the alerts of a rule can have, as far as its file tells: never more certain than it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from otero.model.alerts import ALERT_NAME
from otero.model.labels import METRIC_NAME
from otero.model.matchers import Matcher, MatchOp
from otero.query.promql import ast

_KEEPS_LABELS = frozenset(
    [
        "abs",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "avg_over_time",
        "ceil",
        "changes",
        "clamp",
        "clamp_max",
        "clamp_min",
        "cos",
        "cosh",
        "count_over_time",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "days_in_month",
        "deg",
        "delta",
        "deriv",
        "double_exponential_smoothing",
        "exp",
        "first_over_time",
        "floor",
        "histogram_avg",
        "histogram_count",
        "histogram_fraction",
        "histogram_stddev",
        "histogram_stdvar",
        "histogram_sum",
        "hour",
        "idelta",
        "increase",
        "irate",
        "last_over_time",
        "ln",
        "log10",
        "log2",
        "mad_over_time",
        "max_over_time",
        "min_over_time",
        "minute",
        "month",
        "predict_linear",
        "present_over_time",
        "quantile_over_time",
        "rad",
        "rate",
        "resets",
        "round",
        "sgn",
        "sin",
        "sinh",
        "sort",
        "sort_desc",
        "sqrt",
        "stddev_over_time",
        "stdvar_over_time",
        "sum_over_time",
        "tan",
        "tanh",
        "timestamp",
        "year",
    ]
)
"""Functions whose result has the labels of their only vector, but for the metric's name."""
_SELECTING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
_SET = frozenset({"and", "unless"})


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of the elements of a result.

    fixed   labels with the one value that every element has; "" for one that none has.
    only    no element has others than these; None when it may have any.
    """

    fixed: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] | None = None

    def value(self, name: str) -> str | None:
        """The value of a label, "" when it is never there; None when that cannot be said."""
        if name in self.fixed:
            return self.fixed[name]
        return "" if self.only is not None and name not in self.only else None


ANY = Labels()
NONE = Labels(only=frozenset())


def labels_of(expr: ast.Expr) -> Labels:
    """The labels of an expression's result, the metric's name aside."""
    match expr:
        case ast.Paren() | ast.Unary() | ast.Subquery():
            return labels_of(expr.expr)
        case ast.MatrixSelector():
            return labels_of(expr.vector)
        case ast.VectorSelector():
            equal = [m for m in expr.matchers if m.op is MatchOp.EQUAL and m.name != METRIC_NAME]
            return Labels({matcher.name: matcher.value for matcher in equal})
        case ast.NumberLiteral() | ast.StringLiteral():
            return NONE
        case ast.Aggregate():
            return _of_aggregate(expr)
        case ast.Binary():
            return _of_binary(expr)
        case ast.Call():
            return _of_call(expr)


def _of_aggregate(expr: ast.Aggregate) -> Labels:
    inner = labels_of(expr.expr)
    if expr.op in _SELECTING:
        return inner
    if expr.op == "count_values":
        return ANY
    if expr.without:
        return Labels({**inner.fixed, **dict.fromkeys(expr.grouping, "")}, inner.only)
    kept = frozenset(expr.grouping)
    return Labels({name: value for name, value in inner.fixed.items() if name in kept}, kept)


def _of_binary(expr: ast.Binary) -> Labels:
    left, right = labels_of(expr.left), labels_of(expr.right)
    if _is_number(expr.right):
        return left
    if _is_number(expr.left):
        return right
    if expr.op in _SET:
        return left
    if expr.op == "or":
        same = {name: value for name, value in left.fixed.items() if right.value(name) == value}
        both = left.only | right.only if left.only is not None and right.only is not None else None
        return Labels(same, both)
    return ANY


def _of_call(expr: ast.Call) -> Labels:
    if expr.name == "vector":
        return NONE
    if expr.name == "absent" or expr.name == "absent_over_time":
        return labels_of_absent(expr.args[0])
    if expr.name == "histogram_quantile":
        inner = labels_of(expr.args[-1])
        return replace(inner, fixed={**inner.fixed, "le": ""})
    if expr.name not in _KEEPS_LABELS:
        return ANY
    vectors = [arg for arg in expr.args if ast.type_of(arg) in (ast.ValueType.VECTOR, ast.ValueType.MATRIX)]
    return labels_of(vectors[0]) if len(vectors) == 1 else ANY


def labels_of_absent(expr: ast.Expr) -> Labels:
    """`absent` gives the labels that its selector asks to be equal to something, and none otherwise."""
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    if isinstance(expr, ast.MatrixSelector):
        expr = expr.vector
    if not isinstance(expr, ast.VectorSelector):
        return NONE
    found = labels_of(expr)
    return Labels(found.fixed, frozenset(name for name, value in found.fixed.items() if value))


def _is_number(expr: ast.Expr) -> bool:
    return ast.type_of(expr) is ast.ValueType.SCALAR


@dataclass(frozen=True, slots=True)
class AlertLabels:
    """The labels of a rule's alerts as they reach the routes.

    external  of the server; None when it is not known which there are.
    """

    alert: str
    own: Mapping[str, str]
    expression: Labels
    external: Mapping[str, str] | None

    def value(self, name: str) -> str | None:
        """The value of a label, "" when no alert has it; None when that cannot be said."""
        if name == ALERT_NAME:
            return self.alert
        own = self.own.get(name)
        if own is not None and "{{" in own:
            return None
        if own:
            return own
        # An empty text takes the label away, and an external label of that name fills its place.
        inner = "" if own is not None else self.expression.value(name)
        if inner or inner is None:
            return inner
        return None if self.external is None else self.external.get(name, "")

    def matches(self, matcher: Matcher) -> bool | None:
        """Whether its alerts match; None when some may and some may not."""
        value = self.value(matcher.name)
        return None if value is None else matcher.matches(value)

    def known(self) -> dict[str, str]:
        """The labels whose values are certain."""
        names = {ALERT_NAME, *self.own, *self.expression.fixed, *(self.external or {})}
        return {name: value for name in sorted(names) if (value := self.value(name))}


def all_of(labels: AlertLabels, matchers: Sequence[Matcher]) -> bool | None:
    """Whether alerts match every matcher; None when some may and some may not."""
    found = [labels.matches(matcher) for matcher in matchers]
    if False in found:
        return False
    return None if None in found else True
