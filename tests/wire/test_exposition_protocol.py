"""Content types and Accept headers by Prometheus 3's rules."""

import pytest

from otero.errors import BadInput
from otero.wire.exposition import DEFAULT_PROTOCOLS, Protocol, accept_header, parse_content_type


def test_accept_header_of_the_default_protocols() -> None:
    assert accept_header(DEFAULT_PROTOCOLS) == (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )


def test_accept_header_of_one_protocol_and_another_escaping() -> None:
    assert accept_header([Protocol.TEXT_1_0_0], "underscores") == (
        "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5"
    )
    assert accept_header([Protocol.PROTOBUF]).startswith(
        "application/vnd.google.protobuf;proto=io.prometheus.client"
    )


@pytest.mark.parametrize(
    ("header", "protocol"),
    [
        ("text/plain", Protocol.TEXT_0_0_4),
        ("text/plain; version=0.0.4; charset=utf-8", Protocol.TEXT_0_0_4),
        ("Text/Plain; Version=1.0.0; escaping=allow-utf-8", Protocol.TEXT_1_0_0),
        ("text/plain;version=99", Protocol.TEXT_0_0_4),
        ('application/openmetrics-text; version="1.0.0"', Protocol.OPENMETRICS_1_0_0),
        ("application/openmetrics-text; version=0.0.1", Protocol.OPENMETRICS_0_0_1),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            Protocol.PROTOBUF,
        ),
    ],
)
def test_content_types_name_the_format(header: str, protocol: Protocol) -> None:
    assert parse_content_type(header) is protocol
    assert parse_content_type(header, Protocol.PROTOBUF) is protocol


@pytest.mark.parametrize(
    "header", [None, "", "application/json", "text/html", "text", "text/plain; =", "/", "a b/c"]
)
def test_unusable_content_types_need_a_fallback(header: str | None) -> None:
    with pytest.raises(BadInput, match="fallback_scrape_protocol is not set"):
        parse_content_type(header)
    assert parse_content_type(header, Protocol.TEXT_0_0_4) is Protocol.TEXT_0_0_4
