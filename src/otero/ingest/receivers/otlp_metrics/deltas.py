"""Deltas to cumulative values: what each stream has added up to, for as long as it goes on.

The rules are those of the collector's processor that Prometheus uses for the same purpose: a stream begins with its first
data point, whose start it keeps; a point that ends no later than the one before is refused, and so is one that starts
before the stream did; a stream that nothing came for in `MAX_STALE_S` is forgotten, and begins anew with its next point.
Nothing is kept across restarts: the start timestamps say that counting began anew.
"""

import math
from dataclasses import dataclass

from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otero.wire.otlp_metrics import NO_RECORDED_VALUE, Fault

MAX_STALE_S = 300.0
MAX_STREAMS = 1_000_000
MAX_BUCKETS = 160
"""Buckets of a sign in an exponential histogram; more are merged into fewer of a smaller scale."""

OUT_OF_ORDER = Fault("out_of_order", "a delta ends no later than the one before it")
OLDER_START = Fault("out_of_order", "a delta starts before its stream began")
TOO_MANY = Fault("delta_limit", f"more than {MAX_STREAMS} series are sent as deltas: send cumulative values")


@dataclass(frozen=True, slots=True)
class Sum:
    """A number that has been added up; times in nanoseconds."""

    start_ns: int
    last_ns: int
    value: float


_Histogram = pb.HistogramDataPoint | pb.ExponentialHistogramDataPoint
State = Sum | _Histogram
"""What a stream has added up to. Never mutated once it is in `Streams`."""


class Streams:
    """The state of all streams, the longest idle one first."""

    def __init__(self) -> None:
        self._states: dict[bytes, tuple[float, State]] = {}

    def __len__(self) -> int:
        return len(self._states)

    def begin(self, now_s: float) -> "Changes":
        """Changes that count once they are committed; forgets what has been idle too long."""
        idle: list[bytes] = []
        for stream, (seen_s, _) in self._states.items():
            if now_s - seen_s <= MAX_STALE_S:
                break
            idle.append(stream)
        for stream in idle:
            del self._states[stream]
        return Changes(self._states, now_s)


class Changes:
    """What one request does to the streams. The request that could not be stored is sent again, so it must leave none."""

    def __init__(self, states: dict[bytes, tuple[float, State]], now_s: float) -> None:
        self._states = states
        self._now_s = now_s
        self._changed: dict[bytes, State | None] = {}
        self._added = 0

    def before(self, stream: bytes) -> State | None:
        """What the stream has added up to, None for a new one."""
        if stream in self._changed:
            return self._changed[stream]
        found = self._states.get(stream)
        return None if found is None else found[1]

    def put(self, stream: bytes, state: State) -> bool:
        """Note the new state; False when it is a stream too many."""
        if stream not in self._states and stream not in self._changed:
            if len(self._states) + self._added >= MAX_STREAMS:
                return False
            self._added += 1
        self._changed[stream] = state
        return True

    def end(self, stream: bytes) -> None:
        """The stream says that it ended."""
        self._changed[stream] = None

    def commit(self) -> None:
        """The request is stored."""
        for stream, state in self._changed.items():
            self._states.pop(stream, None)
            if state is not None:
                self._states[stream] = (self._now_s, state)

    def add_number(self, stream: bytes, start_ns: int, time_ns: int, value: float) -> Sum | Fault:
        """The sum after a delta, or why it does not count."""
        before = self.before(stream)
        if isinstance(before, Sum):
            fault = _fault(start_ns, time_ns, before.start_ns, before.last_ns)
            if fault is not None:
                return fault
            after = Sum(before.start_ns, time_ns, before.value + value)
        else:
            after = Sum(start_ns, time_ns, value)
        return after if self.put(stream, after) else TOO_MANY

    def add_histogram(self, stream: bytes, point: pb.HistogramDataPoint) -> Fault | None:
        """Make a delta what its stream has added up to by then, in place; or say why it does not count.

        Raises ValueError when the counts exceed 64 bits.
        """
        if point.flags & NO_RECORDED_VALUE:
            self.end(stream)
            return None
        before = self.before(stream)
        if isinstance(before, pb.HistogramDataPoint):
            fault = _fault_of(point, before)
            if fault is not None:
                return fault
            # With other bounds there is nothing to add to: the stream begins anew.
            if list(before.explicit_bounds) == list(point.explicit_bounds):
                point.start_time_unix_nano = before.start_time_unix_nano
                point.count += before.count
                counts = [
                    mine + theirs
                    for mine, theirs in zip(point.bucket_counts, before.bucket_counts, strict=False)
                ]
                point.bucket_counts[:] = counts
                _add_sum(point, before)
        return self._keep(stream, point)

    def add_exponential(self, stream: bytes, point: pb.ExponentialHistogramDataPoint) -> Fault | None:
        """As `add_histogram`."""
        if point.flags & NO_RECORDED_VALUE:
            self.end(stream)
            return None
        before = self.before(stream)
        if isinstance(before, pb.ExponentialHistogramDataPoint):
            fault = _fault_of(point, before)
            if fault is not None:
                return fault
            _add_exponential(point, before)
        return self._keep(stream, point)

    def _keep(self, stream: bytes, point: _Histogram) -> Fault | None:
        kept = type(point).FromString(point.SerializeToString())
        for name in ("attributes", "exemplars", "min", "max"):
            kept.ClearField(name)
        return None if self.put(stream, kept) else TOO_MANY


