"""Remote write as a door: from one request's bytes to what the intake stores and what the sender is told.

What is good in a request is stored; the answer 400 then says what was refused and why. A request that comes again stores
nothing twice, as samples are known by series and time.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cramjam
import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import BadInput, Conflict, LimitExceeded
from otero.ingest.intake import Intake
from otero.model.histograms import Histograms, box, boxed_rows, is_boxed
from otero.model.labels import LabelBytes
from otero.model.metrics import Metadata, MetricBatch
from otero.telemetry import rejected
from otero.wire.remote_write import Refusals, WriteColumns
from otero.wire.remote_write_v1 import WriteV1Decoder
from otero.wire.remote_write_v2 import WriteV2Decoder

DOOR = "remote_write"

MAX_AHEAD_MS = 600_000
"""Samples further in the future are refused, as Prometheus does."""

_KEPT_REFS = 1 << 21
"""References, in all, of arrays that are kept to be handed to storage again."""
_MAX_TOLD = 100_000


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a request: samples, histograms and exemplars that are stored, and what was refused."""

    samples: int
    histograms: int
    exemplars: int
    refusals: Refusals

    @staticmethod
    def nothing() -> "Written":
        return Written(0, 0, 0, Refusals())


class RemoteWriteReceiver:
    """Takes requests of both versions. Safe for many threads; one request is taken at a time.

    retention_ms  samples older than this are refused, 0 for none; max_bytes is the largest uncompressed request.
    """

    def __init__(self, intake: Intake, clock: Clock, *, retention_ms: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._intake = intake
        self._clock = clock
        self._retention_ms = retention_ms
        self._lock = threading.Lock()
        self._v1 = WriteV1Decoder(self._resolve)
        self._v2 = WriteV2Decoder(self._resolve)
        self._epoch = intake.epoch
        self._kept: OrderedDict[bytes, NDArray[np.int64]] = OrderedDict()
        self._kept_refs = 0
        self._told: dict[Metadata, None] = {}

    def receive(self, body: bytes, version: int) -> Written:
        """Store one request (snappy block format); when this returns, it is acknowledged.

        Raises BadInput when it cannot be read at all, LimitExceeded when it is too large, Unavailable when it cannot be
        stored now.
        """
        data = self._uncompressed(body)
        with self._lock:
            try:
                return self._store(data, version)
            except Conflict:  # series were forgotten between finding and storing them
                self._forget()
                return self._store(data, version)

    def _uncompressed(self, body: bytes) -> bytes:
        try:
            size = cramjam.snappy.decompress_raw_len(body)
            if size > self.max_bytes:
                rejected(DOOR, "too_large")
                raise LimitExceeded(
                    f"the request takes {size} bytes uncompressed, at most {self.max_bytes} are taken"
                    " (setting limits.remote_write_bytes); send fewer samples per request"
                )
            return bytes(cramjam.snappy.decompress_raw(body))
        except cramjam.DecompressionError as error:
            rejected(DOOR, "not_snappy")
            raise BadInput(f"the body is not in snappy's block format: {error}") from None

    def _store(self, data: bytes, version: int) -> Written:
        decoder = self._v1 if version == 1 else self._v2
        try:
            columns = decoder.decode(data)
            if self._epoch != self._intake.epoch:
                epoch = self._intake.epoch
                if not self._intake.alive(columns.refs):
                    self._forget()
                    columns = decoder.decode(data)
                self._epoch = epoch
        except BadInput:
            rejected(DOOR, "unreadable")
            raise
        columns = self._acceptable(columns)
        for reason, count in columns.refusals.counts.items():
            if reason != "series_limit":  # the intake has counted those
                rejected(DOOR, reason, count)
        self._write(columns)
        histograms = 0 if columns.histograms is None else len(columns.histograms)
        return Written(len(columns) - histograms, histograms, len(columns.exemplars), columns.refusals)

    def _acceptable(self, columns: WriteColumns) -> WriteColumns:
        """Without what must not be stored; it is added to the refusals."""
        if not len(columns):
            return columns
        refusals, refs, times_ms = columns.refusals, columns.refs, columns.times_ms
        now_ms = self._clock.now_ms()
        good: NDArray[np.bool_] | None = None
        if int(refs.min()) < 0:
            good = refs >= 0
            refusals.add(
                "series_limit",
                int(np.count_nonzero(~good)),
                "the limit of series is reached (settings limits.series and limits.series_per_job)",
            )
        if self._retention_ms and int(times_ms.min()) < now_ms - self._retention_ms:
            old = times_ms < now_ms - self._retention_ms
            good = ~old if good is None else good & ~old
            first = int(times_ms[np.argmax(old)])
            refusals.add(
                "older_than_retention",
                int(np.count_nonzero(old)),
                f"out of bounds: a sample at {first} ms is older than the retention of {self._retention_ms // 1000} s",
            )
        if int(times_ms.max()) > now_ms + MAX_AHEAD_MS:
            ahead = times_ms > now_ms + MAX_AHEAD_MS
            good = ~ahead if good is None else good & ~ahead
            first = int(times_ms[np.argmax(ahead)])
            refusals.add(
                "too_far_in_future",
                int(np.count_nonzero(ahead)),
                f"out of bounds: a sample at {first} ms is more than 10 minutes in the future",
            )
        return columns if good is None else _take(columns, good)

    def _write(self, columns: WriteColumns) -> None:
        metadata = tuple(entry for entry in columns.metadata if entry not in self._told)
        batches = self._batches(columns)
        if not batches and not columns.exemplars and not metadata:
            return
        none = np.zeros(0, np.int64)
        if not batches:
            batches = [MetricBatch(none, none, np.zeros(0))]
        if columns.exemplars or metadata:
            batches[-1] = replace(batches[-1], exemplars=columns.exemplars, metadata=metadata)
        for batch in batches:
            self._intake.write_metrics(batch, DOOR)
        if metadata:
            if len(self._told) + len(metadata) > _MAX_TOLD:
                self._told.clear()
            self._told.update(dict.fromkeys(metadata))

    def _batches(self, columns: WriteColumns) -> list[MetricBatch]:
        if not len(columns):
            return []
        refs = self._same(columns.refs)
        return [
            MetricBatch(
                refs, columns.times_ms, columns.values, columns.start_ms, histograms=columns.histograms
            )
        ]

    def _same(self, refs: NDArray[np.int64]) -> NDArray[np.int64]:
        """An array of these references: the very object that was handed on before, when there was one."""
        key = refs.tobytes()
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        refs = np.frombuffer(key, np.int64)
        self._kept[key] = refs
        self._kept_refs += len(refs)
        while self._kept_refs > _KEPT_REFS:
            _, dropped = self._kept.popitem(last=False)
            self._kept_refs -= len(dropped)
        return refs

    def _resolve(self, keys: Sequence[LabelBytes]) -> NDArray[np.int64]:
        return self._intake.resolve(keys, DOOR)

    def _forget(self) -> None:
        self._v1.forget()
        self._v2.forget()
        self._kept.clear()
        self._kept_refs = 0


def _take(columns: WriteColumns, good: NDArray[np.bool_]) -> WriteColumns:
    values = columns.values[good]
    histograms: Histograms | None = None
    if columns.histograms is not None:
        boxed = is_boxed(values)
        if boxed.any():
            rows = boxed_rows(values)[boxed]
            histograms = columns.histograms.take(rows)
            values[boxed] = box(np.arange(len(rows)))
    return replace(
        columns,
        refs=columns.refs[good],
        times_ms=columns.times_ms[good],
        values=values,
        start_ms=None if columns.start_ms is None else columns.start_ms[good],
        histograms=histograms,
    )
