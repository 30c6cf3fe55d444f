"""Classic histograms of an exposition, put together to native histograms with custom bounds.

What belongs together is found once for a list of series; further bodies with the same series cost array operations.
Rules: Prometheus' `convert_classic_histograms_to_nhcb`. What is no histogram (counts that fall, a count that is not that
of the last bucket) is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from otero.model.histograms import CUSTOM, Histograms, box, merged, positive
from otero.model.labels import METRIC_NAME
from otero.model.metrics import Exemplar
from otero.wire.exposition_columns import Exposition
from otero.wire.exposition_series import parse_series, series_key
from otero.wire.go_floats import is_float

_PARTS = ("_bucket", "_count", "_sum")


@dataclass(frozen=True, slots=True)
class Classic:
    """Which rows are one classic histogram.

    key      the text of the series without suffix and `le`.
    buckets  (upper bound, row), ascending, no bound twice. count, sum: rows, -1 where there is none.
    rows     all its rows, those of repeated bounds included.
    """

    key: bytes
    buckets: tuple[tuple[float, int], ...]
    count: int
    sum: int
    rows: tuple[int, ...]


def find_classics(keys: Sequence[bytes], start: int, end: int, family: str) -> list[Classic]:
    """The classic histograms of a family among the rows from `start` to `end`; the rows of each follow each other."""
    out: list[Classic] = []
    collected: _Collected | None = None
    for row in range(start, end):
        labels = parse_series(keys[row])
        name = labels.pop(METRIC_NAME)
        part = name.removeprefix(family) if name.startswith(family) else ""
        bound = labels.pop("le", None)
        fits = part in _PARTS and (part != "_bucket" or _is_bound(bound))
        if collected is not None and not (fits and labels == collected.labels):
            out.append(collected.classic(family))
            collected = None
        if not fits:
            continue
        if collected is None:
            collected = _Collected(labels)
        collected.add(part, bound, row)
    if collected is not None:
        out.append(collected.classic(family))
    return out


def _is_bound(text: str | None) -> bool:
    return text is not None and is_float(text.encode()) and not math.isnan(float(text))


class _Collected:
    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self._buckets: dict[float, int] = {}
        self._count = self._sum = -1
        self._rows: list[int] = []

    def add(self, part: str, bound: str | None, row: int) -> None:
        self._rows.append(row)
        if part == "_bucket":
            self._buckets.setdefault(float(bound or "nan"), row)
        elif part == "_count":
            self._count = row
        else:
            self._sum = row

    def classic(self, family: str) -> Classic:
        return Classic(
            series_key(family, self.labels),
            tuple(sorted(self._buckets.items())),
            self._count,
            self._sum,
            tuple(self._rows),
        )


class ClassicPlan:
    """How bodies with the series `keys` are converted; `keep` leaves the classic series in place."""

    def __init__(self, keys: Sequence[bytes], classics: Sequence[Classic], *, keep: bool) -> None:
        size = len(keys)
        kept = np.ones(size, np.bool_)
        # A histogram without buckets and count is none; nor is one whose first bucket ends below every number.
        self._classics = [
            c for c in classics if (c.buckets[0][0] != -math.inf if c.buckets else c.count >= 0)
        ]
        self._histogram_of: dict[int, int] = {}
        for classic in classics:
            if not keep:
                kept[list(classic.rows)] = False
        self._kept = None if kept.all() else np.flatnonzero(kept)
        self._places = np.cumsum(kept) - 1
        self._is_kept = kept
        flat: list[int] = []
        lengths: list[int] = []
        counts: list[int] = []
        sums: list[int] = []
        bounds: list[int] = []
        known: dict[tuple[float, ...], int] = {}
        for number, classic in enumerate(self._classics):
            self._histogram_of.update(dict.fromkeys(classic.rows, number))
            rows = [row for _, row in classic.buckets]
            count = classic.count if classic.count >= 0 else rows[-1]
            if not classic.buckets or classic.buckets[-1][0] != math.inf:
                rows.append(count)
            flat += rows
            lengths.append(len(rows))
            counts.append(count)
            sums.append(classic.sum if classic.sum >= 0 else size)
            own = tuple(bound for bound, _ in classic.buckets if bound != math.inf)
            bounds.append(known.setdefault(own, len(known)))
        self._flat = np.array(flat, np.intp)
        self._offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        self._counts, self._sums = np.array(counts, np.intp), np.array(sums, np.intp)
        self._bounds, self._custom = np.array(bounds, np.int32), tuple(known)
        self._first = np.array([min(classic.rows) for classic in self._classics], np.intp)
        self.keys = list(compress(keys, kept.tolist())) + [classic.key for classic in self._classics]

    def apply(self, body: Exposition) -> Exposition:
        """The body with histograms in it, after what else it has. `keys` is always the same list unless a histogram
        is left out."""
        values = np.append(body.values, 0.0)
        histograms, good = self._histograms(values)
        chosen = np.flatnonzero(good)
        floats = body.values if self._kept is None else body.values[self._kept]
        boxes = box(np.arange(len(chosen)))
        (floats, boxes), held = merged([(floats, body.histograms), (boxes, histograms.take(chosen))])
        keys = self.keys
        if len(chosen) < len(good):
            plain = len(keys) - len(good)
            keys = keys[:plain] + [keys[plain + number] for number in chosen.tolist()]
        return replace(
            body,
            keys=keys,
            values=np.concatenate([floats, boxes]),
            times_ms=self._extended(body.times_ms, chosen),
            start_ms=self._extended(body.start_ms, chosen),
            exemplars=self._exemplars(body.exemplars, len(floats), good),
            histograms=held,
        )

    def _histograms(self, values: NDArray[np.float64]) -> tuple[Histograms, NDArray[np.bool_]]:
        """Every histogram, and which of them are ones."""
        starts, ends = self._offsets[:-1], self._offsets[1:]
        cumulative = values[self._flat]
        with np.errstate(invalid="ignore"):
            part = np.diff(cumulative, prepend=0.0)
            part[starts] = cumulative[starts]
            count = values[self._counts]
            faulty = np.add.reduceat(~(part >= 0), starts) > 0 if len(starts) else np.zeros(0, np.bool_)
            good = ~faulty & (count == cumulative[ends - 1])
        index = np.arange(len(part)) - np.repeat(starts, ends - starts)
        filled = part != 0
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(filled)])[self._offsets]
        size = len(starts)
        none = np.zeros(size)
        return (
            Histograms(
                np.full(size, CUSTOM, np.int8),
                none,
                none,
                count,
                values[self._sums],
                np.zeros(size, np.uint8),
                self._bounds,
                self._custom,
                offsets,
                positive(index[filled]),
                part[filled],
            ),
            good,
        )

    def _extended(
        self, column: NDArray[np.int64] | None, chosen: NDArray[np.intp]
    ) -> NDArray[np.int64] | None:
        if column is None:
            return None
        kept = column if self._kept is None else column[self._kept]
        return np.concatenate([kept, column[self._first[chosen]]])

    def _exemplars(
        self, exemplars: Sequence[Exemplar], first: int, good: NDArray[np.bool_]
    ) -> tuple[Exemplar, ...]:
        """Those of classic series belong to the histogram, and to the series too where it stays."""
        place: list[int] = (np.cumsum(good) - 1 + first).tolist()
        out: list[Exemplar] = []
        for exemplar in exemplars:
            if self._is_kept[exemplar.ref]:
                out.append(replace(exemplar, ref=int(self._places[exemplar.ref])))
            number = self._histogram_of.get(exemplar.ref)
            if number is not None and good[number]:
                out.append(replace(exemplar, ref=place[number]))
        return tuple(out)
