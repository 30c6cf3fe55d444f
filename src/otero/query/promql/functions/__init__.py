"""The functions of PromQL: a table of names for each kind of kernel, one module per family.

A function is one line in `signatures`, one kernel in a family's module and one line here. Functions whose evaluation is
part of the engine (they need more than their arguments) are listed in `ENGINE_FUNCTIONS`.
"""

from otero.query.promql.functions import over_time, rate, resets
from otero.query.promql.functions.args import InstantKernel, RangeKernel

RANGE_FUNCTIONS: dict[str, RangeKernel] = {
    "avg_over_time": over_time.avg_over_time,
    "changes": resets.changes,
    "count_over_time": over_time.count_over_time,
    "delta": rate.delta,
    "first_over_time": over_time.first_over_time,
    "idelta": rate.idelta,
    "increase": rate.increase,
    "irate": rate.irate,
    "last_over_time": over_time.last_over_time,
    "max_over_time": over_time.max_over_time,
    "min_over_time": over_time.min_over_time,
    "present_over_time": over_time.present_over_time,
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
"""Kernels over ranges of samples; the engine drops the metric name unless the function is in `KEEPS_NAME`."""

KEEPS_NAME: frozenset[str] = frozenset({"first_over_time", "last_over_time"})
"""Functions over ranges whose result is still a sample of the metric."""

INSTANT_FUNCTIONS: dict[str, InstantKernel] = {}
"""Kernels over instant vectors and scalars; they see to labels themselves."""

ENGINE_FUNCTIONS: frozenset[str] = frozenset(
    {"absent", "absent_over_time", "end", "info", "range", "scalar", "start", "start_timestamp", "step", "time",
     "timestamp", "vector"}
)  # fmt: skip
"""Functions that the engine evaluates itself."""
