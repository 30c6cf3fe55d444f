"""What is handed to a receiver: the alerts of one group at one moment, and how they become text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otero.model.alerts import Alert

_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to be sent by one integration of one receiver.

    receiver      its name; `integration` what it is sent by and its place among those of the receiver, `slack[0]`.
    group_key     as Alertmanager writes it, `{}/{severity="page"}:{alertname="X"}`.
    group_labels  the labels that the group was made by.
    alerts        firing ones, and those that ended where the receiver wants to be told.
    reason        why now: `first notification`, `new alerts`, `repeat interval`, `all resolved`, …
    """

    receiver: str
    integration: str
    group_key: str
    group_labels: Mapping[str, str]
    alerts: Sequence[Alert]
    now_ms: int
    external_url: str = ""
    reason: str = ""

    @property
    def receiver_pattern(self) -> str:
        """The receiver's name quoted as a regular expression (`web\\.hook`): so Alertmanager tells it to receivers."""
        return _SPECIAL.sub(r"\\\g<0>", self.receiver)

    @property
    def firing(self) -> Sequence[Alert]:
        return [alert for alert in self.alerts if not alert.resolved_at(self.now_ms)]

    @property
    def resolved(self) -> Sequence[Alert]:
        return [alert for alert in self.alerts if alert.resolved_at(self.now_ms)]

    @property
    def status(self) -> str:
        """`firing` as long as one alert is."""
        return "firing" if self.firing else "resolved"


def common(sets: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The pairs that all of them have."""
    if not sets:
        return {}
    shared = dict(sets[0])
    for other in sets[1:]:
        shared = {name: value for name, value in shared.items() if other.get(name) == value}
        if not shared:
            break
    return shared


class DeliveryError(Exception):
    """A notification that was not delivered. The text names the cause and no secret.

    retry          whether the same request may succeed later.
    status         of the HTTP answer, 0 without one.
    retry_after_s  what the other side asked for, None when it did not.
    """

    def __init__(
        self, message: str, *, retry: bool, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.retry = retry
        self.status = status
        self.retry_after_s = retry_after_s
