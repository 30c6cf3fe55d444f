"""Inhibition: while source alerts fire, target alerts with the same values of some labels are not told of.

Rules: Alertmanager's inhibit package. An alert that is on both sides of a rule is not inhibited by one that is, too;
so no alert inhibits itself. A rule with several sources inhibits while there is an alert for each of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from otero.alerting.inhibit_rule import InhibitRule, InhibitSource
from otero.alerting.matchers import matches
from otero.model.alerts import Alert
from otero.model.matchers import Matcher


class Inhibitor:
    """The rules and the alerts that are sources of one. Is told of every alert that changes, by `update`."""

    def __init__(self, rules: Iterable[InhibitRule]) -> None:
        self._rules = [
            (rule.target_matchers, [_Sources(source, rule.target_matchers) for source in rule.sources])
            for rule in rules
        ]

    def update(self, fingerprint: int, alert: Alert, now_ms: int) -> None:
        """Take note of an alert that is new, changed or ended."""
        for _, sources in self._rules:
            for source in sources:
                source.update(fingerprint, alert, now_ms)

    def inhibiting(self, labels: Mapping[str, str], now_ms: int) -> list[int]:
        """The fingerprints of alerts that inhibit one with these labels: of each source of each rule that does, the one
        longest known."""
        found: dict[int, None] = {}
        for target, sources in self._rules:
            if not matches(target, labels):
                continue
            alerts = [source.firing(labels, now_ms) for source in sources]
            if None not in alerts:
                found.update(dict.fromkeys(alert for alert in alerts if alert is not None))
        return list(found)


class _Sources:
    """The alerts that are one source of a rule, by the values of the labels that must be equal.

    Those that are targets as well are kept apart, since they do not count for targets that are sources as well: so
    that a look-up need not pass over many of them.
    """

    def __init__(self, source: InhibitSource, target: Sequence[Matcher]) -> None:
        self._source = source.matchers
        self._target = target
        self._equal = source.equal
        self._one_sided: dict[tuple[str, ...], dict[int, Alert]] = defaultdict(dict)
        self._two_sided: dict[tuple[str, ...], dict[int, Alert]] = defaultdict(dict)

    def update(self, fingerprint: int, alert: Alert, now_ms: int) -> None:
        if not matches(self._source, alert.labels):
            return
        side = self._two_sided if matches(self._target, alert.labels) else self._one_sided
        key = self._key(alert.labels)
        if not alert.resolved_at(now_ms):
            side[key][fingerprint] = alert
        elif key in side:
            side[key].pop(fingerprint, None)
            if not side[key]:
                del side[key]

    def firing(self, labels: Mapping[str, str], now_ms: int) -> int | None:
        """One that fires for a target with these labels."""
        key = self._key(labels)
        found = _first(self._one_sided.get(key), now_ms)
        if found is None and not matches(self._source, labels):
            found = _first(self._two_sided.get(key), now_ms)
        return found

    def _key(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(labels.get(name, "") for name in self._equal)


def _first(alerts: dict[int, Alert] | None, now_ms: int) -> int | None:
    """The first that fires; those before it that ended unsaid are dropped on the way."""
    while alerts:
        fingerprint, alert = next(iter(alerts.items()))
        if not alert.resolved_at(now_ms):
            return fingerprint
        del alerts[fingerprint]
    return None
