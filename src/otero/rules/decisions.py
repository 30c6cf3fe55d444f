"""What the ledger is told of an alerting rule: what an evaluation has changed, in words."""

from collections.abc import Iterator, Mapping

from otero.model.alerts import fingerprint
from otero.model.decisions import Decision, DecisionKind, Record
from otero.model.times import span, when
from otero.query.promql.numbers import go_number
from otero.rules.alerting import Active, ActiveAlert, State
from otero.rules.config import Rule
from otero.rules.template import EXPANSION_FAILED

_NO_LONGER = "The expression is no longer true (false, or no data)"


class RuleDecisions:
    """Records for one alerting rule. Labels are those that others are told: with the external ones."""

    def __init__(self, rule: Rule, query: str, external_labels: Mapping[str, str], record: Record) -> None:
        self._rule = rule
        self._query = query
        self._external_labels = external_labels
        self._record = record

    def changed(self, before: Active, after: Active, now_ms: int) -> None:
        """An evaluation has made `after` of `before`."""
        for key, alert in after.items():
            was = before.get(key)
            for kind, text in self._changes(was, alert, now_ms):
                self._say(kind, alert, now_ms, text)
        for key, was in before.items():
            if key not in after and was.state is State.PENDING:
                lasted = span(now_ms - was.active_ms)
                text = f"{_NO_LONGER} after {lasted} of {self._rule.for_}: it does not fire."
                self._say(DecisionKind.RULE_FORGOTTEN, was, now_ms, text)

    def restored(self, before: Active, after: Active, now_ms: int) -> None:
        """A restart has passed; alerts that were known before it go on."""
        for key, alert in after.items():
            if alert.active_ms == before[key].active_ms:
                continue
            left_ms = self._rule.for_ - (now_ms - alert.active_ms)
            then = f"fires in {span(left_ms)} if it stays true" if left_ms > 0 else "fires again now"
            text = f"Goes on after a restart: true since {when(alert.active_ms)}, {then}."
            self._say(DecisionKind.RULE_PENDING, alert, now_ms, text)

    def dropped(self, active: Active, now_ms: int, reason: str) -> None:
        """The rule has lost its alerts for a reason that is not its expression."""
        for alert in active.values():
            if alert.state is not State.INACTIVE:
                self._say(DecisionKind.RULE_FORGOTTEN, alert, now_ms, reason)

    def failed(self, reason: str, now_ms: int) -> None:
        """The rule cannot be evaluated; its alerts stay as they are."""
        self._say(DecisionKind.RULE_FAILED, None, now_ms, f"The rule cannot be evaluated: {reason}")

    def recovered(self, now_ms: int) -> None:
        """The rule can be evaluated again."""
        self._say(DecisionKind.RULE_RECOVERED, None, now_ms, "The rule can be evaluated again.")

    def _changes(
        self, was: ActiveAlert | None, alert: ActiveAlert, now_ms: int
    ) -> Iterator[tuple[DecisionKind, str]]:
        before = State.INACTIVE if was is None else was.state
        value = go_number(alert.value)
        rule = self._rule
        if alert.state is State.PENDING and before is State.INACTIVE:
            yield (
                DecisionKind.RULE_PENDING,
                f"The expression is true, value {value}; it fires if that lasts for {rule.for_}.",
            )
        elif alert.state is State.FIRING and before is not State.FIRING:
            lasted = f"for {span(now_ms - alert.active_ms)}" if rule.for_ else "and no `for` is given"
            yield DecisionKind.RULE_FIRING, f"The expression is true {lasted}, value {value}: it fires."
        elif alert.state is State.INACTIVE and before is State.FIRING:
            kept = f" since {when(alert.keep_firing_ms)}" if alert.keep_firing_ms else ""
            fired = span(now_ms - alert.fired_ms)
            yield DecisionKind.RULE_RESOLVED, f"{_NO_LONGER}{kept}: it ends, having fired for {fired}."
        elif alert.state is State.FIRING and was is not None and alert.keep_firing_ms != was.keep_firing_ms:
            if alert.keep_firing_ms:
                text = f"{_NO_LONGER}; `keep_firing_for` lets it fire on for {rule.keep_firing_for}."
                yield DecisionKind.RULE_KEPT_FIRING, text
            else:
                yield DecisionKind.RULE_FIRING, f"The expression is true again, value {value}: it fires on."
        if alert.state is not State.INACTIVE and (was is None or was.annotations is not alert.annotations):
            for what, texts, old in (
                ("label", alert.labels, was and was.labels),
                ("annotation", alert.annotations, was and was.annotations),
            ):
                for name, text in texts.items():
                    if text.startswith(EXPANSION_FAILED) and text != (old or {}).get(name):
                        cause = text.removeprefix(EXPANSION_FAILED).strip().removesuffix(">")
                        yield DecisionKind.TEMPLATE_FAILED, f"The template of {what} {name} failed: {cause}"

    def _say(self, kind: DecisionKind, alert: ActiveAlert | None, now_ms: int, text: str) -> None:
        labels: dict[str, str] = {}
        detail: dict[str, object] = {"expr": self._query}
        if alert is not None:
            merged = {**self._external_labels, **alert.labels}
            labels = {name: merged[name] for name in sorted(merged) if merged[name]}
            detail |= {
                "value": go_number(alert.value),
                "for_ms": int(self._rule.for_),
                "active_ms": alert.active_ms,
            }
        number = fingerprint(labels) if labels else 0
        self._record(Decision(now_ms, kind, self._rule.alert, number, labels, text=text, detail=detail))
