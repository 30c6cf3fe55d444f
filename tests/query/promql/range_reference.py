"""Scalar models of the range functions: one window, one series, plain loops in Prometheus' order of operations."""

import itertools
import math
from collections.abc import Callable

Samples = list[tuple[int, float]]
Kernel = Callable[[Samples, int, int], float | None]
"""(samples of the window, its end in ms, its range in ms) -> value, or None for nothing."""


def extrapolated(samples: Samples, end: int, width: int, counter: bool, per_second: bool) -> float | None:
    if len(samples) < 2:
        return None
    (first_ms, first), (last_ms, last) = samples[0], samples[-1]
    result = last - first
    if counter:
        for (_, before), (_, now) in itertools.pairwise(samples):
            if now < before:
                result += before
    to_start = (first_ms - (end - width)) / 1000
    to_end = (end - last_ms) / 1000
    sampled = (last_ms - first_ms) / 1000
    average = sampled / (len(samples) - 1)
    threshold = average * 1.1
    if to_start >= threshold:
        to_start = average / 2
    if counter and result > 0 and first >= 0:
        zero = sampled * (first / result)
        if zero < to_start:
            to_start = zero
    if to_end >= threshold:
        to_end = average / 2
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor /= width / 1000
    return result * factor


def neumaier(value: float, total: float, error: float) -> tuple[float, float]:
    new = total + value
    if math.isinf(new):
        error = 0.0
    elif abs(total) >= abs(value):
        error += (total - new) + value
    else:
        error += (value - new) + total
    return new, error


def total(samples: Samples, end: int, width: int) -> float | None:
    if not samples:
        return None
    result = error = 0.0
    for _, value in samples:
        result, error = neumaier(value, result, error)
    return result if math.isinf(result) else result + error


def average(samples: Samples, end: int, width: int) -> float | None:
    if not samples:
        return None
    result, error, mean, running, count = samples[0][1], 0.0, 0.0, False, 1.0
    for index, (_, value) in enumerate(samples[1:]):
        count = float(index + 2)
        if not running:
            new, new_error = neumaier(value, result, error)
            if not math.isinf(new):
                result, error = new, new_error
                continue
            running = True
            mean = result / (count - 1)
            error /= count - 1
        share = (count - 1) / count
        mean, error = neumaier(value / count, share * mean, share * error)
    return mean + error if running else result / count + error / count


def extreme(samples: Samples, better: Callable[[float, float], bool]) -> tuple[float, float] | None:
    if not samples:
        return None
    when, best = samples[0]
    for moment, value in samples:
        if better(value, best) or math.isnan(best):
            when, best = moment, value
    return best, when / 1000


def variance(samples: Samples, end: int, width: int) -> float | None:
    if not samples:
        return None
    count = mean = mean_error = squares = squares_error = 0.0
    for _, value in samples:
        count += 1
        distance = value - (mean + mean_error)
        mean, mean_error = neumaier(distance / count, mean, mean_error)
        squares, squares_error = neumaier(distance * (value - (mean + mean_error)), squares, squares_error)
    return (squares + squares_error) / count


def deviation(samples: Samples, end: int, width: int) -> float | None:
    found = variance(samples, end, width)
    if found is None:
        return None
    return math.sqrt(found) if found >= 0 else math.nan


def last_two(samples: Samples, counter: bool) -> float | None:
    if len(samples) < 2:
        return None
    (before_ms, before), (now_ms, now) = samples[-2:]
    result = now if counter and now < before else now - before
    return result / ((now_ms - before_ms) / 1000) if counter else result


def count_pairs(samples: Samples, counts: Callable[[float, float], bool]) -> float | None:
    if not samples:
        return None
    values = [value for _, value in samples]
    return float(sum(counts(before, now) for before, now in itertools.pairwise(values)))


def quantile(q: float, values: list[float]) -> float:
    if math.isnan(q):
        return math.nan
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    ordered = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = q * (len(values) - 1)
    low = max(0.0, math.floor(rank))
    high = min(len(values) - 1.0, low + 1)
    weight = rank - math.floor(rank)
    return ordered[int(low)] * (1 - weight) + ordered[int(high)] * weight


