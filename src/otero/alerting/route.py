"""The tree of routes: which receiver an alert goes to, and which alerts share a notification."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from otero.alerting.matcher_fields import (
    Match,
    MatchersText,
    MatchRegex,
    all_matchers,
    check_label_names,
    check_match,
    check_match_regex,
)
from otero.alerting.matchers import matchers_text, matches
from otero.errors import BadField
from otero.fields import Duration
from otero.gotemplate.formatting import quoted
from otero.model.matchers import Matcher

ALL: Final = "..."
"""`group_by: ['...']`: by all labels, so that each alert is a group of its own."""

GroupBy = tuple[str, ...] | Literal["..."]

GROUP_WAIT_MS = 30_000
GROUP_INTERVAL_MS = 300_000
REPEAT_INTERVAL_MS = 4 * 3_600_000


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route as it is written. What is left out comes from the route above, but for time intervals, which do not."""

    receiver: str = ""
    group_by: tuple[str, ...] = ()
    match: Match = {}
    match_re: MatchRegex = {}
    matchers: tuple[MatchersText, ...] = ()
    mute_time_intervals: tuple[str, ...] = ()
    active_time_intervals: tuple[str, ...] = ()
    continue_: bool = msgspec.field(default=False, name="continue")
    routes: tuple["RouteConfig", ...] = ()
    group_wait: Duration | None = None
    group_interval: Duration | None = None
    repeat_interval: Duration | None = None

    def __post_init__(self) -> None:
        check_match(self.match, "match")
        check_match_regex(self.match_re, "match_re")
        check_label_names(self.group_by, "group_by")
        if ALL in self.group_by and set(self.group_by) != {ALL}:
            raise BadField(
                "cannot have wildcard group_by (`...`) and other labels at the same time", "group_by"
            )
        for index, name in enumerate(self.group_by):
            if name != ALL and name in self.group_by[:index]:
                raise BadField(f'duplicated label "{name}" in group_by', f"group_by[{index}]")
        for key in ("group_interval", "repeat_interval"):
            if getattr(self, key) == 0:
                raise BadField(f"{key} cannot be zero", key)

    def check_root(self) -> None:
        """Raises BadField for what the topmost route cannot have: every alert must find a receiver there."""
        if not self.receiver:
            raise BadField("root route must specify a default receiver")
        for key in ("match", "match_re", "matchers"):
            if getattr(self, key):
                raise BadField("root route must not have any matchers", key)
        for key, what in (("mute_time_intervals", "mute"), ("active_time_intervals", "active")):
            if getattr(self, key):
                raise BadField(f"root route must not have any {what} time intervals", key)
        if self.continue_:
            raise BadField("cannot have continue in root route", "continue")


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A node of the tree, with everything that it takes from the routes above filled in.

    key   the matchers from the root on, `{}/{severity="page"}`, as Alertmanager writes them into group keys; siblings
          may share it.
    id    the same with the place of each route among its siblings: `{}/{severity="page"}/0`; unique in the tree.
    """

    key: str
    id: str
    receiver: str
    matchers: tuple[Matcher, ...] = ()
    group_by: GroupBy = ()
    group_wait_ms: int = GROUP_WAIT_MS
    group_interval_ms: int = GROUP_INTERVAL_MS
    repeat_interval_ms: int = REPEAT_INTERVAL_MS
    continue_: bool = False
    mute_time_intervals: tuple[str, ...] = ()
    active_time_intervals: tuple[str, ...] = ()
    routes: list["Route"] = field(default_factory=list)

    def match(self, labels: Mapping[str, str]) -> list["Route"]:
        """The routes that an alert of these labels takes, in the order of the tree; empty when it does not match here.

        A matching route without a matching child is taken itself; after a child without `continue` no sibling is asked.
        """
        if not matches(self.matchers, labels):
            return []
        taken: list[Route] = []
        for route in self.routes:
            found = route.match(labels)
            taken += found
            if found and not route.continue_:
                break
        return taken or [self]

    def walk(self) -> Iterator["Route"]:
        """This route and all below it, depth first."""
        yield self
        for route in self.routes:
            yield from route.walk()


def build_route(config: RouteConfig) -> Route:
    """The tree of a root route that was checked."""
    matchers = all_matchers(config.match, config.match_re, config.matchers)
    key = matchers_text(matchers)
    return _build(config, Route(key, key, config.receiver), key, key)


def _build(config: RouteConfig, above: Route, key: str, id_: str) -> Route:
    route = Route(
        key=key,
        id=id_,
        receiver=config.receiver or above.receiver,
        matchers=all_matchers(config.match, config.match_re, config.matchers),
        group_by=above.group_by
        if not config.group_by
        else ALL
        if ALL in config.group_by
        else config.group_by,
        group_wait_ms=_or(config.group_wait, above.group_wait_ms),
        group_interval_ms=_or(config.group_interval, above.group_interval_ms),
        repeat_interval_ms=_or(config.repeat_interval, above.repeat_interval_ms),
        continue_=config.continue_,
        mute_time_intervals=config.mute_time_intervals,
        active_time_intervals=config.active_time_intervals,
    )
    for index, child in enumerate(config.routes):
        own = matchers_text(all_matchers(child.match, child.match_re, child.matchers))
        route.routes.append(_build(child, route, f"{key}/{own}", f"{id_}/{own}/{index}"))
    return route


def _or(given: Duration | None, inherited: int) -> int:
    return inherited if given is None else int(given)


def group_labels(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that decide which group of a route an alert belongs to; those that the alert lacks are left out."""
    if route.group_by == ALL:
        return dict(labels)
    return {name: labels[name] for name in sorted(route.group_by) if name in labels}


def group_key(route: Route, labels: Mapping[str, str]) -> str:
    """The identity of a group, `{}/{severity="page"}:{alertname="X"}`, of its `group_labels`.

    It names the group to receivers (PagerDuty's dedup_key is made of it), so that it is written as Alertmanager does.
    """
    shown = ", ".join(f"{name}={quoted(labels[name])}" for name in sorted(labels))
    return f"{route.key}:{{{shown}}}"
