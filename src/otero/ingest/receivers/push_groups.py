"""Groups of pushed metrics, and what must hold of them together. Plain state: no I/O, no time of its own.

A group is what shares its grouping labels (the path of a push). The rules are those of the Pushgateway (1.5): grouping
labels win over those of the body, a series without `instance` gets an empty one so that no scraper adds its own, and
all groups together must make one consistent exposition.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from otero.errors import BadInput
from otero.fields import valid_legacy_label_name
from otero.wire.metric_families import GAUGE, GAUGE_HISTOGRAM, HISTOGRAM, SUMMARY, TYPES
from otero.wire.pb.exposition_pb2 import LabelPair, Metric, MetricFamily, Plain

PUSHED = "push_time_seconds"
FAILED = "push_failure_time_seconds"
_HELP = {
    PUSHED: "When this group was last changed, as a Unix time.",
    FAILED: "When a change of this group was last refused, as a Unix time.",
}

GroupKey = tuple[tuple[str, str], ...]
"""The grouping labels, names sorted; `job` is always among them."""


@dataclass(frozen=True, slots=True, eq=False)
class PushedFamily:
    """One family of a group. The message is never mutated once it is here; `identities` are its series' labels."""

    message: MetricFamily
    pushed_ns: int
    identities: tuple[bytes, ...]

    @staticmethod
    def of(message: MetricFamily, pushed_ns: int) -> "PushedFamily":
        return PushedFamily(
            message, pushed_ns, tuple(_identity(message.name, metric) for metric in message.metric)
        )


@dataclass(frozen=True, slots=True, eq=False)
class PushGroup:
    """The families of a group by name, its own two times among them."""

    key: GroupKey
    families: Mapping[str, PushedFamily]

    @property
    def last_push_successful(self) -> bool:
        return self._time(PUSHED) >= self._time(FAILED)

    @property
    def series(self) -> int:
        """A bound of how many series it is exposed as."""
        return sum(
            sum(_width(family.message.type, metric) for metric in family.message.metric)
            for family in self.families.values()
        )

    def _time(self, name: str) -> float:
        family = self.families.get(name)
        return family.message.metric[0].gauge.value if family is not None else 0.0


def sanitise(message: MetricFamily, key: GroupKey) -> None:
    """Give each series of a family the grouping labels, in place; labels sorted by name."""
    grouping = dict(key)
    for metric in message.metric:
        labels = {"instance": ""} | {pair.name: pair.value for pair in metric.label} | grouping
        if len(labels) < len(metric.label):
            names = [pair.name for pair in metric.label]
            raise BadInput(
                f"{message.name}: label {max(names, key=names.count)!r} occurs twice in one series"
            )
        del metric.label[:]
        metric.label.extend(LabelPair(name=name, value=labels[name]) for name in sorted(labels))


def time_family(name: str, key: GroupKey, seconds: float) -> MetricFamily:
    """One of a group's own two gauges."""
    message = MetricFamily(
        name=name, help=_HELP[name], type=GAUGE, metric=[Metric(gauge=Plain(value=seconds))]
    )
    sanitise(message, key)
    return message


