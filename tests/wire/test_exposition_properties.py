"""Properties: prometheus_client as oracle, the fast path equal to the slow one, nothing but BadInput."""

import contextlib
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from otero.errors import BadInput
from otero.model.labels import decode_labels
from otero.model.samples import NO_TIME, bits
from otero.wire.exposition import BodyParser, Exposition, Protocol, parse, parse_series
from otero.wire.go_floats import format_openmetrics_float

TEXT = Protocol.TEXT_1_0_0
OM = Protocol.OPENMETRICS_1_0_0

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00\x1c\x1d\x1e\x85\u2028\u2029\x0b\x0c"),
    max_size=8,
)
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**6), 10**6).map(float)
positive = st.floats(0, 1e12)


@st.composite
def registries(draw: st.DrawFn) -> CollectorRegistry:
    registry = CollectorRegistry()
    dots = draw(st.sampled_from(["_", "_", "."]))
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["counter", "gauge", "histogram", "summary", "info", "enum"]))
        name = f"m{dots}{index}"
        labels = [f"l{dots}{i}" for i in range(draw(st.integers(0, 2)))]
        help_text = draw(texts.map(str.strip))
        values = [draw(texts) for _ in labels]
        match kind:
            case "counter":
                metric = Counter(name, help_text, labels, registry=registry)
                child = metric.labels(*values) if labels else metric
                child.inc(draw(positive), exemplar=draw(st.none() | st.just({"trace_id": "a1"})))
            case "gauge":
                metric = Gauge(name, help_text, labels, registry=registry)
                (metric.labels(*values) if labels else metric).set(draw(numbers))
            case "histogram":
                bounds = draw(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=4, unique=True).map(sorted))
                metric = Histogram(name, help_text, labels, registry=registry, buckets=bounds)
                (metric.labels(*values) if labels else metric).observe(
                    draw(positive), draw(st.none() | st.just({"x": "y"}))
                )
            case "summary":
                metric = Summary(name, help_text, labels, registry=registry)
                (metric.labels(*values) if labels else metric).observe(draw(positive))
            case "info":
                Info(name, help_text, registry=registry).info({"version": draw(texts)})
            case _:
                Enum(name, help_text, registry=registry, states=["on", "off"]).state("off")
    return registry


def normal(labels: dict[str, str]) -> dict[str, str]:
    return {k: format_openmetrics_float(float(v)) if k == "le" else v for k, v in labels.items()}


def check_against(body: bytes, protocol: Protocol, families: Callable[[str], Iterable[Metric]]) -> None:
    exposition = parse(body, protocol)
    expected = [s for family in families(body.decode()) for s in family.samples]
    assert len(exposition) == len(expected)
    for row, sample in enumerate(expected):
        labels = parse_series(exposition.keys[row])
        assert labels.pop("__name__") == sample.name
        assert labels == normal(sample.labels)
        np.testing.assert_equal(float(exposition.values[row]), float(sample.value))
    found = {e.ref: (decode_labels(e.labels), e.value, e.time_ms) for e in exposition.exemplars}
    wanted = {
        row: (s.exemplar.labels, s.exemplar.value, _ms(s.exemplar.timestamp))
        for row, s in enumerate(expected)
        if s.exemplar is not None
    }
    assert found.keys() == wanted.keys()
    for row, (exemplar_labels, value, time_ms) in wanted.items():
        assert found[row][:2] == (exemplar_labels, value)
        assert abs(found[row][2] - time_ms) <= 1


def _ms(timestamp: Any) -> int:
    return int(NO_TIME) if timestamp is None else int(float(timestamp) * 1000)


@given(registries())
def test_text_of_any_registry_reads_as_the_official_parser_reads_it(registry: CollectorRegistry) -> None:
    body = text_of(registry, escaping=ALLOWUTF8) if b"." in openmetrics_of(registry) else text_of(registry)
    check_against(body, TEXT, text_families)


@given(registries())
def test_openmetrics_of_any_registry_reads_as_the_official_parser_reads_it(
    registry: CollectorRegistry,
) -> None:
    check_against(openmetrics_of(registry, escaping=ALLOWUTF8), OM, openmetrics_families)