def _fault(start_ns: int, time_ns: int, stream_start_ns: int, last_ns: int) -> Fault | None:
    if start_ns < stream_start_ns:
        return OLDER_START
    return OUT_OF_ORDER if time_ns <= last_ns else None


def _fault_of(point: _Histogram, before: _Histogram) -> Fault | None:
    return _fault(
        point.start_time_unix_nano,
        point.time_unix_nano,
        before.start_time_unix_nano,
        before.time_unix_nano,
    )


def _add_sum(point: _Histogram, before: _Histogram) -> None:
    if point.HasField("sum") and before.HasField("sum"):
        point.sum += before.sum
    else:
        point.ClearField("sum")


# -- exponential histograms --------------------------------------------------------------------------------------------

_Buckets = dict[int, int]
"""Counts by OTLP's bucket index; empty buckets are absent."""


def _add_exponential(
    point: pb.ExponentialHistogramDataPoint, before: pb.ExponentialHistogramDataPoint
) -> None:
    """Both at the smaller of the scales and the larger of the zero thresholds, then added."""
    scale = min(point.scale, before.scale)
    sides = [
        _Side(_scaled(_buckets(point.positive), point.scale - scale)),
        _Side(_scaled(_buckets(point.negative), point.scale - scale)),
        _Side(_scaled(_buckets(before.positive), before.scale - scale)),
        _Side(_scaled(_buckets(before.negative), before.scale - scale)),
    ]
    threshold = max(point.zero_threshold, before.zero_threshold)
    zero_count = point.zero_count + before.zero_count
    if point.zero_threshold != before.zero_threshold:
        threshold, moved = _widen_zero(sides, threshold, scale)
        zero_count += moved
    positive = _sum(sides[0].buckets, sides[2].buckets)
    negative = _sum(sides[1].buckets, sides[3].buckets)
    while _span(positive) > MAX_BUCKETS or _span(negative) > MAX_BUCKETS:
        scale -= 1
        positive, negative = _scaled(positive, 1), _scaled(negative, 1)
    point.scale = scale
    point.zero_threshold = threshold
    point.zero_count = zero_count
    _set_buckets(point.positive, positive)
    _set_buckets(point.negative, negative)
    point.count += before.count
    point.start_time_unix_nano = before.start_time_unix_nano
    _add_sum(point, before)


@dataclass(slots=True)
class _Side:
    buckets: _Buckets


def _buckets(side: pb.ExponentialHistogramDataPoint.Buckets) -> _Buckets:
    return {side.offset + at: count for at, count in enumerate(side.bucket_counts) if count}


def _set_buckets(side: pb.ExponentialHistogramDataPoint.Buckets, buckets: _Buckets) -> None:
    low = min(buckets, default=0)
    side.offset = low
    side.bucket_counts[:] = [buckets.get(index, 0) for index in range(low, low + _span(buckets))]


def _span(buckets: _Buckets) -> int:
    return max(buckets) - min(buckets) + 1 if buckets else 0


def _scaled(buckets: _Buckets, by: int) -> _Buckets:
    """2^by neighbours merged into one."""
    if by <= 0:
        return buckets
    out: _Buckets = {}
    for index, count in buckets.items():
        out[index >> by] = out.get(index >> by, 0) + count
    return out


def _sum(left: _Buckets, right: _Buckets) -> _Buckets:
    out = dict(left)
    for index, count in right.items():
        out[index] = out.get(index, 0) + count
    return out


def _widen_zero(sides: list[_Side], threshold: float, scale: int) -> tuple[float, int]:
    """Buckets that begin below the threshold become part of zero, which reaches to the end of the last of them.

    Returns the threshold and what was moved.
    """
    within = [index for side in sides for index in side.buckets if _lower_bound(index, scale) < threshold]
    moved = 0
    if within:
        last = max(within)
        threshold = max(threshold, _lower_bound(last + 1, scale))
        for side in sides:
            moved += sum(count for index, count in side.buckets.items() if index <= last)
            side.buckets = {index: count for index, count in side.buckets.items() if index > last}
    return threshold, moved


def _lower_bound(index: int, scale: int) -> float:
    try:
        return math.pow(2.0, math.ldexp(index, -scale))
    except OverflowError:
        return math.inf
