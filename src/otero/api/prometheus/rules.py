"""`/api/v1/rules`, `/api/v1/alerts` and `/api/v1/alertmanagers`."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from otero.api.context import ApiContext
from otero.api.prometheus import render
from otero.api.prometheus.params import Params
from otero.errors import BadInput, BadQuery
from otero.gotemplate.formatting import float_text
from otero.model.matchers import Matcher
from otero.model.times import rfc3339
from otero.query.promql.parser import parse_selector
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import ActiveAlert
from otero.rules.group import Group
from otero.rules.stages import Rule

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False", ""})


class RuleRoutes:
    """Tells what rules there are, how they went and what alerts they have."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def alerts(self, _request: Request) -> Response:
        return render.success({"alerts": [_alert(alert) for alert in self._context.rules.alerts()]})

    async def alertmanagers(self, _request: Request) -> Response:
        known = self._context.external_alertmanagers
        return render.success(
            {
                "activeAlertmanagers": [{"url": url} for url in known.active],
                "droppedAlertmanagers": [{"url": url} for url in known.dropped],
            }
        )

    async def rules(self, request: Request) -> Response:
        params = await Params.of(request)
        wanted = _Wanted(params)
        limit, token = _page(params)
        groups: list[dict[str, Any]] = []
        data: dict[str, Any] = {"groups": groups}
        reached = not token
        for group in self._context.rules.groups:
            if not wanted.group(group):
                continue
            if not reached and _token(group) != token:
                continue
            reached = True
            rules = [_rule(rule, wanted.alerts) for rule in group.rules if wanted.rule(rule)]
            if not rules:
                continue
            if limit and len(groups) == limit:
                data["groupNextToken"] = _token(group)
                break
            groups.append(_group(group, rules))
        if not reached:
            raise BadInput(
                f"invalid parameter \"group_next_token\": invalid group_next_token '{token}'. were rule groups changed?"
            )
        return render.success(data)


class _Wanted:
    """Which rules a request asks for."""

    def __init__(self, params: Params) -> None:
        self._names = frozenset(params.texts("rule_name[]"))
        self._groups = frozenset(params.texts("rule_group[]"))
        self._files = frozenset(params.texts("file[]"))
        self._type = params.text("type").lower()
        if self._type not in ("", "alert", "record"):
            raise BadInput(f'invalid parameter "type": not supported value "{self._type}"')
        excluded = params.text("exclude_alerts")
        if excluded not in _TRUE | _FALSE:
            raise BadInput(
                'invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing'
                f' "{excluded}": invalid syntax'
            )
        self.alerts = excluded not in _TRUE
        self._selectors: list[Sequence[Matcher]] = []
        for text in params.texts("match[]"):
            try:
                self._selectors.append(parse_selector(text))
            except BadQuery as error:
                raise BadInput(f'invalid parameter "match[]": {error}') from None

    def group(self, group: Group) -> bool:
        if self._groups and group.name not in self._groups:
            return False
        return not self._files or group.file in self._files

    def rule(self, rule: Rule) -> bool:
        if self._names and rule.name not in self._names:
            return False
        if self._type and not rule.type.startswith(self._type):
            return False
        if not self._selectors:
            return True
        # A label that a template makes is unknown here.
        labels = {name: value for name, value in rule.labels.items() if "{{" not in value}
        return any(
            all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)
            for matchers in self._selectors
        )


def _page(params: Params) -> tuple[int, str]:
    """The most groups of the answer, 0 for all, and where it begins."""
    text, token = params.text("group_limit"), params.text("group_next_token")
    if token and not text:
        raise BadInput(
            'invalid parameter "group_limit": group_limit needs to be set in order to paginate over the groups'
        )
    if not text:
        return 0, ""
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not int(text):
        raise BadInput('invalid parameter "group_limit": group_limit must be a positive integer')
    return int(text), token


def _token(group: Group) -> str:
    return hashlib.sha1(f"{group.file};{group.name}".encode(), usedforsecurity=False).hexdigest()


def _group(group: Group, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": group.interval_ms / 1000,
        "limit": group.config.limit,
        "evaluationTime": group.last.seconds,
        "lastEvaluation": rfc3339(group.last.time_ms),
    }


def _rule(rule: Rule, with_alerts: bool) -> dict[str, Any]:
    health = rule.health
    error = {"lastError": health.error} if health.error else {}
    last = {
        "evaluationTime": health.seconds,
        "lastEvaluation": rfc3339(health.evaluated_ms),
        "type": rule.type,
    }
    if not isinstance(rule, AlertingRule):
        return {
            "name": rule.name,
            "query": rule.query,
            "labels": rule.labels,
            "health": health.state,
            **error,
            **last,
        }
    alerts = [_alert(alert) for alert in rule.active.values() if not alert.resolved_ms]
    return {
        "state": rule.state,
        "name": rule.name,
        "query": rule.query,
        "duration": rule.config.for_ / 1000,
        "keepFiringFor": rule.config.keep_firing_for / 1000,
        "labels": rule.labels,
        "annotations": rule.annotations,
        "alerts": alerts if with_alerts else None,
        "health": health.state,
        **error,
        **last,
    }


def _alert(alert: ActiveAlert) -> dict[str, Any]:
    shown: Mapping[str, Any] = {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.state,
        "activeAt": rfc3339(alert.active_ms),
    }
    since = {"keepFiringSince": rfc3339(alert.keep_firing_ms)} if alert.keep_firing_ms else {}
    return {**shown, **since, "value": float_text(alert.value, "e")}
