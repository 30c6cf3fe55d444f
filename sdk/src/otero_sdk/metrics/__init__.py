"""Business metrics in one line, next to those of requests.

    from otero_sdk import metrics

    ORDERS = metrics.counter("orders_total", "Orders by outcome.", {"outcome": ["paid", "refused"]})
    ORDERS.labels("paid").inc()

These are prometheus-client's own classes, made such that they are right with several worker processes and that a
module which is imported twice does not fail. Where the values of labels are known beforehand, name them: their series
exist from the start, and `rate()` sees the first increment.
"""

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from otero_sdk.metrics import workers
from otero_sdk.metrics.saturation import watch_pool
from otero_sdk.settings import DEFAULT_BUCKETS

__all__ = ["active_users", "counter", "gauge", "histogram", "watch_pool"]

FOLDER: Final = workers.prepare()
"""The directory of the files of several workers; None: values are in memory. Decided before the first metric."""

Labels = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of labels, or with the values that each is known to have."""

_modes: Final[Mapping[str, Any]] = {
    "sum": "livesum",
    "max": "livemax",
    "min": "livemin",
    "latest": "livemostrecent",
}
_lock = threading.Lock()
_made: dict[str, tuple[tuple[Any, ...], Any]] = {}
_M = TypeVar("_M", Counter, Gauge, Histogram)


def counter(name: str, documentation: str, labels: Labels = ()) -> Counter:
    """What only grows: orders, bytes, failures. The name ends in `_total`."""
    return _once(Counter, name, documentation, labels, {})


def gauge(
    name: str,
    documentation: str,
    labels: Labels = (),
    *,
    across: Literal["sum", "max", "min", "latest"] = "sum",
) -> Gauge:
    """What goes up and down. `across` says what the values of several worker processes make together."""
    if across not in _modes:
        raise ValueError(f"across={across!r} is none of {', '.join(_modes)}")
    return _once(Gauge, name, documentation, labels, {"multiprocess_mode": _modes[across]})


def histogram(
    name: str, documentation: str, labels: Labels = (), *, buckets: Sequence[float] = DEFAULT_BUCKETS
) -> Histogram:
    """A distribution: durations in seconds, sizes in bytes. `buckets` are rising upper bounds."""
    return _once(Histogram, name, documentation, labels, {"buckets": tuple(buckets)})


def active_users() -> Gauge:
    """`active_users_total`, a gauge: `inc()` when somebody logs in, `dec()` when they leave."""
    return gauge("active_users_total", "Users that are active.")


def _once(kind: type[_M], name: str, documentation: str, labels: Labels, options: dict[str, Any]) -> _M:
    if isinstance(labels, str):
        raise TypeError(f"{name}: labels={labels!r}: a list of names is expected, such as [{labels!r}]")
    names = tuple(labels)
    shape = (kind, names, tuple(options.items()))
    with _lock:
        known = _made.get(name)
        if known is not None:
            if known[0] != shape:
                raise ValueError(
                    f"{name} is already a {known[0][0].__name__.lower()} with labels {known[0][1]}"
                )
            return known[1]
        try:
            made = kind(name, documentation, names, registry=REGISTRY, **options)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        _made[name] = (shape, made)
    if isinstance(labels, Mapping) and labels:
        for values in itertools.product(*labels.values()):
            made.labels(*values)
    return made
