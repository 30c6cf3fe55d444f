"""Label matchers: the `{job="api", code=~"5.."}` of every language of this field."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import re2

from otero.errors import BadInput


class MatchOp(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.log_errors = False
_RE2_OPTIONS.dot_nl = True


def compile_anchored(pattern: str) -> Any:
    """The RE2 program of a pattern that must match a whole value, `.` matching newlines, as Prometheus compiles it.

    Raises BadInput for a pattern that RE2 does not take.
    """
    try:
        re2.compile(pattern, _RE2_OPTIONS)  # so that the message speaks of the pattern as it was written
        return re2.compile(f"^(?s:{pattern})$", _RE2_OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise BadInput(f"invalid regular expression {pattern!r}: {reason}") from None


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; an absent label has the value ""."""

    name: str
    op: MatchOp
    value: str
    _regex: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
            object.__setattr__(self, "_regex", compile_anchored(self.value))

    def matches(self, text: str) -> bool:
        """Whether a label of this value satisfies the condition."""
        match self.op:
            case MatchOp.EQUAL:
                return text == self.value
            case MatchOp.NOT_EQUAL:
                return text != self.value
            case MatchOp.REGEX:
                return self._regex.match(text) is not None
            case MatchOp.NOT_REGEX:
                return self._regex.match(text) is None

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{escaped}"'
