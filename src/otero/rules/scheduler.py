"""Every group at its time: one task per group, the evaluations on threads of their own.

The threads are not those of the API's queries, so that neither dashboards nor rules wait for the other.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np

from otero.clock import Clock
from otero.errors import OteroError
from otero.ingest.intake import Intake
from otero.model.alerts import ALERT_NAME, Alert
from otero.model.decisions import Record, forget
from otero.model.labels import METRIC_NAME, LabelBytes
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import ABSENT_BITS, STALE_BITS, SampleBlock, bits
from otero.query.promql.selectors import SampleSource
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import ALERTS_FOR_STATE, ActiveAlert
from otero.rules.config import LoadedFile, RuleGroup
from otero.rules.group import Group, Surroundings, end_series
from otero.rules.rule import RuleQueries, label_bytes

_log = logging.getLogger(__name__)

OnAlerts = Callable[[Sequence[Alert]], None]
"""Is told the alerts of each evaluation that are to be sent; called in the event loop, and must not block."""

WORKERS = 4

P = ParamSpec("P")
T = TypeVar("T")


def following(time_ms: int, interval_ms: int, now_ms: int) -> tuple[int, int]:
    """The evaluation time after `time_ms`, and how many between were missed because now is later than they were."""
    passed = (now_ms - time_ms) // interval_ms
    if passed < 1:
        return time_ms + interval_ms, 0
    return time_ms + passed * interval_ms, passed - 1


class Scheduler:
    """Runs groups. Lives in one event loop; `sleep` waits for seconds.

    `source` has the series from before a restart, `on_alerts` is told who fires, `record` what was decided.
    """

    def __init__(
        self,
        queries: RuleQueries,
        source: SampleSource,
        intake: Intake,
        clock: Clock,
        on_alerts: OnAlerts,
        *,
        record: Record = forget,
        workers: int = WORKERS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._queries = queries
        self._source = source
        self._intake = intake
        self._clock = clock
        self._on_alerts = on_alerts
        self._record = record
        self._sleep = sleep
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="rules")
        self._groups: dict[tuple[str, str], Group] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._started = False
        self.around = Surroundings()

    @property
    def groups(self) -> list[Group]:
        """By file and name."""
        return [self._groups[key] for key in sorted(self._groups)]

    def alerts(self) -> list[ActiveAlert]:
        """Every alert that is pending or firing."""
        return [
            alert
            for group in self.groups
            for rule in group.rules
            if isinstance(rule, AlertingRule)
            for alert in rule.active.values()
            if not alert.resolved_ms
        ]

    async def apply(self, files: Iterable[LoadedFile], around: Surroundings) -> None:
        """Put these groups in force: unchanged ones go on undisturbed, changed ones take over, the series of those
        that are gone end. The first call is the start of the server."""
        self.around = around
        wanted = {(file.path, config.name): config for file in files for config in file.content.groups}
        changed = {
            key: config
            for key, config in wanted.items()
            if key not in self._groups
            or self._groups[key].config != config
            or self._groups[key].around != around
        }
        # Parsing a thousand rules takes a while; so does waiting for an evaluation that is under way.
        built = await asyncio.to_thread(self._built, changed, around)
        gone = [key for key in self._groups if key not in wanted]
        await self._stop_tasks([key for key in (*gone, *changed) if key in self._tasks])
        ended: set[LabelBytes] = set()
        for key in gone:
            group = self._groups.pop(key)
            group.removed()
            ended |= group.keys()
        for key, group in built.items():
            if key in self._groups:
                group.take_over(self._groups[key])
            self._groups[key] = group
            self._tasks[key] = asyncio.create_task(self._run(group), name=f"rules {key[1]}")
        self._started = True
        for group in self._groups.values():
            ended -= group.keys()
        if ended:
            await self._in_thread(self._end, list(ended))

    async def stop(self) -> None:
        """Evaluate no more. No series ends because the server stops."""
        self._queries.cancel()
        await self._stop_tasks(list(self._tasks))
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def _built(
        self, configs: Mapping[tuple[str, str], RuleGroup], around: Surroundings
    ) -> dict[tuple[str, str], Group]:
        return {
            key: Group(key[0], config, around, self._clock, is_restored=self._started, record=self._record)
            for key, config in configs.items()
        }

    async def _stop_tasks(self, keys: Sequence[tuple[str, str]]) -> None:
        tasks = [self._tasks.pop(key) for key in keys]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, group: Group) -> None:
        time_ms = group.slot_ms(self._clock.now_ms()) + group.interval_ms
        missed = 0
        evaluations = 0
        while True:
            await self._sleep(max(time_ms - self._clock.now_ms(), 0) / 1000)
            try:
                alerts = await self._in_thread(group.evaluate, time_ms, self._queries, self._intake, missed)
                if alerts:
                    self._on_alerts(alerts)
                evaluations += 1
                if evaluations == 2 and not group.is_restored:
                    # By now all targets have been scraped, and recording rules have given what alerts stand on.
                    await self._in_thread(group.restore, self._clock.now_ms(), self._last_states)
            except Exception:  # the next evaluation may succeed
                _log.exception("a group failed", extra={"group": group.name, "file": group.file})
            time_ms, missed = following(time_ms, group.interval_ms, self._clock.now_ms())

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As run_in_executor; when the task is cancelled it still waits, so that nothing runs on behind it."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([future])
            raise

    def _end(self, keys: Sequence[LabelBytes]) -> None:
        try:
            end_series(keys, self._clock.now_ms(), self._intake)
        except OteroError as error:
            _log.warning("the ends of series were not stored", extra={"reason": str(error)})

    def _last_states(self, alert: str) -> Mapping[LabelBytes, tuple[int, float]]:
        """Time and value of the last samples of ALERTS_FOR_STATE of an alert within the outage tolerance."""
        now_ms = self._clock.now_ms()
        matchers = (
            Matcher(METRIC_NAME, MatchOp.EQUAL, ALERTS_FOR_STATE),
            Matcher(ALERT_NAME, MatchOp.EQUAL, alert),
        )
        start_ms = now_ms - self.around.timing.for_outage_tolerance
        blocks = self._source.select(matchers, start_ms, now_ms, self._queries.budget())
        return last_states(blocks, start_ms, now_ms)


def last_states(
    blocks: Sequence[SampleBlock], start_ms: int, end_ms: int
) -> dict[LabelBytes, tuple[int, float]]:
    """Time and value of each series' last sample within the times, by its labels without the metric's name; series
    that ended are left out."""
    found: dict[LabelBytes, tuple[int, float]] = {}
    for block in blocks:
        pattern = bits(np.ascontiguousarray(block.values))
        for at, key in enumerate(label_bytes(block.labels.drop([METRIC_NAME]))):
            times = block.times_ms[:, block.group[at]]
            rows = np.flatnonzero((pattern[:, at] != ABSENT_BITS) & (times >= start_ms) & (times <= end_ms))
            if len(rows) and pattern[rows[-1], at] != STALE_BITS:
                found[key] = (int(times[rows[-1]]), float(block.values[rows[-1], at]))
    return found
