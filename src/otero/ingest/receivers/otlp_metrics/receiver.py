"""OTLP metrics on their way to the intake: one request in, one batch out, and what of it was refused.

read (wire) ─▶ deltas made cumulative ─▶ keys to references ─▶ intake

A sender that exports the same series again and again costs a few array operations for each metric: nothing is decoded
but times and values, and the intake gets the very same array of references.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import Conflict
from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp_metrics.config import OtlpConfig
from otero.ingest.receivers.otlp_metrics.deltas import Streams
from otero.ingest.receivers.otlp_metrics.known import TARGET_METADATA, Known
from otero.ingest.receivers.otlp_metrics.request import Part, Reader, Request
from otero.ingest.receivers.otlp_metrics.shapes import DOOR, LIMIT, Shape, Shapes
from otero.model.histograms import Histograms
from otero.model.metrics import Exemplar, MetricBatch
from otero.model.samples import STALE
from otero.telemetry import rejected
from otero.wire.otlp_metrics import exemplar_value
from otero.wire.otlp_series import exemplar_labels

_MAX_TOLD = 3
"""Kinds of faults that a message tells of."""
_NS_PER_MS = np.uint64(1_000_000)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request: data points stored and refused, and a text about the latter, empty when there are none."""

    points: int
    rejected: int
    message: str


class OtlpMetrics:
    """Takes ExportMetricsServiceRequests. Safe for many threads, which take turns.

    retention_ms  older data points are refused; 0 is no bound. lookback_ms  of queries: half of it is the distance of
    the samples of `target_info`.
    """

    def __init__(
        self, intake: Intake, clock: Clock, config: OtlpConfig, *, retention_ms: int = 0, lookback_ms: int = 0
    ) -> None:
        self._intake = intake
        self._clock = clock
        self._retention_ms = retention_ms
        self._info_step_ms = max((lookback_ms or 300_000) // 2, 1)
        self._lock = threading.Lock()
        self._streams = Streams()
        self.configure(config)

    def configure(self, config: OtlpConfig) -> None:
        """Translate by this configuration from now on. What deltas have added up to is kept where names stay."""
        with self._lock:
            self._known = Known(config.rules(), native=config.convert_histograms_to_nhcb)
            self._shapes = Shapes(self._intake, self._known)
            self._told_of_targets = False

    @property
    def remembered_bytes(self) -> int:
        """About what the series of past requests take."""
        return self._known.nbytes

    def write(self, body: bytes) -> Accepted:
        """Store the data points of a serialized request; when this returns, those that it counts as points are stored.

        Raises BadInput for what is no such request, and what the intake raises when it cannot store: nothing is stored
        then, and the same request may be sent again.
        """
        with self._lock:
            self._known.make_room()
            changes = self._streams.begin(self._clock.monotonic_s())
            now_ms = self._clock.now_ms()
            oldest_ms = max(now_ms - self._retention_ms, 0) if self._retention_ms else 0
            request = Reader(self._known, changes, now_ms, oldest_ms, self._info_step_ms).read(body)
            try:
                self._store(request)
            except Conflict:  # series were forgotten between resolving and storing
                self._shapes.forget()
                self._store(request)
            changes.commit()
        return _accepted(request)

    def _store(self, request: Request) -> None:
        parts = request.parts
        if not parts:
            return
        shape = self._shapes.of(parts)
        if len(shape.refs):
            untold = [part.metric for part in parts if part.metric is not None and not part.metric.told]
            metadata = dict.fromkeys(known.metadata for known in untold)
            if not self._told_of_targets and parts[-1].metric is None:
                metadata[TARGET_METADATA] = None
            batch = _batch(request, shape)
            if metadata:
                batch = replace(batch, metadata=tuple(metadata))
            self._intake.write_metrics(batch, DOOR)
            for known in untold:
                known.told = True
            self._told_of_targets |= TARGET_METADATA in metadata
        request.refuse(shape.faults)


def _batch(request: Request, shape: Shape) -> MetricBatch:
    parts = request.parts
    times_ms = _per_sample([part.columns.times_ns for part in parts], parts)
    starts_ms = _per_sample([part.columns.starts_ns for part in parts], parts)
    values = np.concatenate([part.columns.values for part in parts])
    if shape.rows is not None:
        times_ms, starts_ms, values = times_ms[shape.rows], starts_ms[shape.rows], values[shape.rows]
    if len(shape.stale):
        values[shape.stale] = STALE
    return MetricBatch(
        shape.refs,
        times_ms,
        values,
        starts_ms if starts_ms.any() else None,
        _exemplars(parts, shape),
        histograms=Histograms.concat(request.histograms) if request.histograms else None,
    )


def _per_sample(columns: Iterable[NDArray[np.uint64]], parts: Sequence[Part]) -> NDArray[np.int64]:
    """Nanoseconds of points as milliseconds of samples."""
    whole = [
        column if len(part.columns.values) == len(column) else np.repeat(column, part.columns.widths)
        for column, part in zip(columns, parts, strict=True)
    ]
    return (np.concatenate(whole) // _NS_PER_MS).astype(np.int64)


def _exemplars(parts: Sequence[Part], shape: Shape) -> tuple[Exemplar, ...]:
    out: list[Exemplar] = []
    base = 0
    for part in parts:
        columns = part.columns
        if columns.exemplars:
            firsts = np.cumsum(columns.widths) - columns.widths + base
            for point, sample, exemplar in columns.exemplars:
                at = int(firsts[point]) + sample
                if shape.rows is not None:
                    found = int(np.searchsorted(shape.rows, at))
                    if found == len(shape.rows) or shape.rows[found] != at:
                        continue
                    at = found
                time_ns = exemplar.time_unix_nano or int(columns.times_ns[point])
                out.append(
                    Exemplar(
                        int(shape.refs[at]),
                        exemplar_labels(exemplar),
                        exemplar_value(exemplar),
                        time_ns // 1_000_000,
                    )
                )
        base += len(columns.values)
    return tuple(out)


def _accepted(request: Request) -> Accepted:
    refused = sum(request.faults.values())
    for fault, count in request.faults.items():
        if fault is not LIMIT:  # the intake has counted those, by samples
            rejected(DOOR, fault.reason, count)
    most = sorted(request.faults.items(), key=lambda item: -item[1])
    told = [f"{fault.text} ({count})" for fault, count in most[:_MAX_TOLD]]
    if len(most) > _MAX_TOLD:
        told.append("and others")
    return Accepted(request.count - refused, refused, "; ".join(told))
