"""Inhibition rules: while an alert that is a source fires, alerts that are targets are not told of."""

from dataclasses import dataclass
from typing import Annotated, Any

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
from otero.source import Unserved


class InhibitRuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `inhibit_rules` as it is written."""

    name: str = ""
    source_match: Match = {}
    source_match_re: MatchRegex = {}
    source_matchers: tuple[MatchersText, ...] = ()
    sources: Annotated[
        tuple[dict[str, Any], ...], Unserved("a rule with several sources inhibits nothing")
    ] = ()
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
class InhibitRule:
    """A rule in force. An alert is inhibited when it matches the targets' conditions and another firing alert matches the
    sources', both with the same values of the labels in `equal` (absent is "")."""

    source_matchers: tuple[Matcher, ...]
    target_matchers: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()
    name: str = ""


def build_inhibit_rules(configs: tuple[InhibitRuleConfig, ...]) -> tuple[InhibitRule, ...]:
    """The rules in force, in their order."""
    return tuple(
        InhibitRule(
            source_matchers=all_matchers(config.source_match, config.source_match_re, config.source_matchers),
            target_matchers=all_matchers(config.target_match, config.target_match_re, config.target_matchers),
            equal=config.equal,
            name=config.name,
        )
        for config in configs
        if not config.sources
    )
