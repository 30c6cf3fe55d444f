"""`/alerts/why`: what the ledger knows of an alert, told by instance, and what its rule says now."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request

from otero.alerting.why import Story, about_rule, conclusion, stories
from otero.api.context import ApiContext
from otero.api.native.openapi import Endpoint
from otero.errors import BadField, BadInput, OteroError
from otero.fields import Duration
from otero.model.alerts import fingerprint
from otero.model.budget import Budget
from otero.model.decisions import Decision
from otero.query.promql import ast
from otero.query.promql.numbers import go_number
from otero.query.promql.parser import parse
from otero.query.promql.printer import to_text
from otero.query.result import Vector
from otero.rules.alert_rule import AlertingRule
from otero.rules.group import Group
from otero.storage.ledger import Wanted

MAX_DECISIONS = 10_000
MAX_GROUPS = 1_000
_NEAR = 5
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class WhyQuery(msgspec.Struct):
    """`alertname`: a name, or a fingerprint of 16 hexadecimal digits. `label`: `name=value` that the alerts must have;
    may be given several times. `since`: how far back, such as 24h."""

    alertname: str
    label: list[str] = []
    since: str = "24h"


class WhyDecision(msgspec.Struct):
    """One decision; `kind` says what, `text` why, `detail` depends on the kind. Receiver and integration are empty where
    it concerns none."""

    time_ms: int
    kind: str
    text: str
    group_key: str
    receiver: str
    integration: str
    detail: dict[str, Any]


class WhyAlert(msgspec.Struct):
    """One alert and the decisions about it and its groups, in order.

    `state` is how it is now: pending, firing, inactive, or empty where nobody knows. `conclusion` says who was told and
    who was not, and why; `told` and `not_told` are its parts.
    """

    labels: dict[str, str]
    fingerprint: str
    state: str
    decisions: list[WhyDecision]
    conclusion: str
    told: list[str]
    not_told: list[str]


class Measured(msgspec.Struct):
    """What an expression compares, as it is now: its values over all series, as texts."""

    query: str
    series: int
    lowest: str
    highest: str


class WhyRule(msgspec.Struct):
    """A rule of that name as it is now. `measured` is given while it is neither pending nor firing, if its expression
    compares something with a number."""

    group: str
    file: str
    query: str
    for_s: float
    state: str
    health: str
    error: str
    evaluated_ms: int
    measured: Measured | None = None


class Why(msgspec.Struct):
    """The stories of an alert's instances, the one of which something was heard last at the end.

    `rule_decisions` concern the rule as a whole. `near_names` are given when nothing of that name is known.
    `truncated` says that there were more decisions than are given; those are the newest.
    """

    alertname: str
    start_ms: int
    now_ms: int
    rules: list[WhyRule]
    alerts: list[WhyAlert]
    rule_decisions: list[WhyDecision]
    near_names: list[str]
    truncated: bool


class WhyEndpoints:
    """`/alerts/why`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def endpoints(self) -> tuple[Endpoint, ...]:
        summary = "Why an alert fired, and who was told or was not"
        return (Endpoint("GET", "/alerts/why", summary, self.explain_alert, Why, query=WhyQuery),)

    async def explain_alert(self, query: WhyQuery, _path: dict[str, str], request: Request) -> Why:
        if not query.alertname:
            raise BadInput("alertname is empty: give the name or the fingerprint of an alert")
        labels = _labels(query.label)
        try:
            since_ms = Duration.parse(query.since)
        except BadField as error:
            raise BadInput(f"since: {error}") from None
        now_ms = self._context.clock.now_ms()
        start_ms = max(now_ms - since_ms, 0)
        queries = self._context.queries
        budget = queries.budget()
        return await queries.run(
            "why",
            request,
            budget,
            lambda: self._why(query.alertname, labels, start_ms, now_ms, budget),
            query.alertname,
        )

    def _why(self, asked: str, labels: Mapping[str, str], start_ms: int, now_ms: int, budget: Budget) -> Why:
        number = int(asked, 16) if _FINGERPRINT.fullmatch(asked) else 0
        name, decisions, truncated = self._decisions(asked, number, start_ms, now_ms, budget)
        rules = [(group, rule) for group, rule in self._rules() if rule.name == name]
        found = [
            story
            for story in stories(decisions)
            if (not number or story.fingerprint == number)
            and all(story.labels.get(key) == value for key, value in labels.items())
        ]
        states = self._states(rules)
        near: list[str] = []
        if not decisions and not rules:
            known = {rule.name for _, rule in self._rules()} | self._context.ledger.names(
                start_ms, budget=budget
            )
            near = _near(asked, known)
        return Why(
            name,
            start_ms,
            now_ms,
            [self._rule(group, rule, budget, now_ms) for group, rule in rules],
            [self._alert(story, states, is_ruled=bool(rules), now_ms=now_ms) for story in found],
            [_decision(one) for one in about_rule(decisions)],
            near,
            truncated,
        )

    def _decisions(
        self, asked: str, number: int, start_ms: int, now_ms: int, budget: Budget
    ) -> tuple[str, list[Decision], bool]:
        """The name of the alert, the decisions about it and its groups, and whether there are more."""
        ledger = self._context.ledger

        def read(**about: Any) -> dict[int, Decision]:
            # A decision bears the time of what it is about; a clock of a sender may be ahead a little.
            wanted = Wanted(start_ms, now_ms + 60_000, **about)
            return {
                one.sequence: one.decision for one in ledger.read(wanted, limit=MAX_DECISIONS, budget=budget)
            }

        name = asked
        found = read(alertname=asked, fingerprint=number)
        if number and (names := {one.alertname for one in found.values() if one.fingerprint == number}):
            name = min(names)
            found |= read(alertname=name)
        truncated = len(found) >= MAX_DECISIONS
        keys = list(
            dict.fromkeys(one.group_key for one in found.values() if one.fingerprint and one.group_key)
        )
        if keys:
            of_groups = read(group_keys=tuple(keys[-MAX_GROUPS:]))
            truncated |= len(of_groups) >= MAX_DECISIONS or len(keys) > MAX_GROUPS
            found |= of_groups
        ordered = sorted(found.items(), key=lambda item: (item[1].time_ms, item[0]))
        return name, [one for _, one in ordered], truncated

    def _rules(self) -> Iterable[tuple[Group, AlertingRule]]:
        return (
            (group, rule)
            for group in self._context.rules.groups
            for rule in group.rules
            if isinstance(rule, AlertingRule)
        )

    def _states(self, rules: Sequence[tuple[Group, AlertingRule]]) -> dict[int, str]:
        """Of the alerts that rules have now, by fingerprint."""
        return {
            fingerprint({**group.around.external_labels, **alert.labels}): str(alert.state)
            for group, rule in rules
            for alert in rule.active.values()
        }

    def _alert(self, story: Story, states: Mapping[int, str], *, is_ruled: bool, now_ms: int) -> WhyAlert:
        alertmanager = self._context.alertmanager
        state = states.get(story.fingerprint, "inactive" if is_ruled else "")
        taken = alertmanager.inbox.get(story.fingerprint)
        if not is_ruled:
            state = "firing" if taken is not None and not taken.resolved_at(now_ms) else "inactive"
        receivers = {
            receiver.name: [integration.name for integration in receiver.integrations]
            for receiver in alertmanager.config.receivers
        }
        outcome = conclusion(story, state=state, integrations=receivers)
        return WhyAlert(
            dict(story.labels),
            f"{story.fingerprint:016x}",
            state,
            [_decision(one) for one in story.decisions],
            outcome.text,
            list(outcome.told),
            list(outcome.not_told),
        )

    def _rule(self, group: Group, rule: AlertingRule, budget: Budget, now_ms: int) -> WhyRule:
        health = rule.health
        is_active = any(not alert.resolved_ms for alert in rule.active.values())
        return WhyRule(
            group.name,
            group.file,
            rule.query,
            rule.config.for_ / 1000,
            str(rule.state),
            health.state,
            health.error,
            health.evaluated_ms,
            None if is_active else self._measured(rule.query, budget, now_ms),
        )

    def _measured(self, query: str, budget: Budget, now_ms: int) -> Measured | None:
        """What the expression compares with a number."""
        engine = self._context.engine
        try:
            text = _compared(parse(query, features=engine.features))
            if not text:
                return None
            value = engine.instant(text, now_ms, budget).value
        except OteroError:  # the rule's health tells of it
            return None
        if not isinstance(value, Vector):
            return None
        values = sorted(value.values.tolist())
        if not values:
            return Measured(text, 0, "", "")
        return Measured(text, len(values), go_number(values[0]), go_number(values[-1]))


def _compared(expr: ast.Expr) -> str:
    """The left side of a comparison with a number, "" for any other expression."""
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    if not isinstance(expr, ast.Binary) or expr.op not in _COMPARISONS or expr.return_bool:
        return ""
    return to_text(expr.left) if isinstance(expr.right, ast.NumberLiteral) else ""


def _decision(one: Decision) -> WhyDecision:
    return WhyDecision(
        one.time_ms, str(one.kind), one.text, one.group_key, one.receiver, one.integration, dict(one.detail)
    )


def _labels(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput(f"label: write name=value, not {text!r}")
        found[name] = value.strip('"')
    return found


def _near(asked: str, known: Iterable[str]) -> list[str]:
    by_lower = {name.lower(): name for name in sorted(known)}
    found = difflib.get_close_matches(asked.lower(), by_lower, _NEAR, 0.6)
    found += [name for name in by_lower if asked.lower() in name and name not in found]
    return [by_lower[name] for name in found][:_NEAR]
