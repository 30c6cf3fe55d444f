"""Answers of the API as the terminal shows them."""

import csv
import io
from typing import Any

import pytest

from otero.cli.query import query, value_text

HISTOGRAM = {
    "count": "10",
    "sum": "-1.5",
    "buckets": [[1, "-4", "-2", "4"], [3, "-0.001", "0.001", "5"], [0, "0.5", "1", "1"], [2, "3", "4", "1"]],
}
TEXT = "{count:10, sum:-1.5, [-4,-2):4, [-0.001,0.001]:5, (0.5,1]:1, (3,4):1}"


class Answering:
    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def prometheus(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        assert path.startswith("/api/v1/query")
        assert params["query"] == "x"
        return {"data": self._data}


def ask(data: dict[str, Any], capsys: pytest.CaptureFixture[str], **settings: Any) -> str:
    query("x", Answering(data), **settings)  # pyright: ignore[reportArgumentType]
    return capsys.readouterr().out


def test_a_histogram_reads_as_promql_prints_it() -> None:
    assert value_text(HISTOGRAM) == TEXT
    assert value_text({"count": "0", "sum": "NaN"}) == "{count:0, sum:NaN}"
    assert value_text("7") == "7"


def test_vectors_of_histograms(capsys: pytest.CaptureFixture[str]) -> None:
    data = {
        "resultType": "vector",
        "result": [
            {"metric": {"n": "1"}, "histogram": [1.5, HISTOGRAM]},
            {"metric": {"n": "2"}, "value": [1.5, "3"]},
        ],
    }
    rows = list(csv.reader(io.StringIO(ask(data, capsys, format_="csv"))))
    assert rows[1:] == [["1", "1970-01-01T00:00:01.500Z", TEXT], ["2", "1970-01-01T00:00:01.500Z", "3"]]
    table = ask(data, capsys)
    assert "count:10" in table
    assert "[-4,-2):4" in table


def test_ranges_of_histograms_are_drawn_by_count(capsys: pytest.CaptureFixture[str]) -> None:
    data = {
        "resultType": "matrix",
        "result": [
            {"metric": {"n": "1"}, "values": [[2, "3"]], "histograms": [[1, HISTOGRAM], [3, HISTOGRAM]]},
            {"metric": {"n": "2"}, "values": [[1, "3"], [3, "4"]]},
        ],
    }
    rows = list(csv.reader(io.StringIO(ask(data, capsys, start="0", end="3", format_="csv"))))
    assert [row[2] for row in rows[1:4]] == [TEXT, "3", TEXT]
    shown = ask(data, capsys, start="0", end="3")
    assert '{n="1"} (count)' in shown
    assert '{n="2"} (count)' not in shown
