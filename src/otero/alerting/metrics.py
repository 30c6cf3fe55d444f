"""What the Alertmanager inside tells of itself, under the names of Alertmanager's own metrics."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from otero.telemetry import REGISTRY


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"alertmanager_{name}", text, labels, registry=REGISTRY)


RECEIVED = _counter("alerts_received", "Alerts that came in, by status: firing or resolved.", "status")
NOTIFICATIONS = _counter("notifications", "Notifications that were to be sent.", "integration")
FAILED = _counter(
    "notifications_failed",
    "Notifications that were given up: clientError and serverError by the HTTP answer, contextDeadlineExceeded when"
    " the time limit came without one, contextCanceled by a stop, else other.",
    "integration",
    "reason",
)
REQUESTS = _counter("notification_requests", "Attempts to send a notification.", "integration")
REQUESTS_FAILED = _counter(
    "notification_requests_failed", "Attempts to send a notification that failed.", "integration"
)
SUPPRESSED = _counter(
    "notifications_suppressed",
    "Alerts that were kept from a notification, by reason: silence, inhibition, mute_time_interval or"
    " active_time_interval.",
    "reason",
)
LATENCY = Histogram(
    "alertmanager_notification_latency_seconds",
    "Time that attempts took.",
    ["integration"],
    registry=REGISTRY,
    buckets=(0.01, 0.1, 1, 5, 10, 15, 20),
)
GROUPS = Gauge("alertmanager_dispatcher_aggregation_groups", "Groups of alerts.", registry=REGISTRY)
DROPPED = Counter(
    "otero_alerts_dropped",
    "Alerts of rules that were not taken in; rules say them again.",
    ["reason"],
    registry=REGISTRY,
)


def by_state(name: str, text: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    """How many there are now of each state."""
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family
