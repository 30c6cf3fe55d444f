"""Classic histograms of text bodies become native ones with custom bounds, as Prometheus converts them."""

import math

import numpy as np
import pytest

from otero.model.histograms import CUSTOM, boxed_rows
from otero.wire.exposition import BodyParser, Exposition, Protocol, WantedHistograms, parse, parse_series
from tests.histogram_samples import described, one

NHCB = WantedHistograms(nhcb=True)
BOTH = WantedHistograms(nhcb=True, classic=True)
OM, TEXT = Protocol.OPENMETRICS_1_0_0, Protocol.TEXT_0_0_4

BODY = """# TYPE up gauge
up 1
# TYPE h histogram
h_bucket{a="x",le="1"} 2
h_bucket{a="x",le="2.5"} 2
h_bucket{a="x",le="+Inf"} 5
h_sum{a="x"} 7.5
h_count{a="x"} 5
h_bucket{le="1",a="y"} 1
h_bucket{le="+Inf",a="y"} 4
h_sum{a="y"} 1
h_count{a="y"} 4
# TYPE g gauge
g 3
"""


def found(exposition: Exposition) -> dict[str, object]:
    """Series by label set; a histogram in its comparable form."""
    rows = boxed_rows(exposition.values).tolist()
    out: dict[str, object] = {}
    for key, value, row in zip(exposition.keys, exposition.values.tolist(), rows, strict=True):
        name = str(parse_series(key))
        assert name not in out
        held = exposition.histograms
        out[name] = described(held, row) if row >= 0 and held is not None else value
    return out


def series(**labels: str) -> str:
    return str({"__name__" if name == "name" else name: value for name, value in labels.items()})


X = one(CUSTOM, {0: 2.0, 2: 3.0}, bounds=(1.0, 2.5), total=7.5)
Y = one(CUSTOM, {0: 1.0, 1: 3.0}, bounds=(1.0,), total=1.0)


def test_only_histograms_are_converted() -> None:
    assert found(parse(BODY.encode(), TEXT, NHCB)) == {
        series(name="up"): 1.0,
        series(name="g"): 3.0,
        series(name="h", a="x"): described(X, 0),
        series(name="h", a="y"): described(Y, 0),
    }
    assert len(parse(BODY.encode(), TEXT).keys) == 11


def test_classic_series_may_stay() -> None:
    plain, both = found(parse(BODY.encode(), TEXT)), found(parse(BODY.encode(), TEXT, BOTH))
    assert both == plain | {
        series(name="h", a="x"): described(X, 0),
        series(name="h", a="y"): described(Y, 0),
    }


def test_later_bodies_of_the_same_shape_keep_their_keys_and_change_their_numbers() -> None:
    parser = BodyParser(NHCB)
    first, same = parser.parse(BODY.encode(), TEXT)
    assert not same
    for text, count in (("5", 3.0), ("9", 7.0), ("5", 3.0)):
        body = BODY.replace('+Inf"} 5', f'+Inf"}} {text}').replace('count{a="x"} 5', f'count{{a="x"}} {text}')
        again, same = parser.parse(body.encode(), TEXT)
        assert same
        assert again.keys is first.keys
        wanted = one(CUSTOM, {0: 2.0, 2: count}, bounds=(1.0, 2.5), total=7.5)
        assert found(again)[series(name="h", a="x")] == described(wanted, 0)
    broken, same = parser.parse(BODY.replace('2.5"} 2', '2.5"} 9').encode(), TEXT)
    assert not same
    assert set(found(broken)) == {series(name="up"), series(name="g"), series(name="h", a="y")}
    again, _ = parser.parse(BODY.encode(), TEXT)
    assert found(again) == found(first)


