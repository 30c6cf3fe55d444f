"""The Pushgateway: keeps what short-lived jobs push, and feeds it to the intake as a scraper of it would.

A push is kept (`storage.push_groups`), then answered. Its series get a sample at once and one more at each interval,
until the group is replaced or deleted: then they end with a staleness marker, as they would for a Prometheus that
scrapes a Pushgateway with `honor_labels: true`.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import BadField, BadInput, LimitExceeded, OteroError
from otero.fields import Duration, Endpoint, Size
from otero.ingest.intake import Intake
from otero.ingest.receivers.push_groups import (
    FAILED,
    PUSHED,
    GroupKey,
    PushedFamily,
    PushGroup,
    PushGroups,
    sanitise,
    time_family,
)
from otero.model.histograms import Histograms, shifted
from otero.model.labels import LabelBytes, encode_labels
from otero.model.metrics import Metadata, MetricBatch
from otero.model.samples import STALE
from otero.storage.push_groups import PushGroupTable, StoredFamily
from otero.telemetry import rejected
from otero.wire.exposition_columns import WantedHistograms
from otero.wire.exposition_protobuf import exposition_of
from otero.wire.exposition_series import parse_series
from otero.wire.metric_families import families_of_protobuf, families_of_text
from otero.wire.pb.exposition_pb2 import MetricFamily

_log = logging.getLogger(__name__)

DOOR = "pushgateway"
_NONE = np.empty(0, np.int64)
_WANTED = WantedHistograms(native=True, classic=True)


class PushgatewayReceiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`receivers.pushgateway`: a port of its own. The paths on the main port are always there.

    interval      how often the pushed series get a sample, as a scrape interval.
    max_body_size bound of one push, after decompression.
    max_groups, max_series  bounds of what is kept; a push beyond them is refused.
    """

    endpoint: Endpoint = Endpoint("127.0.0.1:9091")
    interval: Duration = Duration(15_000)
    max_body_size: Size = Size(16 << 20)
    max_groups: int = 10_000
    max_series: int = 200_000

    def __post_init__(self) -> None:
        if self.interval < 100:
            raise BadField("interval must be at least 100ms", "interval")
        for name in ("max_body_size", "max_groups", "max_series"):
            if getattr(self, name) < 1:
                raise BadField(f"{name} must be greater than 0", name)


