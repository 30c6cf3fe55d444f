"""The engine's table `histograms`: rows in, rows out.

In the table `samples` a histogram's value is MARK; the row here has the same metric, series and time. It is inserted
first, so that a mark never stands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, box, boxed_rows
from otero.model.samples import NAN_BITS, bits
from otero.storage.engine import Column

COLUMNS = "schema, zero_threshold, zero_count, count, sum, hint, bounds, bucket, value"

MARK = float(box(np.array([(1 << 48) - 1]))[0])
MARK_BITS = np.uint64(0x7FFE_FFFF_FFFF_FFFF)


def columns(histograms: Histograms) -> list[Column]:
    """The columns COLUMNS of an insert."""
    h = histograms
    widths = np.array([len(bounds) for bounds in h.custom_bounds] + [0], np.int64)[h.bounds]
    flat = [bound for own in h.bounds.tolist() if own >= 0 for bound in h.custom_bounds[own]]
    return [
        Column("schema", "Int8", h.schema),
        Column("zero_threshold", "Float64", h.zero_threshold),
        Column("zero_count", "Float64", h.zero_count),
        Column("count", "Float64", h.count),
        Column("sum", "Float64", h.sum),
        Column("hint", "UInt8", h.hint),
        Column("bounds", "Array(Float64)", np.array(flat, np.float64), ends=np.cumsum(widths)),
        Column("bucket", "Array(Int64)", h.bucket, ends=h.offsets[1:]),
        Column("value", "Array(Float64)", h.value, ends=h.offsets[1:]),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class HistogramRows:
    """Histograms of N (series, time), the last of each counts."""

    series: NDArray[np.uint64]
    times_ms: NDArray[np.int64]
    histograms: Histograms

    @staticmethod
    def of(batches: Sequence[pa.RecordBatch], order: NDArray[np.intp] | None) -> "HistogramRows":
        """What the engine returned for `series, time` and COLUMNS, in this order of rows."""
        parts = [_decoded(batch) for batch in batches]
        rows = HistogramRows(
            np.concatenate([batch["series"].to_numpy() for batch in batches]),
            np.concatenate([batch["time"].to_numpy() for batch in batches]),
            Histograms.concat(parts),
        )
        if order is None:
            return rows
        return replace(
            rows,
            series=rows.series[order],
            times_ms=rows.times_ms[order],
            histograms=rows.histograms.take(order),
        )


def joined(
    series: NDArray[np.uint64],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    rows: HistogramRows | None,
) -> tuple[NDArray[np.float64], Histograms | None]:
    """Samples with boxes in place of marks; a mark without a histogram becomes an ordinary NaN."""
    marks = np.flatnonzero(bits(values) == MARK_BITS)
    out = np.array(values)
    bits(out)[marks] = NAN_BITS
    if rows is None or not len(rows.series):
        return out, None
    _, ids = np.unique(np.concatenate([rows.series, series[marks]]), return_inverse=True)
    times, at = np.unique(np.concatenate([rows.times_ms, times_ms[marks]]), return_inverse=True)
    keys = ids * len(times) + at
    own, wanted = keys[: len(rows.series)], keys[len(rows.series) :]
    order = np.argsort(own, kind="stable")
    last = np.searchsorted(own, wanted, side="right", sorter=order) - 1
    found = order[np.maximum(last, 0)]
    good = (last >= 0) & (own[found] == wanted)
    out[marks[good]] = box(found[good])
    return out, rows.histograms


def marked(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values with marks in place of boxes, and the row of each box (-1 elsewhere)."""
    rows = boxed_rows(values)
    return np.where(rows >= 0, MARK, values), rows


def _decoded(batch: pa.RecordBatch) -> Histograms:
    schema = batch["schema"].to_numpy()
    edges, flat = _lists(batch["bounds"])
    bounds = np.full(len(schema), -1, np.int32)
    known: dict[tuple[float, ...], int] = {}
    for row in np.flatnonzero(schema == CUSTOM).tolist():
        own = tuple(flat[edges[row] : edges[row + 1]].tolist())
        bounds[row] = known.setdefault(own, len(known))
    offsets, bucket = _lists(batch["bucket"])
    return Histograms(
        schema,
        batch["zero_threshold"].to_numpy(),
        batch["zero_count"].to_numpy(),
        batch["count"].to_numpy(),
        batch["sum"].to_numpy(),
        batch["hint"].to_numpy(),
        bounds,
        tuple(known),
        offsets,
        bucket,
        _lists(batch["value"])[1],
    )


def _lists(column: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Where each row's run begins and the last one ends, and the runs one after the other."""
    offsets = column.offsets.to_numpy().astype(np.int64)
    flat = column.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], flat
