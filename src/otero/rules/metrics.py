"""What rules tell of themselves, under the names of Prometheus' own metrics, which dashboards and alerts ask for."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from otero.rules.group import Evaluated, Group

_COUNTERS: Sequence[tuple[str, str, Callable[[Evaluated], float]]] = (
    ("prometheus_rule_evaluations", "Evaluations of rules.", lambda last: last.evaluations),
    ("prometheus_rule_evaluation_failures", "Evaluations of rules that failed.", lambda last: last.failures),
    (
        "prometheus_rule_group_iterations",
        "Evaluations of the group that were due, missed ones included.",
        lambda last: last.iterations,
    ),
    (
        "prometheus_rule_group_iterations_missed",
        "Evaluations of the group that were missed because an earlier one took too long.",
        lambda last: last.missed,
    ),
)
_GAUGES: Sequence[tuple[str, str, Callable[[Group], float]]] = (
    ("prometheus_rule_group_rules", "Rules of the group.", lambda group: len(group.rules)),
    (
        "prometheus_rule_group_interval_seconds",
        "Interval of the group.",
        lambda group: group.interval_ms / 1000,
    ),
    (
        "prometheus_rule_group_last_duration_seconds",
        "Duration of the group's last evaluation.",
        lambda group: group.last.seconds,
    ),
    (
        "prometheus_rule_group_last_rule_duration_sum_seconds",
        "Durations of the group's rules at its last evaluation, summed.",
        lambda group: group.last.rule_seconds,
    ),
    (
        "prometheus_rule_group_last_evaluation_timestamp_seconds",
        "Time of the group's last evaluation.",
        lambda group: group.last.time_ms / 1000,
    ),
    (
        "prometheus_rule_group_last_evaluation_samples",
        "Samples that the group's last evaluation wrote.",
        lambda group: group.last.samples,
    ),
    (
        "prometheus_rule_group_last_restore_duration_seconds",
        "Duration of restoring the state of the group's alerts.",
        lambda group: group.last.restore_seconds,
    ),
)


class RuleCollector:
    """Metrics of the groups that run now."""

    def __init__(self, groups: Callable[[], Sequence[Group]]) -> None:
        self._groups = groups

    def collect(self) -> Iterator[Metric]:
        """One sample per group; `rule_group` is file and name, as in Prometheus."""
        groups = [(f"{group.file};{group.name}", group) for group in self._groups()]
        for name, help_, count in _COUNTERS:
            counter = CounterMetricFamily(name, help_, labels=["rule_group"])
            for label, group in groups:
                counter.add_metric([label], count(group.last))
            yield counter
        for name, help_, value in _GAUGES:
            gauge = GaugeMetricFamily(name, help_, labels=["rule_group"])
            for label, group in groups:
                gauge.add_metric([label], value(group))
            yield gauge
        lasts = [group.last for _, group in groups]
        yield SummaryMetricFamily(
            "prometheus_rule_group_duration_seconds",
            "Durations of the evaluations of groups.",
            count_value=sum(last.iterations - last.missed for last in lasts),
            sum_value=sum(last.seconds_in_all for last in lasts),
        )
        yield SummaryMetricFamily(
            "prometheus_rule_evaluation_duration_seconds",
            "Durations of the evaluations of rules.",
            count_value=sum(last.evaluations for last in lasts),
            sum_value=sum(last.rule_seconds_in_all for last in lasts),
        )
