"""Rule files: their shape, names, expressions and templates, as Prometheus' rulefmt checks them."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from otero.errors import BadConfig, BadField, BadInput, Problem
from otero.fields import Duration, valid_label_name
from otero.gotemplate import TemplateError
from otero.rules.languages import LANGUAGES, PROMQL, check_language
from otero.rules.template import check_template
from otero.source import List, Map, Node, Reader, is_file, parse, read_file


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class AlertTiming(_Part, frozen=True, kw_only=True):
    """What Prometheus has command line flags for, with their defaults (`--rules.alert.…`).

    for_grace_period      least time between a restart and an alert that fires, of alerts with a `for` of at least that.
    for_outage_tolerance  the longest outage after which an alert's pending time is taken up again.
    resend_delay          least time before a firing alert is told again.
    """

    for_grace_period: Duration = Duration(600_000)
    for_outage_tolerance: Duration = Duration(3_600_000)
    resend_delay: Duration = Duration(60_000)


USUAL_TIMING = AlertTiming()


class Rule(_Part, frozen=True, kw_only=True):
    """One rule: `record` or `alert` is given, never both. `language` empty means the group's."""

    record: str = ""
    alert: str = ""
    expr: str = ""
    for_: Duration = msgspec.field(default=Duration(0), name="for")
    keep_firing_for: Duration = Duration(0)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    language: str = ""

    def __post_init__(self) -> None:
        if self.language:
            check_language(self.language)
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
        _check_labels(self.labels)
        for name in self.annotations:
            if not valid_label_name(name):
                raise BadField(f"invalid annotation name: {name}", f"annotations.{name}")

    @property
    def name(self) -> str:
        """Of the recorded metric, or of the alert."""
        return self.record or self.alert


class RuleGroup(_Part, frozen=True, kw_only=True):
    """Rules that are evaluated together, in their order. `interval` 0 and `query_offset` None mean the server's."""

    name: str = ""
    interval: Duration = Duration(0)
    query_offset: Duration | None = None
    limit: int = 0
    labels: dict[str, str] = {}
    rules: tuple[Rule, ...] = ()
    language: str = PROMQL

    def __post_init__(self) -> None:
        if not self.name:
            raise BadField("groupname must not be empty", "name")
        check_language(self.language)
        _check_labels(self.labels)


class RuleFile(_Part, frozen=True, kw_only=True):
    """The content of one file."""

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


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A rule file and its path, as the API shows it."""

    path: str
    content: RuleFile


def _check_labels(labels: dict[str, str]) -> None:
    for name in labels:
        if not valid_label_name(name) or name == "__name__":
            raise BadField(f"invalid label name: {name}", f"labels.{name}")


def load_rule_files(
    patterns: Sequence[str], features: frozenset[str], *, ignore_unknown: bool = False
) -> tuple[LoadedFile, ...]:
    """The files that the patterns name, each once, in the order of their first mention.

    Expressions may use the given feature flags of PromQL. `ignore_unknown` passes over fields that nobody knows. Raises
    BadConfig with the problems of all files.
    """
    paths = dict.fromkeys(itertools.chain.from_iterable(map(rule_paths, patterns)))
    loaded: list[LoadedFile] = []
    problems: list[Problem] = []
    for path in paths:
        reader = Reader(str(path), path.parent, ignore_unknown=ignore_unknown)
        try:
            content = read_rules(parse(read_file(path), str(path)), reader, features)
            reader.check()
        except BadConfig as error:
            problems += error.problems
            continue
        if content is not None:  # else its problems were raised
            loaded.append(LoadedFile(str(path), content))
    if problems:
        raise BadConfig(*problems)
    return tuple(loaded)


def rule_paths(pattern: str) -> list[Path]:
    """The files that a pattern names, sorted; `*`, `?` and `[…]` stand in its last part only. A file that is named
    without a pattern is taken even where none exists, so that opening it tells."""
    path = Path(os.path.normpath(pattern))
    if not any(char in pattern for char in "*?["):
        return [path]
    try:
        return sorted(found for found in path.parent.glob(path.name) if is_file(found))
    except (OSError, ValueError):
        return []


def read_rules(node: Node, reader: Reader, features: frozenset[str]) -> RuleFile | None:
    """The content of a rule file; its problems are noted in `reader`, and None stands for one without a shape."""
    rules = reader.read(node, RuleFile)
    _check_texts(node, reader, features)
    return rules if isinstance(rules, RuleFile) else None


def _check_texts(node: Node, reader: Reader, features: frozenset[str]) -> None:
    """Expressions and templates: looked at one by one, whatever else is wrong with the file."""
    groups = node.entries.get("groups") if isinstance(node, Map) else None
    for group_index, group in enumerate(groups.items if isinstance(groups, List) else ()):
        rules = group.entries.get("rules") if isinstance(group, Map) else None
        of_group = _language(group, PROMQL)
        for index, rule in enumerate(rules.items if isinstance(rules, List) else ()):
            if not isinstance(rule, Map):
                continue
            path = f"groups[{group_index}].rules[{index}]"
            expression = rule.entries.get("expr")
            read = LANGUAGES.get(_language(rule, of_group))
            if read is not None and (text := getattr(expression, "text", "")):
                try:
                    read(text, features)
                except BadInput as error:
                    reader.problem(f"could not parse expression: {error}", expression, f"{path}.expr")
            if alert := getattr(rule.entries.get("alert"), "text", ""):
                _check_templates(alert, rule, reader, path)


def _language(node: Node, default: str) -> str:
    """What a group or a rule says; one that is unknown has been noted as such."""
    return getattr(node.entries.get("language") if isinstance(node, Map) else None, "text", "") or default


def _check_templates(alert: str, rule: Map, reader: Reader, path: str) -> None:
    for key, what in (("labels", "label"), ("annotations", "annotation")):
        texts = rule.entries.get(key)
        for name, value in texts.entries.items() if isinstance(texts, Map) else ():
            try:
                check_template(alert, getattr(value, "text", ""))
            except TemplateError as error:
                reader.problem(f'{what} "{name}": {error}', value, f"{path}.{key}.{name}")
