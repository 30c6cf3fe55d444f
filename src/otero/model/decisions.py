"""Decisions about alerts, as the ledger keeps them: why one fired, and why somebody was told or was not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class DecisionKind(StrEnum):
    """What was decided. A decision is recorded when it differs from the one before, never at each evaluation."""

    RULE_PENDING = "rule_pending"
    RULE_FIRING = "rule_firing"
    RULE_RESOLVED = "rule_resolved"
    RULE_FORGOTTEN = "rule_forgotten"
    RULE_KEPT_FIRING = "rule_kept_firing"
    RULE_FAILED = "rule_failed"
    RULE_RECOVERED = "rule_recovered"
    TEMPLATE_FAILED = "template_failed"
    RECEIVED = "received"
    RESOLVED = "resolved"
    ROUTED = "routed"
    WAITING = "waiting"
    INHIBITED = "inhibited"
    UNINHIBITED = "uninhibited"
    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    MUTED_BY_TIME = "muted_by_time"
    ACTIVE_AGAIN = "active_again"
    DEDUPLICATED = "deduplicated"
    ATTEMPT_FAILED = "attempt_failed"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision about one alert, or about a group of alerts (then `fingerprint` is 0 and `labels` are the group's).

    fingerprint   of the alert's labels.
    group_key     as Alertmanager writes it, `{}/{severity="page"}:{alertname="X"}`; "" before routing.
    receiver      and the integration in it (`slack[0]`), "" where the decision concerns none.
    text          one English sentence with the reason.
    detail        what a program wants to know of it, fit for JSON; never a secret.
    """

    time_ms: int
    kind: DecisionKind
    alertname: str
    fingerprint: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    group_key: str = ""
    receiver: str = ""
    integration: str = ""
    text: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


Record = Callable[[Decision], None]
"""Takes a decision down; cheap, never blocks and never raises. May be called from any thread."""


def forget(_decision: Decision) -> None:
    """A `Record` for those who keep no ledger."""
