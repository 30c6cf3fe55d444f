"""alertmanager.yml: the whole file, checked as Alertmanager checks it, with what `global` says filled into receivers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from otero.alerting.inhibit_rule import InhibitRule, InhibitRuleConfig, build_inhibit_rules
from otero.alerting.matcher_fields import MatchersText
from otero.alerting.notify import NOTIFIERS
from otero.alerting.notify.global_config import Global
from otero.alerting.render import render
from otero.alerting.route import Route, RouteConfig, build_route
from otero.alerting.time_intervals import NamedIntervals, TimeInterval
from otero.errors import BadField, Bug, Problem
from otero.fields import FilePath
from otero.source import (
    FAILED,
    List,
    Map,
    Node,
    Reader,
    Unserved,
    did_you_mean,
    parse,
    parse_yaml,
    read_file,
)

_SUFFIX = "_configs"


class AlertmanagerFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of the file. Receivers are read apart, as what stands in them is each notifier's own."""

    global_: Global = msgspec.field(default=Global(), name="global")
    templates: tuple[FilePath, ...] = ()
    route: RouteConfig | None = None
    inhibit_rules: tuple[InhibitRuleConfig, ...] = ()
    mute_time_intervals: tuple[NamedIntervals, ...] = ()
    time_intervals: tuple[NamedIntervals, ...] = ()
    receivers: tuple[Any, ...] = ()
    tracing: Annotated[dict[str, Any], Unserved("Otero does not send traces of itself")] = {}


@dataclass(frozen=True, slots=True)
class Integration:
    """One way by which a receiver is told: its kind (`slack`), its place among those of this kind, complete settings."""

    kind: str
    index: int
    config: msgspec.Struct

    @property
    def name(self) -> str:
        """`slack[0]`"""
        return f"{self.kind}[{self.index}]"

    @property
    def send_resolved(self) -> bool:
        """Whether it is told when all alerts have ended, too."""
        return getattr(self.config, "send_resolved", True)


