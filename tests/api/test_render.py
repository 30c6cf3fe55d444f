"""Results become exactly the JSON that Prometheus would send."""

import math

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from otero.api.prometheus import render
from otero.api.prometheus.numbers import time_text, value_text
from otero.model.histograms import CUSTOM, Histograms, box
from otero.model.labels import LabelTable
from otero.query.notes import Note, NoteKind
from otero.query.result import Matrix, RawMatrix, Result, Scalar, String, Vector
from otero.query.series import StepMatrix, Steps
from tests.histogram_samples import one

TWO = LabelTable.of([{"__name__": "up", "job": 'a"b\\'}, {"job": "ñ"}])


def test_a_vector() -> None:
    body = render.result(Result(Vector(TWO, 1500, np.array([1.0, math.nan]))), "up")
    assert orjson.loads(body) == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {"metric": {"__name__": "up", "job": 'a"b\\'}, "value": [1.5, "1"]},
                {"metric": {"job": "ñ"}, "value": [1.5, "NaN"]},
            ],
        },
    }
    assert b'"value":[1.500,"1"]' in body


def test_a_scalar_and_a_string() -> None:
    scalar = orjson.loads(render.result(Result(Scalar(Steps.at(1000), np.array([math.inf]))), "Inf"))
    assert scalar["data"] == {"resultType": "scalar", "result": [1, "+Inf"]}
    string = orjson.loads(render.result(Result(String(1000, 'x"%b')), '"x"'))
    assert string["data"] == {"resultType": "string", "result": [1, 'x"%b']}


def test_percent_signs_in_labels_are_kept() -> None:
    table = LabelTable.of([{"p": "%b %s %(x)"}])
    matrix = Matrix(Steps(0, 1000, 2), StepMatrix(table, np.array([[1.0], [2.0]])))
    data = orjson.loads(render.result(Result(matrix), "x"))["data"]
    assert data["result"] == [{"metric": {"p": "%b %s %(x)"}, "values": [[0, "1"], [1, "2"]]}]


def test_limits_cut_and_warn() -> None:
    body = orjson.loads(render.result(Result(Vector(TWO, 0, np.array([1.0, 2.0]))), "up", limit=1))
    assert len(body["data"]["result"]) == 1
    assert body["warnings"] == ["results truncated due to limit"]
    assert "warnings" not in orjson.loads(
        render.result(Result(Vector(TWO, 0, np.array([1.0, 2.0]))), "up", limit=2)
    )


def test_notes_carry_their_place() -> None:
    query = "ñ +\n  rate(x[5m])"
    notes = (Note(NoteKind.INFO, "odd", 6, 16), Note(NoteKind.WARNING, "bad"))
    body = orjson.loads(render.result(Result(Vector(TWO, 0, np.array([1.0, 2.0])), notes), query))
    assert body["infos"] == ["PromQL info: odd (2:3)"]
    assert body["warnings"] == ["PromQL warning: bad"]


values = st.lists(st.lists(st.floats() | st.none(), min_size=3, max_size=3), min_size=1, max_size=4)


@given(values)
def test_a_matrix_holds_what_is_present(rows: list[list[float | None]]) -> None:
    table = LabelTable.of([{"i": str(i)} for i in range(len(rows))])
    matrix = np.array([[math.nan if v is None else v for v in row] for row in rows]).T.copy()
    present = np.array([[v is not None for v in row] for row in rows]).T.copy()
    steps = Steps(-500, 750, 3)
    body = orjson.loads(render.result(Result(Matrix(steps, StepMatrix(table, matrix, present))), "x"))
    for i, (row, shown) in enumerate(zip(rows, body["data"]["result"], strict=True)):
        assert shown["metric"] == {"i": str(i)}
        assert shown["values"] == [
            [float(time_text(int(t))), value_text(v)]
            for t, v in zip(steps.times_ms(), row, strict=True)
            if v is not None
        ]


def test_raw_samples_have_their_own_times() -> None:
    raw = RawMatrix(TWO, np.array([0, 2, 3]), np.array([1, 2, 3000]), np.array([1.0, 2.0, 3.5]))
    data = orjson.loads(render.result(Result(raw), "x[1m]"))["data"]
    assert data["resultType"] == "matrix"
    assert [row["values"] for row in data["result"]] == [[[0.001, "1"], [0.002, "2"]], [[3, "3.5"]]]


