"""Rows of samples to blocks in columns."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, compacted, is_boxed
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, STALE_BITS, SampleBlock, bits

_Scalar = TypeVar("_Scalar", np.float64, np.int64)

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Samples in columns before they have labels: `series` are the callers' row numbers, the rest as in SampleBlock."""

    series: NDArray[np.intp]
    times_ms: NDArray[np.int64]
    group: NDArray[np.intp]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64] | None


def build_blocks(
    labels: LabelTable,
    series: NDArray[np.intp],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    start_ms: NDArray[np.int64] | None = None,
    histograms: Histograms | None = None,
) -> list[SampleBlock]:
    """Blocks of N samples given as rows, in any order; `series[i]` is the row of `labels` that sample i belongs to.

    Of several samples of one series at one time the last row wins. Series without a sample are left out; every other
    one occurs in exactly one block. Series with equal timestamps share a column, and a block is at most twice as long
    as its shortest series. Boxed values point into `histograms`; each block has its own.
    """
    blocks: list[SampleBlock] = []
    for c in build_columns(series, times_ms, values, start_ms):
        own, held = compacted(c.values, histograms)
        blocks.append(
            SampleBlock(labels.take(c.series), c.times_ms, c.group, own, is_clean(own), c.start_ms, held)
        )
    return blocks


def build_columns(
    series: NDArray[np.intp],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    start_ms: NDArray[np.int64] | None = None,
) -> list[Columns]:
    """As `build_blocks`, without labels."""
    if not len(series):
        return []
    picked = _sorted_unique(series, times_ms)
    if picked is not None:
        series, times_ms, values = series[picked], times_ms[picked], values[picked]
        start_ms = None if start_ms is None else start_ms[picked]
    if start_ms is not None and not start_ms.any():
        start_ms = None
    starts = np.flatnonzero(np.concatenate([[True], series[1:] != series[:-1]]))
    lengths = np.diff(starts, append=len(series))
    group, heads = _equal_columns(times_ms, starts, lengths)
    out: list[Columns] = []
    order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order]
    at = 0
    while at < len(order):
        longest = int(sorted_lengths[at])
        end = int(np.searchsorted(-sorted_lengths, -(longest // 2), side="right"))
        members = np.sort(order[at:end])
        used, local = np.unique(group[members], return_inverse=True)
        head_series = heads[used]
        out.append(
            Columns(
                series[starts[members]].astype(np.intp),
                _stack(times_ms, starts[head_series], lengths[head_series], longest, NO_TIME),
                local.astype(np.intp),
                _stack(values, starts[members], lengths[members], longest, ABSENT),
                None if start_ms is None else _stack(start_ms, starts[members], lengths[members], longest, 0),
            )
        )
        at = end
    return out


def is_clean(values: NDArray[np.float64]) -> bool:
    """Whether no value is STALE, ABSENT or boxed."""
    flat = values.reshape(-1)
    with np.errstate(all="ignore"):
        if not np.isnan(np.dot(flat, flat)):
            return True
    raw = bits(np.ascontiguousarray(values))
    return not bool(((raw == STALE_BITS) | (raw == ABSENT_BITS) | is_boxed(values)).any())


def _sorted_unique(series: NDArray[np.intp], times_ms: NDArray[np.int64]) -> NDArray[np.intp] | None:
    """The rows to keep, in order of series and time; None when the rows are so already."""
    same = series[1:] == series[:-1]
    if bool(((series[1:] > series[:-1]) | (same & (times_ms[1:] > times_ms[:-1]))).all()):
        return None
    first, last = int(times_ms.min()), int(times_ms.max())
    low, high = int(series.min()), int(series.max())
    shift = (last - first).bit_length()
    if shift + (high - low).bit_length() <= 62:
        key = ((series.astype(np.int64) - low) << shift) | (times_ms - first)
        order = np.argsort(key, kind="stable")
        key = key[order]
        distinct = np.concatenate([key[1:] != key[:-1], [True]])
    else:
        order = np.lexsort((times_ms, series))
        s, t = series[order], times_ms[order]
        distinct = np.concatenate([(s[1:] != s[:-1]) | (t[1:] != t[:-1]), [True]])
    return order[distinct]


def _equal_columns(
    times_ms: NDArray[np.int64], starts: NDArray[np.intp], lengths: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which series have equal timestamps: the group of each series, and one series of each group.

    Timestamps of a series are distinct, so the sum of their mixed bits stands for the set; it is checked afterwards.
    """
    mixed = times_ms.astype(np.uint64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= _MIX_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_2
    mixed ^= mixed >> np.uint64(31)
    digest = np.add.reduceat(mixed, starts) ^ (lengths.astype(np.uint64) * _MIX_1)
    _, heads, group = np.unique(digest, return_index=True, return_inverse=True)
    reference = heads[group]
    shift = np.repeat(starts[reference] - starts, lengths)
    other = np.minimum(np.arange(len(times_ms)) + shift, len(times_ms) - 1)
    differs = np.add.reduceat(times_ms[other] != times_ms, starts) > 0
    differs |= lengths[reference] != lengths
    if differs.any():
        odd = np.flatnonzero(differs)
        group = group.copy()
        group[odd] = len(heads) + np.arange(len(odd))
        heads = np.concatenate([heads, odd])
    return group.astype(np.intp), heads.astype(np.intp)


def _stack(
    rows: NDArray[_Scalar],
    starts: NDArray[np.intp],
    lengths: NDArray[np.intp],
    height: int,
    fill: float,
) -> NDArray[_Scalar]:
    """[height, len(starts)]: runs of `rows` as columns, padded with `fill`."""
    width = len(starts)
    if width and int(lengths.min()) == height:
        if int(starts[-1]) - int(starts[0]) == (width - 1) * height and bool(
            (np.diff(starts) == height).all()
        ):
            wide = rows[starts[0] : starts[0] + width * height].reshape(width, height)
        else:
            wide = rows[starts[:, None] + np.arange(height)]
        return np.ascontiguousarray(wide.T)
    wide = np.full((width, height), fill, rows.dtype)
    inside = np.arange(height) < lengths[:, None]
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    source = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    wide[inside] = rows[source]
    return np.ascontiguousarray(wide.T)
