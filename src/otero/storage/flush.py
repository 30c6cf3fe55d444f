"""From the journal to the engine: few, large inserts."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import BadInput
from otero.model.histograms import Histograms, merged
from otero.model.labels import LabelBytes, metric_name
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.storage import histogram_table
from otero.storage.assemble import numbered
from otero.storage.engine import Column, SqlEngine
from otero.storage.journal import Journal, Record
from otero.storage.journal_metrics import Kind, MetricReader, MetricWriter, position_of, range_of
from otero.storage.registry import SeriesRegistry

_log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_MAX_ROWS = 1_000_000
"""Samples in one insert; about 60 MB while it is put together."""
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Flushed:
    """What one insert stored: journal up to `position`, samples from `first_ms`."""

    position: int
    samples: int
    first_ms: int


class Flusher:
    """Inserts journal ranges in order. After a crash it cuts the very same ranges again, so that the engine knows them
    by their token and stores them once."""

    def __init__(
        self,
        journal: Journal,
        writer: MetricWriter,
        registry: SeriesRegistry,
        engine: SqlEngine,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._registry = registry
        self._engine = engine
        self._clock = clock
        self._seen_day: dict[int, int] = {}
        self.position = journal.first
        self._planned: list[tuple[int, int]] = []
        for record in journal.read():
            if record.kind == Kind.FLUSHED:
                self.position = max(self.position, position_of(record))
            elif record.kind == Kind.RANGE:
                self._planned.append(range_of(record))
        self._planned = [(start, end) for start, end in self._planned if start >= self.position]

    def replay(self) -> Iterator[tuple[int, MetricBatch]]:
        """What the engine may not have yet, in order, with the position after each batch."""
        reader = MetricReader(self._registry)
        for record in self._journal.read(self.position):
            if record.end <= self.position and record.kind in (Kind.BATCH, Kind.EXTRAS):
                continue
            batch = _decoded(reader, record)
            if batch is not None:
                yield record.end, batch

    def flush(self) -> Iterator[Flushed]:
        """Insert what the journal holds now, one insert after the other. Raises what the engine raises."""
        until = self._journal.end
        while self.position < until:
            if self._planned:
                start, end = self._planned[0]
                batches, _ = self._collect(start, end)
            else:
                start = self.position
                batches, end = self._collect(start, until)
                if not batches:
                    self.position = end
                    return
                self._writer.range(start, end)
            done = self._insert(batches, f"{self._journal.uuid}:{start}-{end}")
            self._journal.release(end)
            self._writer.flushed(end)
            self._planned = self._planned[1:]
            self.position = end
            yield Flushed(end, *done)

    def _collect(self, start: int, end: int) -> tuple[list[MetricBatch], int]:
        """Batches after `start`, as many as one insert takes, and where they end."""
        reader = MetricReader(self._registry)
        batches: list[MetricBatch] = []
        rows = 0
        position = start
        for record in self._journal.read(start, end):
            if record.end > start:
                if rows >= _MAX_ROWS or (batches and record.end - start > _MAX_BYTES):
                    return batches, position
                position = record.end
            elif record.kind in (Kind.BATCH, Kind.EXTRAS):
                continue
            batch = _decoded(reader, record)
            if batch is not None:
                batches.append(batch)
                rows += len(batch)
        return batches, end

    def _insert(self, batches: Sequence[MetricBatch], token: str) -> tuple[int, int]:
        refs = np.concatenate([batch.refs for batch in batches])
        times = np.concatenate([batch.times_ms for batch in batches])
        parts, histograms = merged([(batch.values, batch.histograms) for batch in batches])
        values = np.concatenate(parts)
        starts = np.concatenate(
            [np.zeros(len(b), np.int64) if b.start_ms is None else b.start_ms for b in batches]
        )
        exemplars = [exemplar for batch in batches for exemplar in batch.exemplars]
        self._insert_series(refs, times, exemplars, token)
        if histograms is not None:
            values = self._insert_histograms(refs, times, values, histograms, token)
        if len(refs):
            self._engine.insert(
                "samples",
                [
                    self._metric_column(refs),
                    Column("series", "UInt64", self._registry.ids[refs]),
                    Column("time", "Int64", times),
                    Column("value", "Float64", values),
                    Column("start", "Int64", starts),
                ],
                token=f"{token}:samples",
            )
        self._insert_exemplars(exemplars, token)
        self._insert_metadata([entry for batch in batches for entry in batch.metadata], token)
        return len(refs), int(times.min()) if len(times) else self._clock.now_ms()

    def _insert_series(
        self, refs: NDArray[np.int64], times: NDArray[np.int64], exemplars: Sequence[Exemplar], token: str
    ) -> None:
        """One row for each series and day that was not written yet by this process."""
        if exemplars:
            refs = np.concatenate([refs, np.array([exemplar.ref for exemplar in exemplars], np.int64)])
            times = np.concatenate([times, np.array([exemplar.time_ms for exemplar in exemplars], np.int64)])
        if not len(refs):
            return
        days = times // _DAY_MS
        low = int(days.min())
        span = int(days.max()) - low + 1
        if span == 1:  # nearly always, and much quicker without a sort
            held = np.zeros(int(refs.max()) + 1, np.bool_)
            held[refs] = True
            pairs = np.flatnonzero(held)
        else:
            pairs = np.unique(refs * span + (days - low))
        new: list[tuple[int, int]] = []
        seen = self._seen_day
        for ref, day in zip((pairs // span).tolist(), (pairs % span + low).tolist(), strict=True):
            if seen.get(ref) != day:
                new.append((ref, day))
        if not new:
            return
        owners = np.array([ref for ref, _ in new], np.int64)
        keys: list[LabelBytes] = [self._registry.labels(ref) for ref, _ in new]
        self._engine.insert(
            "series",
            [
                self._metric_column(owners),
                Column("id", "UInt64", self._registry.ids[owners]),
                Column("day", "Int32", np.array([day for _, day in new], np.int32)),
                Column("key", "String", keys),
            ],
            token=f"{token}:series",
        )
        seen.update(new)
        if len(seen) > 4 * len(self._registry) + 10_000:
            self._seen_day = {ref: day for ref, day in seen.items() if day >= max(seen.values()) - 1}

    def _insert_histograms(
        self,
        refs: NDArray[np.int64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        histograms: Histograms,
        token: str,
    ) -> NDArray[np.float64]:
        """Store the histograms among samples; returns the values with marks in their place."""
        values, rows = histogram_table.marked(values)
        at = np.flatnonzero(rows >= 0)
        if len(at):
            self._engine.insert(
                "histograms",
                [
                    self._metric_column(refs[at]),
                    Column("series", "UInt64", self._registry.ids[refs[at]]),
                    Column("time", "Int64", times[at]),
                    *histogram_table.columns(histograms.take(rows[at])),
                ],
                token=f"{token}:histograms",
            )
        return values

    def _metric_column(self, refs: NDArray[np.int64]) -> Column:
        first, inverse = numbered(self._registry.metric_codes(refs))
        names = [metric_name(self._registry.labels(ref)).encode() for ref in refs[first].tolist()]
        return Column("metric", "LowCardinality(String)", inverse, names)

    def _insert_exemplars(self, exemplars: Sequence[Exemplar], token: str) -> None:
        if not exemplars:
            return
        refs = np.array([exemplar.ref for exemplar in exemplars], np.int64)
        self._engine.insert(
            "exemplars",
            [
                self._metric_column(refs),
                Column("series", "UInt64", self._registry.ids[refs]),
                Column("time", "Int64", np.array([exemplar.time_ms for exemplar in exemplars], np.int64)),
                Column("value", "Float64", np.array([exemplar.value for exemplar in exemplars])),
                Column("labels", "String", [exemplar.labels for exemplar in exemplars]),
            ],
            token=f"{token}:exemplars",
        )

    def _insert_metadata(self, metadata: Sequence[Metadata], token: str) -> None:
        if not metadata:
            return
        entries = list(dict.fromkeys(metadata))
        types: dict[str, int] = {}
        units: dict[str, int] = {}
        type_codes = np.array([types.setdefault(entry.type, len(types)) for entry in entries])
        unit_codes = np.array([units.setdefault(entry.unit, len(units)) for entry in entries])
        self._engine.insert(
            "metadata",
            [
                Column("metric", "String", [entry.metric.encode() for entry in entries]),
                Column("type", "LowCardinality(String)", type_codes, [text.encode() for text in types]),
                Column("help", "String", [entry.help.encode() for entry in entries]),
                Column("unit", "LowCardinality(String)", unit_codes, [text.encode() for text in units]),
                Column("seen", "Int64", np.full(len(entries), self._clock.now_ms(), np.int64)),
            ],
            token=f"{token}:metadata",
        )


def _decoded(reader: MetricReader, record: Record) -> MetricBatch | None:
    try:
        return reader.batch(record)
    except BadInput as error:
        _log.error("a journal record is skipped", extra={"reason": str(error)})
        return None