EXPONENTIAL = one(
    0,
    {0: 1.0, 1: 2.0, 2: 0.0, 3: 12.0},
    below={0: 3.0, 2: 4.0},
    zero_count=5.0,
    zero_threshold=0.001,
    total=7.25,
)
EXPONENTIAL_JSON = {
    "count": "27",
    "sum": "7.25",
    "buckets": [
        [1, "-4", "-2", "4"],
        [1, "-1", "-0.5", "3"],
        [3, "-0.001", "0.001", "5"],
        [0, "0.5", "1", "1"],
        [0, "1", "2", "2"],
        [0, "4", "8", "12"],
    ],
}
CUSTOM_ONE = one(CUSTOM, {0: 2.0, 1: 1.0, 3: 0.5}, bounds=(0.1, 0.5, 1.0), total=1e21)
CUSTOM_JSON = {
    "count": "3.5",
    "sum": "1e+21",
    "buckets": [[3, "-Inf", "0.1", "2"], [0, "0.1", "0.5", "1"], [0, "1", "+Inf", "0.5"]],
}
EMPTY_JSON = {"count": "0", "sum": "NaN"}
THREE = Histograms.concat([EXPONENTIAL, CUSTOM_ONE, one(3, {}, total=math.nan)])


def test_a_vector_of_histograms_and_floats() -> None:
    table = LabelTable.of([{"n": str(n)} for n in range(4)])
    values = np.array([*box(np.array([1, 0])), 2.5, *box(np.array([2]))])
    data = orjson.loads(render.result(Result(Vector(table, 1500, values, THREE)), "x"))["data"]
    assert data["result"] == [
        {"metric": {"n": "0"}, "histogram": [1.5, CUSTOM_JSON]},
        {"metric": {"n": "1"}, "histogram": [1.5, EXPONENTIAL_JSON]},
        {"metric": {"n": "2"}, "value": [1.5, "2.5"]},
        {"metric": {"n": "3"}, "histogram": [1.5, EMPTY_JSON]},
    ]
    shown = orjson.loads(render.result(Result(Vector(table, 1500, values, THREE)), "x", limit=1))["data"]
    assert shown["result"] == data["result"][:1]
    floats = orjson.loads(render.result(Result(Vector(table, 0, np.arange(4.0), THREE)), "x"))["data"]
    assert [row["value"][1] for row in floats["result"]] == ["0", "1", "2", "3"]


def test_a_bucket_that_the_zero_bucket_reaches_into_is_cut() -> None:
    held = one(0, {1: 1.0, 2: 1.0}, below={1: 1.0}, zero_count=2.0, zero_threshold=1.5)
    values = box(np.zeros(1, np.int64))
    data = orjson.loads(render.result(Result(Vector(TWO.take(np.array([0])), 0, values, held)), "x"))["data"]
    assert data["result"][0]["histogram"][1]["buckets"] == [
        [1, "-2", "-1.5", "1"],
        [3, "-1.5", "1.5", "2"],
        [0, "1.5", "2", "1"],
        [0, "2", "4", "1"],
    ]


def test_a_matrix_of_histograms_and_floats() -> None:
    first, second = box(np.array([0, 1]))
    values = np.array([[first, 1.0, first], [second, 2.0, 3.0], [0.0, second, second]])
    present = np.array([[True, True, True], [True, True, False], [False, True, True]])
    table = LabelTable.of([{"n": str(n)} for n in range(3)])
    matrix = Matrix(Steps(0, 500, 3), StepMatrix(table, values, present, histograms=THREE))
    data = orjson.loads(render.result(Result(matrix), "x"))["data"]
    assert data["result"] == [
        {"metric": {"n": "0"}, "histograms": [[0, EXPONENTIAL_JSON], [0.5, CUSTOM_JSON]]},
        {"metric": {"n": "1"}, "values": [[0, "1"], [0.5, "2"]], "histograms": [[1, CUSTOM_JSON]]},
        {"metric": {"n": "2"}, "histograms": [[0, EXPONENTIAL_JSON], [1, CUSTOM_JSON]]},
    ]
    limited = orjson.loads(render.result(Result(matrix), "x", limit=2))["data"]["result"]
    assert limited == data["result"][:2]


def test_raw_histograms_have_their_own_times() -> None:
    raw = RawMatrix(
        TWO,
        np.array([0, 2, 3]),
        np.array([1, 2000, 5]),
        np.array([7.0, *box(np.array([1])), 8.0]),
        THREE,
    )
    data = orjson.loads(render.result(Result(raw), "x"))["data"]
    assert [{k: v for k, v in row.items() if k != "metric"} for row in data["result"]] == [
        {"values": [[0.001, "7"]], "histograms": [[2, CUSTOM_JSON]]},
        {"values": [[0.005, "8"]]},
    ]
