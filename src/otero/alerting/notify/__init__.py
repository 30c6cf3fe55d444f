"""Receivers, one file each. A new one is a file with `Config`, `complete` and `send`, and a line in NOTIFIERS."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from otero.alerting.notification import Notification
from otero.alerting.notify import (
    discord,
    email,
    incidentio,
    jira,
    mattermost,
    msteams,
    msteamsv2,
    opsgenie,
    pagerduty,
    pushover,
    rocketchat,
    slack,
    sns,
    telegram,
    victorops,
    webex,
    webhook,
    wechat,
)
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.template import Text


class Notifier(Protocol):
    """What a file of this package is to the rest of the program."""

    @property
    def Config(self) -> type[msgspec.Struct]:  # noqa: N802 (a class in a module)
        """The settings of one integration; `send_resolved` is always among them."""
        ...

    def complete(self, config: Any, global_: Global) -> Any:
        """The settings with what `global` has for those not given. Raises BadField when nobody says what is needed."""
        ...

    async def send(self, config: Any, notification: Notification, text: Text, client: Client) -> None:
        """Deliver one notification with completed settings. Raises DeliveryError."""
        ...


NOTIFIERS: Mapping[str, Notifier] = {
    "discord_configs": discord,
    "email_configs": email,
    "incidentio_configs": incidentio,
    "jira_configs": jira,
    "mattermost_configs": mattermost,
    "msteams_configs": msteams,
    "msteamsv2_configs": msteamsv2,
    "opsgenie_configs": opsgenie,
    "pagerduty_configs": pagerduty,
    "pushover_configs": pushover,
    "rocketchat_configs": rocketchat,
    "slack_configs": slack,
    "sns_configs": sns,
    "telegram_configs": telegram,
    "victorops_configs": victorops,
    "webex_configs": webex,
    "webhook_configs": webhook,
    "wechat_configs": wechat,
}
"""By the key of a receiver; without its `_configs` it is the name of the integration."""
