"""Rules on metrics that are not there: asked of a running server, as far as that can be said without doubt."""

from collections.abc import Collection, Iterator, Sequence

from otero.check.routing import Remark
from otero.errors import BadInput
from otero.model.labels import METRIC_NAME
from otero.model.matchers import MatchOp
from otero.query.promql import ast
from otero.query.promql.parser import parse
from otero.rules.alerting import ALERTS, ALERTS_FOR_STATE
from otero.rules.config import Rule
from otero.source import did_you_mean

_ABSENT = frozenset({"absent", "absent_over_time"})


def metrics_of(expr: str, features: frozenset[str]) -> list[str]:
    """The metrics that an expression reads by name. What stands within `absent` is meant to be missing."""
    try:
        parsed = parse(expr, features=features)
    except BadInput:  # said where the file was read, or in another language
        return []
    found: dict[str, None] = {}
    pending: list[ast.Expr] = [parsed]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call) and node.name in _ABSENT:
            continue
        if isinstance(node, ast.VectorSelector):
            named = [m.value for m in node.matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL]
            found.update(dict.fromkeys(named[:1]))
        pending += reversed(ast.children(node))
    return list(found)


def remarks_on_metrics(
    rule: Rule, recorded: Collection[str], seen: Collection[str], features: frozenset[str]
) -> Iterator[Remark]:
    """Metrics that neither the server has seen nor a rule of the given files records."""
    known: Sequence[str] = ()
    for name in metrics_of(rule.expr, features):
        if name in seen or name in recorded or name in (ALERTS, ALERTS_FOR_STATE):
            continue
        known = known or sorted({*seen, *recorded})
        hint = did_you_mean(name, list(known)) or "; check its name, or whether its target is scraped"
        yield Remark("expr", f"the server has no metric {name}{hint}")
