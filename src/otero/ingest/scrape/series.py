"""The series of one target: turns expositions into batches, and notices what has gone.

The expensive part, from series text to reference, runs only for series that the previous scrape did not have. A body of
the same shape as the one before costs a few array operations, and hands the very same array of references on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.ingest.intake import Intake
from otero.ingest.scrape.config import ScrapeConfig
from otero.ingest.scrape.native_limits import NativeLimits
from otero.ingest.scrape.sample_labels import SampleLabels
from otero.model.histograms import Histograms, compacted
from otero.model.labels import LabelBytes
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.model.samples import NO_TIME, STALE
from otero.telemetry import rejected
from otero.wire.exposition import parse_series
from otero.wire.exposition_columns import Exposition

DOOR = "scrape"

REPORT = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)
EXTRA_REPORT = ("scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")

MAX_AHEAD_MS = 600_000
"""Explicit timestamps further in the future are dropped, as Prometheus does."""

_DROPPED = -2
"""Stands in the place of a reference for a series that metric relabelling dropped."""

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a scrape says of itself: samples in the body, left after relabelling, and series that are new."""

    scraped: int = 0
    kept: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What is known of a body's series.

    keys     the series texts, owned by the parser.
    by_row   int64 [N]: the reference of each row; _DROPPED, or -1 when a budget refused the series.
    rows     intp [M]: the rows that are stored; None when all are.
    refs     int64 [M + R]: their references, then those of the report.
    explicit bool [N]: rows with a timestamp of their own; None when there are none.
    """

    keys: list[bytes]
    by_row: NDArray[np.int64]
    rows: NDArray[np.intp] | None
    refs: NDArray[np.int64]
    explicit: NDArray[np.bool_] | None
    kept: int
    duplicates: int
    refused: int


class TargetSeries:
    """State of one target between its scrapes. Used by one scrape at a time, from any thread."""

    def __init__(self, config: ScrapeConfig, public: Mapping[str, str], intake: Intake) -> None:
        self._config = config
        self._labels = SampleLabels(config, public)
        self._limits = NativeLimits(config)
        self._intake = intake
        names = REPORT + (EXTRA_REPORT if config.extra_scrape_metrics else ())
        self._report_keys = [self._labels.of_report(name) for name in names]
        self._report_refs = _NONE
        self._report_rows: NDArray[np.intp] | None = None
        self._epoch = -1
        self._shape: Shape | None = None
        self._previous = _NONE
        self._owed = _NONE
        self._told: tuple[Metadata, ...] = ()  # the metadata that storage has
        self.metadata: tuple[Metadata, ...] = ()
        self.tracked = _NONE
        """int64, ascending: series that get a staleness marker when they are gone."""

    @property
    def series_count(self) -> int:
        return 0 if self._shape is None else len(self._shape.keys)

    def adopt(self, tracked: NDArray[np.int64]) -> None:
        """Take over the series of a loop that this one replaces."""
        self.tracked = self._previous = tracked

    def owe(self, pending: "PendingBatch") -> None:
        """The batch could not be stored: its markers and metadata go into the next one."""
        self._owed = np.union1d(self._owed, pending.gone)
        if pending.metadata:
            self._told = ()

    def accept(self, exposition: Exposition, time_ms: int) -> tuple[Counts, "PendingBatch"]:
        """The batch of a successful scrape, which waits for its report.

        Raises BadInput when the body breaks a rule that fails the whole scrape; nothing has changed then.
        """
        self._refresh()
        explicit_ms = exposition.times_ms if self._config.honor_timestamps else None
        explicit = None if explicit_ms is None else explicit_ms != NO_TIME
        shape = self._shape
        before = self.tracked
        added = 0
        known = shape is not None and exposition.keys is shape.keys
        learnt = shape is None or not known or not _equal(shape.explicit, explicit)
        if shape is None or learnt:
            shape = self._learn(exposition.keys, explicit)
        values = exposition.values if shape.rows is None else exposition.values[shape.rows]
        values, histograms = compacted(values, exposition.histograms)
        if histograms is not None:
            histograms = self._limits(histograms)
        if learnt:
            stored = np.unique(shape.refs[: len(shape.refs) - len(self._report_refs)])
            added = int(np.count_nonzero(~np.isin(stored, self._previous, assume_unique=True)))
            self._shape, self._previous = shape, stored
            self.tracked = self._tracked(shape, stored)
        elif not len(self.tracked):
            self.tracked = self._tracked(shape, self._previous)
        gone = (
            _NONE
            if before is self.tracked or not len(before)
            else np.setdiff1d(before, self.tracked, assume_unique=True)
        )
        if len(self._owed):
            gone, self._owed = np.union1d(gone, self._owed), _NONE
        if len(gone):
            gone = np.setdiff1d(gone, shape.refs)  # a series that now has a timestamp of its own is not gone
        rejected(DOOR, "duplicate_sample", shape.duplicates)
        rejected(DOOR, "series_limit", shape.refused if known else 0)
        counts = Counts(len(shape.keys), shape.kept, added)
        pending = self._pending(shape, exposition, values, explicit_ms, gone, time_ms)
        return counts, replace(pending, histograms=histograms)

    def fail(self, time_ms: int) -> "PendingBatch":
        """The batch of a scrape that failed: every series of the target ends. Forgets what is known of the body."""
        self._refresh()
        gone = np.union1d(self.tracked, self._owed) if len(self._owed) else self.tracked
        self.tracked = self._owed = _NONE
        self._shape = None
        values = np.full(len(gone), STALE)
        refs = self._report_refs if not len(gone) else np.concatenate((gone, self._report_refs))
        return PendingBatch(
            refs, values, np.full(len(refs), time_ms), len(gone), self._report_rows, gone=gone
        )

    def end(self, time_ms: int) -> MetricBatch:
        """Markers for all series of a target that is gone, those about the target included."""
        self._refresh()
        refs = np.concatenate((self.tracked, self._report_refs))
        self.tracked = _NONE
        return MetricBatch(refs, np.full(len(refs), time_ms), np.full(len(refs), STALE))

    def _refresh(self) -> None:
        epoch = self._intake.epoch
        if epoch == self._epoch:
            return
        shape = self._shape
        if shape is not None and (shape.refused or not self._intake.alive(shape.refs)):
            self._shape = shape = None
        if len(self.tracked) and not self._intake.alive(self.tracked):
            self.tracked = _NONE
        if shape is None:
            refs = self._intake.resolve(self._report_keys, DOOR)
            accepted = np.flatnonzero(refs >= 0)
            self._report_rows = None if len(accepted) == len(refs) else accepted
            self._report_refs = refs[accepted]
        self._epoch = epoch

    def _learn(self, keys: list[bytes], explicit: NDArray[np.bool_] | None) -> Shape:
        by_row = self._resolve(keys)
        kept = int(np.count_nonzero(by_row != _DROPPED))
        wanted = by_row >= 0
        repeated = _repeated(by_row, wanted, explicit)
        duplicates = int(np.count_nonzero(repeated))
        wanted &= ~repeated
        limit = self._config.sample_limit
        count = int(np.count_nonzero(wanted))
        if limit and count > limit:
            raise BadInput(f"sample limit exceeded ({count} samples, sample_limit {limit})")
        rows = None if count == len(keys) else np.flatnonzero(wanted)
        refs = by_row if rows is None else by_row[rows]
        return Shape(
            keys=keys,
            by_row=by_row,
            rows=rows,
            refs=np.concatenate((refs, self._report_refs)),
            explicit=explicit,
            kept=kept,
            duplicates=duplicates,
            refused=int(np.count_nonzero(by_row == -1)),
        )

    def _resolve(self, keys: list[bytes]) -> NDArray[np.int64]:
        """A reference per row: known ones by text, the others by their labels."""
        known: dict[bytes, int] = {}
        if self._shape is not None:
            known = dict(zip(self._shape.keys, self._shape.by_row.tolist(), strict=True))
        by_row = np.fromiter((known.get(key, -1) for key in keys), np.int64, len(keys))
        new_rows = np.flatnonzero(by_row == -1)
        of_series = self._labels.of_series
        wanted: list[LabelBytes] = []
        wanted_rows: list[int] = []
        for row in new_rows.tolist():
            data = of_series(parse_series(keys[row]))
            if data is None:
                by_row[row] = _DROPPED
            else:
                wanted.append(data)
                wanted_rows.append(row)
        limit = self._config.sample_limit
        if limit and len(wanted) > limit and len(set(wanted)) > limit:
            # Before asking for references, which would enter the series into the registry.
            raise BadInput(f"sample limit exceeded ({len(wanted)} samples, sample_limit {limit})")
        if wanted:
            by_row[wanted_rows] = self._intake.resolve(wanted, DOOR)
        return by_row

    def _tracked(self, shape: Shape, stored: NDArray[np.int64]) -> NDArray[np.int64]:
        if shape.explicit is None or self._config.track_timestamps_staleness:
            return stored
        wanted = (shape.by_row >= 0) & ~shape.explicit
        return np.unique(shape.by_row[wanted])

    def _pending(
        self,
        shape: Shape,
        exposition: Exposition,
        values: NDArray[np.float64],
        explicit_ms: NDArray[np.int64] | None,
        gone: NDArray[np.int64],
        time_ms: int,
    ) -> "PendingBatch":
        rows, refs = shape.rows, shape.refs
        count = len(refs) - len(self._report_refs)
        times = np.full(len(refs), time_ms, np.int64)
        if explicit_ms is not None:
            own = explicit_ms if rows is None else explicit_ms[rows]
            times[:count] = np.where(own == NO_TIME, time_ms, own)
        start_ms = None
        if exposition.start_ms is not None:
            start_ms = exposition.start_ms if rows is None else exposition.start_ms[rows]
        if explicit_ms is not None and count and times[:count].max() > time_ms + MAX_AHEAD_MS:
            fine = np.flatnonzero(times[:count] <= time_ms + MAX_AHEAD_MS)
            rejected(DOOR, "too_far_in_future", count - len(fine))
            refs = np.concatenate((refs[fine], self._report_refs))
            times = np.concatenate((times[fine], times[count:]))
            values = values[fine]
            start_ms = None if start_ms is None else start_ms[fine]
            count = len(fine)
        if len(gone):
            refs = np.concatenate((gone, refs))
            values = np.concatenate((np.full(len(gone), STALE), values))
            times = np.concatenate((np.full(len(gone), time_ms, np.int64), times))
            if start_ms is not None:
                start_ms = np.concatenate((np.zeros(len(gone), np.int64), start_ms))
            count += len(gone)
        metadata = exposition.metadata
        changed = metadata is not self._told and metadata != self._told
        self.metadata = self._told = metadata
        return PendingBatch(
            refs,
            values,
            times,
            count,
            self._report_rows,
            start_ms,
            self._exemplars(exposition.exemplars, shape, time_ms),
            metadata if changed else (),
            gone,
        )

    @staticmethod
    def _exemplars(exemplars: Sequence[Exemplar], shape: Shape, time_ms: int) -> tuple[Exemplar, ...]:
        if not exemplars:
            return ()
        return tuple(
            replace(exemplar, ref=ref, time_ms=time_ms if exemplar.time_ms == NO_TIME else exemplar.time_ms)
            for exemplar in exemplars
            if (ref := int(shape.by_row[exemplar.ref])) >= 0
        )


@dataclass(frozen=True, slots=True, eq=False)
class PendingBatch:
    """A batch whose last rows, the report about the scrape, are still to come.

    `values` holds the first `count` values; `refs` and `times_ms` have the report's rows already. `report_rows` says
    which values of the report have a reference, None when all do. `gone` are the series that it ends.
    """

    refs: NDArray[np.int64]
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64]
    count: int
    report_rows: NDArray[np.intp] | None
    start_ms: NDArray[np.int64] | None = None
    exemplars: tuple[Exemplar, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    gone: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    histograms: Histograms | None = None

    def with_report(self, report: Sequence[float]) -> MetricBatch:
        """The batch with the values of the report series, in the order of REPORT and EXTRA_REPORT."""
        values = np.empty(len(self.refs))
        values[: self.count] = self.values
        last = np.array(report, np.float64)
        values[self.count :] = last if self.report_rows is None else last[self.report_rows]
        start_ms = None
        if self.start_ms is not None:
            start_ms = np.zeros(len(self.refs), np.int64)
            start_ms[: self.count] = self.start_ms
        return MetricBatch(
            self.refs, self.times_ms, values, start_ms, self.exemplars, self.metadata, self.histograms
        )


def _equal(left: NDArray[np.bool_] | None, right: NDArray[np.bool_] | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left, right)


def _repeated(
    by_row: NDArray[np.int64], wanted: NDArray[np.bool_], explicit: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Rows without a timestamp whose series has occurred before in the body: the first one wins."""
    repeated = np.zeros(len(by_row), np.bool_)
    rows = np.flatnonzero(wanted)
    _, first = np.unique(by_row[rows], return_index=True)
    if len(first) < len(rows):
        repeated[rows] = True
        repeated[rows[first]] = False
        if explicit is not None:
            repeated &= ~explicit
    return repeated