def mad(samples: Samples, end: int, width: int) -> float | None:
    if not samples:
        return None
    values = [value for _, value in samples]
    if any(map(math.isnan, values)):
        return math.nan
    median = quantile(0.5, values)
    return quantile(0.5, [abs(value - median) for value in values])


def line(samples: Samples, origin: int) -> tuple[float, float] | None:
    if len(samples) < 2:
        return None
    sums = dict.fromkeys(("x", "y", "xy", "xx"), (0.0, 0.0))
    count = 0.0
    for moment, value in samples:
        count += 1
        x = (moment - origin) / 1e3
        for name, term in (("x", x), ("y", value), ("xy", x * value), ("xx", x * x)):
            sums[name] = neumaier(term, *sums[name])
    first = samples[0][1]
    if all(value == first for _, value in samples[1:]):
        return (math.nan, math.nan) if math.isinf(first) else (0.0, first)
    x, y, xy, xx = (sums[name][0] + sums[name][1] for name in ("x", "y", "xy", "xx"))
    spread = xx - x * x / count
    slope = (xy - x * y / count) / spread
    return slope, y / count - slope * x / count


def smoothed(samples: Samples, smoothing: float, trend: float) -> float | None:
    if len(samples) < 2:
        return None
    values = [value for _, value in samples]
    before, level, slope = 0.0, values[0], values[1] - values[0]
    for index in range(1, len(values)):
        if index > 1:
            slope = trend * (level - before) + (1 - trend) * slope
        scaled = smoothing * values[index]
        before, level = level, scaled + (1 - smoothing) * (level + slope)
    return level


def _first(pair: tuple[float, float] | None, index: int) -> float | None:
    return None if pair is None else pair[index]


Q = 0.37
AHEAD_S = 600.0

KERNELS: dict[str, Kernel] = {
    "rate": lambda s, e, w: extrapolated(s, e, w, True, True),
    "increase": lambda s, e, w: extrapolated(s, e, w, True, False),
    "delta": lambda s, e, w: extrapolated(s, e, w, False, False),
    "irate": lambda s, e, w: last_two(s, True),
    "idelta": lambda s, e, w: last_two(s, False),
    "resets": lambda s, e, w: count_pairs(s, lambda a, b: b < a),
    "changes": lambda s, e, w: count_pairs(s, lambda a, b: b != a and not (math.isnan(a) and math.isnan(b))),
    "sum_over_time": total,
    "avg_over_time": average,
    "count_over_time": lambda s, e, w: float(len(s)) if s else None,
    "present_over_time": lambda s, e, w: 1.0 if s else None,
    "min_over_time": lambda s, e, w: _first(extreme(s, lambda a, b: a < b), 0),
    "max_over_time": lambda s, e, w: _first(extreme(s, lambda a, b: a > b), 0),
    "ts_of_min_over_time": lambda s, e, w: _first(extreme(s, lambda a, b: a <= b), 1),
    "ts_of_max_over_time": lambda s, e, w: _first(extreme(s, lambda a, b: a >= b), 1),
    "first_over_time": lambda s, e, w: s[0][1] if s else None,
    "last_over_time": lambda s, e, w: s[-1][1] if s else None,
    "ts_of_first_over_time": lambda s, e, w: s[0][0] / 1000 if s else None,
    "ts_of_last_over_time": lambda s, e, w: s[-1][0] / 1000 if s else None,
    "stdvar_over_time": variance,
    "stddev_over_time": deviation,
    "quantile_over_time": lambda s, e, w: quantile(Q, [v for _, v in s]) if s else None,
    "mad_over_time": mad,
    "deriv": lambda s, e, w: _first(line(s, s[0][0]), 0) if s else None,
    "predict_linear": lambda s, e, w: (
        None if (found := line(s, e)) is None else found[0] * AHEAD_S + found[1]
    ),
    "double_exponential_smoothing": lambda s, e, w: smoothed(s, 0.4, 0.7),
}
