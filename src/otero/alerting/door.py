"""`receivers.alertmanager` of otero.yml: the Alertmanager's API on a port of its own, as its clients expect it."""

import msgspec

from otero.fields import Endpoint


class AlertmanagerReceiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it listens."""

    endpoint: Endpoint = Endpoint("127.0.0.1:9093")