BODIES = {
    TEXT: (
        b"# HELP a help\n# TYPE a counter\na 1\na{b=\"c\"} 2.5\na{b=\"d\"} NaN\n# TYPE h histogram\n"
        b'h_bucket{le="1"} 5\nh_bucket{le="+Inf"} +Inf\nh_sum 1e5\nh_count 7\n\n# c\nlast{x="\\"y\\\\"} -3\n'
    ),
    OM: (
        b"# TYPE a counter\na_total 1\na_created 1700000000.5\na_total{b=\"c\"} 2.5\n# TYPE h histogram\n"
        b'h_bucket{le="1"} 5\nh_bucket{le="+Inf"} 7\nh_sum NaN\nh_count 7\n# EOF\n'
    ),
}  # fmt: skip
PIECES = [
    b" ", b"  ", b"\n", b"\t", b"\r", b"0", b"1", b"_", b"nan", b"NaN", b"inf", b"+NaN", b"-nan", b"1_0", b"0x1p-2",
    b"Infinity", b"1e999", b" 1395066363000", b' # {a="b"} 1', b"# EOF\n", b"#", b"{", b"}", b'"', b"\\", b",", b"a 1\n",
    b"a", b"\x00", b"\xff", b"\x0b", b"# TYPE a gauge\n", b"",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        gone = draw(st.integers(0, 4))
        body = body[:at] + draw(st.sampled_from(PIECES)) + body[at + gone :]
    return body


@st.composite
def with_other_lines(draw: st.DrawFn, body: bytes) -> bytes:
    """Lines swapped, doubled, lost, replaced by bare numbers or with other values."""
    lines = body.split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        other = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                lines[at], lines[other] = lines[other], lines[at]
            case 1:
                lines[at] = lines[other]
            case 2:
                lines[at] = draw(st.sampled_from([b"nan", b"inf", b"123", b"", b" 1", b"1 "]))
            case 3:
                lines[at] = re.sub(rb"\S+\Z", lambda _: draw(st.sampled_from(PIECES)), lines[at])
            case _:
                lines[at] += draw(st.sampled_from(PIECES))
    return b"\n".join(lines)


def outcome(exposition: Exposition) -> tuple[object, ...]:
    def column(values: Any) -> object:
        return None if values is None else values.tolist()

    exemplars = [(e.ref, e.labels, repr(e.value), e.time_ms) for e in exposition.exemplars]
    return (
        exposition.keys, bits(exposition.values).tolist(), column(exposition.times_ms), column(exposition.start_ms),
        exemplars, exposition.metadata,
    )  # fmt: skip


@given(st.data(), st.sampled_from([TEXT, OM]))
def test_a_parser_that_knows_the_body_answers_as_a_fresh_one(data: st.DataObject, protocol: Protocol) -> None:
    original = BODIES[protocol]
    body = data.draw(mutated(original) | with_other_lines(original))
    parser = BodyParser()
    known, _ = parser.parse(original, protocol)
    try:
        expected = outcome(parse(body, protocol))
    except BadInput as error:
        message = str(error)
        try:
            parser.parse(body, protocol)
        except BadInput as second:
            again = str(second)
        else:
            again = "accepted"
        assert again == message
    else:
        exposition, same = parser.parse(body, protocol)
        assert outcome(exposition) == expected
        assert same == (exposition.keys == known.keys)
        assert same == (exposition.keys is known.keys)


@given(st.sampled_from([TEXT, OM]), st.lists(numbers, min_size=20, max_size=20))
def test_a_known_body_with_other_numbers_is_the_same_shape(protocol: Protocol, values: list[float]) -> None:
    parser = BodyParser()
    known, same = parser.parse(BODIES[protocol], protocol)
    assert not same
    following = iter(values)
    body = re.sub(
        rb"(?m)^([^#\n].*) \S+$",
        lambda line: line[1] + b" %b" % repr(next(following)).encode(),
        BODIES[protocol],
    )
    exposition, same = parser.parse(body, protocol)
    assert same
    assert exposition.keys is known.keys
    for found, wanted in zip(exposition.values.tolist(), values, strict=False):
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))
    assert outcome(exposition) == outcome(parse(body, protocol))


@given(st.binary(max_size=300), st.sampled_from(list(Protocol)))
def test_random_bytes_raise_nothing_but_bad_input(body: bytes, protocol: Protocol) -> None:
    parser = BodyParser()
    with contextlib.suppress(BadInput):
        parser.parse(body, protocol)


@given(
    st.lists(st.sampled_from([*PIECES, b"a", b"b=", b'"c"', b"# HELP a ", b"# UNIT a a\n"]), max_size=20),
    st.sampled_from(list(Protocol)),
)
def test_random_tokens_raise_nothing_but_bad_input(pieces: list[bytes], protocol: Protocol) -> None:
    try:
        exposition = parse(b"".join(pieces), protocol)
    except BadInput:
        return
    for key in exposition.keys:
        try:
            parse_series(key)
        except BadInput as error:
            assert "twice" in str(error)  # noqa: PT017
