"""Metrics in storage, behind one door: journal, head and engine as one.

append ─▶ head.admit ─▶ journal ─▶ head            acknowledged
                          └─ flusher ─▶ engine     every `flush_interval_ms`, or sooner when much waits
select ◀─ head (recent) + engine (older)           each series in one block
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from otero.clock import Clock
from otero.errors import OteroError, Unavailable
from otero.model.budget import Budget
from otero.model.histograms import Histograms, merged
from otero.model.labels import LabelBytes, LabelTable, decode_labels
from otero.model.matchers import Matcher
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.model.samples import NO_TIME, SampleBlock, bits
from otero.storage.assemble import block_rows
from otero.storage.blocks import build_blocks
from otero.storage.chdb import EmbeddedEngine
from otero.storage.engine import Parameter
from otero.storage.flush import Flusher
from otero.storage.follow import Followers
from otero.storage.head import Head
from otero.storage.histogram_table import COLUMNS, MARK_BITS, HistogramRows, joined
from otero.storage.journal import Fsync, Journal
from otero.storage.journal_metrics import MetricWriter
from otero.storage.lock import DirectoryLock
from otero.storage.migrate import migrate, set_retention
from otero.storage.registry import SeriesRegistry
from otero.storage.series import FoundSeries, StoredSeries
from otero.telemetry import REGISTRY, rejected

_log = logging.getLogger(__name__)

_FLUSH_SAMPLES = 500_000
_TICK_S = 0.5
_EVICT_EVERY_S = 5.0
_MAX_LOAD_ROWS = 12_000_000
"""Samples that a start reads back: about two seconds."""
_BYTES_PER_LOADED_SAMPLE = 6
_MAX_WAITING_EXEMPLARS = 100_000
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_GRANULE = 8192
"""Rows of the table of samples that its index tells apart."""
_NEVER = -(1 << 63)

FLUSH_SECONDS = Histogram(
    "otero_storage_flush_duration_seconds",
    "Time to insert one journal range into the engine.",
    registry=REGISTRY,
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
FLUSHED_SAMPLES = Counter(
    "otero_storage_flushed_samples", "Samples inserted into the engine.", registry=REGISTRY
)
FLUSH_FAILURES = Counter(
    "otero_storage_flush_failures", "Inserts that failed and are tried again.", registry=REGISTRY
)


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where and how metrics are stored. Sizes in bytes, 0 retention and limits mean none."""

    path: Path
    retention_ms: int = 30 * 86_400_000
    head_max_bytes: int = 1 << 30
    journal_max_bytes: int = 2 << 30
    fsync: Fsync = "interval"
    flush_interval_ms: int = 30_000
    max_series: int = 0
    max_series_per_job: int = 0


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """Numbers of the storage; times in milliseconds, 0 when there is nothing."""

    series: int
    label_pairs: int
    chunks: int
    head_samples: int
    head_bytes: int
    head_window_ms: int
    min_time_ms: int
    max_time_ms: int
    journal_bytes: int
    engine_lag_s: float
    writable: bool
    corruptions: int
    series_by_metric: list[tuple[str, int]] = field(default_factory=list)
    values_by_label: list[tuple[str, int]] = field(default_factory=list)
    bytes_by_label: list[tuple[str, int]] = field(default_factory=list)
    series_by_label_pair: list[tuple[str, int]] = field(default_factory=list)