@dataclass(frozen=True, slots=True)
class Receiver:
    """A name that routes use, and who is told under it; without integrations, nobody."""

    name: str
    integrations: tuple[Integration, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertmanagerConfig:
    """An alertmanager.yml in force. Two are equal when their files say the same.

    time_intervals   by name, those of mute_time_intervals included.
    templates        patterns of the files with templates, absolute.
    text             the file again as YAML: what is default left out, secrets as `<secret>`.
    """

    given: AlertmanagerFile
    receivers: tuple[Receiver, ...]
    route: Route = field(compare=False)
    inhibit_rules: tuple[InhibitRule, ...] = field(compare=False)
    time_intervals: Mapping[str, tuple[TimeInterval, ...]] = field(compare=False)
    text: str = field(compare=False, repr=False)

    @property
    def global_(self) -> Global:
        return self.given.global_

    @property
    def templates(self) -> tuple[FilePath, ...]:
        return self.given.templates


def default_alertmanager() -> AlertmanagerConfig:
    """What holds without a file: alerts are shown, grouped and silenced, and nobody is told."""
    text = "{route: {receiver: default, group_by: [alertname]}, receivers: [{name: default}]}"
    return read_alertmanager(parse_yaml(text), Reader())


def load_alertmanager(path: Path) -> tuple[AlertmanagerConfig, list[Problem]]:
    """The configuration of a file, and what to warn about. Raises BadConfig with every problem found."""
    reader = Reader(str(path), path.absolute().parent)
    return read_alertmanager(parse(read_file(path), str(path)), reader), reader.warnings


def read_alertmanager(node: Node, reader: Reader, path: str = "") -> AlertmanagerConfig:
    """As `load_alertmanager`, of text that is already parsed; `path` is where it stands in its file."""
    given = reader.read(node, AlertmanagerFile, path)
    is_read = isinstance(given, AlertmanagerFile)
    receivers = _Receivers(node, reader, path, given.global_ if is_read else None)
    if is_read:
        _Checks(given, receivers.complete, node, reader, path).check()
    reader.check()
    route = given.route if is_read else None
    if not is_read or route is None:
        raise Bug("a configuration without a route passed its checks")
    intervals = (*given.mute_time_intervals, *given.time_intervals)
    given = msgspec.structs.replace(
        given, receivers=(), tracing={}
    )  # as plain values they would show their secrets
    return AlertmanagerConfig(
        given=given,
        receivers=receivers.complete,
        route=build_route(route),
        inhibit_rules=build_inhibit_rules(given.inhibit_rules),
        time_intervals={named.name: named.time_intervals for named in intervals},
        text=render(given, receivers=receivers.written),
    )


class _Receivers:
    """`receivers`: as they were written, and complete. Problems are noted in the reader."""

    def __init__(self, node: Node, reader: Reader, path: str, global_: Global | None) -> None:
        self.written: list[dict[str, Any]] = []
        self._global = global_
        self._node = node
        self._reader = reader
        self._path = path
        receivers = _entries(node).get("receivers")
        items = receivers.items if isinstance(receivers, List) else []
        self.complete = tuple(self._receiver(item, f"receivers[{index}]") for index, item in enumerate(items))

    def _receiver(self, node: Node, at: str) -> Receiver:
        if not isinstance(node, Map):
            self._problem("expected a mapping with a name", at)
            return Receiver("")
        written: dict[str, Any] = {"name": ""}
        integrations: list[Integration] = []
        for key, child in node.entries.items():
            where = f"{self._path}.{at}.{key}".removeprefix(".")
            if key == "name":
                written[key] = self._reader.read(child, str, where)
            elif key in NOTIFIERS:
                written[key] = self._reader.read(child, tuple[NOTIFIERS[key].Config, ...], where)
                if written[key] is not FAILED:
                    integrations += self._complete(key, written[key], f"{at}.{key}")
            else:
                hint = did_you_mean(key, ["name", *NOTIFIERS])
                self._problem(f'unknown field "{key[:80]}"{hint}', f"{at}.{key}")
        if not written["name"]:
            self._problem("missing name in receiver", at)
        self.written.append(written)
        return Receiver(str(written["name"]), tuple(integrations))

    def _complete(self, key: str, configs: tuple[msgspec.Struct, ...], at: str) -> Iterator[Integration]:
        for index, config in enumerate(configs):
            if self._global is None:  # it could not be read, so that anything may seem to be missing
                return
            try:
                complete = NOTIFIERS[key].complete(config, self._global)
            except BadField as error:
                self._problem(str(error), f"{at}[{index}]" + (f".{error.at}" if error.at else ""))
                continue
            yield Integration(key.removesuffix(_SUFFIX), index, complete)

    def _problem(self, message: str, at: str) -> None:
        self._reader.problem(message, self._node, self._path, at)


class _Checks:
    """What concerns several sections: names that must be unique, and names that must be defined."""

    def __init__(
        self,
        given: AlertmanagerFile,
        receivers: tuple[Receiver, ...],
        node: Node,
        reader: Reader,
        path: str,
    ) -> None:
        self._given = given
        self._receivers = receivers
        self._node = node
        self._reader = reader
        self._path = path

    def check(self) -> None:
        """Notes problems and warnings in the reader."""
        given = self._given
        names = [(receiver.name, f"receivers[{i}].name") for i, receiver in enumerate(self._receivers)]
        receivers = self._unique(names, 'notification config name "{}" is not unique')
        intervals = self._unique(
            [
                (named.name, f"{key}[{index}].name")
                for key in ("mute_time_intervals", "time_intervals")
                for index, named in enumerate(getattr(given, key))
            ],
            'time interval "{}" is not unique',
        )
        if given.route is None:
            self._problem("no route provided in config", "route" if "route" in _entries(self._node) else "")
            return
        try:
            given.route.check_root()
        except BadField as error:
            self._problem(str(error), f"route.{error.at}".removesuffix("."))
        self._check_route(given.route, "route", receivers, intervals)
        for index, rule in enumerate(given.inhibit_rules):
            for key in ("source_matchers", "target_matchers"):
                self._advise(getattr(rule, key), f"inhibit_rules[{index}].{key}")
            for number, source in enumerate(rule.sources):
                self._advise(source.matchers, f"inhibit_rules[{index}].sources[{number}].matchers")

    def _check_route(self, route: RouteConfig, at: str, receivers: set[str], intervals: set[str]) -> None:
        if route.receiver and route.receiver not in receivers:
            hint = did_you_mean(route.receiver, sorted(receivers))
            self._problem(f'undefined receiver "{route.receiver}" used in route{hint}', f"{at}.receiver")
        for key in ("mute_time_intervals", "active_time_intervals"):
            for index, name in enumerate(getattr(route, key)):
                if name not in intervals:
                    hint = did_you_mean(name, sorted(intervals))
                    self._problem(
                        f'undefined time interval "{name}" used in route{hint}', f"{at}.{key}[{index}]"
                    )
        self._advise(route.matchers, f"{at}.matchers")
        for index, child in enumerate(route.routes):
            self._check_route(child, f"{at}.routes[{index}]", receivers, intervals)

    def _advise(self, texts: tuple[MatchersText, ...], at: str) -> None:
        for index, text in enumerate(texts):
            if warning := text.read().warning:
                self._reader.warn(warning, self._node, self._path, f"{at}[{index}]")

    def _unique(self, names: list[tuple[str, str]], message: str) -> set[str]:
        seen: set[str] = set()
        for name, at in names:
            if name and name in seen:
                self._problem(message.format(name), at)
            seen.add(name)
        return seen

    def _problem(self, message: str, at: str) -> None:
        self._reader.problem(message, self._node, self._path, at)


def _entries(node: Node) -> Mapping[str, Node]:
    return node.entries if isinstance(node, Map) else {}