class Pushgateway:
    """All groups of one Otero. Its methods block on disk: call them from worker threads; they exclude each other."""

    def __init__(
        self, settings: PushgatewayReceiver, table: PushGroupTable, intake: Intake, clock: Clock
    ) -> None:
        self.settings = settings
        self._table = table
        self._intake = intake
        self._clock = clock
        self._lock = threading.Lock()
        self._groups = PushGroups()
        self._columns: dict[GroupKey, _Columns] = {}
        self._epoch = -1
        self._whole: _Rows | None = None
        self._owed = _NONE
        self._told: set[Metadata] = set()
        self._task: asyncio.Task[None] | None = None

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the groups back and begin to sample them."""
        await asyncio.to_thread(self.load)
        self._task = asyncio.create_task(self._sample_often(), name="pushgateway")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def load(self) -> None:
        """Take over the groups of the state. Raises Unavailable when it cannot be read."""
        with self._lock:
            for labels, stored in self._table.load():
                key = tuple(sorted(labels.items()))
                families = {
                    family.name: PushedFamily.of(MetricFamily.FromString(family.message), family.pushed_ns)
                    for family in stored
                }
                group = PushGroup(key, families)
                self._put(group, _Columns.of(group))

    async def _sample_often(self) -> None:
        interval = self.settings.interval
        while True:
            await asyncio.sleep((interval - self._clock.now_ms() % interval) / 1000)
            try:
                await asyncio.to_thread(self.sample)
            except OteroError as error:
                _log.warning(
                    "cannot store pushed metrics; the next turn tries again", extra={"error": str(error)}
                )
            except Exception:  # a bug must not end the sampling of every group
                _log.exception("cannot sample pushed metrics")

    # -- the protocol --------------------------------------------------------------------------------------------

    def push(self, key: GroupKey, body: bytes, *, protobuf: bool, replace: bool) -> None:
        """Merge a body into a group, family by family, or replace the group with it; kept when this returns.

        Raises BadInput for a body that cannot be read or does not fit the other groups (then the group's failure time
        is set), LimitExceeded at the bounds, Unavailable when it cannot be kept.
        """
        families = families_of_protobuf(body) if protobuf else families_of_text(body)
        with self._lock:
            now_ms = self._clock.now_ms()
            try:
                self._push(key, families, now_ms, replace=replace)
            except BadInput as error:
                rejected(DOOR, "inconsistent")
                self._note_failure(key, now_ms)
                raise BadInput(f"the push does not fit: {error}") from None

    def _push(
        self, key: GroupKey, families: Mapping[str, MetricFamily], now_ms: int, *, replace: bool
    ) -> None:
        before = self._groups.get(key)
        kept = {} if before is None else dict(before.families)
        changed: dict[str, PushedFamily] = {}
        for name, message in families.items():
            if any(metric.timestamp_ms for metric in message.metric):
                raise BadInput(f"{name} has timestamps; leave them out: a push is a state, not a sample")
            sanitise(message, key)
            changed[name] = PushedFamily.of(message, now_ms * 1_000_000)
        changed[PUSHED] = PushedFamily.of(time_family(PUSHED, key, now_ms / 1000), now_ms * 1_000_000)
        changed.pop(FAILED, None)
        if FAILED not in kept:
            changed[FAILED] = PushedFamily.of(time_family(FAILED, key, 0.0), now_ms * 1_000_000)
        gone = [name for name in kept if replace and name not in changed and name != FAILED]
        group = PushGroup(key, {name: f for name, f in kept.items() if name not in gone} | changed)
        self._check_limits(group, before)
        self._groups.check(group, changed.values())
        columns = _Columns.of(group)  # before anything is changed: it refuses what cannot be exposed
        self._keep(group, changed, gone)
        self._put(group, columns)
        self._sample_group(columns, now_ms)

    def delete(self, key: GroupKey) -> None:
        """Drop a group; its series end. Nothing happens when there is none."""
        with self._lock:
            if self._groups.get(key) is None:
                return
            self._resolve()
            columns = self._columns.pop(key)
            owed = self._owed
            try:
                # Markers first: a series that ends too early goes on at the next turn, should the rest fail.
                self._owed = np.union1d(owed, columns.refs[columns.refs >= 0])
                self._send(_join([]), self._clock.now_ms())
                self._table.delete(dict(key))
            except BaseException:
                self._columns[key] = columns
                self._owed = owed
                raise
            self._groups.drop(key)
            self._whole = None

    def groups(self) -> Sequence[PushGroup]:
        """Every group, to be shown."""
        with self._lock:
            return list(self._groups)

    def _note_failure(self, key: GroupKey, now_ms: int) -> None:
        """Set the group's failure time, making the group if need be; unless that, too, would not fit."""
        before = self._groups.get(key)
        changed = {FAILED: PushedFamily.of(time_family(FAILED, key, now_ms / 1000), now_ms * 1_000_000)}
        if before is None:
            changed[PUSHED] = PushedFamily.of(time_family(PUSHED, key, 0.0), now_ms * 1_000_000)
        group = PushGroup(key, {**({} if before is None else before.families), **changed})
        try:
            self._check_limits(group, before)
            self._groups.check(group, changed.values())
            columns = _Columns.of(group)
            self._keep(group, changed, ())
        except OteroError as error:
            _log.warning("cannot note a failed push", extra={"group": dict(key), "error": str(error)})
            return
        self._put(group, columns)
        self._sample_group(columns, now_ms)

    def _check_limits(self, group: PushGroup, before: PushGroup | None) -> None:
        if before is None and len(self._groups) >= self.settings.max_groups:
            rejected(DOOR, "group_limit")
            raise LimitExceeded(
                f"{self.settings.max_groups:,} groups are kept already: delete some, or raise"
                " receivers.pushgateway.max_groups"
            )
        series = self._groups.series + group.series - (0 if before is None else before.series)
        if series > self.settings.max_series:
            rejected(DOOR, "series_limit")
            raise LimitExceeded(
                f"{series:,} pushed series are more than receivers.pushgateway.max_series"
                f" ({self.settings.max_series:,}) allows: delete groups, or raise it"
            )

    def _keep(self, group: PushGroup, changed: Mapping[str, PushedFamily], gone: Iterable[str]) -> None:
        rows = [
            StoredFamily(name, family.pushed_ns, family.message.SerializeToString())
            for name, family in changed.items()
        ]
        self._table.write(dict(group.key), rows, gone)

    # -- samples -------------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """One sample of every pushed series, now, and the markers that are still owed. Raises what the intake raises."""
        with self._lock:
            self._resolve()
            if self._whole is None:
                self._whole = _join(self._columns.values())
            self._send(self._whole, self._clock.now_ms())

    def _put(self, group: PushGroup, columns: "_Columns") -> None:
        old = self._columns.get(group.key)
        if old is not None:
            self._owed = np.union1d(self._owed, old.refs[old.refs >= 0])
        self._groups.put(group)
        self._columns[group.key] = columns
        self._whole = None

    def _resolve(self) -> None:
        """Give every group references that mean something now."""
        epoch = self._intake.epoch
        for columns in self._columns.values():
            known = len(columns.refs) == len(columns.keys)
            if known and (epoch == self._epoch or self._intake.alive(columns.refs[columns.refs >= 0])):
                continue
            columns.refs = self._intake.resolve(columns.keys, DOOR)
            self._whole = None
        if epoch != self._epoch and not self._intake.alive(self._owed):
            self._owed = _NONE
        self._epoch = epoch

    def _sample_group(self, columns: "_Columns", now_ms: int) -> None:
        """Samples of a group that changed. What fails now is made up for at the next turn."""
        try:
            self._resolve()
            self._send(_join([columns]), now_ms)
        except OteroError as error:
            _log.warning("pushed metrics are kept, but not sampled yet", extra={"error": str(error)})

    def _send(self, rows: "_Rows", now_ms: int) -> None:
        """Write rows, and markers for the series that no group has any more."""
        refs, values, start_ms = rows.refs, rows.values, rows.start_ms
        if len(self._owed):
            live = [columns.refs for columns in self._columns.values()]
            gone = np.setdiff1d(self._owed, np.concatenate(live) if live else _NONE)
            refs = np.concatenate((gone, refs))
            values = np.concatenate((np.full(len(gone), STALE), values))
            if start_ms is not None:
                start_ms = np.concatenate((np.zeros(len(gone), np.int64), start_ms))
        metadata = tuple(entry for entry in rows.metadata if entry not in self._told)
        if len(refs) or metadata:
            times_ms = np.full(len(refs), now_ms, np.int64)
            batch = MetricBatch(
                refs, times_ms, values, start_ms, metadata=metadata, histograms=rows.histograms
            )
            self._intake.write_metrics(batch, DOOR)
        self._owed = _NONE
        self._told.update(metadata)


