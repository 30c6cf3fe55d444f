"""Holds an answer of the engine against what an `eval` expects, as strictly as Prometheus' own runner."""

import math
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, boxed_rows
from otero.model.labels import METRIC_NAME
from otero.query.notes import Note, NoteKind
from otero.query.promql.spec_histograms import Histogram, agree, from_columns
from otero.query.promql.spec_language import Eval
from otero.query.promql.spec_series import Item
from otero.query.result import Matrix, RawMatrix, Result, Scalar, String, Vector
from otero.query.syntax import place

EPSILON = 1e-6
"""Two values agree when they differ by less than this share of the sum of their magnitudes."""

Answer = Vector | Matrix | RawMatrix | Scalar | String
Value = float | Histogram
Point = tuple[int, Value]
"""Time in milliseconds, value."""
Key = tuple[tuple[str, str], ...]
_PLAIN_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


class Mismatch(Exception):
    """The reason why an answer is not what it must be; may have several lines."""


def check_notes(command: Eval, result: Result) -> None:
    """Raises Mismatch when warnings or infos are missing, or are there although they must not be."""
    for kind, wanted, none in (
        (NoteKind.WARNING, command.warn, command.no_warn),
        (NoteKind.INFO, command.info, command.no_info),
    ):
        notes = [_render(note, command.expr) for note in result.notes if note.kind is kind]
        if none and notes:
            raise Mismatch(_both(f"unexpected {kind} annotations", "none", notes))
        if not wanted:
            continue
        for expectation in wanted:
            if not any(map(expectation.fits, notes)):
                raise Mismatch(_both(f"{kind} annotation not found", expectation, notes or "none"))
        for note in notes:
            if not any(expectation.fits(note) for expectation in wanted):
                raise Mismatch(_both(f"unexpected {kind} annotation", wanted, note))


def _render(note: Note, expr: str) -> str:
    """A note as Prometheus writes it: `PromQL warning: text (line:column)`."""
    text = note.text if note.text.startswith("PromQL ") else f"PromQL {note.kind}: {note.text}"
    if note.start < 0:
        return text
    line, column = place(expr, note.start)
    return f"{text} ({line}:{column})"


def check_value(command: Eval, value: Answer) -> None:
    """Raises Mismatch when an answer is not the expected one."""
    match value:
        case String():
            if command.string != value.text:
                raise Mismatch(_both("wrong string", repr(command.string), repr(value.text)))
        case Scalar():
            number = float(value.values[0])
            if command.scalar is None:
                raise Mismatch(_both("wrong kind of result", "series", f"the scalar {number}"))
            if not almost_equal(command.scalar, number):
                raise Mismatch(_both("wrong scalar", command.scalar, number))
        case Vector():
            _check_vector(command, value)
        case Matrix() | RawMatrix():
            if isinstance(value, Matrix):
                check_sorted(value)
            _check_series(command, rows_of(value))


def check_sorted(value: Matrix) -> None:
    """Raises Mismatch when the series of a range query are not sorted by labels."""
    keys = [key_of(labels) for labels in value.series.labels.rows()]
    for before, after in pairwise(keys):
        if after < before:
            raise Mismatch(
                f"series must be sorted by labels, but {show(dict(before))} is before {show(dict(after))}"
            )


def rows_of(value: Vector | Matrix | RawMatrix) -> list[tuple[dict[str, str], list[Point]]]:
    """Labels and points of every series."""
    match value:
        case Vector():
            cells = _cells(value.values, value.histograms)
            return [
                (labels, [(value.time_ms, cell)])
                for labels, cell in zip(value.labels.rows(), cells, strict=True)
            ]
        case Matrix(series=series, steps=steps):
            present = series.present_mask()
            times = steps.times_ms()
            out: list[tuple[dict[str, str], list[Point]]] = []
            for row, labels in enumerate(series.labels.rows()):
                here = present[:, row]
                cells = _cells(series.values[here, row], series.histograms)
                out.append((labels, list(zip(times[here].tolist(), cells, strict=True))))
            return out
        case RawMatrix(offsets=offsets):
            times_ms = value.times_ms.tolist()
            cells = _cells(value.values, value.histograms)
            points = list(zip(times_ms, cells, strict=True))
            return [
                (labels, points[offsets[row] : offsets[row + 1]])
                for row, labels in enumerate(value.labels.rows())
            ]


def _cells(values: NDArray[np.float64], histograms: Histograms | None) -> list[Value]:
    if histograms is None:
        return values.tolist()
    rows = boxed_rows(values).tolist()
    return [
        number if row < 0 else from_columns(histograms, row)
        for number, row in zip(values.tolist(), rows, strict=True)
    ]


def key_of(labels: dict[str, str]) -> Key:
    """Sorted labels, without empty ones."""
    return tuple(sorted((name, text) for name, text in labels.items() if text))


