"""Which exposition formats there are, how to ask for them, and which one came.

The rules are those of Prometheus 3: a target that sends no usable Content-Type fails its scrape unless the
configuration names a `fallback_scrape_protocol`.
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from otero.errors import BadInput


class Protocol(StrEnum):
    """An exposition format, under the name that `scrape_protocols` uses."""

    PROTOBUF = "PrometheusProto"
    TEXT_0_0_4 = "PrometheusText0.0.4"
    TEXT_1_0_0 = "PrometheusText1.0.0"
    OPENMETRICS_0_0_1 = "OpenMetricsText0.0.1"
    OPENMETRICS_1_0_0 = "OpenMetricsText1.0.0"

    @property
    def is_openmetrics(self) -> bool:
        return self in (Protocol.OPENMETRICS_0_0_1, Protocol.OPENMETRICS_1_0_0)


DEFAULT_PROTOCOLS = (
    Protocol.OPENMETRICS_1_0_0,
    Protocol.OPENMETRICS_0_0_1,
    Protocol.TEXT_1_0_0,
    Protocol.TEXT_0_0_4,
)

_MEDIA = {
    Protocol.PROTOBUF: "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    Protocol.TEXT_0_0_4: "text/plain;version=0.0.4",
    Protocol.TEXT_1_0_0: "text/plain;version=1.0.0",
    Protocol.OPENMETRICS_0_0_1: "application/openmetrics-text;version=0.0.1",
    Protocol.OPENMETRICS_1_0_0: "application/openmetrics-text;version=1.0.0",
}
_ESCAPED = (Protocol.TEXT_1_0_0, Protocol.OPENMETRICS_1_0_0)

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # noqa: S105 (a token of HTTP, not a secret)
_CONTENT_TYPE = re.compile(
    rf'\s*+({_TOKEN}/{_TOKEN})\s*+((?:;\s*+(?:{_TOKEN}\s*+=\s*+(?:{_TOKEN}|"(?:[^"\\]|\\.)*+")\s*+)?+)*+)'
)
_VERSION = re.compile(r';\s*version\s*=\s*"?([^\s";]*)', re.IGNORECASE)


def accept_header(protocols: Sequence[Protocol], escaping: str = "allow-utf-8") -> str:
    """The Accept header for these protocols, most wanted first.

    `escaping` tells newer targets how to write names that are not legacy names (`allow-utf-8`, `underscores`, `dots`,
    `values`); only the formats that know the parameter carry it.
    """
    wanted: list[str] = []
    weight = len(_MEDIA) + 1
    for protocol in protocols:
        media = _MEDIA[protocol]
        if protocol in _ESCAPED:
            media += f";escaping={escaping}"
        wanted.append(f"{media};q=0.{weight}")
        weight -= 1
    wanted.append(f"*/*;q=0.{weight}")
    return ",".join(wanted)


def parse_content_type(header: str | None, fallback: Protocol | None = None) -> Protocol:
    """The format of a body with this Content-Type header.

    Only the media type decides how a body is read; the version merely tells the two versions of one format apart.
    Raises BadInput when the header is absent, malformed or of another media type and there is no `fallback`.
    """
    if not header:
        problem = "the target sends no Content-Type"
    elif (found := _CONTENT_TYPE.fullmatch(header)) is None:
        problem = f"cannot parse the target's Content-Type {header[:200]!r}"
    else:
        version = _VERSION.search(found[2])
        match found[1].lower():
            case "text/plain":
                newer = version is not None and version[1] == "1.0.0"
                return Protocol.TEXT_1_0_0 if newer else Protocol.TEXT_0_0_4
            case "application/openmetrics-text":
                older = version is not None and version[1] == "0.0.1"
                return Protocol.OPENMETRICS_0_0_1 if older else Protocol.OPENMETRICS_1_0_0
            case "application/vnd.google.protobuf":
                return Protocol.PROTOBUF
            case _:
                problem = f"unsupported Content-Type {header[:200]!r}"
    if fallback is None:
        raise BadInput(f"{problem}, and fallback_scrape_protocol is not set for it")
    return fallback