class PushGroups:
    """All groups. `check` says whether a group would fit; `put` and `drop` change nothing else."""

    def __init__(self) -> None:
        self._groups: dict[GroupKey, PushGroup] = {}
        self._holders: dict[str, dict[GroupKey, int]] = {}
        """By family name: the groups that have it, with its type there."""
        self._owners: dict[bytes, GroupKey] = {}
        self.series = 0

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[PushGroup]:
        return iter(self._groups.values())

    def get(self, key: GroupKey) -> PushGroup | None:
        return self._groups.get(key)

    def put(self, group: PushGroup) -> None:
        """Add a group, or replace the one of the same labels."""
        self.drop(group.key)
        self._groups[group.key] = group
        self.series += group.series
        for name, family in group.families.items():
            self._holders.setdefault(name, {})[group.key] = family.message.type
            self._owners.update(dict.fromkeys(family.identities, group.key))

    def drop(self, key: GroupKey) -> None:
        group = self._groups.pop(key, None)
        if group is None:
            return
        self.series -= group.series
        for name, family in group.families.items():
            holders = self._holders[name]
            del holders[key]
            if not holders:
                del self._holders[name]
            for identity in family.identities:
                self._owners.pop(identity, None)

    def check(self, group: PushGroup, changed: Iterable[PushedFamily]) -> None:
        """Raises BadInput when these families of a new group do not fit the rest of it, or the other groups."""
        for family in changed:
            self._check_type(group, family.message)
            self._check_names(group, family.message)
            self._check_series(group, family)

    def _check_type(self, group: PushGroup, message: MetricFamily) -> None:
        for key, kind in self._holders.get(message.name, {}).items():
            if key != group.key and kind != message.type:
                raise BadInput(
                    f"{message.name} is pushed as {TYPES[message.type]} here and as {TYPES[kind]} in group"
                    f" {dict(key)}: one metric has one type"
                )

    def _check_names(self, group: PushGroup, message: MetricFamily) -> None:
        """No family may have the name of a part of a summary or histogram."""
        name = message.name
        for suffix in ("_count", "_sum", "_bucket"):
            stem = name.removesuffix(suffix)
            if stem != name and suffix in _PARTS.get(self._type(group, stem), ()):
                raise BadInput(
                    f"{name} would be mixed up with a part of {TYPES[self._type(group, stem)]} {stem}"
                )
        for suffix in _PARTS.get(message.type, ()):
            if self._type(group, name + suffix) >= 0:
                raise BadInput(
                    f"a part of {TYPES[message.type]} {name} would be mixed up with {name}{suffix}"
                )

    def _type(self, group: PushGroup, name: str) -> int:
        """The type of the family of this name, were the group put; -1 when there is none."""
        if (family := group.families.get(name)) is not None:
            return family.message.type
        return next((kind for key, kind in self._holders.get(name, {}).items() if key != group.key), -1)

    def _check_series(self, group: PushGroup, family: PushedFamily) -> None:
        message = family.message
        reserved = {SUMMARY: "quantile", HISTOGRAM: "le", GAUGE_HISTOGRAM: "le"}.get(message.type)
        for metric in message.metric:
            for pair in metric.label:
                if pair.name.startswith("__") or not pair.name:
                    raise BadInput(f"{message.name}: label name {pair.name!r} is reserved")
                if pair.name == reserved:
                    raise BadInput(
                        f"{message.name}: label {reserved!r} of a {TYPES[message.type]} is not for grouping"
                    )
        if len(set(family.identities)) < len(family.identities):
            raise BadInput(f"{message.name}: two series have the same labels")
        for identity in family.identities:
            owner = self._owners.get(identity, group.key)
            if owner != group.key:
                raise BadInput(f"{message.name}: group {dict(owner)} has a series with the same labels")


_PARTS: Mapping[int, tuple[str, ...]] = {
    SUMMARY: ("_count", "_sum"),
    HISTOGRAM: ("_count", "_sum", "_bucket"),
    GAUGE_HISTOGRAM: ("_count", "_sum", "_bucket"),
}


def grouping_key(job: str, labels: Iterable[tuple[str, str]]) -> GroupKey:
    """The key of a path's labels; the last of a repeated name wins, and `job` always. Raises BadInput."""
    merged = dict(labels)
    for name in merged:
        if not valid_legacy_label_name(name) or name.startswith("__"):
            raise BadInput(f"{name!r} cannot be a grouping label")
    if not job:
        raise BadInput("the job's name is missing: push to /metrics/job/NAME")
    return tuple(sorted({**merged, "job": job}.items()))


def _identity(name: str, metric: Metric) -> bytes:
    pairs = sorted((pair.name, pair.value) for pair in metric.label)
    return "\0".join((name, *(text for pair in pairs for text in pair))).encode()


def _width(kind: int, metric: Metric) -> int:
    match kind:
        case 2:
            return 2 + len(metric.summary.quantile)
        case 4 | 5:
            histogram = metric.histogram
            native = len(histogram.positive_delta) + len(histogram.negative_delta)
            return 3 + len(histogram.bucket) + native // 8
        case _:
            return 1
