"""The functions of PromQL: a table of names for each kind of kernel, one module per family.

A function is one line in `signatures`, one kernel in a family's module and one line here. Functions whose evaluation is
part of the engine (they need more than their arguments) are listed in `ENGINE_FUNCTIONS`.
"""

import numpy as np

from otero.query.promql.functions import (
    histogram,
    labels,
    math,
    over_time,
    quantiles,
    rate,
    resets,
    sort,
    time,
    trend,
)
from otero.query.promql.functions.args import InstantKernel, RangeKernel, in_parts
from otero.query.promql.functions.native_ranges import over_histograms as over_histograms

_KERNELS: dict[str, RangeKernel] = {
    "avg_over_time": over_time.avg_over_time,
    "changes": resets.changes,
    "count_over_time": over_time.count_over_time,
    "delta": rate.delta,
    "deriv": trend.deriv,
    "double_exponential_smoothing": trend.double_exponential_smoothing,
    "first_over_time": over_time.first_over_time,
    "idelta": rate.idelta,
    "increase": rate.increase,
    "irate": rate.irate,
    "last_over_time": over_time.last_over_time,
    "mad_over_time": quantiles.mad_over_time,
    "max_over_time": over_time.max_over_time,
    "min_over_time": over_time.min_over_time,
    "predict_linear": trend.predict_linear,
    "present_over_time": over_time.present_over_time,
    "quantile_over_time": quantiles.quantile_over_time,
    "rate": rate.rate,
    "resets": resets.resets,
    "stddev_over_time": over_time.stddev_over_time,
    "stdvar_over_time": over_time.stdvar_over_time,
    "sum_over_time": over_time.sum_over_time,
    "ts_of_first_over_time": over_time.ts_of_first_over_time,
    "ts_of_last_over_time": over_time.ts_of_last_over_time,
    "ts_of_max_over_time": over_time.ts_of_max_over_time,
    "ts_of_min_over_time": over_time.ts_of_min_over_time,
}

_LOOKS_AT_ENDS = frozenset(
    {"changes", "count_over_time", "delta", "first_over_time", "idelta", "increase", "irate", "last_over_time",
     "present_over_time", "rate", "resets", "ts_of_first_over_time", "ts_of_last_over_time"}
)  # fmt: skip
"""Kernels that do not walk through all samples of a window: taking series with gaps apart costs them more than it saves."""

RANGE_FUNCTIONS: dict[str, RangeKernel] = {
    name: kernel if name in _LOOKS_AT_ENDS else in_parts(kernel) for name, kernel in _KERNELS.items()
}
"""Kernels over ranges of samples; the engine drops the metric name unless the function is in `KEEPS_NAME`."""

KEEPS_NAME: frozenset[str] = frozenset({"first_over_time", "last_over_time"})
"""Functions over ranges whose result is still a sample of the metric."""

INSTANT_FUNCTIONS: dict[str, InstantKernel] = {
    "abs": math.each(np.abs),
    "acos": math.each(np.arccos),
    "acosh": math.each(np.arccosh),
    "asin": math.each(np.arcsin),
    "asinh": math.each(np.arcsinh),
    "atan": math.each(np.arctan),
    "atanh": math.each(np.arctanh),
    "ceil": math.each(np.ceil),
    "clamp": math.clamp,
    "clamp_max": math.clamp_max,
    "clamp_min": math.clamp_min,
    "cos": math.each(np.cos),
    "cosh": math.each(np.cosh),
    "day_of_month": time.date_part(time.day_of_month),
    "day_of_week": time.date_part(time.day_of_week),
    "day_of_year": time.date_part(time.day_of_year),
    "days_in_month": time.date_part(time.days_in_month),
    "deg": math.each(math.deg),
    "exp": math.each(np.exp),
    "floor": math.each(np.floor),
    "histogram_avg": histogram.histogram_avg,
    "histogram_count": histogram.histogram_count,
    "histogram_fraction": histogram.histogram_fraction,
    "histogram_quantile": histogram.histogram_quantile,
    "histogram_quantiles": histogram.histogram_quantiles,
    "histogram_stddev": histogram.histogram_stddev,
    "histogram_stdvar": histogram.histogram_stdvar,
    "histogram_sum": histogram.histogram_sum,
    "hour": time.date_part(time.hour),
    "label_join": labels.label_join,
    "label_replace": labels.label_replace,
    "ln": math.each(np.log),
    "log10": math.each(np.log10),
    "log2": math.each(np.log2),
    "max_of": math.max_of,
    "min_of": math.min_of,
    "minute": time.date_part(time.minute),
    "month": time.date_part(time.month),
    "pi": math.pi,
    "rad": math.each(math.rad),
    "round": math.round_to,
    "sgn": math.each(math.sgn),
    "sin": math.each(np.sin),
    "sinh": math.each(np.sinh),
    "sort": sort.sort,
    "sort_by_label": sort.sort_by_label,
    "sort_by_label_desc": sort.sort_by_label_desc,
    "sort_desc": sort.sort_desc,
    "sqrt": math.each(np.sqrt),
    "tan": math.each(np.tan),
    "tanh": math.each(np.tanh),
    "year": time.date_part(time.year),
}
"""Kernels over instant vectors and scalars; they see to labels themselves."""

TAKES_HISTOGRAMS: frozenset[str] = frozenset(
    {"histogram_avg", "histogram_count", "histogram_fraction", "histogram_quantile", "histogram_quantiles",
     "histogram_stddev", "histogram_stdvar", "histogram_sum", "label_join", "label_replace", "sort_by_label",
     "sort_by_label_desc"}
)  # fmt: skip
"""Kernels over instant vectors that know native histograms; the others are given floats only."""

ENGINE_FUNCTIONS: frozenset[str] = frozenset(
    {"absent", "absent_over_time", "end", "info", "range", "scalar", "start", "start_timestamp", "step", "time",
     "timestamp", "vector"}
)  # fmt: skip
"""Functions that the engine evaluates itself."""
