"""`receivers:` of otero.yml: doors besides the main port, each opened by naming it (an empty mapping will do)."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from otero.alerting.door import AlertmanagerReceiver
from otero.errors import BadField
from otero.ingest.receivers.otlp.config import OtlpReceiver
from otero.ingest.receivers.pushgateway import PushgatewayReceiver
from otero.source import Present, Unserved
from otero.source.reader import did_you_mean

_LATER = "a later release serves it"
Later = Annotated[dict[str, Any] | None, Unserved(_LATER)]


class Receivers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key per receiver, in the names and shape of the OpenTelemetry Collector's; absent means closed, but for OTLP,
    whose usual ports open on loopback where they are free."""

    otlp: Annotated[OtlpReceiver | None, Present()] = None
    pushgateway: Annotated[PushgatewayReceiver | None, Present()] = None
    alertmanager: Annotated[AlertmanagerReceiver | None, Present()] = None
    jaeger: Later = None
    zipkin: Later = None
    awsxray: Later = None
    elasticsearch: Later = None
    lumberjack: Later = None
    fluentforward: Later = None
    loki: Later = None
    tempo: Later = None
    splunk_hec: Later = None
    syslog: Later = None
    gelf: Later = None
    influxdb: Later = None
    statsd: Later = None
    datadog: Later = None
    graphite: Later = None
    envoyals: Later = None


SERVED: dict[str, type[msgspec.Struct]] = {
    "otlp": OtlpReceiver,
    "pushgateway": PushgatewayReceiver,
    "alertmanager": AlertmanagerReceiver,
}
"""The receivers that can be opened, with their settings."""


def switch_on(receivers: Receivers, names: Iterable[str]) -> Receivers:
    """These receivers open too, on their usual ports unless configured already. Raises BadField."""
    for name in names:
        if name not in SERVED:
            if name in Receivers.__struct_fields__:
                raise BadField(f"the receiver {name} comes with a later release")
            known = list(SERVED)
            raise BadField(f'no receiver "{name}"; there are {", ".join(known)}{did_you_mean(name, known)}')
        if getattr(receivers, name) is None:
            receivers = replace(receivers, **{name: SERVED[name]()})
    return receivers
