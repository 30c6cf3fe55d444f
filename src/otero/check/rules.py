"""Rule files, as they are loaded; and what is no fault but seldom meant."""

from otero.rules.config import RuleFile, read_rules
from otero.source import Node, Reader


def check_rules(node: Node, reader: Reader, features: frozenset[str]) -> None:
    """Notes the problems of a rule file in `reader`; expressions may use the given feature flags of PromQL."""
    rules = read_rules(node, reader, features)
    if rules is not None:
        _warn_of_duplicates(rules, node, reader)


def _warn_of_duplicates(rules: RuleFile, node: Node, reader: Reader) -> None:
    seen: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
    for group_index, group in enumerate(rules.groups):
        for index, rule in enumerate(group.rules):
            at = f"groups[{group_index}].rules[{index}]"
            identity = (rule.name, frozenset(rule.labels.items()))
            first = seen.setdefault(identity, at)
            if first is not at:
                reader.warn(f'"{identity[0]}" with the same labels is also {first}', node, "", at)
