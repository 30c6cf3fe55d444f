"""The query languages that a rule may name.

A language is one line in `LANGUAGES` (reading), and one engine that the composition root hands to `RuleQueries` under
the same name (evaluating).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from otero.errors import BadField
from otero.model.matchers import Matcher
from otero.query.promql import ast
from otero.query.promql.parser import parse
from otero.query.promql.plan import depends_on_edges
from otero.query.promql.printer import to_text

PROMQL = "promql"


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read.

    text        as its language writes it.
    selectors   the matchers of each selector of stored metrics in it: what it may read of what other rules write.
    is_timeless whether its value at a time is the same in a query of that time and in one of a range.
    """

    text: str
    selectors: Sequence[Sequence[Matcher]]
    is_timeless: bool = True


Read = Callable[[str, frozenset[str]], Expression]
"""Reads the text of an expression; the names are the feature flags that are on. Raises BadInput."""


def _promql(text: str, features: frozenset[str]) -> Expression:
    expr = parse(text, features=features)
    selectors = [node.matchers for node in ast.walk(expr) if isinstance(node, ast.VectorSelector)]
    return Expression(to_text(expr), selectors, not depends_on_edges(expr))


LANGUAGES: Mapping[str, Read] = {PROMQL: _promql}

_LATER: Mapping[str, str] = {"logql": "logql arrives with logs"}


def check_language(name: str, at: str = "language") -> None:
    """Raises BadField for a language that is not known."""
    if name not in LANGUAGES:
        later = f" ({_LATER[name]})" if name in _LATER else ""
        raise BadField(f'unknown language "{name}"{later}; use one of {", ".join(LANGUAGES)}', at)
