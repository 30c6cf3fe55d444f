"""The text formats, rule by rule."""

import time
from pathlib import Path

import numpy as np
import pytest

from otero.errors import BadInput
from otero.model.labels import decode_labels
from otero.model.metrics import Metadata
from otero.model.samples import NAN_BITS, NO_TIME, bits
from otero.wire.exposition import Exposition, Protocol, parse, parse_series
from otero.wire.go_floats import format_openmetrics_float

TEXT = Protocol.TEXT_0_0_4
OM = Protocol.OPENMETRICS_1_0_0


def samples(body: bytes, protocol: Protocol = TEXT) -> list[tuple[dict[str, str], float]]:
    exposition = parse(body, protocol)
    return [
        (parse_series(key), value)
        for key, value in zip(exposition.keys, exposition.values.tolist(), strict=True)
    ]


def one(body: bytes, protocol: Protocol = TEXT) -> tuple[dict[str, str], float]:
    (only,) = samples(body, protocol)
    return only


@pytest.mark.parametrize(
    ("body", "labels"),
    [
        (b"a 1", {"__name__": "a"}),
        (b"a 1\n", {"__name__": "a"}),
        (b"  a\t1 \t\n", {"__name__": "a"}),
        (b":a:b_c9 1\n", {"__name__": ":a:b_c9"}),
        (b"a{} 1\n", {"__name__": "a"}),
        (b'a{b="c"}1\n', {"__name__": "a", "b": "c"}),
        (b'a { b = "c" , d = "e" , } 1\n', {"__name__": "a", "b": "c", "d": "e"}),
        (b'a{b="c" d="e"} 1\n', {"__name__": "a", "b": "c", "d": "e"}),
        (b'a{b=""} 1\n', {"__name__": "a", "b": ""}),
        (b'a{b="}"} 1\n', {"__name__": "a", "b": "}"}),
        (b'a{b="\\\\\\"\\n\\x"} 1\n', {"__name__": "a", "b": '\\"\n\\x'}),
        (b'a{b="x\ny"} 1\n', {"__name__": "a", "b": "x\ny"}),
        (b'{"my.metric", x="y"} 1\n', {"__name__": "my.metric", "x": "y"}),
        (b'{"my.metric"} 1\n', {"__name__": "my.metric"}),
        (b'{x="y","my.metric"} 1\n', {"__name__": "my.metric", "x": "y"}),
        (b'{"m","la\\"bel"="y"} 1\n', {"__name__": "m", 'la"bel': "y"}),
        ('{"größe",ä="ü"} 1\n'.replace("ä", '"ä"').encode(), {"__name__": "größe", "ä": "ü"}),
    ],
)
def test_series_texts_of_the_text_format(body: bytes, labels: dict[str, str]) -> None:
    assert one(body) == (labels, 1.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0), ("-1.5e-3", -0.0015), ("+1", 1.0), (".5", 0.5), ("5.", 5.0), ("1E5", 1e5), ("1e-400", 0.0),
        ("Inf", np.inf), ("+inf", np.inf), ("-Infinity", -np.inf),
    ],
)  # fmt: skip
def test_numbers_that_prometheus_takes(text: str, value: float) -> None:
    assert one(f"a {text}\n".encode())[1] == value
    assert one(f"a {text}\n# EOF\n".encode(), OM)[1] == value


@pytest.mark.parametrize(
    "text",
    [
        "1_000",
        "0x1p-2",
        "0x10",
        "+NaN",
        "-nan",
        "1e400",
        "1e",
        "e1",
        ".",
        "--1",
        "1\r",
        "infin",
        "1,5",
        "1\x0b",
        "one",
        "١",
    ],
)
def test_numbers_that_prometheus_refuses(text: str) -> None:
    with pytest.raises(BadInput, match=r"line 2: expected a number as value, found"):
        parse(f"b 1\na {text}\n".encode(), TEXT)
    with pytest.raises(BadInput, match=r"line 2: expected a number as value, found"):
        parse(f"b 1\na {text}\n# EOF\n".encode(), OM)


