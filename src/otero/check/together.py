"""Files checked against each other: what one says and no other one gives.

Everything here is a warning, and is said only where it is certain: a label that comes out of an expression may have any
value, an external label is unknown without prometheus.yml, alerts of other senders are not spoken of.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otero.alerting.config import AlertmanagerConfig, read_alertmanager
from otero.alerting.template import Templates
from otero.check.kinds import Kind
from otero.check.metrics_seen import remarks_on_metrics
from otero.check.routing import Remark, remarks_on, untold
from otero.check.rule_labels import ANY, AlertLabels, labels_of
from otero.check.templates import remarks_on_receivers, remarks_on_rule
from otero.config.prometheus import read_prometheus
from otero.errors import BadConfig
from otero.query.promql.parser import parse as parse_promql
from otero.rules.config import Rule, RuleFile, RuleGroup, read_rules, rule_paths
from otero.rules.languages import PROMQL
from otero.source import Map, Node, Reader, Scalar, is_file, parse, read_file


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: remarks are noted in `reader`, at paths of `node` below `prefix`."""

    path: Path
    kind: Kind
    node: Node
    reader: Reader
    prefix: str = ""

    def say(self, remark: Remark) -> None:
        at = f"{self.prefix}.{remark.at}".removeprefix(".")
        self.reader.warn(remark.text, self.node, "", at)


@dataclass(slots=True)
class _Found:
    """What the files say that concerns others. `external` labels are None when it is not known which there are."""

    rules: list[tuple[Source, RuleFile]] = field(default_factory=list[tuple[Source, RuleFile]])
    routing: list[tuple[Source, AlertmanagerConfig]] = field(
        default_factory=list[tuple[Source, AlertmanagerConfig]]
    )
    servers: int = 0
    external: Mapping[str, str] | None = None
    seen: set[Path] = field(default_factory=set[Path])


def check_together(
    sources: Sequence[Source],
    environ: Mapping[str, str],
    features: frozenset[str],
    metrics: Collection[str] | None = None,
) -> None:
    """Notes what is wrong between files that are each good. `metrics` are those that a server has, None without one.

    Files that prometheus.yml and otero.yml name are looked at as well; what concerns them is noted with the file that
    names them.
    """
    found = _Found()
    for source in sources:
        found.seen.add(source.path.absolute())
    for source in sources:
        _Reading(found, environ, features).take(source)
    _check(found, features, metrics)


class _Reading:
    """Puts one file, and the files that it names, into what was found."""

    def __init__(self, found: _Found, environ: Mapping[str, str], features: frozenset[str]) -> None:
        self._found = found
        self._environ = environ
        self._features = features

    def take(self, source: Source) -> None:
        if source.reader.problems:
            return
        match source.kind:
            case Kind.RULES:
                self._rules(source)
            case Kind.ALERTMANAGER:
                self._routing(source)
            case Kind.PROMETHEUS:
                self._prometheus(source)
            case Kind.OTERO:
                self._otero(source)
            case _:
                pass

    def _rules(self, source: Source) -> None:
        content = read_rules(
            source.node, Reader(str(source.path), source.path.absolute().parent), self._features
        )
        if content is not None:
            self._found.rules.append((source, content))

    def _routing(self, source: Source) -> None:
        node = source.node
        if source.prefix and isinstance(node, Map):
            node = node.entries[source.prefix]
        reader = Reader(str(source.path), source.path.absolute().parent)
        try:
            self._found.routing.append((source, read_alertmanager(node, reader, source.prefix)))
        except BadConfig:  # said where the file itself is checked
            return

    def _prometheus(self, source: Source) -> None:
        node = source.node
        if source.prefix and isinstance(node, Map):
            node = node.entries[source.prefix]
        reader = Reader(str(source.path), source.path.absolute().parent)
        try:
            config, _ = read_prometheus(node, reader, self._environ, source.prefix)
        except BadConfig:
            return
        # Of two servers it cannot be said whose labels the alerts will have.
        self._found.servers += 1
        self._found.external = config.global_.external_labels if self._found.servers == 1 else None
        self._named(
            source, [path for pattern in config.rule_files for path in rule_paths(pattern)], Kind.RULES
        )

    def _otero(self, source: Source) -> None:
        if not isinstance(source.node, Map):
            return
        folder = source.path.absolute().parent
        for key, kind in (("prometheus", Kind.PROMETHEUS), ("alertmanager", Kind.ALERTMANAGER)):
            child = source.node.entries.get(key)
            if isinstance(child, Map):
                self.take(Source(source.path, kind, source.node, source.reader, key))
            elif isinstance(child, Scalar) and child.text:
                self._named(source, [folder / child.text], kind)
        listed = source.node.entries.get("rules")
        patterns = [item.text for item in getattr(listed, "items", ()) if isinstance(item, Scalar)]
        self._named(
            source, [path for text in patterns for path in rule_paths(str(folder / text))], Kind.RULES
        )

    def _named(self, by: Source, paths: Sequence[Path], kind: Kind) -> None:
        for path in paths:
            path = path.absolute()
            if path in self._found.seen or not is_file(path):
                continue
            self._found.seen.add(path)
            reader = Reader(str(path), path.parent)
            try:
                node = parse(read_file(path), str(path))
            except BadConfig:
                continue
            reader.warnings = by.reader.warnings
            self.take(Source(path, kind, node, reader))


def _check(found: _Found, features: frozenset[str], metrics: Collection[str] | None) -> None:
    alerts: list[AlertLabels] = []
    recorded = {
        rule.record
        for _, content in found.rules
        for group in content.groups
        for rule in group.rules
        if rule.record
    }
    for source, content in found.rules:
        for group_index, group in enumerate(content.groups):
            for index, rule in enumerate(group.rules):
                at = f"groups[{group_index}].rules[{index}]"
                for remark in _of_rule(rule, group, found, features, recorded, metrics, alerts):
                    source.say(Remark(f"{at}.{remark.at}", remark.text))
    for source, config in found.routing:
        for remark in remarks_on(config, alerts):
            source.say(remark)
        try:
            templates = Templates.load(config.templates)
        except BadConfig:
            continue
        for remark in remarks_on_receivers(config, templates, alerts):
            source.say(remark)


def _of_rule(
    rule: Rule,
    group: RuleGroup,
    found: _Found,
    features: frozenset[str],
    recorded: Collection[str],
    metrics: Collection[str] | None,
    alerts: list[AlertLabels],
) -> list[Remark]:
    """What to say of a rule; its alerts' labels are added to `alerts`."""
    is_promql = (rule.language or group.language or PROMQL) == PROMQL
    out: list[Remark] = []
    if is_promql and metrics is not None:
        out += remarks_on_metrics(rule, recorded, metrics, features)
    if not rule.alert:
        return out
    expression = labels_of(parse_promql(rule.expr, features=features)) if is_promql else ANY
    labels = AlertLabels(rule.alert, {**group.labels, **rule.labels}, expression, found.external)
    alerts.append(labels)
    if is_promql:
        out += remarks_on_rule(rule, labels, found.external or {})
    if len(found.routing) == 1 and (reason := untold(found.routing[0][1], labels)):
        out.append(Remark("alert", reason))
    return out