class MetricStore:
    """The facade that the rest of the program uses. Construction locks and opens; `start` replays and begins flushing.

    Raises Conflict for a directory that is in use, read-only or of a later release.
    """

    def __init__(self, settings: StorageSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._flushing = threading.RLock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._flusher_thread: threading.Thread | None = None
        self._failure = ""
        self._refused = False
        self._unflushed = 0
        self._oldest_unflushed_s = 0.0
        self._waiting_exemplars: deque[tuple[int, Exemplar]] = deque(maxlen=_MAX_WAITING_EXEMPLARS)
        self._metadata: dict[str, dict[Metadata, None]] = {}
        self._directory = DirectoryLock(settings.path)
        try:
            self.engine = EmbeddedEngine(settings.path / "engine")
            try:
                migrate(self.engine, clock)
                set_retention(self.engine, settings.retention_ms)
                self._journal = Journal(
                    settings.path / "journal" / "metrics",
                    max_bytes=settings.journal_max_bytes,
                    fsync=settings.fsync,
                )
            except BaseException:
                self.engine.close()
                raise
        except BaseException:
            self._directory.release()
            raise
        self.registry = SeriesRegistry(
            clock, max_series=settings.max_series, max_series_per_job=settings.max_series_per_job
        )
        self.head = Head(self.registry, clock, max_bytes=settings.head_max_bytes)
        self._writer = MetricWriter(self._journal, self.registry)
        self.followers = Followers(self._journal, settings.path / "remote_write")
        self._flusher = Flusher(self._journal, self._writer, self.registry, self.engine, clock)
        self._journal.release(self._flusher.position)
        self._stored = StoredSeries(self.engine)
        self._engine_from_ms: int | None = None

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the recent window back, replay the journal, begin to flush."""
        self._load_metadata()
        self._load_recent()
        for position, batch in self._flusher.replay():
            self._note_extras(batch, position)
            if len(batch):
                self.head.append(batch, position)
                self._count_unflushed(len(batch))
        self._flusher_thread = threading.Thread(target=self._flush_often, name="flush", daemon=True)
        self._flusher_thread.start()

    def stop(self) -> None:
        """Flush everything, close the engine, let the directory go."""
        self._stopping.set()
        self._wake.set()
        if self._flusher_thread is not None:
            self._flusher_thread.join()
            try:
                self.flush()
            except OteroError as error:
                _log.warning(
                    "not everything is in the engine; the journal keeps it", extra={"reason": str(error)}
                )
        self._journal.close()
        self.engine.close()
        self._directory.release()

    def _load_recent(self) -> None:
        """Fill the head with the newest samples of the engine: as many as fit and as a start may read."""
        parts = self.engine.table(
            "SELECT count() AS parts, min(toInt64(partition)) AS day FROM system.parts"
            " WHERE database = 'default' AND table = 'samples' AND active"
        )
        if not parts["parts"][0].as_py():
            return
        self._engine_from_ms = int(parts["day"][0].as_py()) * _DAY_MS
        wanted = self._clock.now_ms() - self.head.min_window_ms
        minutes = self.engine.table(
            "SELECT minute, sum(size) AS rows FROM ("
            "SELECT intDiv(time, 60000) AS minute, count() AS size FROM samples"
            " WHERE time >= {from:Int64} GROUP BY minute UNION ALL"
            " SELECT intDiv(time, 60000) AS minute, sum(2 + length(bucket)) AS size FROM histograms"
            " WHERE time >= {from:Int64} GROUP BY minute) GROUP BY minute ORDER BY minute DESC",
            {"from": wanted},
        )
        most = min(_MAX_LOAD_ROWS, self.settings.head_max_bytes // _BYTES_PER_LOADED_SAMPLE)
        total = np.cumsum(minutes["rows"].to_numpy())
        within = minutes["minute"].to_numpy()[total <= most] * _MINUTE_MS
        all_fit = len(within) == len(total)
        complete_from_ms = wanted if all_fit else max(int(within.min(initial=self._clock.now_ms())), wanted)
        rows = self._rows(
            "time >= {from:Int64}",
            {"from": complete_from_ms},
            Budget(self._clock, timeout_s=600, max_samples=1 << 40),
        )
        found = self._stored.by_id(np.unique(rows.series), None)
        refs = self.registry.resolve(found.keys, budgets=False)[np.searchsorted(found.ids, rows.series)]
        known = refs >= 0
        self.head.load(
            refs[known],
            rows.times_ms[known],
            rows.values[known],
            rows.start_ms[known],
            histograms=rows.histograms,
            complete_from_ms=complete_from_ms,
        )

    def _load_metadata(self) -> None:
        table = self.engine.table(
            "SELECT metric, toString(type) AS type, help, toString(unit) AS unit FROM metadata ORDER BY seen"
        )
        for row in table.to_pylist():
            texts = (row[name].decode("utf-8", "replace") for name in ("metric", "type", "help", "unit"))
            entry = Metadata(*texts)
            self._metadata.setdefault(entry.metric, {})[entry] = None

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, batch: MetricBatch) -> None:
        """Store a batch; when this returns, it is acknowledged. Raises Unavailable when it is not stored, Conflict
        when references are of series that were forgotten meanwhile: resolve their labels again.

        Samples older than the retention are left out and counted.
        """
        batch = self._young_enough(batch)
        with self._lock:
            batch = self.head.admit(batch)
            if not len(batch) and not batch.exemplars and not batch.metadata:
                return
            self.head.require_known(batch.refs)
            try:
                position = self._writer.append(batch)
            except Unavailable:
                self._refused = True
                raise
            self._refused = False
            if len(batch):
                self.head.append(batch, position)
                self._count_unflushed(len(batch))
            self._note_extras(batch, position)

    def _young_enough(self, batch: MetricBatch) -> MetricBatch:
        if not self.settings.retention_ms or not len(batch):
            return batch
        oldest_ms = self._clock.now_ms() - self.settings.retention_ms
        if int(batch.times_ms.min()) >= oldest_ms:
            return batch
        keep = batch.times_ms >= oldest_ms
        rejected("storage", "older_than_retention", int(np.count_nonzero(~keep)))
        return batch.keep(keep)

    def _count_unflushed(self, samples: int) -> None:
        if not self._unflushed:
            self._oldest_unflushed_s = self._clock.monotonic_s()
        self._unflushed += samples
        if self._unflushed >= _FLUSH_SAMPLES:
            self._wake.set()

    def _note_extras(self, batch: MetricBatch, position: int) -> None:
        self._waiting_exemplars.extend((position, exemplar) for exemplar in batch.exemplars)
        for entry in batch.metadata:
            self._metadata.setdefault(entry.metric, {})[entry] = None

    def flush(self) -> None:
        """Bring everything that the journal holds into the engine. Raises what the engine raises."""
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        waited = self._unflushed
        stored = 0
        started_s = self._clock.monotonic_s()
        for done in self._flusher.flush():
            FLUSH_SECONDS.observe(self._clock.monotonic_s() - started_s)
            started_s = self._clock.monotonic_s()
            stored += done.samples
            FLUSHED_SAMPLES.inc(done.samples)
            self.head.flushed(done.position)
            if self._engine_from_ms is None or done.first_ms < self._engine_from_ms:
                self._engine_from_ms = done.first_ms
            while self._waiting_exemplars and self._waiting_exemplars[0][0] <= done.position:
                self._waiting_exemplars.popleft()
        with self._lock:
            self._unflushed = max(self._unflushed - max(stored, waited), 0)
            self._oldest_unflushed_s = self._clock.monotonic_s()

    @contextlib.contextmanager
    def flushing_paused(self) -> Generator[None]:
        """Nothing is inserted meanwhile; what comes in waits in the journal."""
        with self._flushing:
            yield

    def now_ms(self) -> int:
        """The time of the store's clock."""
        return self._clock.now_ms()

    def _flush_often(self) -> None:
        wait_s = self.settings.flush_interval_ms / 1000
        due_s = self._clock.monotonic_s() + wait_s
        evict_s = self._clock.monotonic_s()
        while not self._stopping.is_set():
            self._wake.wait(_TICK_S)
            now_s = self._clock.monotonic_s()
            try:
                if now_s >= evict_s:
                    evict_s = now_s + _EVICT_EVERY_S
                    with self._lock:  # no series is forgotten between the journal and the head
                        self.head.evict()
                if now_s < due_s and not (self._wake.is_set() and not self._failure):
                    continue
                self._wake.clear()
                due_s = now_s + wait_s
                self.flush()
                if self._failure:
                    _log.info("the engine stores again")
                    self._failure = ""
            except OteroError as error:
                FLUSH_FAILURES.inc()
                due_s = now_s + min(wait_s, 5.0)
                if not self._failure:
                    _log.error(
                        "the engine does not store; the journal keeps what comes in",
                        extra={"reason": str(error)},
                    )
                self._failure = str(error)
            except Exception:
                FLUSH_FAILURES.inc()
                due_s = now_s + min(wait_s, 5.0)
                self._failure = "an internal error"
                _log.exception("flushing failed; the journal keeps what comes in")

    # -- reading -------------------------------------------------------------------------------------------------

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        """Samples from `start_ms` to `end_ms`, both included, or more; each series in exactly one block.

        Raises LimitExceeded, TimedOut, Cancelled, Unavailable.
        """
        head = self.head.select(matchers, start_ms, end_ms, budget)
        until_ms = min(end_ms, head.complete_from_ms - 1)
        if self._engine_from_ms is None or until_ms < max(start_ms, self._engine_from_ms):
            return head.blocks
        found = self._stored.matching(matchers, start_ms, until_ms, budget)
        if not len(found.ids):
            return head.blocks
        self._foresee(found, start_ms, until_ms, budget)
        rows = self._rows(
            "metric IN {metrics:Array(String)} AND series IN {ids:Array(UInt64)}"
            " AND time >= {from:Int64} AND time <= {until:Int64}",
            {"metrics": found.metrics, "ids": found.ids.tolist(), "from": start_ms, "until": until_ms},
            budget,
        )
        if not len(rows.series):
            return head.blocks
        return self._joined(head.blocks, head.block_refs, found.ids, found.labels(), rows)

    def oldest_ms(self) -> int | None:
        """The time of the oldest sample that is stored, None when there is none. Raises Unavailable."""
        times = [first_ms for first_ms in [self.head.status().first_ms] if first_ms != NO_TIME]
        if self._engine_from_ms is not None:
            found = self.engine.table("SELECT count() AS rows, min(time) AS first FROM samples")
            times += found["first"].to_pylist() if found["rows"][0].as_py() else []
        return min(times, default=None)

    def _foresee(self, found: FoundSeries, start_ms: int, until_ms: int, budget: Budget) -> None:
        """Refuse what cannot fit before anything is read.

        The index counts in granules. With the series named it tells at most how many rows there are; with the metrics
        alone nearly exactly how many rows those have, of which the series have their share. Both must be too many.
        """
        span: dict[str, Parameter] = {"metrics": found.metrics, "from": start_ms, "until": until_ms}
        where = "metric IN {metrics:Array(String)} AND time >= {from:Int64} AND time <= {until:Int64}"
        room = budget.max_samples - budget.samples
        rows, parts = self._estimated(where, span)
        # Of each metric, a part may have one granule too many at either end.
        rows -= 2 * _GRANULE * parts * len(found.metrics)
        if rows <= room:
            return
        of_metrics = self._stored.count(found.metrics, start_ms, until_ms)
        share = rows * len(found.ids) // max(of_metrics, len(found.ids))
        if share > room:
            named = f"{where} AND series IN {{ids:Array(UInt64)}}"
            budget.foresee(min(share, self._estimated(named, {**span, "ids": found.ids.tolist()})[0]))

    def _estimated(self, where: str, parameters: Mapping[str, Parameter]) -> tuple[int, int]:
        """Rows in the granules that a read would touch, and the number of parts."""
        table = self.engine.table(f"EXPLAIN ESTIMATE SELECT series FROM samples WHERE {where}", parameters)
        return sum(table["rows"].to_pylist()), sum(table["parts"].to_pylist())

    def _joined(
        self,
        blocks: Sequence[SampleBlock],
        block_refs: Sequence[NDArray[np.int64]],
        ids: NDArray[np.uint64],
        labels: LabelTable,
        rows: "_Rows",
    ) -> list[SampleBlock]:
        """One set of blocks of the engine's rows and the head's; the head's win, as they came later."""
        if not blocks:
            return build_blocks(
                labels,
                np.searchsorted(ids, rows.series),
                rows.times_ms,
                rows.values,
                rows.start_ms,
                rows.histograms,
            )
        recent = [block_rows(b, refs, (1 << 62)) for b, refs in zip(blocks, block_refs, strict=True)]
        refs = np.concatenate(block_refs)
        recent_ids = self.registry.ids[refs]
        new = np.flatnonzero(~np.isin(recent_ids, ids))
        all_ids = np.concatenate([ids, recent_ids[new]])
        table = LabelTable.concat([labels, LabelTable.concat([b.labels for b in blocks]).take(new)])
        order = np.argsort(all_ids)
        rank = all_ids[order]
        series_ids = np.concatenate([rows.series, *(self.registry.ids[part.refs] for part in recent)])
        values, histograms = merged(
            [
                (rows.values, rows.histograms),
                *((part.values, block.histograms) for part, block in zip(recent, blocks, strict=True)),
            ]
        )
        return build_blocks(
            table.take(order),
            np.searchsorted(rank, series_ids),
            np.concatenate([rows.times_ms, *(part.times_ms for part in recent)]),
            np.concatenate(values),
            np.concatenate([rows.start_ms, *(part.start_ms for part in recent)]),
            histograms,
        )

    def _rows(self, where: str, parameters: Mapping[str, Parameter], budget: Budget) -> "_Rows":
        """Rows of the engine in the order of their inserts, so that the last of a series and time wins."""
        batches = self._batches("series, time, value, start", "samples", where, parameters, budget)
        if not batches:
            return _Rows.empty()
        rows = _Rows(
            np.concatenate([b["series"].to_numpy() for b in batches]),
            np.concatenate([b["time"].to_numpy() for b in batches]),
            np.concatenate([b["value"].to_numpy() for b in batches]),
            np.concatenate([b["start"].to_numpy() for b in batches]),
        )
        order = _insert_order(batches)
        if order is not None:
            rows = rows.take(order)
        if not bool((bits(rows.values) == MARK_BITS).any()):
            return rows
        found = self._batches(f"series, time, {COLUMNS}", "histograms", where, parameters, budget)
        held = HistogramRows.of(found, _insert_order(found)) if found else None
        values, histograms = joined(rows.series, rows.times_ms, rows.values, held)
        return replace(rows, values=values, histograms=histograms)

    def _batches(
        self, columns: str, table: str, where: str, parameters: Mapping[str, Parameter], budget: Budget
    ) -> list[pa.RecordBatch]:
        batches: list[pa.RecordBatch] = []
        for batch in self.engine.stream(
            f"SELECT {columns}, toLowCardinality(_part) AS part FROM {table} WHERE {where}",
            parameters,
            budget=budget,
        ):
            budget.charge(batch.num_rows)
            batches.append(batch)
        return batches

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int, limit: int
    ) -> LabelTable:
        """Label sets of the series that satisfy all matchers of one set; no sets means every series."""
        keys: dict[LabelBytes, None] = {}
        for matchers in matcher_sets or [()]:
            for key in self._keys(matchers, start_ms, end_ms):
                keys[key] = None
        chosen = sorted(keys)[:limit] if limit else sorted(keys)
        return LabelTable.of([decode_labels(key) for key in chosen])

    def _keys(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[LabelBytes]:
        keys = [self.registry.labels(ref) for ref in self._recent(matchers, end_ms).tolist()]
        if self._asks_engine(start_ms, end_ms):
            keys += self._stored.matching(matchers, start_ms, end_ms, self._metadata_budget()).keys
        return keys

    def _recent(self, matchers: Sequence[Matcher], end_ms: int) -> NDArray[np.int64]:
        first_ms = self.head.status().first_ms if end_ms < self._clock.now_ms() - _MINUTE_MS else _NEVER
        return self.registry.select(matchers) if end_ms >= first_ms else np.zeros(0, np.int64)

    def _asks_engine(self, start_ms: int, end_ms: int) -> bool:
        until_ms = min(end_ms, self.head.complete_from_ms - 1)
        return self._engine_from_ms is not None and until_ms >= max(start_ms, self._engine_from_ms)

    def _metadata_budget(self) -> Budget:
        return Budget(self._clock, timeout_s=60, max_samples=1 << 40)

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int, limit: int
    ) -> list[str]:
        """Names of the labels that such series have, sorted."""
        names: set[str] = set()
        for matchers in matcher_sets or [()]:
            refs = self._recent(matchers, end_ms)
            names.update(self.registry.label_names(refs if matchers else None) if len(refs) else ())
            if self._asks_engine(start_ms, end_ms):
                names.update(self._stored.label_names(matchers, start_ms, end_ms))
        return sorted(names)[:limit] if limit else sorted(names)

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int, limit: int
    ) -> list[str]:
        """Values of a label that such series have, sorted."""
        values: set[str] = set()
        for matchers in matcher_sets or [()]:
            refs = self._recent(matchers, end_ms)
            values.update(self.registry.label_values(name, refs if matchers else None) if len(refs) else ())
            if self._asks_engine(start_ms, end_ms):
                values.update(self._stored.label_values(name, matchers, start_ms, end_ms))
        return sorted(values)[:limit] if limit else sorted(values)

    def metadata(self, metric: str | None = None) -> dict[str, list[Metadata]]:
        """What expositions have said of a metric, or of all."""
        if metric is not None:
            return {metric: list(self._metadata[metric])} if metric in self._metadata else {}
        return {name: list(entries) for name, entries in list(self._metadata.items())}

    def exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[tuple[LabelBytes, list[Exemplar]]]:
        """Exemplars in a time range by series, in order of time."""
        found: dict[LabelBytes, dict[tuple[int, bytes], Exemplar]] = {}
        waiting = [exemplar for _, exemplar in list(self._waiting_exemplars)]
        for matchers in matcher_sets:
            for key, exemplar in self._stored.exemplars(matchers, start_ms, end_ms):
                found.setdefault(key, {})[exemplar.time_ms, exemplar.labels] = exemplar
            refs = set(self.registry.select(matchers).tolist()) if waiting else set()
            for exemplar in waiting:
                if exemplar.ref in refs and start_ms <= exemplar.time_ms <= end_ms:
                    key = self.registry.labels(exemplar.ref)
                    found.setdefault(key, {})[exemplar.time_ms, exemplar.labels] = exemplar
        return [(key, [found[key][at] for at in sorted(found[key])]) for key in sorted(found)]

    # -- numbers -------------------------------------------------------------------------------------------------

    @property
    def engine_lag_s(self) -> float:
        """How long the oldest sample that the engine does not have has been waiting."""
        return self._clock.monotonic_s() - self._oldest_unflushed_s if self._unflushed else 0.0

    def status(self, top: int = 0) -> StorageStatus:
        """Numbers of the storage; `top` is how many entries the lists by metric and label have."""
        head = self.head.status()
        lists: dict[str, list[tuple[str, int]]] = {}
        if top:
            lists = _cardinality(self.registry, top)
        return StorageStatus(
            series=head.series,
            label_pairs=sum(self.registry.values_by_label().values()),
            chunks=head.chunks,
            head_samples=head.samples,
            head_bytes=head.bytes,
            head_window_ms=head.window_ms,
            min_time_ms=head.first_ms if head.samples else 0,
            max_time_ms=head.last_ms if head.samples else 0,
            journal_bytes=self._journal.nbytes,
            engine_lag_s=self.engine_lag_s,
            writable=not self._refused,
            corruptions=self._journal.corruptions,
            **lists,
        )


