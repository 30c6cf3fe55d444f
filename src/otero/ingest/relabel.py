"""Applies relabelling rules as Prometheus 3 does; `relabel_config.py` holds the rules as data."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otero.fields import valid_label_name
from otero.ingest.relabel_config import DEFAULT_REGEX, RelabelConfig
from otero.model.matchers import compile_anchored

Labels = dict[str, str]
Rule = Callable[[Labels], bool]
"""Changes the labels in place; False when the label set is dropped."""

_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


@dataclass(frozen=True, slots=True)
class Step:
    """What one rule did: `after` is None when it dropped the label set."""

    rule: RelabelConfig
    before: Mapping[str, str]
    after: Mapping[str, str] | None

    @property
    def changed(self) -> bool:
        return self.after != self.before


class Relabel:
    """A compiled list of rules. Thread-safe: it keeps nothing between calls."""

    def __init__(self, configs: Sequence[RelabelConfig]) -> None:
        self.configs = tuple(configs)
        self._rules = [_compile(config) for config in self.configs]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def __call__(self, labels: Mapping[str, str]) -> Labels | None:
        """The relabelled label set without empty values, or None when a rule dropped it. The input is left alone."""
        result = {name: value for name, value in labels.items() if value}
        for rule in self._rules:
            if not rule(result):
                return None
        return result

    def explain(self, labels: Mapping[str, str]) -> list[Step]:
        """One step per rule, up to and including the one that dropped the label set."""
        steps: list[Step] = []
        current = {name: value for name, value in labels.items() if value}
        for config, rule in zip(self.configs, self._rules, strict=True):
            before = dict(current)
            kept = rule(current)
            steps.append(Step(config, before, dict(current) if kept else None))
            if not kept:
                break
        return steps


def compile_relabel(configs: Sequence[RelabelConfig]) -> Relabel:
    """The executable form of rules. Raises BadInput for a regular expression that RE2 does not take."""
    return Relabel(configs)


def compile_template(template: str, regex: Any) -> Callable[[Any], str]:
    """`$1`, `${1}` and `${name}` of a replacement, as Go's `Regexp.Expand` reads them.

    A reference takes as many letters, digits and underscores as follow (`$1x` is the group named "1x"); what names no
    group stands for nothing; `$$` is a dollar sign, and so is a `$` that begins no reference.
    """
    parts: list[str | int] = []
    at = 0
    for found in _REFERENCE.finditer(template):
        parts.append(template[at : found.start()])
        at = found.end()
        name = found[1] or found[2]
        if name is None:
            parts.append("$")
        elif name.isascii() and name.isdigit():
            index = int(name) if name == "0" or name[0] != "0" else regex.groups + 1
            if index <= regex.groups:
                parts.append(index)
        elif name in regex.groupindex:
            parts.append(regex.groupindex[name])
    parts.append(template[at:])
    pieces = [part for part in parts if part != ""]
    if all(isinstance(piece, str) for piece in pieces):
        text = "".join(str(piece) for piece in pieces)
        return lambda _match: text
    if len(pieces) == 1:
        only = pieces[0]
        return lambda match: match[only] or ""
    return lambda match: "".join(
        piece if isinstance(piece, str) else (match[piece] or "") for piece in pieces
    )


def _compile(config: RelabelConfig) -> Rule:
    match config.action:
        case "replace":
            return _replace(config)
        case "keep" | "drop":
            return _filter(config)
        case "keepequal" | "dropequal":
            return _filter_equal(config)
        case "lowercase":
            return _map_value(config, lower)
        case "uppercase":
            return _map_value(config, upper)
        case "hashmod":
            return _map_value(config, lambda text: str(hash_mod(text, config.modulus)))
        case "labelmap":
            return _label_map(config)
        case "labeldrop" | "labelkeep":
            return _label_filter(config)


def _source(config: RelabelConfig) -> Callable[[Labels], str]:
    names, separator = config.source_labels, config.separator
    if len(names) == 1:
        name = names[0]
        return lambda labels: labels.get(name, "")
    return lambda labels: separator.join([labels.get(name, "") for name in names])


def _set(labels: Labels, name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _replace(config: RelabelConfig) -> Rule:
    source = _source(config)
    regex = compile_anchored(config.regex)
    target_of = compile_template(config.target_label, regex)
    value_of = compile_template(config.replacement, regex)
    fixed_target = None if "$" in config.target_label else config.target_label
    plain = config.regex == DEFAULT_REGEX and fixed_target is not None and "$" not in config.replacement

    def replace(labels: Labels) -> bool:
        text = source(labels)
        if plain and not text:
            _set(labels, config.target_label, config.replacement)
            return True
        found = regex.match(text)
        if found is None:
            return True
        target = fixed_target if fixed_target is not None else target_of(found)
        if valid_label_name(target):
            _set(labels, target, value_of(found))
        return True

    return replace


def _filter(config: RelabelConfig) -> Rule:
    source, regex, keep = _source(config), compile_anchored(config.regex), config.action == "keep"
    return lambda labels: (regex.match(source(labels)) is not None) is keep


def _filter_equal(config: RelabelConfig) -> Rule:
    source, target, keep = _source(config), config.target_label, config.action == "keepequal"
    return lambda labels: (labels.get(target, "") == source(labels)) is keep


def _map_value(config: RelabelConfig, function: Callable[[str], str]) -> Rule:
    source, target = _source(config), config.target_label

    def assign(labels: Labels) -> bool:
        _set(labels, target, function(source(labels)))
        return True

    return assign


def _label_map(config: RelabelConfig) -> Rule:
    regex = compile_anchored(config.regex)
    name_of = compile_template(config.replacement, regex)

    def label_map(labels: Labels) -> bool:
        for name, value in sorted(labels.items()):  # of several that get the same name the last one wins
            if (found := regex.match(name)) and (new_name := name_of(found)):
                labels[new_name] = value
        return True

    return label_map


def _label_filter(config: RelabelConfig) -> Rule:
    regex, keep = compile_anchored(config.regex), config.action == "labelkeep"

    def label_filter(labels: Labels) -> bool:
        for name in [name for name in labels if (regex.match(name) is not None) is not keep]:
            del labels[name]
        return True

    return label_filter


def hash_mod(text: str, modulus: int) -> int:
    """The last eight bytes of the MD5 sum as a big-endian number, modulo `modulus`."""
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "big") % modulus


def lower(text: str) -> str:
    """Lower case letter by letter, as Go does: the length in characters stays, and no letter looks at its neighbours."""
    if text.isascii():
        return text.lower()
    return "".join("i" if char == "İ" else char.lower() for char in text)


def upper(text: str) -> str:
    """Upper case letter by letter, as Go does: a letter without a single upper-case one stays."""
    if text.isascii():
        return text.upper()
    return "".join(char.upper() if len(char.upper()) == 1 else char for char in text)
