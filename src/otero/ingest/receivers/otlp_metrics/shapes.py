"""Keys to references, for whole requests: a request with the keys of an earlier one gets that one's array as it is."""

import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp_metrics.known import Known
from otero.ingest.receivers.otlp_metrics.request import Part
from otero.wire.otlp_metrics import Fault, count_fault
from otero.wire.otlp_series import PointSeries

DOOR = "otlp"
LIMIT = Fault("series_limit", "too many series: limits.series and limits.series_per_job in otero.yml")

_MAX_SHAPES = 4096
_MAX_REFS = 8_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What is known of requests with the same keys.

    refs     int64 [M]: references of the samples that are stored.
    rows     intp [M]: which of all samples they are; None when all are.
    stale    intp: those of the M samples that end their series.
    faults   data points that are refused, because of their labels or of a limit.
    """

    refs: NDArray[np.int64]
    rows: NDArray[np.intp] | None
    stale: NDArray[np.intp]
    faults: dict[Fault, int]


class Shapes:
    """The shapes of recent requests."""

    def __init__(self, intake: Intake, known: Known) -> None:
        self._intake = intake
        self._known = known
        self._shapes: OrderedDict[bytes, Shape] = OrderedDict()
        self._refs = 0
        self._epoch = intake.epoch

    def of(self, parts: Sequence[Part]) -> Shape:
        """The shape of a request that has parts."""
        self._refresh()
        key = _identity(parts)
        shape = self._shapes.get(key)
        if shape is not None:
            self._shapes.move_to_end(key)
            return shape
        shape = self._shapes[key] = self._learn(parts)
        self._refs += len(shape.refs)
        while len(self._shapes) > 1 and (len(self._shapes) > _MAX_SHAPES or self._refs > _MAX_REFS):
            self._drop(next(iter(self._shapes)))
        return shape

    def forget(self) -> None:
        """Look everything up again from now on."""
        self._shapes.clear()
        self._refs = 0

    def _refresh(self) -> None:
        """Series were forgotten: drop the shapes that have them, and those that a limit refused something of."""
        epoch = self._intake.epoch
        if epoch == self._epoch:
            return
        self._epoch = epoch
        for key, shape in list(self._shapes.items()):
            if LIMIT in shape.faults or not self._intake.alive(shape.refs):
                self._drop(key)

    def _drop(self, key: bytes) -> None:
        self._refs -= len(self._shapes.pop(key).refs)

    def _learn(self, parts: Sequence[Part]) -> Shape:
        points: list[PointSeries] = []
        data_points = 0
        for part in parts:
            if part.metric is not None:
                points += [self._known.point(part.metric, key) for key in part.columns.keys]
                data_points = len(points)
            elif part.info is not None:
                points += [part.info] * len(part.columns.keys)
        widths = np.concatenate([part.columns.widths for part in parts])
        sound = np.fromiter((point.fault is None for point in points), np.bool_, len(points))
        refs = np.full(int(widths.sum()), -1, np.int64)
        wanted = [labels for point in points if point.fault is None for labels in point.labels]
        refs[np.repeat(sound, widths)] = self._intake.resolve(wanted, DOOR)
        refused = np.minimum.reduceat(refs, np.cumsum(widths) - widths) < 0
        faults: dict[Fault, int] = {}
        for at in np.flatnonzero(refused[:data_points]).tolist():
            count_fault(faults, points[at].fault or LIMIT)
        kept = np.repeat(~refused, widths)
        stale = np.repeat(np.fromiter((point.stale for point in points), np.bool_, len(points)), widths)
        return Shape(
            refs[kept], None if kept.all() else np.flatnonzero(kept), np.flatnonzero(stale[kept]), faults
        )


def _identity(parts: Sequence[Part]) -> bytes:
    """All keys in their order, as 128 bits of a hash."""
    digest = xxhash.xxh3_128()
    for part in parts:
        keys = part.columns.keys
        digest.update(struct.pack("<Q?I", part.number, part.metric is None, len(keys)))
        digest.update(np.fromiter(map(len, keys), np.uint32, len(keys)).tobytes())
        digest.update(b"".join(keys))
    return digest.digest()