class StoreCollector:
    """The store's state as metrics of our own, read when `/metrics` is asked."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Gauges of head, journal and engine; refusals of the series budgets."""
        status = self._store.status()
        for name, help_, value in (
            ("head_series", "Series that the head holds.", status.series),
            ("head_samples", "Samples that the head holds.", status.head_samples),
            ("head_bytes", "Bytes of samples that the head holds.", status.head_bytes),
            ("head_window_seconds", "How far back the head is complete.", status.head_window_ms / 1000),
            ("journal_bytes", "Bytes of the journal on disk.", status.journal_bytes),
            (
                "engine_lag_seconds",
                "How long the oldest sample has waited for the engine.",
                status.engine_lag_s,
            ),
        ):
            yield GaugeMetricFamily(f"otero_storage_{name}", help_, value)
        refused = CounterMetricFamily(
            "otero_storage_series_refused", "New series that were refused, by reason.", labels=["reason"]
        )
        for reason, count in self._store.registry.refused.items():
            refused.add_metric([reason], count)
        yield refused


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Samples as the engine stores them: N series ids, times, values (boxed where they are histograms), start timestamps."""

    series: NDArray[np.uint64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64]
    histograms: Histograms | None = None

    @staticmethod
    def empty() -> "_Rows":
        none = np.zeros(0, np.int64)
        return _Rows(none.astype(np.uint64), none, np.zeros(0), none)

    def take(self, order: NDArray[np.intp]) -> "_Rows":
        return replace(
            self,
            series=self.series[order],
            times_ms=self.times_ms[order],
            values=self.values[order],
            start_ms=self.start_ms[order],
        )


def _insert_order(batches: Sequence[pa.RecordBatch]) -> NDArray[np.intp] | None:
    """Rows sorted by the first block number of their part (`PARTITION_MIN_MAX_LEVEL`), None when one part has all.

    Parts of a partition hold disjoint ranges of block numbers, and numbers follow the order of inserts.
    """
    numbers: list[NDArray[np.int64]] = []
    for batch in batches:
        column = (
            batch["part"].dictionary_encode()
            if not pa.types.is_dictionary(batch["part"].type)
            else batch["part"]
        )
        parts = [
            int((name if isinstance(name, str) else name.decode()).split("_")[1])
            for name in column.dictionary.to_pylist()
        ]
        numbers.append(np.array(parts, np.int64)[column.indices.to_numpy()])
    order_by = np.concatenate(numbers)
    if not len(order_by) or (order_by == order_by[0]).all():
        return None
    return np.argsort(order_by, kind="stable")


def _cardinality(registry: SeriesRegistry, top: int) -> dict[str, list[tuple[str, int]]]:
    def largest(counts: dict[str, int]) -> list[tuple[str, int]]:
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:top]

    by_label = registry.values_by_label()
    sizes: dict[str, int] = {}
    pairs: dict[str, int] = {}
    for name in by_label:
        counts = registry.series_by_value(name)
        sizes[name] = sum(len(value.encode()) for value in counts)
        pairs.update({f"{name}={value}": count for value, count in counts.items()})
    return {
        "series_by_metric": largest(registry.series_by_metric()),
        "values_by_label": largest(by_label),
        "bytes_by_label": largest(sizes),
        "series_by_label_pair": largest(pairs),
    }
