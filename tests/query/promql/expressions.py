"""Random data and random, well-typed expressions for the property tests."""

import math

from hypothesis import strategies as st

from tests.query.promql.reference import Series, Table

STEP_MS = 60_000
LAST = 20
FEATURES = frozenset({"promql-experimental-functions", "promql-binop-fill-modifiers"})

_VALUES = {
    "small": st.integers(-3, 3).map(float),
    "count": st.integers(0, 40).map(float),
    "fraction": st.sampled_from([0.25, 0.5, -0.75, 1.5, 6.0, 0.1]),
    "odd": st.sampled_from([0.0, 1e9, -7.5, math.inf, -math.inf, math.nan, 3e-7, 2.0**60]),
}


@st.composite
def samples(draw: st.DrawFn) -> dict[int, float | None]:
    """Samples of one series: gaps, an interval and a phase of its own, stale markers, resets, all kinds of numbers."""
    interval = draw(st.sampled_from([STEP_MS, STEP_MS, 30_000, 47_000, 4 * STEP_MS]))
    phase = draw(st.sampled_from([0, 0, 7_000, 13]))
    most = min(LAST * STEP_MS // interval, 24)
    turns = draw(st.lists(st.integers(0, most), min_size=1, max_size=12, unique=True))
    kind = draw(st.sampled_from(["small", "count", "counter", "counter", "fraction", "odd"]))
    out: dict[int, float | None] = {}
    total = 0.0
    for turn in sorted(turns):
        if draw(st.integers(0, 9)) == 0:
            out[turn * interval + phase] = None
        elif kind == "counter":
            total = 0.0 if draw(st.integers(0, 7)) == 0 else total + draw(st.integers(0, 9))
            out[turn * interval + phase] = total
        else:
            out[turn * interval + phase] = draw(_VALUES[kind])
    return out


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Up to ten series of three metrics, two of them plain and one a classic histogram."""
    keys = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["m", "n"]),
                st.sampled_from(["a", "b", "c", ""]),
                st.sampled_from(["x", "y", ""]),
            ),
            min_size=1,
            max_size=8,
            unique=True,
        )
    )
    series = [
        Series({k: v for k, v in (("__name__", name), ("a", a), ("b", b)) if v}, draw(samples()))
        for name, a, b in keys
    ]
    if draw(st.integers(0, 3)) == 0:
        series += draw(_histogram())
    blocks = draw(st.lists(st.integers(0, 2), min_size=len(series), max_size=len(series)))
    return Table(series, blocks, ragged=draw(st.booleans()))


@st.composite
def _histogram(draw: st.DrawFn) -> list[Series]:
    bounds = draw(
        st.sampled_from([["1", "2", "+Inf"], ["0.5", "1.0", "4", "+Inf"], ["-1", "0", "1", "+Inf"], ["1"]])
    )
    times = draw(st.lists(st.integers(0, LAST), min_size=1, max_size=6, unique=True))
    out = [Series({"__name__": "h_bucket", "le": bound, "a": "a"}) for bound in bounds]
    for time in times:
        total = 0.0
        for each in out:
            total = max(total + draw(st.integers(-1, 9)), 0.0)
            each.samples[time * STEP_MS] = total
    return out


_NAMES = st.sampled_from(["m", "n", "m", "h_bucket", '{__name__=~"m|n"}'])
_CONDITIONS = st.sampled_from(
    ["", "", "", '{a="a"}', '{b!="x"}', '{a=~"a|b"}', '{b=""}', '{a!~"a.*",b="y"}', '{a="zzz"}']
)
_PLACES = st.sampled_from(
    ["", "", "", "", " offset 2m", " offset -3m", " @ 420", " @ 600 offset 90s", " @ start()", " @ end()"]
)
_RANGES = st.sampled_from(["[1m]", "[3m]", "[5m]", "[10m]", "[90s]", "[4m7s]"])
_GROUPINGS = st.sampled_from(
    ["", "", " by (a)", " by (b)", " without (a)", " by (a, b)", " by (__name__)", " without ()"]
)
_NUMBERS = st.sampled_from(["0", "1", "-1", "2", "0.5", "3", "NaN", "Inf", "1e3", "7"])
_MATCHINGS = st.sampled_from(
    [
        "", "", "on (a)", "on (a, b)", "on ()", "ignoring (b)", "ignoring (a, b)",
        "on (a) group_left ()", "on (a) group_left (b)", "ignoring (b) group_left ()", "on (b) group_right (a)",
        "ignoring (a) group_right ()", "fill (0)", "on (a) fill_left (1)", "ignoring (b) fill_right (2)",
        "on (a) group_left () fill (3)", "on (b) group_right () fill_left (4)", "on (b) group_right (a) fill_right (5)",
    ]
)  # fmt: skip

RANGE_FUNCTIONS = (
    "rate", "increase", "delta", "irate", "idelta", "resets", "changes", "deriv", "sum_over_time", "avg_over_time",
    "count_over_time", "min_over_time", "max_over_time", "last_over_time", "first_over_time", "present_over_time",
    "stddev_over_time", "stdvar_over_time", "mad_over_time", "ts_of_first_over_time", "ts_of_last_over_time",
    "ts_of_min_over_time", "ts_of_max_over_time", "absent_over_time",
)  # fmt: skip
INSTANT_FUNCTIONS = (
    "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sin", "cos", "atan", "tanh", "deg", "rad", "sgn",
    "round", "timestamp", "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month",
    "year",
)  # fmt: skip
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")


@st.composite
def selectors(draw: st.DrawFn) -> str:
    name = draw(_NAMES)
    where = "" if name.startswith("{") else draw(_CONDITIONS)
    return f"{name}{where}"


@st.composite
def windows(draw: st.DrawFn, depth: int) -> str:
    if depth > 0 and draw(st.integers(0, 2)) == 0:
        inner = draw(vectors(depth - 1))
        span = draw(st.sampled_from(["[5m:90s]", "[3m:1m]", "[4m:]", "[7m:2m]"]))
        return f"({inner}){span}{draw(_PLACES)}"
    return draw(selectors()) + draw(_RANGES) + draw(_PLACES)


@st.composite
def scalars(draw: st.DrawFn, depth: int) -> str:
    match draw(st.integers(0, 5 if depth > 0 else 2)):
        case 0 | 1:
            return draw(_NUMBERS)
        case 2:
            return draw(st.sampled_from(["time()", "time() / 300", "pi()"]))
        case 3:
            return f"scalar({draw(vectors(depth - 1))})"
        case 4:
            op = draw(st.sampled_from(ARITHMETIC))
            return f"({draw(scalars(depth - 1))} {op} {draw(scalars(depth - 1))})"
        case _:
            op = draw(st.sampled_from(COMPARISONS))
            return f"({draw(scalars(depth - 1))} {op} bool {draw(scalars(depth - 1))})"


@st.composite
def vectors(draw: st.DrawFn, depth: int) -> str:
    """An expression whose value is an instant vector."""
    if depth <= 0:
        return draw(selectors()) + draw(_PLACES)
    match draw(st.integers(0, 13)):
        case 0:
            return draw(selectors()) + draw(_PLACES)
        case 1 | 2:
            return f"{draw(st.sampled_from(RANGE_FUNCTIONS))}({draw(windows(depth - 1))})"
        case 3:
            window = draw(windows(depth - 1))
            return draw(
                st.sampled_from(
                    [
                        f"quantile_over_time({draw(scalars(0))}, {window})",
                        f"predict_linear({window}, {draw(scalars(0))})",
                        f"double_exponential_smoothing({window}, 0.5, 0.25)",
                    ]
                )
            )
        case 4:
            return f"{draw(st.sampled_from(INSTANT_FUNCTIONS))}({draw(vectors(depth - 1))})"
        case 5 | 6:
            op = draw(st.sampled_from(["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"]))
            return f"{op}{draw(_GROUPINGS)} ({draw(vectors(depth - 1))})"
        case 7:
            op = draw(st.sampled_from(["topk", "bottomk", "limitk", "quantile"]))
            return f"{op}{draw(_GROUPINGS)} ({draw(scalars(depth - 1))}, {draw(vectors(depth - 1))})"
        case 8:
            op = draw(st.sampled_from(ARITHMETIC + COMPARISONS + tuple(f"{c} bool" for c in COMPARISONS)))
            return f"({draw(vectors(depth - 1))}) {op} {draw(_MATCHINGS)} ({draw(vectors(depth - 1))})"
        case 9:
            op = draw(st.sampled_from(["and", "or", "unless"]))
            how = draw(st.sampled_from(["", "on (a)", "ignoring (a)", "on ()", "on (b)"]))
            return f"({draw(vectors(depth - 1))}) {op} {how} ({draw(vectors(depth - 1))})"
        case 10:
            op = draw(st.sampled_from(ARITHMETIC + COMPARISONS + tuple(f"{c} bool" for c in COMPARISONS)))
            sides = [f"({draw(vectors(depth - 1))})", f"({draw(scalars(depth - 1))})"]
            if draw(st.booleans()):
                sides.reverse()
            return f"{sides[0]} {op} {sides[1]}"
        case 11:
            vector = draw(vectors(depth - 1))
            return draw(
                st.sampled_from(
                    [
                        f"-({vector})",
                        f"+({vector})",
                        f"clamp({vector}, {draw(scalars(0))}, {draw(scalars(0))})",
                        f"clamp_min({vector}, {draw(scalars(0))})",
                        f"clamp_max({vector}, {draw(scalars(0))})",
                        f"round({vector}, {draw(scalars(0))})",
                        f"absent({vector})",
                        f"vector(scalar({vector}))",
                        "hour()",
                        "minute() + day_of_year()",
                    ]
                )
            )
        case 12:
            vector = draw(vectors(depth - 1))
            return draw(
                st.sampled_from(
                    [
                        f'label_replace({vector}, "a", "$1-q", "b", "(x|y)")',
                        f'label_replace({vector}, "b", "", "a", ".*")',
                        f'label_replace({vector}, "__name__", "k", "a", "a|b")',
                        f'label_replace({vector}, "new", "$0$1", "a", "()(.)")',
                        f'label_join({vector}, "new", "-", "a", "b")',
                        f'label_join({vector}, "a", "", "b")',
                    ]
                )
            )
        case _:
            return draw(
                st.sampled_from(
                    [
                        f"histogram_quantile({draw(scalars(0))}, h_bucket)",
                        f"histogram_quantile({draw(scalars(0))}, sum by (le, a) (rate(h_bucket[5m])))",
                        f'count_values{draw(_GROUPINGS)} ("v", {draw(selectors())})',
                        f'count_values ("a", {draw(selectors())})',
                        f"sort({draw(selectors())})",
                    ]
                )
            )
