"""Recording rules: the result of an expression under another name."""

from collections.abc import Mapping

from otero.errors import ExecutionError
from otero.model.labels import METRIC_NAME, LabelColumn
from otero.rules.config import Rule
from otero.rules.languages import LANGUAGES, PROMQL
from otero.rules.rule import Health, Query, Written, label_bytes


class RecordingRule:
    """One recording rule. `labels` has the group's labels below its own."""

    type = "recording"

    def __init__(
        self, rule: Rule, group_labels: Mapping[str, str], features: frozenset[str], *, language: str = PROMQL
    ) -> None:
        self.config = rule
        self.name = rule.record
        self.language = rule.language or language
        self.expression = LANGUAGES[self.language](rule.expr, features)
        self.query = self.expression.text
        self.labels = dict(sorted({**group_labels, **rule.labels}.items()))
        self.health = Health()

    def evaluate(self, time_ms: int, query: Query, limit: int) -> Written:
        """The samples of a time. Raises ExecutionError, and what the query raises."""
        found = query(self.config.expr, time_ms, self.language)
        table = found.labels
        for name, value in {**self.labels, METRIC_NAME: self.name}.items():
            table = table.with_column(name, LabelColumn.constant(value, table.size))
        keys = label_bytes(table)
        if len(set(keys)) < len(keys):
            raise ExecutionError("vector contains metrics with the same labelset after applying rule labels")
        if limit and len(keys) > limit:
            raise ExecutionError(f"exceeded limit of {limit} with {len(keys)} series")
        return Written(keys, found.values, found.histograms)
