"""Answers of the Prometheus API as JSON, woven from columns without an object per sample."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from otero.api.prometheus.histogram_json import histogram_texts
from otero.api.prometheus.numbers import time_text, time_texts, value_text, value_texts
from otero.model.budget import Budget
from otero.model.histograms import boxed_rows, compacted
from otero.model.labels import LabelTable
from otero.query.notes import Note, NoteKind, render_note
from otero.query.result import Matrix, QueryStats, RawMatrix, Result, Scalar, String, Vector
from otero.query.series import Steps

__all__ = ["json_response", "result", "success", "success_bytes", "time_text", "value_text"]

_TRUNCATED = "results truncated due to limit"
_MAX_NOTES = 10


def json_response(body: bytes) -> Response:
    """A 200 with this JSON."""
    return Response(body, media_type="application/json")


def success_bytes(data: Any, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> bytes:
    """`{"status":"success","data":…}`."""
    envelope: dict[str, Any] = {"status": "success", "data": data}
    if warnings:
        envelope["warnings"] = warnings
    if infos:
        envelope["infos"] = infos
    return orjson.dumps(envelope)


def success(data: Any, warnings: Sequence[str] = ()) -> Response:
    """`success_bytes` as a response."""
    return json_response(success_bytes(data, warnings))


def result(
    result: Result, query: str, *, limit: int = 0, stats: bool = False, budget: Budget | None = None
) -> bytes:
    """The whole body of an answered query. `limit` 0 means every series."""
    value = result.value
    truncated = False
    match value:
        case Vector():
            kind, truncated = b"vector", bool(limit and value.labels.size > limit)
            body = _vector(value, limit)
        case Matrix():
            kind, truncated = b"matrix", bool(limit and value.series.series_count > limit)
            body = _matrix(value, limit, budget)
        case RawMatrix():
            kind, truncated = b"matrix", bool(limit and value.labels.size > limit)
            body = _raw_matrix(value, limit, budget)
        case Scalar():
            text = value_text(float(value.values[0]), positional=True).encode()
            kind, body = b"scalar", b'[%b,"%b"]' % (time_text(value.steps.start_ms).encode(), text)
        case String():
            kind, body = b"string", b"[%b,%b]" % (time_text(value.time_ms).encode(), orjson.dumps(value.text))
    warnings, infos = note_texts(result.notes, query)
    if truncated:
        warnings.append(_TRUNCATED)
    parts = [b'{"status":"success","data":{"resultType":"%b","result":' % kind, body]
    if stats:
        parts.append(b',"stats":%b' % orjson.dumps(_stats(result.stats)))
    parts.append(b"}")
    if warnings:
        parts.append(b',"warnings":%b' % orjson.dumps(warnings))
    if infos:
        parts.append(b',"infos":%b' % orjson.dumps(infos))
    parts.append(b"}")
    return b"".join(parts)


def note_texts(notes: Iterable[Note], query: str) -> tuple[list[str], list[str]]:
    """Warnings and infos as Prometheus words them, place included, at most ten of each."""
    texts: dict[NoteKind, list[str]] = {NoteKind.WARNING: [], NoteKind.INFO: []}
    for note in notes:
        texts[note.kind].append(render_note(note, query))
    for kind, listed in texts.items():
        if len(listed) > _MAX_NOTES:
            more = len(listed) - _MAX_NOTES
            texts[kind] = [*listed[:_MAX_NOTES], f"{more} more {kind} annotations omitted"]
    return texts[NoteKind.WARNING], texts[NoteKind.INFO]


def _stats(stats: QueryStats) -> dict[str, Any]:
    return {"samples": {"totalQueryableSamples": stats.samples, "peakSamples": stats.peak_samples}}


def _label_sets(labels: LabelTable, count: int) -> list[bytes]:
    table = labels if count >= labels.size else labels.take(np.arange(count))
    return [orjson.dumps(row) for row in table.rows()]


def _shown(size: int, limit: int) -> int:
    return min(size, limit) if limit else size


def _vector(vector: Vector, limit: int) -> bytes:
    count = _shown(vector.labels.size, limit)
    time = time_text(vector.time_ms).encode()
    template = b'{"metric":%b,"value":[' + time + b',"%b"]}'
    values = np.ascontiguousarray(vector.values[:count])
    texts = value_texts(values)
    values, histograms = compacted(values, vector.histograms)
    if histograms is not None:
        objects = histogram_texts(histograms)
        parts = [
            b'"value":[%b,"%b"]' % (time, text) if row < 0 else b'"histogram":[%b,%b]' % (time, objects[row])
            for row, text in zip(boxed_rows(values).tolist(), texts, strict=True)
        ]
        pairs = zip(_label_sets(vector.labels, count), parts, strict=True)
        return b"[" + b",".join([b'{"metric":%b,%b}' % pair for pair in pairs]) + b"]"
    rows = [template % pair for pair in zip(_label_sets(vector.labels, count), texts, strict=True)]
    return b"[" + b",".join(rows) + b"]"


@lru_cache(maxsize=32)
def _moments(steps: Steps) -> tuple[bytes, ...]:
    """What stands before the value of each step, the end of the value before it included."""
    return tuple([b'"],[%b,"' % text for text in time_texts(steps.times_ms())])


def _matrix(matrix: Matrix, limit: int, budget: Budget | None) -> bytes:
    series = matrix.series
    count = _shown(series.series_count, limit)
    if series.histograms is not None:
        return _mixed_matrix(matrix, count, budget)
    columns = np.ascontiguousarray(series.values[:, :count].T)
    moments = _moments(matrix.steps)
    woven = [b""] * (2 * len(moments))
    woven[::2] = moments
    present = None if series.present is None else np.ascontiguousarray(series.present[:, :count].T)
    rows: list[bytes] = []
    for index, labels in enumerate(_label_sets(series.labels, count)):
        if budget is not None and index % 256 == 0:
            budget.check()
        if present is None or present[index].all():
            woven[1::2] = value_texts(columns[index])
            values = b"".join(woven)
        else:
            at = np.flatnonzero(present[index])
            some = [b""] * (2 * len(at))
            some[::2] = [moments[step] for step in at.tolist()]
            some[1::2] = value_texts(columns[index][at])
            values = b"".join(some)
        rows.append(
            b'{"metric":%b,"values":[%b"]]}' % (labels, values[3:])
            if values
            else b'{"metric":%b,"values":[]}' % labels
        )
    return b"[" + b",".join(rows) + b"]"


def _mixed_matrix(matrix: Matrix, count: int, budget: Budget | None) -> bytes:
    """A matrix with histograms in it, series by series."""
    series = matrix.series
    present = series.present_mask()[:, :count]
    step, column = np.nonzero(present.T)[::-1]
    lengths = np.count_nonzero(present, axis=0)
    raw = RawMatrix(
        series.labels,
        np.concatenate([np.zeros(1, np.intp), np.cumsum(lengths)]),
        matrix.steps.times_ms()[step],
        np.ascontiguousarray(series.values[step, column]),
        series.histograms,
    )
    return _raw_matrix(raw, count, budget)


def _raw_matrix(matrix: RawMatrix, limit: int, budget: Budget | None) -> bytes:
    rows: list[bytes] = []
    offsets: list[int] = matrix.offsets.tolist()
    samples, histograms = compacted(matrix.values, matrix.histograms)
    objects = histogram_texts(histograms) if histograms is not None else []
    for index, labels in enumerate(_label_sets(matrix.labels, _shown(matrix.labels.size, limit))):
        if budget is not None and index % 256 == 0:
            budget.check()
        start, end = offsets[index], offsets[index + 1]
        times: list[int] = matrix.times_ms[start:end].tolist()
        values = np.ascontiguousarray(samples[start:end])
        pairs = list(zip(times, value_texts(values), strict=True))
        if not objects:
            rows.append(b'{"metric":%b,"values":[%b]}' % (labels, _points(pairs)))
            continue
        boxes: list[int] = boxed_rows(values).tolist()
        floats = [pair for pair, box in zip(pairs, boxes, strict=True) if box < 0]
        parts = [b'"metric":%b' % labels]
        if floats:
            parts.append(b'"values":[%b]' % _points(floats))
        if len(floats) < len(pairs):
            held = [
                b"[%b,%b]" % (time_text(time_ms).encode(), objects[box])
                for time_ms, box in zip(times, boxes, strict=True)
                if box >= 0
            ]
            parts.append(b'"histograms":[%b]' % b",".join(held))
        rows.append(b"{%b}" % b",".join(parts))
    return b"[" + b",".join(rows) + b"]"


def _points(pairs: Sequence[tuple[int, bytes]]) -> bytes:
    return b",".join([b'[%b,"%b"]' % (time_text(time_ms).encode(), text) for time_ms, text in pairs])
