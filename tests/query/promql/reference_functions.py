"""Functions, aggregations and operators of the reference evaluator, on plain floats."""

import calendar
import itertools
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from otero.query.promql import ast
from tests.query.promql import range_reference as ranges

Labels = dict[str, str]
Element = tuple[Labels, float]
Points = list[tuple[int, float]]
Window = tuple[Labels, Points]

KEEP_NAME = frozenset({"last_over_time", "first_over_time"})


class Refused(Exception):
    """The query has no answer on this data."""


class Unsure(Exception):
    """Rounding decides: a correct engine may differ here."""


def without_name(labels: Labels) -> Labels:
    return {name: value for name, value in labels.items() if name != "__name__"}


def key(labels: Labels) -> tuple:
    return tuple(sorted(labels.items()))


def distinct(elements: list[Element]) -> list[Element]:
    if len({key(labels) for labels, _ in elements}) < len(elements):
        raise Refused("same labelset")
    return elements


def close(a: float, b: float) -> bool:
    """Whether two numbers differ by what may be rounding."""
    return a != b and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def refuse_close_neighbours(points: Points) -> None:
    """Changes and resets of values that are not exact are nobody's business. Raises Unsure."""
    for (_, before), (_, after) in itertools.pairwise(points):
        if close(before, after):
            raise Unsure


# -- ranges --------------------------------------------------------------------------------------------------------


def over_windows(node: ast.Call, args: list[Any], time_ms: int, end_ms: int) -> list[Element]:
    """A range function on each window that gives a value; names are still there. `end_ms` is where the windows end."""
    at = next(i for i, arg in enumerate(node.args) if isinstance(arg, (ast.MatrixSelector, ast.Subquery)))
    selector = node.args[at]
    width = selector.range_ms
    numbers = [arg for i, arg in enumerate(args) if i != at]
    out: list[Element] = []
    for labels, points in args[at]:
        value = _over(node.name, points, width, end_ms, time_ms, numbers)
        if value is not None:
            out.append((labels, value))
    return out


def _over(
    name: str, points: Points, width: int, end_ms: int, time_ms: int, numbers: list[float]
) -> float | None:
    if not points:
        return None
    try:
        match name:
            case "quantile_over_time":
                return quantile(numbers[0], [value for _, value in points])
            case "predict_linear":
                line = ranges.line(points, time_ms)
                return None if line is None else line[0] * numbers[0] + line[1]
            case "double_exponential_smoothing":
                if not (0 <= numbers[0] <= 1 and 0 <= numbers[1] <= 1):
                    raise Refused("smoothing factor")
                return ranges.smoothed(points, *numbers)
            case _:
                return ranges.KERNELS[name](points, end_ms, width)
    except (ZeroDivisionError, OverflowError, ValueError):
        raise Unsure from None  # Python raises where floats have an answer


def quantile(q: float, values: list[float]) -> float:
    """Prometheus' quantile: NaN counts as the smallest value."""
    if math.isnan(q):
        return math.nan
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    ranked = sorted(values, key=lambda value: (not math.isnan(value), 0.0 if math.isnan(value) else value))
    rank = q * (len(ranked) - 1)
    low = max(0, math.floor(rank))
    high = min(len(ranked) - 1, low + 1)
    weight = rank - math.floor(rank)
    return ranked[low] * (1 - weight) + ranked[high] * weight


def absent_labels(arg: ast.Expr) -> Labels:
    """The labels that a selector demands with one `=`."""
    selector = arg.vector if isinstance(arg, ast.MatrixSelector) else arg
    if not isinstance(selector, ast.VectorSelector):
        return {}
    named = [matcher for matcher in selector.matchers if matcher.name != "__name__"]
    return {
        matcher.name: matcher.value
        for matcher in named
        if str(matcher.op) == "="
        and [other.name for other in named].count(matcher.name) == 1
        and matcher.value
    }


# -- instant functions ---------------------------------------------------------------------------------------------


def _quiet(function: Callable[[Any], Any]) -> Callable[[float], float]:
    def apply(value: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(np.float64(value)))

    return apply


def _exact(function: Callable[[float], float]) -> Callable[[float], float]:
    """A step function: no answer where the value is next to a step but not on it."""

    def apply(value: float) -> float:
        if not math.isfinite(value):
            return value
        if close(value, round(value)):
            raise Unsure
        return math.copysign(float(function(value)), value)

    return apply


def _sgn(value: float) -> float:
    if 0 < abs(value) < 1e-9:
        raise Unsure
    return 1.0 if value > 0 else -1.0 if value < 0 else value


