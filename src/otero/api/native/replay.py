"""`/replay`: a rule file over stored history."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request

from otero.api.context import ApiContext
from otero.api.native.openapi import Endpoint
from otero.errors import BadConfig, BadField, BadInput
from otero.fields import Duration
from otero.model.budget import Budget
from otero.rules.config import RuleFile, read_rules
from otero.rules.replay import Episode, RuleReplay, replay
from otero.source import Reader, parse

MAX_EPISODES = 1_000
"""The newest episodes of a rule that are told; counts are of all."""
BUCKETS = 60
SHORT_MS = 300_000
"""An alert that fires for less than this has hardly been seen."""
TIMEOUT_S = 600.0
_DAY_MS = 86_400_000


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`rules`: the text of a rule file. From `since` before the end, such as 30d; the end is now, or `until_ms`.

    `alert`: only the rules of this name. `step`: the time between evaluations, otherwise the interval of each group.
    """

    rules: str
    since: str = "1d"
    until_ms: int | None = None
    alert: str = ""
    step: str = ""


class ReplayEpisode(msgspec.Struct):
    """One alert from pending to its end; `firing_ms` null where it did not fire, `end_ms` null where it goes on."""

    labels: Mapping[str, str]
    pending_ms: int
    firing_ms: int | None
    end_ms: int | None


class ReplayedRule(msgspec.Struct):
    """What became of one rule.

    fired            how often an alert began to fire; `alerts` is how many different ones did.
    only_pending     how often one was pending and did not fire.
    firing_s         time in which at least one was firing; `longest_s` is the longest that one alert fired.
    short            how often one fired for less than five minutes.
    changes_per_day  how often alerts began or ceased to fire, a day.
    timeline         60 equal parts of the time: how many alerts were firing, and pending, in each.
    failed           evaluations that gave an error, `error` the first of them.
    step_by_step     whether it had to be evaluated one step after the other.
    recorded         recording rules of the file that were evaluated for it.
    """

    group: str
    alert: str
    expr: str
    for_s: float
    keep_firing_for_s: float
    step_s: float
    evaluations: int
    fired: int
    alerts: int
    only_pending: int
    firing_s: float
    longest_s: float
    short: int
    changes_per_day: float
    timeline_firing: list[int]
    timeline_pending: list[int]
    episodes: list[ReplayEpisode]
    episodes_left_out: int
    failed: int
    error: str
    step_by_step: bool
    recorded: Sequence[str]


class ReplayReport(msgspec.Struct):
    """A rule file over a time."""

    start_ms: int
    end_ms: int
    rules: list[ReplayedRule]


class ReplayEndpoints:
    """Runs replays where queries run: bounded, and ended when the client hangs up."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "POST",
                "/replay",
                "When the alerts of a rule file would have fired",
                self.replay_rules,
                ReplayReport,
                ReplayRequest,
                is_query=True,
            ),
        )

    async def replay_rules(
        self, body: ReplayRequest, _path: dict[str, str], request: Request
    ) -> ReplayReport:
        context = self._context
        end_ms = context.clock.now_ms() if body.until_ms is None else body.until_ms
        start_ms = end_ms - _duration(body.since, "since")
        step_ms = _duration(body.step, "step") if body.step else 0
        budget = Budget(context.clock, timeout_s=TIMEOUT_S, max_samples=context.queries.max_samples)

        def work() -> ReplayReport:
            around = context.rules.around
            found = replay(
                _read(body.rules, around.features),
                context.engine,
                budget,
                start_ms,
                end_ms,
                around,
                alert=body.alert,
                step_ms=step_ms,
            )
            return ReplayReport(start_ms, end_ms, [_told(one, start_ms, end_ms) for one in found])

        return await context.queries.run("replay", request, budget, work, body.alert or "all alerts")


def _duration(text: str, name: str) -> int:
    try:
        found = int(Duration.parse(text))
    except BadField as error:
        raise BadInput(f"{name}: {error}") from None
    if not found:
        raise BadInput(f"{name} must be greater than 0")
    return found


def _read(text: str, features: frozenset[str]) -> RuleFile:
    reader = Reader("rules")
    file = read_rules(parse(text.encode(), "rules"), reader, features)
    reader.check()
    if file is None:
        raise BadConfig
    return file


def _told(found: RuleReplay, start_ms: int, end_ms: int) -> ReplayedRule:
    fired = [episode for episode in found.episodes if episode.firing_ms is not None]
    spans = [_span(episode, found.last_ms) for episode in fired]
    days = max(end_ms - start_ms, 1) / _DAY_MS
    changes = len(fired) + sum(episode.end_ms is not None for episode in fired)
    ended = [end - begin for (begin, end), one in zip(spans, fired, strict=True) if one.end_ms is not None]
    newest = found.episodes[-MAX_EPISODES:]
    return ReplayedRule(
        group=found.group,
        alert=found.alert,
        expr=found.expr,
        for_s=found.for_ms / 1000,
        keep_firing_for_s=found.keep_firing_for_ms / 1000,
        step_s=found.step_ms / 1000,
        evaluations=found.steps,
        fired=len(fired),
        alerts=len({tuple(sorted(episode.labels.items())) for episode in fired}),
        only_pending=len(found.episodes) - len(fired),
        firing_s=_union_ms(spans) / 1000,
        longest_s=max((end - begin for begin, end in spans), default=0) / 1000,
        short=sum(length < SHORT_MS for length in ended),
        changes_per_day=round(changes / days, 3),
        timeline_firing=_timeline(spans, start_ms, end_ms),
        timeline_pending=_timeline(
            [(one.pending_ms, one.firing_ms or one.end_ms or found.last_ms) for one in found.episodes],
            start_ms,
            end_ms,
        ),
        episodes=[
            ReplayEpisode(one.labels, one.pending_ms, one.firing_ms, one.end_ms) for one in newest
        ],
        episodes_left_out=len(found.episodes) - len(newest),
        failed=found.failed,
        error=found.error,
        step_by_step=found.step_by_step,
        recorded=found.recorded,
    )  # fmt: skip


def _span(episode: Episode, last_ms: int) -> tuple[int, int]:
    begin = episode.firing_ms or 0
    return begin, max(episode.end_ms if episode.end_ms is not None else last_ms, begin)


def _union_ms(spans: Sequence[tuple[int, int]]) -> int:
    """How long at least one of the spans lasted."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return total


def _timeline(spans: Sequence[tuple[int, int]], start_ms: int, end_ms: int) -> list[int]:
    """How many spans touch each of equal parts of the time."""
    width = max(end_ms - start_ms, 1) / BUCKETS
    changes: Any = np.zeros(BUCKETS + 1, np.int64)
    for begin, end in spans:
        low = min(max(int((begin - start_ms) / width), 0), BUCKETS - 1)
        high = min(max(int((max(end - 1, begin) - start_ms) / width), low), BUCKETS - 1)
        changes[low] += 1
        changes[high + 1] -= 1
    return np.cumsum(changes[:-1]).tolist()
