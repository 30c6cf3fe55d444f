"""A rule names its query language."""

from pathlib import Path

import pytest

from otero.clock import ManualClock
from otero.errors import BadConfig
from otero.rules.alert_rule import AlertingRule
from otero.rules.config import load_rule_files
from otero.rules.group import Group, Surroundings
from otero.rules.languages import LANGUAGES
from otero.rules.rule import RuleQueries
from tests.rules.memory import START_MS, MemoryStore

FILE = """groups:
- name: g
  language: promql
  rules:
  - alert: Up
    expr: vector(1)
    language: promql
  - record: one
    expr: vector(1)
"""


def test_promql_may_be_named_on_group_and_rule(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text(FILE)
    [file] = load_rule_files([str(path)], frozenset())
    group = Group(file.path, file.content.groups[0], Surroundings(), ManualClock())
    assert [rule.language for rule in group.rules] == ["promql", "promql"]


@pytest.mark.parametrize("at", ["  language: promql\n", "    language: promql\n"])
def test_other_languages_are_refused_with_those_that_are_known(tmp_path: Path, at: str) -> None:
    path = tmp_path / "r.yml"
    path.write_text(FILE.replace(at, at.replace("promql", "logql"), 1))
    with pytest.raises(BadConfig) as caught:
        load_rule_files([str(path)], frozenset())
    [problem] = caught.value.problems
    assert problem.message == 'unknown language "logql" (logql arrives with logs); use one of promql'
    assert problem.line == FILE[: FILE.index(at)].count("\n") + 1


def test_each_rule_is_asked_of_its_languages_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a second language takes: a line in the table, and an engine."""
    from otero.rules import languages
    from otero.rules.config import Rule, RuleGroup

    seen: list[str] = []

    class Shouting:
        def instant(self, text: str, time_ms: int, budget: object) -> object:
            seen.append(text)
            return store.engine.instant(text.lower(), time_ms, store.queries.budget())

    monkeypatch.setattr(
        languages, "LANGUAGES", {**LANGUAGES, "loud": lambda text, _features: languages.Expression(text, ())}
    )
    for module in ("config", "alert_rule", "recording"):
        monkeypatch.setattr(f"otero.rules.{module}.LANGUAGES", languages.LANGUAGES)
    store = MemoryStore()
    config = RuleGroup(name="g", language="loud", rules=(Rule(alert="A", expr="VECTOR(1)"),))
    group = Group("f", config, Surroundings(), store.clock)
    engines = {"promql": store.engine, "loud": Shouting()}
    queries = RuleQueries(engines, store.clock, timeout_s=60, max_samples=1000)
    group.evaluate(START_MS, queries, store.intake)
    [rule] = group.rules
    assert isinstance(rule, AlertingRule)
    assert rule.health.error == ""
    assert len(rule.active) == 1
    assert seen == ["VECTOR(1)"]
