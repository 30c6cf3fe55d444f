"""Names of OpenTelemetry as Prometheus names: a table for each strategy, and what holds for every name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadInput
from otero.wire.otlp_names import Naming, unit_name

ESCAPED = Naming("UnderscoreEscapingWithSuffixes")
BARE = Naming("UnderscoreEscapingWithoutSuffixes")
UTF8 = Naming("NoUTF8EscapingWithSuffixes")
AS_IS = Naming("NoTranslation")

# name, unit, kind, and the name by each of the four strategies in the order above
TABLE = [
    ("http.server.duration", "s", "histogram", "http_server_duration_seconds", "http_server_duration", "http.server.duration_seconds"),
    ("system.io", "By", "counter", "system_io_bytes_total", "system_io", "system.io_bytes_total"),
    ("system.network.io", "By/s", "gauge", "system_network_io_bytes_per_second", "system_network_io", "system.network.io_bytes_per_second"),
    ("system.filesystem.usage", "By", "sum", "system_filesystem_usage_bytes", "system_filesystem_usage", "system.filesystem.usage_bytes"),
    ("requests", "1", "counter", "requests_total", "requests", "requests_total"),
    ("requests", "{request}", "counter", "requests_total", "requests", "requests_total"),
    ("cpu.utilization", "1", "gauge", "cpu_utilization_ratio", "cpu_utilization", "cpu.utilization_ratio"),
    ("cpu.utilization", "1", "sum", "cpu_utilization", "cpu_utilization", "cpu.utilization"),
    ("cpu.utilization", "%", "gauge", "cpu_utilization_percent", "cpu_utilization", "cpu.utilization_percent"),
    # A suffix that the name has is not repeated; total and ratio go to the end of an escaped name.
    ("request.duration.seconds", "s", "histogram", "request_duration_seconds", "request_duration_seconds", "request.duration.seconds"),
    ("bytes.sent", "By", "gauge", "bytes_sent", "bytes_sent", "bytes.sent_bytes"),
    ("total.requests", "", "counter", "requests_total", "total_requests", "total.requests_total"),
    ("requests_total", "", "counter", "requests_total", "requests_total", "requests_total"),
    ("io_bytes_total", "By", "counter", "io_bytes_total", "io_bytes_total", "io_bytes_total"),
    ("hit_ratio", "1", "gauge", "hit_ratio", "hit_ratio", "hit_ratio"),
    ("ratio", "1", "gauge", "ratio", "ratio", "ratio_ratio"),
    # Units: unknown ones stay, annotations go, rates get "per".
    ("storage", "TiBy", "gauge", "storage_tibibytes", "storage", "storage_tibibytes"),
    ("storage", "foos", "gauge", "storage_foos", "storage", "storage_foos"),
    ("storage", "foo.bar", "gauge", "storage_foo_bar", "storage", "storage_foo.bar"),
    ("storage", "{packet}By", "gauge", "storage", "storage", "storage"),
    ("rate", "{packet}/s", "gauge", "rate_per_second", "rate", "rate_per_second"),
    ("rate", "{packet}/{thing}", "gauge", "rate", "rate", "rate"),
    ("rate", "m/h", "gauge", "rate_meters_per_hour", "rate", "rate_meters_per_hour"),
    ("rate", "/s", "gauge", "rate_per_second", "rate", "rate_per_second"),
    ("rate", " By / s ", "gauge", "rate_bytes_per_second", "rate", "rate_bytes_per_second"),
    ("rate", "1/s", "gauge", "rate_per_second", "rate", "rate_per_second"),
    ("flow_bytes_per_second", "By/s", "gauge", "flow_bytes_per_second_per_second", "flow_bytes_per_second", "flow_bytes_per_second"),
    # Characters
    ("http.server-duration/max", "", "gauge", "http_server_duration_max", "http_server_duration_max", "http.server-duration/max"),
    ("a..b__c", "", "gauge", "a_b_c", "a_b__c", "a..b__c"),
    (".leading.dot.", "", "gauge", "leading_dot", "leading_dot", ".leading.dot."),
    ("_leading", "", "gauge", "leading", "_leading", "_leading"),
    ("5xx.rate", "", "gauge", "_5xx_rate", "_5xx_rate", "5xx.rate"),
    ("job:rate:sum", "", "gauge", "job:rate:sum", "job:rate:sum", "job:rate:sum"),
    ("größe", "By", "gauge", "gr_e_bytes", "gr_e", "größe_bytes"),
    ("time", "µs", "gauge", "time_s", "time", "time_µs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "unit", "kind", "escaped", "bare", "utf8"), TABLE)
def test_metric_names(name: str, unit: str, kind: str, escaped: str, bare: str, utf8: str) -> None:
    for naming, wanted in ((ESCAPED, escaped), (BARE, bare), (UTF8, utf8), (AS_IS, name)):
        assert naming.metric(name, unit, counter=kind == "counter", gauge=kind == "gauge") == wanted


@pytest.mark.parametrize("name", ["", "...", "日本", "_", "___"])
def test_names_of_which_nothing_is_left(name: str) -> None:
    with pytest.raises(BadInput, match="nothing is left"):
        ESCAPED.metric(name, "")
    with pytest.raises(BadInput, match="nothing is left"):
        BARE.metric(name if name.strip("_") else "", "")
    with pytest.raises(BadInput, match="no name"):
        AS_IS.metric("", "s")


# attribute, then the label with: the defaults; no "key" before "_"; underscores made one
LABELS = [
    ("http.method", "http_method", "http_method", "http_method"),
    ("http..method", "http__method", "http__method", "http_method"),
    ("a__b", "a__b", "a__b", "a_b"),
    ("_hidden", "key_hidden", "_hidden", "key_hidden"),
    (".hidden", "key_hidden", "_hidden", "key_hidden"),
    ("__reserved__", "__reserved__", "__reserved__", "__reserved__"),
    ("__reserved", "__reserved", "__reserved", "key_reserved"),
    ("__a.b..c__", "__a_b__c__", "__a_b__c__", "__a_b_c__"),
    ("1st", "key_1st", "key_1st", "key_1st"),
    ("a:b", "a_b", "a_b", "a_b"),
    ("größe", "gr__e", "gr__e", "gr_e"),
]


@pytest.mark.parametrize(("attribute", "default", "permissive", "collapsed"), LABELS)
def test_label_names(attribute: str, default: str, permissive: str, collapsed: str) -> None:
    assert ESCAPED.label(attribute) == default
    assert Naming(sanitize_underscores=False).label(attribute) == permissive
    assert Naming(preserve_underscores=False).label(attribute) == collapsed
    assert UTF8.label(attribute) == attribute


@pytest.mark.parametrize("attribute", ["", "__", "..", "日本"])
def test_attributes_of_which_nothing_is_left(attribute: str) -> None:
    with pytest.raises(BadInput, match="nothing is left"):
        Naming(sanitize_underscores=False).label(attribute)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("s", "seconds"),
        ("By/s", "bytes_per_second"),
        ("1", ""),
        ("{thing}", ""),
        ("{thing}/min", "per_min"),
        ("m/s", "meters_per_second"),
        ("foo.bar.", "foo_bar"),
        ("", ""),
    ],
)
def test_unit_names(unit: str, name: str) -> None:
    assert unit_name(unit) == name


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("aZ09_:./{}%1 ", max_size=12)


@given(TEXTS, TEXTS, st.booleans(), st.booleans())
def test_every_name_becomes_a_valid_one_or_is_refused(
    name: str, unit: str, counter: bool, gauge: bool
) -> None:
    for naming in (ESCAPED, BARE, UTF8, AS_IS):
        try:
            full = naming.metric(name, unit, counter=counter, gauge=gauge)
        except BadInput:
            continue
        assert full
        if naming.escapes:
            assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", full)
        if naming.adds_suffixes and counter and not (gauge and unit == "1"):
            assert full.endswith("total")


@given(TEXTS, st.booleans(), st.booleans())
def test_every_attribute_becomes_a_valid_label_or_is_refused(
    name: str, sanitize: bool, preserve: bool
) -> None:
    try:
        label = Naming("UnderscoreEscapingWithSuffixes", sanitize, preserve).label(name)
    except BadInput:
        return
    assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", label)
    if not preserve and not (name.startswith("__") and name.endswith("__")):
        assert "__" not in label
