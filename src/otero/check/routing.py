"""Routes, receivers, inhibition rules and time intervals of an alertmanager.yml, beside the rules that feed it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otero.alerting.config import AlertmanagerConfig
from otero.alerting.inhibit_rule import InhibitSource
from otero.alerting.matchers import matcher_text, matchers_text
from otero.alerting.route import Route
from otero.check.rule_labels import AlertLabels, all_of
from otero.model.matchers import Matcher, MatchOp
from otero.source import did_you_mean

_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to say of a file, at a path such as `route.routes[0]`."""

    at: str
    text: str


def remarks_on(config: AlertmanagerConfig, rules: Sequence[AlertLabels]) -> Iterator[Remark]:
    """What to say of it; without rules, only what can be said without them."""
    passed = {route for labels in rules for route in _walk(config.route, labels)[0]}
    yield from _unreached(config.route, "route", passed, rules)
    yield from _unused(config)
    for index, rule in enumerate(config.inhibit_rules):
        at = f"inhibit_rules[{index}]"
        several = len(rule.sources) > 1
        for number, source in enumerate(rule.sources):
            yield from _of_inhibition(
                f"{at}.sources[{number}]" if several else at, source, rule.target_matchers, rules
            )


def taken_by(config: AlertmanagerConfig, labels: AlertLabels) -> list[Route]:
    """The routes that alerts of these labels may take."""
    return _walk(config.route, labels)[1]


def untold(config: AlertmanagerConfig, labels: AlertLabels) -> str:
    """Why nobody is told of alerts of these labels; "" when somebody may be."""
    integrations = {receiver.name: len(receiver.integrations) for receiver in config.receivers}
    receivers = list(dict.fromkeys(route.receiver for route in taken_by(config, labels)))
    if any(integrations.get(name) for name in receivers):
        return ""
    named = " or ".join(f'"{name}"' for name in receivers)
    return f"nobody is told of this alert: it goes to the receiver {named}, which has no integrations"


def _walk(route: Route, labels: AlertLabels) -> tuple[list[Route], list[Route]]:
    """The routes below and including one at which alerts may arrive, and those that they may take; they match `route`."""
    passed, taken = [route], list[Route]()
    is_surely_below = False
    for child in route.routes:
        matches = all_of(labels, child.matchers)
        if matches is False:
            continue
        below = _walk(child, labels)
        passed += below[0]
        taken += below[1]
        if matches:
            is_surely_below = True
            if not child.continue_:
                break
    if not is_surely_below:
        taken.append(route)
    return passed, taken


def _unreached(route: Route, at: str, passed: set[Route], rules: Sequence[AlertLabels]) -> Iterator[Remark]:
    for index, child in enumerate(route.routes):
        where = f"{at}.routes[{index}]"
        before = next((n for n, other in enumerate(route.routes[:index]) if _takes_all(other, child)), None)
        if before is not None:
            yield Remark(
                where,
                f"no alert comes here: {at}.routes[{before}] takes all of them and has no `continue: true`; give it"
                " one, or move it behind this route",
            )
        elif rules and child not in passed:
            yield Remark(where, f"no alert of the given rules comes here: {_cause(child.matchers, rules)}")
        else:
            yield from _unreached(child, where, passed, rules)


def _takes_all(earlier: Route, later: Route) -> bool:
    """Whether every alert that matches the later route is taken by its earlier sibling."""
    if earlier.continue_:
        return False
    exact = {matcher.name: matcher.value for matcher in later.matchers if matcher.op is MatchOp.EQUAL}
    return all(
        matcher in later.matchers or (matcher.name in exact and matcher.matches(exact[matcher.name]))
        for matcher in earlier.matchers
    )


def _cause(matchers: Sequence[Matcher], rules: Sequence[AlertLabels]) -> str:
    """Why no rule's alerts match these, with what to do."""
    for matcher in matchers:
        values = [labels.value(matcher.name) for labels in rules]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or any(map(matcher.matches, known)):
            continue
        given = sorted({value for value in known if value})
        if not given:
            return f"{matcher_text(matcher)}, and no rule gives its alerts a label {matcher.name}"
        hint = did_you_mean(matcher.value, given) if matcher.op is MatchOp.EQUAL else ""
        return f"{matcher_text(matcher)}, but {matcher.name} of the rules' alerts is {_listed(given)}{hint}"
    return (
        f"none matches all of {matchers_text(matchers)}, or those that do are taken by a route before it"
        if matchers
        else "a route before it takes them"
    )


def _unused(config: AlertmanagerConfig) -> Iterator[Remark]:
    routes = list(config.route.walk())
    used = {route.receiver for route in routes}
    for index, receiver in enumerate(config.receivers):
        if receiver.name not in used:
            text = f'no route leads to the receiver "{receiver.name}"; name it in a route, or delete it'
            yield Remark(f"receivers[{index}].name", text)
    named = {name for route in routes for name in (*route.mute_time_intervals, *route.active_time_intervals)}
    for key in ("mute_time_intervals", "time_intervals"):
        for index, interval in enumerate(getattr(config.given, key)):
            if interval.name not in named:
                text = f'no route uses the time interval "{interval.name}"; name it in a route, or delete it'
                yield Remark(f"{key}[{index}].name", text)


def _of_inhibition(
    at: str,
    source: InhibitSource,
    target: Sequence[Matcher],
    rules: Sequence[AlertLabels],
) -> Iterator[Remark]:
    if not rules:
        return
    sources = [labels for labels in rules if all_of(labels, source.matchers) is not False]
    targets = [labels for labels in rules if all_of(labels, target) is not False]
    for found, what, matchers in ((sources, "source", source.matchers), (targets, "target", target)):
        if not found:
            yield Remark(
                at, f"it inhibits nothing: no alert of the given rules is a {what}: {_cause(matchers, rules)}"
            )
            return
    for name in source.equal:
        of_sources = {labels.value(name) for labels in sources}
        of_targets = {labels.value(name) for labels in targets}
        if None in of_sources or None in of_targets:
            continue
        if of_sources == {""} == of_targets:
            yield Remark(
                f"{at}.equal",
                f"no alert of the given rules that this is about has a label {name}: absent on both sides is equal, so"
                " that it sets no bound; correct its name, or delete it",
            )
        elif not of_sources & of_targets:
            yield Remark(
                f"{at}.equal",
                f"it inhibits nothing: {name} is {_listed(sorted(filter(None, of_sources)))} on sources and"
                f" {_listed(sorted(filter(None, of_targets)))} on targets, never equal",
            )


def _listed(values: Sequence[str]) -> str:
    if not values:
        return "absent"
    named = [f'"{value}"' for value in values[:_MAX_NAMED]]
    more = len(values) - len(named)
    return " or ".join(named) + (f" or one of {more} more" if more else "")