@dataclass(slots=True)
class _Columns:
    """What a group gives the intake; `refs` is -1 where a series budget refuses the series, empty when not asked yet."""

    keys: list[LabelBytes]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64] | None
    metadata: tuple[Metadata, ...]
    histograms: Histograms | None
    refs: NDArray[np.int64]

    @staticmethod
    def of(group: PushGroup) -> "_Columns":
        exposition = exposition_of((family.message for family in group.families.values()), _WANTED)
        keys = [encode_labels(parse_series(key)) for key in exposition.keys]
        return _Columns(
            keys, exposition.values, exposition.start_ms, exposition.metadata, exposition.histograms, _NONE
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows for a batch: each series once."""

    refs: NDArray[np.int64]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64] | None
    metadata: tuple[Metadata, ...]
    histograms: Histograms | None


def _join(groups: Iterable[_Columns]) -> _Rows:
    """The rows of these groups. Groups that differ by an empty label only can share a series: the first one wins."""
    groups = list(groups)
    refs = np.concatenate([_NONE, *(columns.refs for columns in groups)])
    _, first = np.unique(refs, return_index=True)
    rows = np.sort(first[refs[first] >= 0])
    rejected(DOOR, "duplicate_sample", len(refs) - len(first) - max(int(np.count_nonzero(refs < 0)) - 1, 0))
    values = [np.empty(0)]
    histograms: list[Histograms] = []
    for columns in groups:
        if columns.histograms is None:
            values.append(columns.values)
        else:
            values.append(shifted(columns.values, sum(map(len, histograms))))
            histograms.append(columns.histograms)
    start_ms = None
    if any(columns.start_ms is not None for columns in groups):
        start_ms = np.concatenate(
            [
                np.zeros(len(columns.keys), np.int64) if columns.start_ms is None else columns.start_ms
                for columns in groups
            ]
        )[rows]
    metadata = dict.fromkeys(entry for columns in groups for entry in columns.metadata)
    return _Rows(
        refs[rows],
        np.concatenate(values)[rows],
        start_ms,
        tuple(metadata),
        Histograms.concat(histograms) if histograms else None,
    )
