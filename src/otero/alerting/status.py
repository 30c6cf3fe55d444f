"""What the API shows of alerts and their groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from otero.model.alerts import Alert

AlertState = Literal["active", "suppressed", "unprocessed"]


@dataclass(frozen=True, slots=True)
class AlertStatus:
    """An alert that fires, and what becomes of it.

    state          suppressed when it is silenced or inhibited, unprocessed before it has a group, else active.
    silenced_by    ids of silences; `inhibited_by` fingerprints of alerts, in hexadecimal.
    receivers      to which its routes lead.
    """

    alert: Alert
    fingerprint: int
    state: AlertState
    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group with its alerts that fire. `muted_by` is the time interval that mutes its route, "" when none does."""

    labels: Mapping[str, str]
    receiver: str
    key: str
    route_id: str
    alerts: tuple[AlertStatus, ...]
    muted_by: str = ""
