"""Results become exactly the JSON that Prometheus would send."""

import math

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from otero.api.prometheus import render
from otero.api.prometheus.numbers import time_text, value_text
from otero.model.labels import LabelTable
from otero.query.notes import Note, NoteKind
from otero.query.result import Matrix, RawMatrix, Result, Scalar, String, Vector
from otero.query.series import StepMatrix, Steps

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