def _check_vector(command: Eval, value: Vector) -> None:
    if command.scalar is not None:
        raise Mismatch(_both("wrong kind of result", f"the scalar {command.scalar}", "a vector"))
    wanted = {key_of(line.labels): (index, line.items[:1]) for index, line in enumerate(command.series)}
    seen: set[Key] = set()
    for position, (labels, points) in enumerate(rows_of(value)):
        key = key_of(labels)
        [(_, got)] = points
        if key not in wanted:
            raise Mismatch(f"unexpected series {show(labels)} in the result, has {got}")
        if key in seen:
            raise Mismatch(f"series {show(labels)} is twice in the result")
        seen.add(key)
        index, items = wanted[key]
        if command.ordered and index != position:
            raise Mismatch(
                _both(f"wrong order: {show(labels)}", f"position {index + 1}", f"position {position + 1}")
            )
        if not items or not same(items[0], got):
            raise Mismatch(_both(f"wrong value of {show(labels)}", *told(items[0] if items else None, got)))
    for key, (_, items) in wanted.items():
        if key not in seen:
            raise Mismatch(
                f"series {show(dict(key))} is not in the result, expected {_item(items[0] if items else None)}"
            )


def _check_series(command: Eval, rows: list[tuple[dict[str, str], list[Point]]]) -> None:
    if command.ordered:
        raise Mismatch("an order is expected, but the result is a matrix")
    if command.scalar is not None:
        raise Mismatch(_both("wrong kind of result", f"the scalar {command.scalar}", "a matrix"))
    start_ms, end_ms, step_ms = command.range_vector or (command.start_ms, command.end_ms, command.step_ms)
    wanted = {key_of(line.labels): line.items for line in command.series}
    seen: set[Key] = set()
    for labels, points in rows:
        key = key_of(labels)
        if key not in wanted:
            raise Mismatch(f"unexpected series {show(labels)} in the result, has {_points(points)}")
        if key in seen:
            raise Mismatch(f"series {show(labels)} is twice in the result")
        seen.add(key)
        items = wanted[key]
        if start_ms + (len(items) - 1) * step_ms > end_ms:
            raise Mismatch(f"{len(items)} points are expected of {show(labels)}, more than the range has")
        expected: list[Point] = [
            (start_ms + index * step_ms, item) for index, item in enumerate(items) if item is not None
        ]
        if [time_ms for time_ms, _ in expected] != [time_ms for time_ms, _ in points]:
            raise Mismatch(_both(f"wrong points of {show(labels)}", _points(expected), _points(points)))
        for (time_ms, item), (_, got) in zip(expected, points, strict=True):
            if not same(item, got):
                raise Mismatch(_both(f"wrong value of {show(labels)} at {_time(time_ms)}", *told(item, got)))
    for key in wanted.keys() - seen:
        raise Mismatch(f"series {show(dict(key))} is not in the result")


def same(wanted: Item, got: Value, close: "Callable[[float, float], bool] | None" = None) -> bool:
    """Whether a value is the expected one: both floats or both histograms, and but for rounding equal."""
    close = close or almost_equal
    if isinstance(wanted, Histogram):
        return isinstance(got, Histogram) and agree(wanted, got, close)
    return wanted is not None and not isinstance(got, Histogram) and close(wanted, got)


def almost_equal(a: float, b: float) -> bool:
    """Prometheus' tolerance: NaN equals NaN; zero and the tiniest numbers must be nearly exact."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    total = abs(a) + abs(b)
    difference = abs(a - b)
    if a == 0 or b == 0 or total < sys.float_info.min:
        return difference < EPSILON * sys.float_info.min
    return difference / min(total, sys.float_info.max) < EPSILON


def show(labels: dict[str, str]) -> str:
    """A label set as it is written in these files."""
    name = labels.get(METRIC_NAME, "")
    plain = _PLAIN_NAME.fullmatch(name)
    inner = [f'{label}="{_escaped(text)}"' for label, text in sorted(labels.items()) if label != METRIC_NAME]
    if name and not plain:
        inner.insert(0, f'"{_escaped(name)}"')
    return f"{name if plain else ''}{{{', '.join(inner)}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _both(what: str, expected: object, got: object) -> str:
    return f"{what}\n  expected {_list(expected)}\n  got      {_list(got)}"


def _list(value: object) -> str:
    return (
        "; ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def told(wanted: Item, got: Value) -> tuple[str, str]:
    """Both values; the counter reset hint of the answer only where one is expected."""
    if isinstance(got, Histogram) and isinstance(wanted, Histogram) and wanted.hint is None:
        got = got.without_hint()
    return _item(wanted), _item(got)


def _item(item: Item) -> str:
    return "nothing" if item is None else f"{item}"


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{value}@{_time(time_ms)}" for time_ms, value in points) or "nothing"


def _time(time_ms: int) -> str:
    return f"{time_ms / 1000:g}s"
