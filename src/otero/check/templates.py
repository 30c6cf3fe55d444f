"""Templates on the labels that alerts will have: of rules' annotations and labels, and of receivers."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from otero.alerting.config import AlertmanagerConfig
from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.template import Templates
from otero.check.routing import Remark, taken_by
from otero.check.rule_labels import AlertLabels
from otero.model.alerts import Alert
from otero.model.labels import METRIC_NAME
from otero.query.promql import ast
from otero.query.promql.parser import parse
from otero.rules.config import Rule
from otero.rules.template import EXPANSION_FAILED, AlertTemplates

_GUESSES = ("1", "a:1", "1h", "a")
"""What labels and values of which nothing is known may be: a template that works with one of them is not blamed."""
_VALUES = (1.0, 0.5)
_NOTES: Sequence[str] = ("summary", "description", "runbook_url")
_NAMED = re.compile(r"\$labels\.([A-Za-z_]\w*)|\.Labels\.([A-Za-z_]\w*)")
_TIME_MS = 1_700_000_000_000


def remarks_on_rule(rule: Rule, labels: AlertLabels, external: Mapping[str, str]) -> Iterator[Remark]:
    """Templates that fail whatever comes, and labels that they name and no element of the expression has."""
    texts = [
        (f"{key}.{name}", text)
        for key, found in (("labels", rule.labels), ("annotations", rule.annotations))
        for name, text in found.items()
        if "{{" in text
    ]
    metric = _metric(rule.expr)
    for at, text in texts:
        mentioned = [first or second for first, second in _NAMED.findall(text)]
        failures = [
            _expanded(rule.alert, text, _sample(labels, mentioned, guess, metric), value, external)
            for guess, value in itertools.product(_GUESSES, _VALUES)
        ]
        if all(failures):
            cause = failures[0].removeprefix(EXPANSION_FAILED).strip().removesuffix(">")
            yield Remark(at, f"the template fails on the alerts of this rule: {cause}")
            continue
        for name in dict.fromkeys(mentioned):
            if name != METRIC_NAME and labels.expression.value(name) == "":
                only = labels.expression.only
                given = (
                    f"; it gives {', '.join(sorted(only)) or 'no labels at all'}" if only is not None else ""
                )
                yield Remark(
                    at, f"$labels.{name} is always empty: the expression gives no label {name}{given}"
                )


def remarks_on_receivers(
    config: AlertmanagerConfig, templates: Templates, rules: Sequence[AlertLabels]
) -> Iterator[Remark]:
    """Templates of receivers that fail on every alert that may come to them."""
    coming: dict[str, list[AlertLabels]] = {}
    for labels in rules:
        for route in taken_by(config, labels):
            coming.setdefault(route.receiver, []).append(labels)
    for index, receiver in enumerate(config.receivers):
        of_receiver = list({labels.alert: labels for labels in coming.get(receiver.name, ())}.values())
        if not of_receiver:
            continue
        for integration in receiver.integrations:
            at = f"receivers[{index}].{integration.kind}_configs[{integration.index}]"
            for key, text in _texts(integration.config, ""):
                causes = [
                    _sent(templates, labels, text, receiver.name, integration.name) for labels in of_receiver
                ]
                if all(causes):
                    yield Remark(
                        f"{at}.{key}", f"the template fails on every alert that comes here: {causes[0]}"
                    )


def _texts(config: object, at: str) -> Iterator[tuple[str, str]]:
    """The texts with actions in an integration's settings, and where they stand."""
    if isinstance(config, str):
        if "{{" in config:
            yield at, config
    elif isinstance(config, msgspec.Struct):
        for info in msgspec.structs.fields(type(config)):
            yield from _texts(getattr(config, info.name), f"{at}.{info.encode_name}".removeprefix("."))
    elif isinstance(config, Mapping):
        for key, child in config.items():
            yield from _texts(child, f"{at}.{key}")
    elif isinstance(config, list | tuple):
        for index, child in enumerate(config):
            yield from _texts(child, f"{at}[{index}]")


def _sent(templates: Templates, labels: AlertLabels, text: str, receiver: str, integration: str) -> str:
    """Why a text fails, firing or resolved, whatever the unknown labels are; "" when it does not."""
    cause = ""
    mentioned = [first or second for first, second in _NAMED.findall(text)]
    for guess in _GUESSES:
        own = {**dict.fromkeys(("instance", "job"), guess), **labels.known()}
        own |= {name: guess for name in mentioned if labels.value(name) is None}
        notes = dict.fromkeys(_NOTES, guess)
        alert = Alert(dict(sorted(own.items())), notes, _TIME_MS, _TIME_MS + 1, "http://localhost/graph")
        for now_ms in (_TIME_MS, _TIME_MS + 2):
            notification = Notification(
                receiver=receiver,
                integration=integration,
                group_key='{}:{alertname="A"}',
                group_labels=own,
                alerts=[alert],
                now_ms=now_ms,
                external_url="http://localhost",
            )
            try:
                templates.bind(notification).text(text)
            except DeliveryError as error:
                cause = str(error)
                break
        else:
            return ""
    return cause


def _sample(labels: AlertLabels, mentioned: Sequence[str], guess: str, metric: str) -> dict[str, str]:
    """Labels of an element of the expression."""
    given = labels.expression
    names = {*mentioned, *given.fixed, *(given.only if given.only is not None else ("instance", "job"))}
    known = {name: given.value(name) for name in names}
    found = {name: guess if value is None else value for name, value in known.items() if value != ""}
    return found | ({METRIC_NAME: metric} if metric else {})


def _expanded(
    alert: str, text: str, labels: Mapping[str, str], value: float, external: Mapping[str, str]
) -> str:
    """The failure, or "". What a template asks is answered with one series that has the same labels."""

    def ask(_query: str, _time_ms: int) -> list[tuple[dict[str, str], float]]:
        return [(dict(labels), value)]

    found = AlertTemplates(alert, external, "http://localhost").expand(text, labels, value, _TIME_MS, ask)
    return found if found.startswith(EXPANSION_FAILED) else ""


def _metric(expr: str) -> str:
    return next(
        (node.name for node in ast.walk(parse(expr)) if isinstance(node, ast.VectorSelector) and node.name),
        "",
    )