@pytest.mark.parametrize(
    "lines",
    [
        'h_bucket{le="1"} 3\nh_bucket{le="+Inf"} 2\nh_count 2',
        'h_bucket{le="1"} -1\nh_bucket{le="+Inf"} 2\nh_count 2',
        'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_count 3',
        'h_bucket{le="1"} NaN\nh_bucket{le="+Inf"} 2\nh_count 2',
        'h_bucket{le="-Inf"} 0\nh_bucket{le="+Inf"} 2\nh_count 2',
        "h_sum 2",
    ],
)
def test_what_is_no_histogram_is_left_out(lines: str) -> None:
    body = f"# TYPE h histogram\n{lines}\n# TYPE g gauge\ng 1\n"
    assert found(parse(body.encode(), TEXT, NHCB)) == {series(name="g"): 1.0}


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ('h_bucket{le="1"} 1\nh_count 3\nh_sum 4', one(CUSTOM, {0: 1.0, 1: 2.0}, bounds=(1.0,), total=4.0)),
        ('h_bucket{le="1"} 1\nh_bucket{le="2"} 3', one(CUSTOM, {0: 1.0, 1: 2.0}, bounds=(1.0, 2.0), total=0.0)),
        ("h_count 3\nh_sum 4", one(CUSTOM, {0: 3.0}, total=4.0)),
        ('h_bucket{le="2"} 3\nh_bucket{le="1"} 1\nh_bucket{le="1"} 9', one(CUSTOM, {0: 1.0, 1: 2.0}, bounds=(1.0, 2.0), total=0.0)),
        ('h_bucket{le="1"} 0.5\nh_bucket{le="+Inf"} 2.25\nh_count 2.25', one(CUSTOM, {0: 0.5, 1: 1.75}, bounds=(1.0,), total=0.0)),
        ('h_bucket{le="+Inf"} 0\nh_sum NaN\nh_count 0', one(CUSTOM, {}, total=math.nan)),
    ],
)  # fmt: skip
def test_incomplete_histograms(lines: str, wanted: object) -> None:
    exposition = parse(f"# TYPE h histogram\n{lines}\n".encode(), TEXT, NHCB)
    (only,) = found(exposition).values()
    expected = described(wanted, 0)  # pyright: ignore[reportArgumentType]
    assert only[:1] + only[2:] == expected[:1] + expected[2:]  # pyright: ignore[reportIndexIssue]
    assert exposition.histograms is not None
    np.testing.assert_array_equal(exposition.histograms.sum, wanted.sum)  # pyright: ignore[reportAttributeAccessIssue]


def test_other_series_and_types_stay_as_they_are() -> None:
    body = (
        '# TYPE h gauge\nh_bucket{le="1"} 1\n# TYPE k histogram\nh_bucket{le="2"} 1\nk_bucket{x="1"} 1\n'
        'k_bucket{le="x"} 2\nk 3\nk_created 4\n'
    )
    assert list(found(parse(body.encode(), TEXT, NHCB)).values()) == [1.0, 1.0, 1.0, 2.0, 3.0, 4.0]


def test_exemplars_times_and_start_timestamps_go_along() -> None:
    body = (
        "# TYPE h histogram\n"
        'h_bucket{le="1"} 1 5 # {id="a"} 0.5 3\nh_bucket{le="+Inf"} 2 5 # {id="b"} 7\nh_count 2 5\nh_sum 9 5\n'
        "h_created 1.5 5\n# EOF\n"
    )
    exposition = parse(body.encode(), OM, NHCB)
    assert [parse_series(key)["__name__"] for key in exposition.keys] == ["h_created", "h"]
    assert exposition.times_ms is not None
    assert exposition.times_ms.tolist() == [5000, 5000]
    assert exposition.start_ms is not None
    assert exposition.start_ms.tolist() == [0, 1500]
    assert [(e.ref, e.value) for e in exposition.exemplars] == [(1, 0.5), (1, 7.0)]
    both = parse(body.encode(), OM, BOTH)
    assert [(both.keys[e.ref], e.value) for e in both.exemplars] == [
        (b'h_bucket{le="1.0"}', 0.5),
        (b"h", 0.5),
        (b'h_bucket{le="+Inf"}', 7.0),
        (b"h", 7.0),
    ]
