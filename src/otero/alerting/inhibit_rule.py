"""Inhibition rules: while an alert that is a source fires, alerts that are targets are not told of."""

from dataclasses import dataclass

import msgspec

from otero.alerting.matcher_fields import (
    Match,
    MatchersText,
    MatchRegex,
    all_matchers,
    check_label_names,
    check_match,
    check_match_regex,
)
from otero.errors import BadField
from otero.model.matchers import Matcher


class InhibitSourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of a rule's `sources`."""

    matchers: tuple[MatchersText, ...] = ()
    equal: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        conditions = all_matchers({}, {}, self.matchers)
        if not conditions:
            raise BadField("matchers must not be empty", "matchers")
        if all(matcher.matches("") for matcher in conditions):
            raise BadField("at least one matcher must not match the empty value", "matchers")
        check_label_names(self.equal, "equal")


class InhibitRuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `inhibit_rules` as it is written."""

    name: str = ""
    source_match: Match = {}
    source_match_re: MatchRegex = {}
    source_matchers: tuple[MatchersText, ...] = ()
    sources: tuple[InhibitSourceConfig, ...] = ()
    target_match: Match = {}
    target_match_re: MatchRegex = {}
    target_matchers: tuple[MatchersText, ...] = ()
    equal: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.sources and (self.source_match or self.source_match_re or self.source_matchers or self.equal):
            raise BadField(
                "sources cannot be combined with source_match, source_match_re, source_matchers, or equal",
                "sources",
            )
        for key in ("source_match", "target_match"):
            check_match(getattr(self, key), key)
            check_match_regex(getattr(self, f"{key}_re"), f"{key}_re")
        check_label_names(self.equal, "equal")


@dataclass(frozen=True, slots=True)
class InhibitSource:
    """What an alert must match that inhibits, and the labels of which it must have the target's values (absent is "")."""

    matchers: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """A rule in force: an alert that matches the target's conditions is inhibited while, for each of the sources, an
    alert fires that is one."""

    sources: tuple[InhibitSource, ...]
    target_matchers: tuple[Matcher, ...]
    name: str = ""


def build_inhibit_rules(configs: tuple[InhibitRuleConfig, ...]) -> tuple[InhibitRule, ...]:
    """The rules in force, in their order."""
    return tuple(
        InhibitRule(
            sources=_sources(config),
            target_matchers=all_matchers(config.target_match, config.target_match_re, config.target_matchers),
            name=config.name,
        )
        for config in configs
    )


def _sources(config: InhibitRuleConfig) -> tuple[InhibitSource, ...]:
    if config.sources:
        return tuple(
            InhibitSource(all_matchers({}, {}, each.matchers), each.equal) for each in config.sources
        )
    matchers = all_matchers(config.source_match, config.source_match_re, config.source_matchers)
    return (InhibitSource(matchers, config.equal),)