@pytest.mark.parametrize("text", [b"NaN", b"nan", b"nAn"])
def test_nan_is_an_ordinary_nan(text: bytes) -> None:
    assert bits(parse(b"a %b\n" % text, TEXT).values).tolist() == [int(NAN_BITS)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a\n", r"line 1: expected a value after the series"),
        (b"x 1\n\n# c\n9a 1\n", r"line 4: expected a metric name or a comment, found '9a 1'"),
        (b'a{b="c" 1\n', r"line 1: expected a label name or }, found '1'"),
        (b"a{b=c} 1\n", r"line 1: expected a quoted label value, found 'c} 1'"),
        (b"a{b} 1\n", r"line 1: expected = after a label name"),
        (b'a{"b"} 1\n', r"line 1: expected = after a label name"),
        (b'a{,b="c"} 1\n', r"line 1: expected a label name or }"),
        (b'a{b="c",,} 1\n', r"line 1: expected a label name or }"),
        (b'{b="c"} 1\n', r"line 1: no metric name"),
        (b'{"a","b"} 1\n', r"line 1: the metric name is set twice"),
        (b"a 1 2 3\n", r"line 1: expected a timestamp in milliseconds or the end of the line, found ' 2 3'"),
        (b"a 1 -2\n", r"line 1: expected a timestamp"),
        (b"a 1 1.5\n", r"line 1: expected a timestamp"),
        (b"a 1 99999999999999999999\n", r"line 1: invalid timestamp"),
        (b"a1\n", r"line 1: expected a value"),
        (b"# TYPE a thing\n", r"line 1: invalid metric type 'thing'"),
        (b"# TYPE a  gauge\n", r"line 1: invalid metric type ' gauge'"),
        (b"# TYPE \n", r"line 1: expected a metric name after TYPE"),
        (b"# HELP 1\n", r"line 1: expected a metric name after HELP"),
        (b"# HELP a \xff\n", r"line 1: HELP '\\\\xff' is not valid UTF-8"),
        (b'a 1\nb{c="\xff"} 1\n', r"line 2: series .* is not valid UTF-8"),
        (b"\x00", r"line 1: expected a metric name"),
        (b'a{b="c', r"line 1: expected a quoted label value"),
        (b'x 1\nx{b="\n"} 1\nc\n', r"line 4: expected a value"),
    ],
)
def test_faults_of_the_text_format(body: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(body, TEXT)


def test_comments_blank_lines_and_an_empty_body() -> None:
    assert len(parse(b"", TEXT)) == 0
    assert one(b"\n  \n#\n#x\n# anything\n#HELP\n# HELPx\n# TYPE\na 1\n")[1] == 1


def test_explicit_timestamps_are_milliseconds() -> None:
    exposition = parse(b"a 1 1700000000123\nb 2\n", TEXT)
    assert exposition.times_ms is not None
    assert exposition.times_ms.tolist() == [1_700_000_000_123, int(NO_TIME)]
    assert parse(b"a 1\n", TEXT).times_ms is None


def test_metadata_of_the_text_format() -> None:
    body = (
        b'# HELP a some \\\\ help\\n \\"x\\"\n# TYPE a counter\na 1\n# TYPE b untyped\n'
        b'# TYPE "c.d" gauge\n# HELP\te\tf\n# HELP g\n'
    )
    assert parse(body, TEXT).metadata == (
        Metadata("a", "counter", 'some \\ help\n \\"x\\"'),
        Metadata("b", "unknown"),
        Metadata("c.d", "gauge"),
        Metadata("e", help="f"),
        Metadata("g"),
    )


def test_bounds_take_the_form_of_prometheus_3() -> None:
    body = (
        b'x_bucket{le="1"} 1\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{a="le=",le="10000000"} 1\n'
        b'h_bucket{le="+Inf",x=",le="} 1\nh_bucket{le="1",x=",le="} 2\nh{quantile="1"} 3\n'
        b'h_bucket{"le" = "2"} 3\n# TYPE s summary\ns{quantile="0.50"} 1\ns{le="1"} 1\ns{quantile="x"} 1\n'
        b'# TYPE g gauge\ng{le="1",quantile="1"} 1\n'
    )
    values = [
        {name: value for name, value in labels.items() if name in ("le", "quantile")}
        for labels, _ in samples(body)
    ]
    assert values == [
        {"le": "1"}, {"le": "1.0"}, {"le": "1e+07"}, {"le": "+Inf"}, {"le": "1.0"}, {"quantile": "1"}, {"le": "2.0"},
        {"quantile": "0.5"}, {"le": "1"}, {"quantile": "x"}, {"le": "1", "quantile": "1"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "0.0"), (1.0, "1.0"), (-1.0, "-1.0"), (10.0, "10.0"), (123456.0, "123456.0"),
        (999999.5, "999999.5"), (1e6, "1e+06"), (1234567.0, "1.234567e+06"), (1e21, "1e+21"), (1.5e100, "1.5e+100"),
        (0.005, "0.005"), (0.0001, "0.0001"), (0.00001, "1e-05"), (-0.0000125, "-1.25e-05"), (0.1 + 0.2, "0.30000000000000004"),
        (5e-324, "5e-324"), (float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN"),
    ],
)  # fmt: skip
def test_floats_print_as_go_prints_them(value: float, text: str) -> None:
    assert format_openmetrics_float(value) == text


def test_openmetrics_needs_its_end() -> None:
    assert one(b"a 1\n# EOF\n", OM)[1] == 1
    assert one(b"a 1\n# EOF", OM)[1] == 1
    for body in (b"", b"a 1\n", b"# EOF\n\n", b"# EOF\na 1\n", b"# EOF\n# EOF\n", b"#EOF\n"):
        with pytest.raises(BadInput, match="EOF"):
            parse(body, OM)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\n", "expected a metric name, a comment or # EOF"),
        (b"# comment\n", "expected a metric name, a comment or # EOF"),
        (b"a  1\n", "single blanks only"),
        (b"a 1 \n", "single blanks only"),
        (b'a{b="c" } 1\n', "expected a comma or }|single blanks"),
        (b'a{b="c"d="e"} 1\n', "expected a comma or }"),
        (b"# TYPE a untyped\n", "invalid metric type"),
        (b"# TYPE a\n", "expected a blank and a text"),
        (b"# UNIT a_seconds bytes\n", "unit 'bytes' is not a suffix of metric 'a_seconds'"),
        (b"a 1 x\n", "invalid timestamp"),
        (b"a 1 NaN\n", "invalid timestamp"),
        (b"a 1 # {} x\n", "expected a number as value of the exemplar"),
        (b"a 1 # {} 1 Inf\n", "invalid exemplar timestamp"),
        (b'a 1 # {"x"} 1\n', "expected an exemplar"),
        (b'a 1 # {x="y",x="z"} 1\n', "label 'x' occurs twice"),
        (b"a 1 # {x=y} 1\n", "expected an exemplar"),
    ],
)
def test_faults_of_openmetrics(line: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse(b"ok 1\n" + line + b"# EOF\n", OM)
    assert str(caught.value).startswith("line 2: ")


def test_openmetrics_timestamps_exemplars_and_units() -> None:
    exposition = parse(
        b'# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds say \\"x\\"\\n\n'
        b'a_seconds_total{x="y"} 3 1700000000.1239 # {trace_id="ab",z=""} 0.5 1700000000.5\n'
        b"a_seconds_total 4 # {} 2\na_seconds_total 5 -1.5\n# EOF\n",
        OM,
    )
    assert exposition.metadata == (Metadata("a_seconds", "counter", 'say "x"\n', "seconds"),)
    assert exposition.times_ms is not None
    assert exposition.times_ms.tolist() == [1_700_000_000_123, int(NO_TIME), -1500]
    first, second = exposition.exemplars
    assert (first.ref, decode_labels(first.labels), first.value, first.time_ms) == (
        0, {"trace_id": "ab"}, 0.5, 1_700_000_000_500,
    )  # fmt: skip
    assert (second.ref, second.labels, second.value, second.time_ms) == (1, b"", 2.0, int(NO_TIME))


def test_created_series_give_start_times_and_stay_series() -> None:
    exposition = parse(
        b'# TYPE c counter\nc_total{a="1"} 1\nc_created{a="1"} 1700000000.25\nc_total{a="2"} 1\n'
        b'# TYPE h histogram\nh_bucket{a="1",le="1"} 1\nh_bucket{a="1",le="+Inf"} 1\nh_sum{a="1"} 1\nh_created{a="1"} 5\n'
        b"# TYPE g gauge\ng 1\ng_created 7\n# EOF\n",
        OM,
    )
    assert len(exposition) == 9
    assert exposition.start_ms is not None
    assert exposition.start_ms.tolist() == [1_700_000_000_250, 0, 0, 5000, 5000, 5000, 0, 0, 0]
    assert parse(b"# TYPE c counter\nc_total 1\n# EOF\n", OM).start_ms is None


@pytest.mark.parametrize(
    "key",
    [b"", b"a b", b"a{", b"a{b", b"a{b=", b'a{b="', b'a{b="c"', b'a{b="c"}x', b'a{b="c",b="d"}', b"{}", b'{b="c"}',
     b'a{"b"}', b'{"a","b"}', b'a{__name__="b"}', b"a{b}", b'a{b="\xff"}', b'{"\xff"}', b"\xff"],
)  # fmt: skip
def test_series_texts_that_are_none(key: bytes) -> None:
    with pytest.raises(BadInput):
        parse_series(key)


@pytest.mark.parametrize("protocol", [TEXT, OM, Protocol.PROTOBUF])
@pytest.mark.parametrize(
    "body",
    [
        b"a" * 10_000_000,
        b'a{b="' + b"c" * 10_000_000,
        b"a{" + b'b="c",' * 1_600_000,
        b'a{b="' + b"\\" * 10_000_000,
        b"#" * 10_000_000,
        b" " * 10_000_000,
        b"a 1" + b" " * 10_000_000,
        b"# HELP " + b"x" * 10_000_000,
        b'{"' * 5_000_000,
        b"a 1 # {" + b'b="c",' * 1_600_000,
        b'a{b="\n' * 1_400_000,
        b"9" * 10_000_000,
    ],
    ids=range(12),
)
def test_ten_megabytes_of_one_kind_cost_no_more_than_their_length(protocol: Protocol, body: bytes) -> None:
    tenth_s, whole_s = _parsed_in(body[: len(body) // 10], protocol), _parsed_in(body, protocol)
    assert (
        whole_s < 40 * tenth_s + 0.5
    )  # ten times in proportion to the length, a hundred times with its square


def _parsed_in(body: bytes, protocol: Protocol) -> float:
    """CPU seconds that a body takes; what it is refused with is short."""
    start_s = time.process_time()
    message = ""
    try:
        parse(body + b"\n# EOF\n", protocol)
    except BadInput as error:
        message = str(error)
    assert len(message) < 1000
    return time.process_time() - start_s


def test_conformance_files_are_read(shared: Path) -> None:
    folder = shared / "conformance" / "textparse"
    counts: dict[str, Exposition] = {}
    for path in sorted(folder.glob("*.txt")):
        counts[path.name] = parse(path.read_bytes(), OM if ".om." in path.name else TEXT)
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert len(counts[path.name]) == len(lines)
    assert len(counts["alltypes.5mfs.om.txt"].exemplars) == 6
    assert len(counts["alltypes.237mfs.prom.txt"].metadata) == 237
