"""What kind of file a text is, judged by its content alone."""

from enum import StrEnum

from otero.source import List, Map, Node, Scalar


class Kind(StrEnum):
    PROMETHEUS = "Prometheus configuration"
    OTERO = "Otero configuration"
    WEB = "web configuration"
    RULES = "rule file"
    RULE_TESTS = "rule unit tests"
    ALERTMANAGER = "Alertmanager configuration"
    TARGETS = "file_sd targets"
    DASHBOARD = "Grafana dashboard"
    SLIS = "SLI definitions"
    SLOS = "SLO definitions"
    EMPTY = "empty file"
    UNKNOWN = "unknown kind"


NOT_CHECKED_YET = frozenset({Kind.DASHBOARD, Kind.SLIS, Kind.SLOS})
"""Recognised, and read for syntax and duplicate keys; what they say is checked by a later release."""

_KEYS: dict[Kind, frozenset[str]] = {
    Kind.PROMETHEUS: frozenset(
        {
            "scrape_configs",
            "scrape_config_files",
            "rule_files",
            "alerting",
            "remote_write",
            "remote_read",
            "tracing",
            "otlp",
            "runtime",
            "global",
        }
    ),
    Kind.OTERO: frozenset(
        {
            "prometheus",
            "alertmanager",
            "rules",
            "dashboards",
            "probes",
            "tickets",
            "hosts",
            "listen",
            "auth",
            "query",
            "limits",
            "alerts",
        }
    ),
    Kind.WEB: frozenset({"tls_server_config", "http_server_config", "basic_auth_users"}),
    Kind.RULES: frozenset({"groups"}),
    Kind.RULE_TESTS: frozenset({"tests", "group_eval_order", "evaluation_interval", "fuzzy_compare"}),
    Kind.ALERTMANAGER: frozenset(
        {"route", "inhibit_rules", "templates", "mute_time_intervals", "time_intervals"}
    ),
    Kind.DASHBOARD: frozenset({"panels", "dashboard", "schemaVersion", "templating", "annotations", "rows"}),
    Kind.SLIS: frozenset({"slis"}),
    Kind.SLOS: frozenset({"slos"}),
}
_OTERO_STORAGE = frozenset({"engine", "path", "retention", "head_max_bytes", "journal_max_bytes", "fsync"})
_TARGET_KEYS = frozenset({"targets", "labels"})


def kind_of(node: Node) -> Kind:
    """The kind whose keys occur most often at the top of the file."""
    match node:
        case Scalar(value=None):
            return Kind.EMPTY
        case List():
            return Kind.TARGETS if _looks_like_targets(node) else Kind.UNKNOWN
        case Map():
            return _kind_of_map(node)
        case _:
            return Kind.UNKNOWN


def _looks_like_targets(node: List) -> bool:
    if not node.items:
        return True
    maps = [item for item in node.items if isinstance(item, Map)]
    return len(maps) == len(node.items) and (
        any(_TARGET_KEYS & item.entries.keys() for item in maps)
        or all(len(item.entries) <= 2 for item in maps)
    )


def _kind_of_map(node: Map) -> Kind:
    keys = node.entries.keys()
    if isinstance(node.entries.get("tests"), List):  # beside keys that rule tests share with prometheus.yml
        return Kind.RULE_TESTS
    scores = {kind: float(len(words & keys)) for kind, words in _KEYS.items()}
    storage = node.entries.get("storage")
    if storage is not None:
        own = isinstance(storage, Map) and bool(_OTERO_STORAGE & storage.entries.keys())
        scores[Kind.OTERO if own else Kind.PROMETHEUS] += 1
    receivers = node.entries.get("receivers")
    if receivers is not None:
        scores[Kind.OTERO if isinstance(receivers, Map) else Kind.ALERTMANAGER] += 1
    for key, kind in (("slis", Kind.SLIS), ("slos", Kind.SLOS)):
        child = node.entries.get(key)
        if child is not None and not isinstance(child, Scalar) and scores[Kind.OTERO] == 0:
            scores[kind] += 1
        elif child is not None:
            scores[Kind.OTERO] += 1
            scores[kind] = 0
    best = max(scores, key=lambda kind: scores[kind])
    return best if scores[best] else Kind.UNKNOWN
