"""What a receiver is to be told, and how a receiver says that it could not be told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otero.gotemplate import Templates
from otero.model.alerts import Alert


@dataclass(frozen=True, slots=True)
class Notification:
    """One group of alerts for one integration of one receiver, at the moment of sending.

    receiver      name of the receiver; `integration` and `index` say which of its integrations (`slack`, 0).
    group_key     the group's key, as Alertmanager writes it; what receivers deduplicate by.
    alerts        firing ones first; without resolved ones where the integration does not send them.
    templates     the templates of the configuration with the default ones; `data` is what they get as dot.
    reason        why it is sent now: "first", "group_interval", "repeat_interval", "resolved".
    """

    receiver: str
    integration: str
    index: int
    group_key: str
    group_labels: Mapping[str, str]
    alerts: tuple[Alert, ...]
    now_ms: int
    templates: Templates
    data: Any
    external_url: str = ""
    reason: str = ""

    @property
    def firing(self) -> tuple[Alert, ...]:
        return tuple(alert for alert in self.alerts if not alert.resolved_at(self.now_ms))

    @property
    def resolved(self) -> tuple[Alert, ...]:
        return tuple(alert for alert in self.alerts if alert.resolved_at(self.now_ms))

    @property
    def status(self) -> str:
        """ "firing" while any alert fires, else "resolved"."""
        return "firing" if self.firing else "resolved"

    def text(self, template: str) -> str:
        """A text of the configuration with its templates run. Raises TemplateError."""
        return self.templates.text(template, self.data)

    def html(self, template: str) -> str:
        """As `text`, escaped for HTML. Raises TemplateError."""
        return self.templates.html(template, self.data)


class DeliveryError(Exception):
    """A notification that was not delivered. `retry` says whether trying again may help; `retry_after_s` when the
    receiver said how long to wait. The text never shows a secret."""

    def __init__(
        self, message: str, *, retry: bool, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.retry = retry
        self.status = status
        self.retry_after_s = retry_after_s