SIMPLE: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "ceil": _exact(math.ceil),
    "floor": _exact(math.floor),
    "exp": _quiet(np.exp),
    "sqrt": _quiet(np.sqrt),
    "ln": _quiet(np.log),
    "log2": _quiet(np.log2),
    "log10": _quiet(np.log10),
    "sin": _quiet(np.sin),
    "cos": _quiet(np.cos),
    "atan": _quiet(np.arctan),
    "tanh": _quiet(np.tanh),
    "deg": lambda value: value * 180 / math.pi,
    "rad": lambda value: value * math.pi / 180,
    "sgn": _sgn,
}

DATES: dict[str, Callable[[datetime], float]] = {
    "minute": lambda at: at.minute,
    "hour": lambda at: at.hour,
    "day_of_week": lambda at: at.isoweekday() % 7,
    "day_of_month": lambda at: at.day,
    "day_of_year": lambda at: at.timetuple().tm_yday,
    "days_in_month": lambda at: calendar.monthrange(at.year, at.month)[1],
    "month": lambda at: at.month,
    "year": lambda at: at.year,
}


def instant(name: str, args: list[Any], time_ms: int) -> Any:
    """A function of vectors and scalars."""
    match name:
        case "pi":
            return math.pi
        case "vector":
            return [({}, args[0])]
        case "scalar":
            return args[0][0][1] if len(args[0]) == 1 else math.nan
        case "sort" | "sort_desc":
            return args[0]
        case "label_replace":
            return distinct([(_replaced(labels, *args[1:]), value) for labels, value in args[0]])
        case "label_join":
            return distinct([(_joined(labels, *args[1:]), value) for labels, value in args[0]])
        case "histogram_quantile":
            return _histogram_quantile(args[0], args[1])
    if name in DATES and not args:
        return [({}, _date(name, time_ms // 1000))]
    out: list[Element] = []
    for labels, value in args[0]:
        found = _one(name, value, args[1:])
        if found is not None:
            out.append((without_name(labels), found))
    return distinct(out)


def _one(name: str, value: float, numbers: list[float]) -> float | None:
    match name:
        case "round":
            inverse = 1.0 / (numbers[0] if numbers else 1.0) if not numbers or numbers[0] else math.inf
            scaled = value * inverse + 0.5
            if math.isfinite(scaled):
                if close(scaled, round(scaled)):
                    raise Unsure
                scaled = float(math.floor(scaled))
            return _divided(scaled, inverse)
        case "clamp":
            low, high = numbers
            return None if high < low else _greatest(low, _least(high, value))
        case "clamp_min":
            return _greatest(numbers[0], value)
        case "clamp_max":
            return _least(numbers[0], value)
        case _ if name in DATES:
            return _date(name, value)
        case _:
            return SIMPLE[name](value)


def _date(name: str, seconds: float) -> float:
    if not math.isfinite(seconds):
        return math.nan
    if close(seconds, round(seconds)):
        raise Unsure
    try:
        return float(DATES[name](datetime.fromtimestamp(math.trunc(seconds), UTC)))
    except (ValueError, OverflowError, OSError):
        raise Unsure from None  # beyond what datetime knows


def _greatest(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)


def _least(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else min(a, b)


def _replaced(labels: Labels, target: str, template: str, source: str, pattern: str) -> Labels:
    found = re.fullmatch(pattern, labels.get(source, ""), re.DOTALL)
    if found is None:
        return labels
    text = re.sub(r"\$(\d)", lambda reference: found[int(reference[1])] or "", template)
    return _set(labels, target, text)


def _joined(labels: Labels, target: str, separator: str, *sources: str) -> Labels:
    return _set(labels, target, separator.join(labels.get(name, "") for name in sources))


def _set(labels: Labels, name: str, value: str) -> Labels:
    rest = {other: text for other, text in labels.items() if other != name}
    return {**rest, name: value} if value else rest


def _histogram_quantile(q: float, elements: list[Element]) -> list[Element]:
    groups: dict[tuple, tuple[Labels, list[tuple[float, float]]]] = {}
    for labels, value in elements:
        try:
            bound = float(labels.get("le", ""))
        except ValueError:
            continue
        rest = {name: text for name, text in labels.items() if name != "le"}
        groups.setdefault(key(rest), (without_name(rest), []))[1].append((bound, value))
    return distinct([(labels, _bucket_quantile(q, buckets)) for labels, buckets in groups.values()])


def _bucket_quantile(q: float, given: list[tuple[float, float]]) -> float:
    """Linear within a bucket, over counts that are made to rise; the rules of Prometheus' documentation."""
    if math.isnan(q):
        return math.nan
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    given = sorted(given, key=lambda bucket: bucket[0])
    if given[-1][0] != math.inf:
        return math.nan
    buckets: list[list[float]] = []
    for bound, count in given:
        if buckets and buckets[-1][0] == bound:
            buckets[-1][1] += count
        else:
            buckets.append([bound, count])
    before = buckets[0][1]
    for bucket in buckets[1:]:
        if bucket[1] == before:
            continue
        if close(bucket[1], before):
            raise Unsure
        if bucket[1] < before:
            bucket[1] = before
            continue
        before = bucket[1]
    if len(buckets) < 2 or buckets[-1][1] == 0 or math.isnan(buckets[-1][1]):
        return math.nan
    if any(math.isnan(count) or math.isinf(count) for _, count in buckets):
        raise Unsure
    rank = q * buckets[-1][1]
    if any(close(count, rank) for _, count in buckets):
        raise Unsure
    at = next((i for i, bucket in enumerate(buckets[:-1]) if bucket[1] >= rank), len(buckets) - 1)
    if at == len(buckets) - 1:
        return buckets[-2][0]
    if at == 0 and buckets[0][0] <= 0:
        return buckets[0][0]
    start, below = (buckets[at - 1][0], buckets[at - 1][1]) if at else (0.0, 0.0)
    return start + (buckets[at][0] - start) * _divided(rank - below, buckets[at][1] - below)


# -- aggregation ---------------------------------------------------------------------------------------------------


def aggregate(node: ast.Aggregate, elements: list[Element], param: Any) -> list[Element]:
    op = node.op
    chooses = op in (ast.AggregateOp.TOPK, ast.AggregateOp.BOTTOMK, ast.AggregateOp.LIMITK)
    if chooses and math.isnan(param):
        raise Refused("Parameter value is NaN")
    if chooses and abs(param) >= 2.0**63:
        raise Unsure if param < 1 else Refused("overflows")
    grouping = node.grouping
    if op is ast.AggregateOp.COUNT_VALUES:
        elements = [(_set(labels, param, positional(value)), value) for labels, value in elements]
        grouping = grouping if node.without else (*grouping, param)
    groups: dict[tuple, tuple[Labels, list[Element]]] = {}
    for labels, value in elements:
        if node.without:
            kept = {n: v for n, v in labels.items() if n != "__name__" and n not in grouping}
        else:
            kept = {n: v for n, v in labels.items() if n in grouping}
        groups.setdefault(key(kept), (kept, []))[1].append((labels, value))
    out: list[Element] = []
    for kept, members in groups.values():
        if chooses:
            out += _chosen(op, members, max(math.trunc(param), 0) if math.isfinite(param) else len(members))
        else:
            out.append((kept, _reduced(op, [value for _, value in members], param)))
    return out


def _chosen(op: ast.AggregateOp, members: list[Element], k: int) -> list[Element]:
    if op is ast.AggregateOp.LIMITK:
        return members[:k]
    sign = -1 if op is ast.AggregateOp.TOPK else 1
    ranked = sorted(
        members,
        key=lambda element: (math.isnan(element[1]), 0 if math.isnan(element[1]) else sign * element[1]),
    )
    if 0 < k < len(ranked) and close(ranked[k - 1][1], ranked[k][1]):
        raise Unsure
    return ranked[:k]


def _reduced(op: ast.AggregateOp, values: list[float], param: Any) -> float:
    points = [(0, value) for value in values]
    match op:
        case ast.AggregateOp.SUM:
            return ranges.total(points, 0, 0) or 0.0
        case ast.AggregateOp.AVG:
            return ranges.average(points, 0, 0) or 0.0
        case ast.AggregateOp.COUNT | ast.AggregateOp.COUNT_VALUES:
            return float(len(values))
        case ast.AggregateOp.GROUP:
            return 1.0
        case ast.AggregateOp.MIN | ast.AggregateOp.MAX:
            real = [value for value in values if not math.isnan(value)]
            return (min if op is ast.AggregateOp.MIN else max)(real) if real else math.nan
        case ast.AggregateOp.STDVAR | ast.AggregateOp.STDDEV:
            if not all(map(math.isfinite, values)):
                return math.nan
            mean = math.fsum(values) / len(values)
            found = math.fsum((value - mean) ** 2 for value in values) / len(values)
            return found if op is ast.AggregateOp.STDVAR else math.sqrt(found)
        case ast.AggregateOp.QUANTILE:
            return quantile(param, values)
    raise NotImplementedError(op)


def positional(value: float) -> str:
    """A number as Go prints it without an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-")


# -- operators -----------------------------------------------------------------------------------------------------


def _divided(a: float, b: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


def operate(op: ast.BinaryOp, a: float, b: float) -> float:
    """The value of an operator; of a comparison 0 or 1."""
    if op in ast.COMPARISONS:
        if close(a, b):
            raise Unsure
        return float(
            {
                ast.BinaryOp.EQ: a == b,
                ast.BinaryOp.NE: a != b,
                ast.BinaryOp.GT: a > b,
                ast.BinaryOp.LT: a < b,
                ast.BinaryOp.GE: a >= b,
                ast.BinaryOp.LE: a <= b,
            }[op]
        )
    match op:
        case ast.BinaryOp.ADD:
            return a + b
        case ast.BinaryOp.SUB:
            return a - b
        case ast.BinaryOp.MUL:
            return a * b
        case ast.BinaryOp.DIV:
            return _divided(a, b)
        case ast.BinaryOp.MOD:
            if math.isinf(a) or b == 0 or math.isnan(a) or math.isnan(b):
                return math.nan
            if math.isfinite(b) and close(a / b, round(a / b)):
                raise Unsure
            return math.fmod(a, b)
        case ast.BinaryOp.POW:
            with np.errstate(all="ignore"):
                return float(np.power(np.float64(a), np.float64(b)))
        case ast.BinaryOp.ATAN2:
            return math.atan2(a, b)
    raise NotImplementedError(op)


def binary(node: ast.Binary, left: Any, right: Any) -> Any:
    if isinstance(left, float) and isinstance(right, float):
        return operate(node.op, left, right)
    if isinstance(left, float) or isinstance(right, float):
        return _with_scalar(node, left, right)
    if node.op in ast.SET_OPERATORS:
        return _sets(node, left, right)
    return _matched(node, left, right)


def _with_scalar(node: ast.Binary, left: Any, right: Any) -> list[Element]:
    out: list[Element] = []
    swapped = isinstance(left, float)
    for labels, value in right if swapped else left:
        number = operate(node.op, left if swapped else value, value if swapped else right)
        if node.op not in ast.COMPARISONS or node.return_bool:
            out.append((without_name(labels), number))
        elif number:
            out.append((labels, value))
    return distinct(out)


def _signature(labels: Labels, matching: ast.VectorMatching) -> tuple:
    return key(_match_labels(labels, matching))


def _match_labels(labels: Labels, matching: ast.VectorMatching) -> Labels:
    if matching.on:
        return {n: v for n, v in labels.items() if n in matching.labels}
    return {n: v for n, v in labels.items() if n != "__name__" and n not in matching.labels}


def _sets(node: ast.Binary, left: list[Element], right: list[Element]) -> list[Element]:
    matching = node.matching or ast.VectorMatching()
    on_left = {_signature(labels, matching) for labels, _ in left}
    on_right = {_signature(labels, matching) for labels, _ in right}
    if node.op is ast.BinaryOp.AND:
        return [element for element in left if _signature(element[0], matching) in on_right]
    if node.op is ast.BinaryOp.UNLESS:
        return [element for element in left if _signature(element[0], matching) not in on_right]
    return distinct(left + [element for element in right if _signature(element[0], matching) not in on_left])


def _matched(node: ast.Binary, left: list[Element], right: list[Element]) -> list[Element]:
    matching = node.matching or ast.VectorMatching()
    fills = matching.fill_left is not None or matching.fill_right is not None
    if not (left and right) and not fills:
        return []
    swapped = matching.card is ast.Cardinality.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    # With group_right, too, fill_left stands for the "many" side: Prometheus' own tests (fill-modifier.test) want it so.
    fill_many, fill_one = matching.fill_left, matching.fill_right
    by_signature: dict[tuple, Element] = {}
    for element in one:
        signature = _signature(element[0], matching)
        if signature in by_signature:
            raise Refused("duplicate series on the one side")
        by_signature[signature] = element
    met: set[tuple] = set()
    out: list[Element] = []

    def meet(many_labels: Labels, many_value: float, one_labels: Labels, one_value: float) -> None:
        a, b = (one_value, many_value) if swapped else (many_value, one_value)
        number = operate(node.op, a, b)
        result = dict(many_labels)
        if node.op not in ast.COMPARISONS or node.return_bool:
            result.pop("__name__", None)
        if matching.card is ast.Cardinality.ONE_TO_ONE:
            keeps = set(matching.labels)
            result = {n: v for n, v in result.items() if (n in keeps) == matching.on}
        for name in matching.include:
            result = _set(result, name, one_labels.get(name, ""))
        signature = _signature(many_labels, matching)
        mark = signature if matching.card is ast.Cardinality.ONE_TO_ONE else (signature, key(result))
        if mark in met:
            raise Refused("multiple matches")
        met.add(mark)
        if node.op not in ast.COMPARISONS or node.return_bool:
            out.append((result, number))
        elif number:
            out.append((result, a))

    for labels, value in many:
        found = by_signature.get(_signature(labels, matching))
        if found is not None:
            meet(labels, value, *found)
        elif fill_one is not None:
            meet(labels, value, _match_labels(labels, matching), fill_one)
    if fill_many is not None:
        known = {_signature(labels, matching) for labels, _ in many}
        for labels, value in one:
            if _signature(labels, matching) not in known:
                meet(_match_labels(labels, matching), fill_many, labels, value)
    return distinct(out)
