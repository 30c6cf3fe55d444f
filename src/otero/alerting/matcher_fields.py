"""Conditions on labels as alertmanager.yml writes them: `matchers`, and the older `match` and `match_re`."""

from collections.abc import Mapping
from typing import Self

from otero.alerting.matchers import Parsed, in_order, parse_matchers
from otero.errors import BadField, BadInput, BadQuery
from otero.fields import valid_label_name, valid_legacy_label_name
from otero.model.matchers import Matcher, MatchOp, compile_anchored


class MatchersText(str):
    """One entry of a `matchers` list: one or more matchers as they were written."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = cls(value)
        try:
            text.read()
        except BadQuery as error:
            raise BadField(str(error)) from None
        return text

    def read(self) -> Parsed:
        """What it says."""
        return parse_matchers(self)


class RegexText(str):
    """A value of `match_re`, as it was written."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        text = cls(value)
        try:
            compile_anchored(text)
        except BadInput as error:
            raise BadField(str(error)) from None
        return text


Match = dict[str, str]
MatchRegex = dict[str, RegexText | None]


def check_match(match: Match, at: str) -> None:
    """Raises BadField for a name that cannot stand in `match` or `match_re`: only the classic alphabet can."""
    for name in match:
        if not valid_legacy_label_name(name):
            raise BadField(f'invalid label name "{name}"; matchers takes any name in quotes', f"{at}.{name}")


def check_match_regex(match: MatchRegex, at: str) -> None:
    """As `check_match`, and for a name without a pattern."""
    for name, pattern in match.items():
        if not valid_legacy_label_name(name):
            raise BadField(f'invalid label name "{name}"; matchers takes any name in quotes', f"{at}.{name}")
        if pattern is None:
            raise BadField(f'invalid regexp value for "{name}": it has none', f"{at}.{name}")


def check_label_names(names: tuple[str, ...], at: str) -> None:
    """Raises BadField for what is no label name."""
    for index, name in enumerate(names):
        if not valid_label_name(name):
            raise BadField(f'invalid label name "{name}" in {at} list', f"{at}[{index}]")


def all_matchers(
    match: Mapping[str, str], match_re: Mapping[str, RegexText | None], texts: tuple[MatchersText, ...]
) -> tuple[Matcher, ...]:
    """The conditions of all three keys, in the order of keys of routes.

    A pattern of `match_re` is anchored in the matcher's own text, as Alertmanager has it: it shows in keys of routes.
    """
    found = [Matcher(name, MatchOp.EQUAL, value) for name, value in match.items()]
    found += [Matcher(name, MatchOp.REGEX, f"^(?:{pattern})$") for name, pattern in match_re.items()]
    for text in texts:
        found += text.read().matchers
    return in_order(found)
