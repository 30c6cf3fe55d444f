"""An alerting rule at work: expression and templates around the state machine of `alerting`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from otero.model.alerts import Alert
from otero.model.decisions import Record, forget
from otero.model.histograms import boxed_rows
from otero.model.labels import LabelBytes, encode_labels
from otero.query.promql.native.text import describe
from otero.query.result import Vector
from otero.rules.alerting import (
    Active,
    Found,
    LimitReached,
    State,
    Timing,
    advance,
    alert_labels,
    due,
    restored,
    series_of,
    state_of,
    to_send,
)
from otero.rules.config import USUAL_TIMING, AlertTiming, Rule
from otero.rules.decisions import RuleDecisions
from otero.rules.languages import LANGUAGES, PROMQL
from otero.rules.rule import Health, Query, Written
from otero.rules.template import AlertTemplates, Ask, Samples, table_link

SeenStates = Callable[[str], Mapping[LabelBytes, tuple[int, float]]]
"""Of an alert's name: `alerting.restored`'s `seen`."""


class AlertingRule:
    """One alerting rule and its alerts. One thread evaluates it; any may read.

    `is_restored` is False after a start until `restore`: so long it writes no series, which would hide the ones from
    before.
    """

    type = "alerting"

    def __init__(
        self,
        rule: Rule,
        group_labels: Mapping[str, str],
        external_labels: Mapping[str, str],
        external_url: str,
        features: frozenset[str],
        *,
        is_restored: bool = True,
        record: Record = forget,
        language: str = PROMQL,
        timing: AlertTiming = USUAL_TIMING,
    ) -> None:
        self.config = rule
        self.name = rule.alert
        self.language = rule.language or language
        self.expression = LANGUAGES[self.language](rule.expr, features)
        self.query = self.expression.text
        self.labels = dict(sorted({**group_labels, **rule.labels}.items()))
        self.annotations = dict(sorted(rule.annotations.items()))
        self.health = Health()
        self.active: Active = {}
        self.is_restored = is_restored
        self._timing = timing
        self.decisions = RuleDecisions(rule, self.query, external_labels, record)
        self._external_labels = external_labels
        self._generator_url = external_url + table_link(self.query)
        self._templates = AlertTemplates(rule.alert, external_labels, external_url)

    @property
    def state(self) -> State:
        """The worst state of its alerts."""
        return state_of(self.active) if self.health.evaluated_ms else State.UNKNOWN

    @property
    def asks_in_templates(self) -> bool:
        """Whether a template of it may read any series."""
        return any("query" in text for text in (*self.labels.values(), *self.annotations.values()))

    def evaluate(self, time_ms: int, query: Query, limit: int, *, offset_ms: int = 0) -> Written:
        """Bring the alerts to a time; their series. The expression is asked `offset_ms` before it.

        Raises ExecutionError, and what the query raises.
        """
        vector = query(self.config.expr, time_ms - offset_ms, self.language)
        found = self._found(vector, time_ms, query)
        timing = Timing(self.config.for_, self.config.keep_firing_for, limit)
        before = self.active
        try:
            self.active = advance(before, found, time_ms, timing)
        except LimitReached as error:
            self.active = {}
            self.decisions.dropped(before, time_ms, f"The rule starts from no alerts: {error}.")
            raise
        if self.health.error:
            self.decisions.recovered(time_ms)
        self.decisions.changed(before, self.active, time_ms)
        if not self.is_restored:
            return Written()
        samples = series_of(self.active)
        return Written(
            [encode_labels(labels) for labels, _ in samples], np.array([value for _, value in samples])
        )

    def send(self, time_ms: int, interval_ms: int) -> list[Alert]:
        """The alerts that others are to be told of now."""
        sent, self.active = due(self.active, time_ms, interval_ms, self._timing.resend_delay)
        return [to_send(alert, self._external_labels, self._generator_url) for alert in sent]

    def restore(self, now_ms: int, seen: SeenStates) -> None:
        """Go on where the server before has stopped. A short `for` starts anew: that is over sooner than the grace
        period."""
        if self.config.for_ >= self._timing.for_grace_period and self.active:
            before = self.active
            self.active = restored(
                before, seen(self.name), now_ms, self.config.for_, self._timing.for_grace_period
            )
            self.decisions.restored(before, self.active, now_ms)
        self.is_restored = True

    def own_labels(self, element: Mapping[str, str]) -> dict[str, str]:
        """The rule's labels for an element, of a rule whose labels depend on neither value, time nor queries."""
        return {
            name: self._templates.expand(text, element, 0.0, 0, lambda _text, _time_ms: [])
            for name, text in self.labels.items()
        }

    def _found(self, vector: Vector, time_ms: int, query: Query) -> list[Found]:
        ask = _asker(query)
        shown = _shown(vector)
        out: list[Found] = []
        for at, (element, value) in enumerate(zip(vector.labels.rows(), vector.values.tolist(), strict=True)):
            given: Any = shown.get(at, value)

            def expand(text: str, element: dict[str, str] = element, given: Any = given) -> str:
                return self._templates.expand(text, element, given, time_ms, ask)

            own = {name: expand(text) for name, text in self.labels.items()}
            annotations = {name: expand(text) for name, text in self.annotations.items()}
            number = 0.0 if at in shown else value
            out.append(Found(alert_labels(element, own, self.name), annotations, number))
        return out


def _asker(query: Query) -> Ask:
    def ask(text: str, time_ms: int) -> Samples:
        vector = query(text, time_ms)
        return list(zip(vector.labels.rows(), vector.values.tolist(), strict=True))

    return ask


def _shown(vector: Vector) -> dict[int, str]:
    """The texts of the elements that are native histograms."""
    if vector.histograms is None:
        return {}
    texts = describe(vector.histograms)
    rows = boxed_rows(vector.values)
    return {int(at): texts[rows[at]] for at in np.flatnonzero(rows >= 0)}
