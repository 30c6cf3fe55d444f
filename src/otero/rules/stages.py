"""Which rules of a group may be evaluated together, by what they read and write."""

from collections.abc import Mapping, Sequence

from otero.model.alerts import ALERT_NAME
from otero.model.labels import METRIC_NAME
from otero.model.matchers import Matcher, MatchOp
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import ALERTS, ALERTS_FOR_STATE
from otero.rules.recording import RecordingRule

Rule = AlertingRule | RecordingRule

_STATES = frozenset({ALERTS, ALERTS_FOR_STATE})


def stages(rules: Sequence[Rule]) -> list[list[int]]:
    """Rules by index, in stages: everything of a stage is evaluated before any of it is written.

    The answers are those of one rule after the other: a rule that reads what an earlier one writes comes after it, and
    one that writes what an earlier one reads or writes does not come before it.
    """
    writers: dict[str, list[int]] = {}
    for at, rule in enumerate(rules):
        for name in _writes(rule):
            writers.setdefault(name, []).append(at)
    reads = [_reads(rule, rules, writers) for rule in rules]
    read_by: list[list[int]] = [[] for _ in rules]
    for at, found in enumerate(reads):
        for writer in found:
            read_by[writer].append(at)
    level: list[int] = []
    for at, rule in enumerate(rules):
        after = (level[other] + 1 for other in reads[at] if other < at)
        beside = (level[other] for other in read_by[at] if other < at)
        same = (level[other] for name in _writes(rule) for other in writers[name] if other < at)
        level.append(max([0, *after, *beside, *same]))
    return [
        [at for at, its in enumerate(level) if its == stage] for stage in range(max(level, default=-1) + 1)
    ]


def _writes(rule: Rule) -> frozenset[str]:
    return _STATES if isinstance(rule, AlertingRule) else frozenset({rule.name})


def _reads(reader: Rule, rules: Sequence[Rule], writers: Mapping[str, list[int]]) -> set[int]:
    """The rules of which it may read a series."""
    if isinstance(reader, AlertingRule) and reader.asks_in_templates:
        return set(range(len(rules)))
    found: set[int] = set()
    for matchers in reader.expression.selectors:
        named = [matcher for matcher in matchers if matcher.name == METRIC_NAME]
        equal = [matcher.value for matcher in named if matcher.op is MatchOp.EQUAL]
        for name in equal[:1] or writers:
            if name in writers and all(matcher.matches(name) for matcher in named):
                found.update(at for at in writers[name] if _labels_fit(matchers, rules[at]))
    return found


def _labels_fit(matchers: Sequence[Matcher], writer: Rule) -> bool:
    """Whether the labels that the writer gives to every series allow the selector to find them."""
    fixed = {name: value for name, value in writer.labels.items() if "{{" not in value}
    if isinstance(writer, AlertingRule):
        fixed[ALERT_NAME] = writer.name
    return all(matcher.matches(fixed[matcher.name]) for matcher in matchers if matcher.name in fixed)
