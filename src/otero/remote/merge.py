"""Samples that came from elsewhere beside the local ones: each series once, each of its times once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import Histograms, ResetHint, boxed_rows, merged
from otero.model.labels import LabelTable
from otero.model.samples import SampleBlock
from otero.query.promql.windows import block_of
from otero.storage.assemble import block_rows
from otero.storage.blocks import build_blocks

_ALL_TIMES = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """N samples of other servers in any order: `series[i]` is the row of `labels` that sample i belongs to. Rows of
    `labels` may repeat; boxed values point into `histograms`."""

    labels: LabelTable
    series: NDArray[np.intp]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64] | None = None
    histograms: Histograms | None = None


def merge(blocks: Sequence[SampleBlock], answers: Sequence[Answer]) -> list[SampleBlock]:
    """Each series of blocks and answers in exactly one block.

    Where several have a sample of a series and time, the blocks' counts, else that of the first answer.
    """
    answers = [answer for answer in reversed(answers) if len(answer.series)]
    if not answers:
        return list(blocks)
    tables = [answer.labels for answer in answers] + [block.labels for block in blocks]
    group, heads = LabelTable.concat(tables).group()
    remote = sum(answer.labels.size for answer in answers)
    known = int(group[:remote].max()) + 1
    parts: list[Answer] = []
    at = 0
    for answer in answers:
        parts.append(replace(answer, series=group[at : at + answer.labels.size][answer.series]))
        at += answer.labels.size
    untouched: list[SampleBlock] = []
    for block in blocks:
        ids = group[at : at + block.series_count]
        at += block.series_count
        shared = ids < known
        if not shared.any():
            untouched.append(block)
            continue
        if not shared.all():
            untouched.append(block_of(block, np.flatnonzero(~shared)))
            block, ids = block_of(block, np.flatnonzero(shared)), ids[shared]
        rows = block_rows(block, ids.astype(np.int64), _ALL_TIMES)
        parts.append(
            Answer(
                block.labels,
                rows.refs.astype(np.intp),
                rows.times_ms,
                rows.values,
                rows.start_ms,
                block.histograms,
            )
        )
    values, histograms = merged([(part.values, part.histograms) for part in parts])
    series = np.concatenate([part.series for part in parts])
    column = np.concatenate(values)
    if histograms is not None:
        histograms = _unsure(histograms, column, series, parts, known)
    joined = build_blocks(
        LabelTable.concat(tables).take(heads[:known]),
        series,
        np.concatenate([part.times_ms for part in parts]),
        column,
        np.concatenate(
            [np.zeros(len(p.series), np.int64) if p.start_ms is None else p.start_ms for p in parts]
        ),
        histograms,
    )
    return untouched + joined


def _unsure(
    histograms: Histograms,
    values: NDArray[np.float64],
    series: NDArray[np.intp],
    parts: Sequence[Answer],
    known: int,
) -> Histograms:
    """What a histogram says of the one before it does not hold in a series that comes from several places."""
    sources = np.zeros(known, np.int64)
    for part in parts:
        sources[np.unique(part.series)] += 1
    rows = boxed_rows(values)
    rows = rows[(rows >= 0) & (sources[series] > 1)]
    hint = histograms.hint.copy()
    hint[rows[hint[rows] != ResetHint.GAUGE]] = ResetHint.UNKNOWN
    return replace(histograms, hint=hint)
