"""Journal batches to the requests of one destination: relabelled, sharded by series, cut, encoded.

The same batches always give the same requests, in the same order: what is sent again after a crash is cut as before, so a
receiver that refuses a repeated request refuses nothing that it does not have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cramjam
import numpy as np
from numpy.typing import NDArray

from otero.ingest.relabel import Relabel, compile_relabel
from otero.model.histograms import Histograms, boxed_rows
from otero.model.labels import LabelBytes, decode_labels, encode_labels, series_id
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.remote.config import RemoteWriteConfig
from otero.wire.remote_write_encode import (
    Run,
    encodable,
    encode_v1,
    encode_v1_extras,
    encode_v2,
    label_fields,
)

_MAX_FIELDS = 200_000
V2 = "io.prometheus.write.v2.Request"


@dataclass(frozen=True, slots=True)
class WriteBody:
    """One request, compressed, and what it holds."""

    body: bytes
    samples: int
    newest_ms: int
    histograms: int = 0
    exemplars: int = 0
    metadata: int = 0


@dataclass(frozen=True, slots=True)
class Requests:
    """What is to be sent, by shard, in order; `dropped` samples by reason are not in it."""

    shards: list[list[WriteBody]]
    dropped: dict[str, int]


class RequestMaker:
    """Knows what becomes of each series at one destination. `labels` gives the label set of a reference."""

    def __init__(
        self,
        config: RemoteWriteConfig,
        external_labels: Mapping[str, str],
        metadata: Callable[[str], Sequence[Metadata]],
    ) -> None:
        self._config = config
        self._external = {name: value for name, value in external_labels.items() if value}
        self._relabel: Relabel = compile_relabel(config.write_relabel_configs)
        self._metadata = metadata
        self._fields: dict[LabelBytes, bytes] = {}
        self._epoch = -1
        self._public: dict[int, tuple[LabelBytes, int] | None] = {}

    def of(
        self,
        batches: Sequence[MetricBatch],
        labels: Callable[[int], LabelBytes],
        epoch: int,
        *,
        shards: int,
        batch_samples: int,
        oldest_ms: int | None = None,
    ) -> Requests:
        """The requests of these batches, for so many shards, with at most so many samples each.

        `epoch` changes when references mean something else; samples before `oldest_ms` are left out.
        """
        if epoch != self._epoch:
            self._public, self._epoch = {}, epoch
        dropped: dict[str, int] = {}
        refs = np.concatenate([batch.refs for batch in batches] or [np.zeros(0, np.int64)])
        times_ms = np.concatenate([batch.times_ms for batch in batches] or [refs])
        values = np.concatenate([batch.values for batch in batches] or [np.zeros(0)])
        start_ms: NDArray[np.int64] | None = None
        if any(batch.start_ms is not None for batch in batches):
            start_ms = np.concatenate(
                [np.zeros(len(b), np.int64) if b.start_ms is None else b.start_ms for b in batches]
            )
        shard_of = np.full(int(refs.max(initial=-1)) + 1, -1, np.int64)
        for ref in np.unique(refs).tolist():
            found = self._of_series(ref, labels)
            if found is not None:
                shard_of[ref] = found[1] % shards
        shard = shard_of[refs] if len(refs) else refs
        _drop(dropped, "relabelled", shard < 0)
        good = encodable(times_ms)
        _drop(dropped, "time_out_of_range", (shard >= 0) & ~good)
        if oldest_ms is not None:
            young = times_ms >= oldest_ms
            _drop(dropped, "too_old", (shard >= 0) & good & ~young)
            good &= young
        where = np.concatenate([np.full(len(b), at) for at, b in enumerate(batches)] or [refs])
        native = np.full(len(refs), -1, np.int64)
        if any(batch.histograms is not None for batch in batches):
            native = boxed_rows(values)
            if not self._config.send_native_histograms:
                _drop(dropped, "native_histogram", (shard >= 0) & good & (native >= 0))
                good &= native < 0
        exemplars: list[list[tuple[LabelBytes, Exemplar]]] = [[] for _ in range(shards)]
        if self._config.send_exemplars:
            for exemplar in (exemplar for batch in batches for exemplar in batch.exemplars):
                found = self._of_series(exemplar.ref, labels)
                if found is not None:
                    exemplars[found[1] % shards].append((found[0], exemplar))
        out: list[list[WriteBody]] = []
        for number in range(shards):
            rows = np.flatnonzero((shard == number) & good)
            bodies: list[WriteBody] = []
            for low in range(0, len(rows), batch_samples):
                part = rows[low : low + batch_samples]
                last = low + batch_samples >= len(rows)
                bodies.append(
                    self._body(
                        refs[part],
                        times_ms[part],
                        values[part],
                        None if start_ms is None else start_ms[part],
                        native[part],
                        [batches[at].histograms for at in where[part].tolist()]
                        if (native[part] >= 0).any()
                        else [],
                        exemplars[number] if last else (),
                    )
                )
            if exemplars[number] and not len(rows):
                none = np.zeros(0, np.int64)
                bodies.append(self._body(none, none, np.zeros(0), None, none, [], exemplars[number]))
            out.append(bodies)
        return Requests(out, dropped)

    def metadata(self, entries: Sequence[Metadata], batch: int) -> list[WriteBody]:
        """Requests of version 1 that say what metrics are."""
        return [
            WriteBody(
                bytes(cramjam.snappy.compress_raw(encode_v1_extras((), (), entries[low : low + batch]))),
                0,
                0,
                metadata=len(entries[low : low + batch]),
            )
            for low in range(0, len(entries), batch)
        ]

    def _of_series(self, ref: int, labels: Callable[[int], LabelBytes]) -> tuple[LabelBytes, int] | None:
        """What the series is called there, and a number to shard by; None when rules drop it."""
        if ref in self._public:
            return self._public[ref]
        named = decode_labels(labels(ref))
        for name, value in self._external.items():
            named.setdefault(name, value)
        relabelled = self._relabel(named) if self._relabel else named
        found = None
        if relabelled and relabelled.get("__name__"):
            key = encode_labels(relabelled)
            found = (key, series_id(key) >> 1)
        self._public[ref] = found
        return found

    def _body(
        self,
        refs: NDArray[np.int64],
        times_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        start_ms: NDArray[np.int64] | None,
        native: NDArray[np.int64],
        where: Sequence[Histograms | None],
        exemplars: Sequence[tuple[LabelBytes, Exemplar]],
    ) -> WriteBody:
        histograms = [
            (self._key(int(refs[at])), int(times_ms[at]), int(native[at]), held)
            for at in np.flatnonzero(native >= 0).tolist()
            if (held := where[at]) is not None
        ]
        newest_ms = int(times_ms.max(initial=0))
        floats = np.flatnonzero(native < 0)
        # By series, and within a series in order of time: stable, as the journal has later writes later.
        order = floats[np.lexsort((times_ms[floats], refs[floats]))]
        refs, times_ms, values = refs[order], times_ms[order], values[order]
        edges = np.flatnonzero(np.diff(refs, prepend=-1)).tolist()
        runs = [
            Run(self._key(int(refs[low])), low, high)
            for low, high in zip(edges, [*edges[1:], len(refs)], strict=True)
        ]
        if self._config.protobuf_message == V2:
            starts = None if start_ms is None else start_ms[order]
            data = encode_v2(runs, times_ms, values, starts, histograms, exemplars, self._described(runs))
        else:
            data = encode_v1(runs, times_ms, values, self._label_fields)
            if histograms or exemplars:
                data += encode_v1_extras(histograms, exemplars)
        return WriteBody(
            bytes(cramjam.snappy.compress_raw(data)), len(refs), newest_ms, len(histograms), len(exemplars)
        )

    def _key(self, ref: int) -> LabelBytes:
        found = self._public[ref]
        if found is None:
            raise KeyError(ref)
        return found[0]

    def _label_fields(self, labels: LabelBytes) -> bytes:
        found = self._fields.get(labels)
        if found is None:
            if len(self._fields) >= _MAX_FIELDS:
                self._fields.clear()
            found = self._fields[labels] = label_fields(labels)
        return found

    def _described(self, runs: Sequence[Run]) -> dict[str, Metadata]:
        if not self._config.metadata_config.send:
            return {}
        out: dict[str, Metadata] = {}
        for run in runs:
            name = decode_labels(run.labels).get("__name__", "")
            if name not in out and (entries := self._metadata(name)):
                out[name] = entries[-1]
        return out


def _drop(dropped: dict[str, int], reason: str, which: NDArray[np.bool_]) -> None:
    count = int(np.count_nonzero(which))
    if count:
        dropped[reason] = dropped.get(reason, 0) + count
