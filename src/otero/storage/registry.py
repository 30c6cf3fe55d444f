"""Every series that this process knows, under a small dense number.

A *reference* (ref) is an index into arrays: given in order of appearance, never given twice in a process. Label bytes are
kept once, as the key of the dictionary that finds them again; labels as columns live in the index.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.model.labels import METRIC_NAME, LabelBytes, LabelTable, decode_labels, series_id
from otero.model.matchers import Matcher
from otero.storage.index import Index

_NEW_PER_LOCK = 2000
"""New series that are entered in one go, so that readers wait a few milliseconds at most."""

_FORGOTTEN = LabelBytes(bytes([0xFF, 0xFF]))


class SeriesRegistry:
    """Label bytes to references and back, with an index over labels. One writer, many readers.

    max_series          series that may be known at a time; 0 is no limit. Only new series are refused.
    max_series_per_job  the same, for each value of the label `job`.
    refused             series refused so far, by reason: "series_limit", "job_series_limit", "id_collision".
    epoch               rises when series were forgotten; who keeps references asks `alive` again then.
    """

    def __init__(self, clock: Clock, *, max_series: int = 0, max_series_per_job: int = 0) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._by_labels: dict[bytes, int] = {}
        self._labels: list[LabelBytes] = []
        self._ids: NDArray[np.uint64] = np.zeros(1024, np.uint64)
        self._known_ids = _IdSet()
        self._index = Index()
        self._jobs: dict[str, int] = {}
        self.max_series = max_series
        self.max_series_per_job = max_series_per_job
        self.epoch = 0
        self.created = 0
        self.forgotten = 0
        self.refused: dict[str, int] = {"series_limit": 0, "job_series_limit": 0, "id_collision": 0}

    def __len__(self) -> int:
        """Series known now."""
        return len(self._by_labels)

    @property
    def bound(self) -> int:
        """One more than the largest reference given so far."""
        return len(self._labels)

    @property
    def ids(self) -> NDArray[np.uint64]:
        """uint64 [bound]: the series id by reference, forgotten ones included."""
        bound = len(self._labels)
        return self._ids[:bound]

    def resolve(self, keys: Sequence[LabelBytes], *, budgets: bool = True) -> NDArray[np.int64]:
        """int64 [len(keys)]: the reference of each label set, given now when it is new; -1 where it was refused.

        Without `budgets` no limit refuses: for series whose samples are acknowledged already.
        """
        get = self._by_labels.get
        refs = np.fromiter((get(key, -1) for key in keys), np.int64, len(keys))
        missing = np.flatnonzero(refs < 0)
        for at in range(0, len(missing), _NEW_PER_LOCK):
            with self._lock:
                for position in missing[at : at + _NEW_PER_LOCK].tolist():
                    refs[position] = self._enter(keys[position], budgets)
        return refs

    def find(self, keys: Sequence[LabelBytes]) -> NDArray[np.int64]:
        """As `resolve`, but gives no new references: -1 for a series that is not known."""
        get = self._by_labels.get
        return np.fromiter((get(key, -1) for key in keys), np.int64, len(keys))

    def _enter(self, key: LabelBytes, budgets: bool) -> int:
        known = self._by_labels.get(key)
        if known is not None:
            return known
        if budgets and self.max_series and len(self._by_labels) >= self.max_series:
            self.refused["series_limit"] += 1
            return -1
        labels = decode_labels(key)
        job = labels.get("job", "")
        in_job = self._jobs.get(job, 0)
        if budgets and self.max_series_per_job and in_job >= self.max_series_per_job:
            self.refused["job_series_limit"] += 1
            return -1
        identity = series_id(key)
        if not self._known_ids.add(identity):
            self.refused["id_collision"] += 1
            return -1
        ref = len(self._labels)
        if ref == len(self._ids):
            ids = np.zeros(ref * 3 // 2, np.uint64)
            ids[:ref] = self._ids
            self._ids = ids
        self._ids[ref] = identity
        key = LabelBytes(bytes(key))
        self._index.add(ref, labels)
        self._labels.append(key)
        self._by_labels[key] = ref
        self._jobs[job] = in_job + 1
        self.created += 1
        return ref

    def labels(self, ref: int) -> LabelBytes:
        """The label bytes of a reference; raises KeyError when the series was forgotten."""
        key = self._labels[ref]
        if key is _FORGOTTEN:
            raise KeyError(ref)
        return key

    def alive(self, refs: NDArray[np.int64]) -> bool:
        """Whether none of the references was forgotten."""
        labels = self._labels
        return all(labels[ref] is not _FORGOTTEN for ref in refs.tolist() if ref >= 0)

    def forget(self, refs: NDArray[np.int64]) -> int:
        """Drop series; their references are never given again. Returns how many were known."""
        with self._lock:
            known = [ref for ref in np.unique(refs).tolist() if self._labels[ref] is not _FORGOTTEN]
            if not known:
                return 0
            for ref in known:
                key = self._labels[ref]
                job = decode_labels(key).get("job", "")
                self._jobs[job] -= 1
                if not self._jobs[job]:
                    del self._jobs[job]
                del self._by_labels[key]
                self._labels[ref] = _FORGOTTEN
            gone = np.array(known, np.int64)
            self._known_ids.remove(self._ids[gone])
            self._index.remove(gone)
            self.forgotten += len(known)
            self.epoch += 1
            return len(known)

    def select(self, matchers: Sequence[Matcher]) -> NDArray[np.int64]:
        """References of the series that satisfy every condition, ascending."""
        with self._lock:
            return self._index.select(matchers)

    def table(self, refs: NDArray[np.int64]) -> LabelTable:
        """The label sets of references, in their order; a forgotten series has no labels."""
        with self._lock:
            return self._index.table(refs)

    def select_table(self, matchers: Sequence[Matcher]) -> tuple[NDArray[np.int64], LabelTable]:
        """`select` and `table` of its result, of one moment."""
        with self._lock:
            refs = self._index.select(matchers)
            return refs, self._index.table(refs)

    def metric_codes(self, refs: NDArray[np.int64]) -> NDArray[np.int32]:
        """A number per metric name, for sorting series by metric. The numbers change when `epoch` does."""
        with self._lock:
            return self._index.metric_codes(refs)

    def label_names(self, refs: NDArray[np.int64] | None = None) -> list[str]:
        """Label names that the given series (None: all) carry, sorted."""
        with self._lock:
            if refs is None:
                return self._index.label_names()
            return sorted(self._index.table(refs).columns)

    def label_values(self, name: str, refs: NDArray[np.int64] | None = None) -> list[str]:
        """Values of one label over the given series (None: all), sorted, without the empty one."""
        with self._lock:
            if refs is None:
                return sorted(self._index.label_counts(name))
            column = self._index.table(refs).columns.get(name)
        if column is None:
            return []
        return sorted(column.values[code] for code in np.unique(column.codes).tolist() if code)

    def series_by_metric(self) -> dict[str, int]:
        """Number of series by metric name."""
        return self.series_by_value(METRIC_NAME)

    def series_by_value(self, name: str) -> dict[str, int]:
        """Number of series by value of one label."""
        with self._lock:
            return self._index.label_counts(name)

    def values_by_label(self) -> dict[str, int]:
        """Number of distinct values by label name."""
        with self._lock:
            return {name: len(d.codes) - 1 for name, d in self._index.dictionaries.items()}


class _IdSet:
    """The ids of all known series, 8 bytes each: a sorted array, and a set of the latest ones."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._recent: set[int] = set()

    def add(self, identity: int) -> bool:
        """False when it was there already."""
        if identity in self._recent:
            return False
        key = np.uint64(identity)
        at = int(np.searchsorted(self._sorted, key))
        if at < len(self._sorted) and self._sorted[at] == key:
            return False
        self._recent.add(identity)
        if len(self._recent) > 4096 + len(self._sorted) // 8:
            self._settle()
        return True

    def remove(self, identities: NDArray[np.uint64]) -> None:
        self._settle()
        self._sorted = self._sorted[~np.isin(self._sorted, identities)]

    def _settle(self) -> None:
        recent = np.fromiter(self._recent, np.uint64, len(self._recent))
        self._sorted = np.sort(np.concatenate([self._sorted, recent]))
        self._recent = set()
