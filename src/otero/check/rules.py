"""Rule files: their shape, names and expressions. What they would do is checked when rules run."""

import msgspec

from otero.errors import BadField, BadInput
from otero.fields import Duration, valid_label_name
from otero.query.promql.parser import parse as parse_promql
from otero.source import List, Map, Node, Reader


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class Rule(_Part, frozen=True, kw_only=True):
    record: str = ""
    alert: str = ""
    expr: str = ""
    for_: Duration = msgspec.field(default=Duration(0), name="for")
    keep_firing_for: Duration = Duration(0)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.record and self.alert:
            raise BadField("only one of 'record' and 'alert' must be set", "alert")
        if not self.record and not self.alert:
            raise BadField("one of 'record' or 'alert' must be set")
        if not self.expr:
            raise BadField("field 'expr' must be set in rule", "expr")
        if self.record:
            for key, value in (
                ("annotations", self.annotations),
                ("for", self.for_),
                ("keep_firing_for", self.keep_firing_for),
            ):
                if value:
                    raise BadField(f"invalid field '{key}' in recording rule", key)
            if any(char in self.record for char in '{}"'):
                raise BadField(f"invalid recording rule name: {self.record}", "record")
        for name in self.labels:
            if not valid_label_name(name) or name == "__name__":
                raise BadField(f"invalid label name: {name}", f"labels.{name}")
        for name in self.annotations:
            if not valid_label_name(name):
                raise BadField(f"invalid annotation name: {name}", f"annotations.{name}")


class RuleGroup(_Part, frozen=True, kw_only=True):
    name: str = ""
    interval: Duration = Duration(0)
    query_offset: Duration | None = None
    limit: int = 0
    labels: dict[str, str] = {}
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise BadField("groupname must not be empty", "name")


class RuleFile(_Part, frozen=True, kw_only=True):
    groups: tuple[RuleGroup, ...] = ()
    namespace: str = ""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for index, group in enumerate(self.groups):
            if group.name in seen:
                raise BadField(
                    f'groupname: "{group.name}" is repeated in the same file', f"groups[{index}].name"
                )
            seen.add(group.name)


def check_rules(node: Node, reader: Reader, features: frozenset[str]) -> None:
    """Notes the problems of a rule file in `reader`; expressions may use the given feature flags of PromQL."""
    rules = reader.read(node, RuleFile)
    _check_expressions(node, reader, features)
    if isinstance(rules, RuleFile):
        _warn_of_duplicates(rules, node, reader)


def _check_expressions(node: Node, reader: Reader, features: frozenset[str]) -> None:
    groups = node.entries.get("groups") if isinstance(node, Map) else None
    for group_index, group in enumerate(groups.items if isinstance(groups, List) else ()):
        rules = group.entries.get("rules") if isinstance(group, Map) else None
        for index, rule in enumerate(rules.items if isinstance(rules, List) else ()):
            expression = rule.entries.get("expr") if isinstance(rule, Map) else None
            text = getattr(expression, "text", "")
            if not text:
                continue
            path = f"groups[{group_index}].rules[{index}].expr"
            try:
                parse_promql(text, features=features)
            except BadInput as error:
                reader.problem(f"could not parse expression: {error}", expression, path)


def _warn_of_duplicates(rules: RuleFile, node: Node, reader: Reader) -> None:
    seen: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
    for group_index, group in enumerate(rules.groups):
        for index, rule in enumerate(group.rules):
            at = f"groups[{group_index}].rules[{index}]"
            identity = (rule.record or rule.alert, frozenset(rule.labels.items()))
            first = seen.setdefault(identity, at)
            if first is not at:
                reader.warn(f'"{identity[0]}" with the same labels is also {first}', node, "", at)
