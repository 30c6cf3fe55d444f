"""The Alertmanager inside, assembled: inbox ─▶ dispatcher ─▶ pipeline ─▶ channels, and the one task that drives them."""

import asyncio
import contextlib
import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from prometheus_client import Metric

from otero.alerting import metrics
from otero.alerting.channel import Channel, Sleep, first_of
from otero.alerting.config import AlertmanagerConfig, default_alertmanager
from otero.alerting.dispatch import Dispatcher, Flush
from otero.alerting.inbox import Accepted, Inbox
from otero.alerting.inhibit import Inhibitor
from otero.alerting.notification import Notification
from otero.alerting.notification_log import NotificationLog
from otero.alerting.notify import NOTIFIERS, Notifier
from otero.alerting.notify.client import Client, Memory
from otero.alerting.pipeline import Pipeline, Said
from otero.alerting.silences import Silences
from otero.alerting.status import AlertState, AlertStatus, GroupStatus
from otero.alerting.template import Templates
from otero.clock import Clock
from otero.errors import OteroError
from otero.http_client import Hosts
from otero.model.alerts import Alert
from otero.model.decisions import Record
from otero.model.silences import SilenceState
from otero.storage.alerts import AlertTable
from otero.storage.notification_log import NotificationLogTable
from otero.storage.silences import SilenceTable
from otero.storage.state import State

_log = logging.getLogger(__name__)

HOUSEKEEPING_MS = 30_000
DRAIN_S = 10.0
_ROUTED_AT_ONCE = 500
_MAX_BATCHES = 1000


@dataclass(slots=True, eq=False)
class _Generation:
    """What one configuration made: replaced by a reload, and closed when its last flush is over."""

    pipeline: Pipeline
    client: Client
    flushes: set[asyncio.Task[None]]


class Alertmanager:
    """Lives in one event loop; `inbox` and `silences` may be used from any thread.

    config         what holds until `apply`; by default, all alerts are shown and nobody is told.
    external_url   where receivers find this server.
    sleep          waits for seconds, `random` gives numbers from 0 to 1: tests bring their own.
    """

    def __init__(
        self,
        state: State,
        clock: Clock,
        record: Record,
        config: AlertmanagerConfig | None = None,
        templates: Templates | None = None,
        *,
        hosts: Hosts | None = None,
        external_url: str = "",
        notifiers: Mapping[str, Notifier] = NOTIFIERS,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.external_url = external_url
        self.config = config or default_alertmanager()
        self.inbox = Inbox(AlertTable(state), clock, record, on_accepted=self._accept)
        self.silences = Silences(SilenceTable(state), clock)
        self._clock = clock
        self._record = record
        self._hosts = hosts
        self._notifiers = notifiers
        self._sleep = sleep
        self._random = random
        self._notified = NotificationLog(NotificationLogTable(state))
        self._said = Said()
        self._dispatcher = Dispatcher(self.config.route, record)
        self._retiring: set[asyncio.Task[None]] = set()
        self._arrived: deque[tuple[int, Alert]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._waits_until_ms: int | None = None
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="alerts")
        self._batches = threading.BoundedSemaphore(_MAX_BATCHES)
        self._memory = Memory()
        self._generation = self._made_of(self.config, templates or Templates.builtin())

    async def apply(self, config: AlertmanagerConfig, templates: Templates) -> None:
        """Put a configuration in force. Groups whose key and receiver stay go on as they were, flushes that are under
        way end by the configuration with which they began."""
        before = self._generation
        self._generation = self._made_of(config, templates)
        self.config = config
        now_ms = self._clock.now_ms()
        for group in self._dispatcher.replace_route(config.route, self.inbox.all(), now_ms):
            self._said.forget_group(group)
        self._in_background(self._retire(before))
        self._woken.set()

    async def start(self) -> None:
        """Take up what a restart left, and begin to notify."""
        self._loop = asyncio.get_running_loop()
        self._arrived.extendleft(reversed(self.inbox.resume()))
        self._tasks = [
            asyncio.create_task(self._run(), name="alertmanager"),
            asyncio.create_task(self._keep_house(), name="alertmanager housekeeping"),
        ]

    async def stop(self) -> None:
        """Repeat nothing any more, let attempts that are under way end within ten seconds, write everything down."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if pending := self._generation.flushes | self._retiring:
            _, late = await asyncio.wait(pending, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._generation.client.close()
        await asyncio.to_thread(self._threads.shutdown)
        await self._notified.close()

    def take(self, alerts: Sequence[Alert]) -> None:
        """`inbox.put` for those who must not wait for it and say everything again soon: rules. Never raises."""
        if self._batches.acquire(blocking=False):
            self._threads.submit(self._put, alerts)
        else:
            metrics.DROPPED.labels("too_many_waiting").inc(len(alerts))

    def collect(self) -> Iterator[Metric]:
        """What Alertmanager's metrics tell of alerts and silences as they are now: a prometheus_client Collector."""
        now_ms = self._clock.now_ms()
        states = dict.fromkeys(get_args(AlertState), 0)
        for fingerprint, alert in self.inbox.all():
            if not alert.resolved_at(now_ms):
                states[self._last_state(fingerprint)] += 1
        yield metrics.by_state(
            "alertmanager_alerts", "Alerts that fire, by state at their last flush.", states
        )
        silences = Counter(silence.state(now_ms).value for silence in self.silences.list())
        found = {state.value: silences[state.value] for state in SilenceState}
        yield metrics.by_state("alertmanager_silences", "Silences, by state.", found)

    def _last_state(self, fingerprint: int) -> AlertState:
        if fingerprint in self._said.silenced or fingerprint in self._said.inhibited:
            return "suppressed"
        return "active" if self._dispatcher.groups_of(fingerprint) else "unprocessed"

    def alerts(self) -> list[AlertStatus]:
        """Every alert that fires, by fingerprint."""
        now_ms = self._clock.now_ms()
        return [
            self._status(fingerprint, alert, now_ms)
            for fingerprint, alert in sorted(self.inbox.all(), key=lambda item: item[0])
            if not alert.resolved_at(now_ms)
        ]

    def groups(self) -> list[GroupStatus]:
        """Every group with an alert that fires, by group labels and receiver; its alerts by fingerprint."""
        now_ms = self._clock.now_ms()
        groups: list[GroupStatus] = []
        for group in sorted(
            self._dispatcher.groups,
            key=lambda group: (len(group.labels), sorted(group.labels.items()), group.route.receiver),
        ):
            alerts = [
                self._status(fingerprint, alert, now_ms)
                for fingerprint, alert in sorted(group.alerts.items())
                if not alert.resolved_at(now_ms)
            ]
            if alerts:
                muted_by = self._generation.pipeline.muted_by(group, now_ms)
                groups.append(
                    GroupStatus(
                        group.labels, group.route.receiver, group.key, group.route.id, tuple(alerts), muted_by
                    )
                )
        return groups

    def _status(self, fingerprint: int, alert: Alert, now_ms: int) -> AlertStatus:
        silenced_by = tuple(silence.id for silence in self.silences.silencing(alert.labels, now_ms))
        inhibitor = self._generation.pipeline.inhibitor
        inhibited_by = tuple(f"{source:016x}" for source in inhibitor.inhibiting(alert.labels, now_ms))
        receivers = tuple(dict.fromkeys(route.receiver for route in self.config.route.match(alert.labels)))
        if silenced_by or inhibited_by:
            state = "suppressed"
        else:
            state = "active" if self._dispatcher.groups_of(fingerprint) else "unprocessed"
        return AlertStatus(alert, fingerprint, state, silenced_by, inhibited_by, receivers)

    def _accept(self, accepted: Accepted) -> None:
        """Called by the inbox, on any thread."""
        self._arrived.extend(accepted)
        if self._loop is not None and not self._stopping.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has ended; what came in is stored
                self._loop.call_soon_threadsafe(self._woken.set)

    def _put(self, alerts: Sequence[Alert]) -> None:
        try:
            self.inbox.put(alerts)
        except OteroError as error:
            metrics.DROPPED.labels("not_stored").inc(len(alerts))
            _log.error(
                "alerts of rules were not taken in; rules say them again within a minute or so",
                extra={"alerts": len(alerts), "reason": str(error)},
            )
        except Exception:
            metrics.DROPPED.labels("not_stored").inc(len(alerts))
            _log.exception("alerts of rules were not taken in", extra={"alerts": len(alerts)})
        finally:
            self._batches.release()

    def _made_of(self, config: AlertmanagerConfig, templates: Templates) -> _Generation:
        now_ms = self._clock.now_ms()
        self.inbox.resolve_timeout_ms = config.global_.resolve_timeout
        client = Client(self._hosts, self._clock, self._memory)
        inhibitor = Inhibitor(config.inhibit_rules)
        for fingerprint, alert in self.inbox.all():
            inhibitor.update(fingerprint, alert, now_ms)
        pipeline = Pipeline(
            self._channels(config, templates, client),
            inhibitor,
            config.time_intervals,
            silences=self.silences,
            inbox=self.inbox,
            log=self._notified,
            clock=self._clock,
            record=self._record,
            said=self._said,
            external_url=self.external_url,
        )
        return _Generation(pipeline, client, set())

    def _channels(
        self, config: AlertmanagerConfig, templates: Templates, client: Client
    ) -> dict[str, list[Channel]]:
        return {
            receiver.name: [
                Channel(
                    receiver.name,
                    integration.name,
                    partial(
                        _send,
                        self._notifiers[f"{integration.kind}_configs"],
                        integration.config,
                        templates,
                        client,
                    ),
                    send_resolved=integration.send_resolved,
                    clock=self._clock,
                    sleep=self._sleep,
                    random=self._random,
                    stopping=self._stopping,
                )
                for integration in receiver.integrations
            ]
            for receiver in config.receivers
        }

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self._route()
                now_ms = self._clock.now_ms()
                if self.inbox.is_due(now_ms):
                    await asyncio.to_thread(self.inbox.sweep, now_ms)
                next_ms = self._flush(now_ms)
            except Exception as error:  # such as a full disk; what is due stays due
                _log.exception("alerts are not looked after", extra={"reason": str(error)})
                await self._sleep(1.0)
                continue
            self._waits_until_ms = next_ms
            if next_ms is None:
                await self._woken.wait()
            elif (wait_ms := next_ms - self._clock.now_ms()) > 0 and not self._woken.is_set():
                await first_of(self._sleep(wait_ms / 1000), self._woken.wait())

    async def _route(self) -> None:
        """Bring what came in to its groups, in slices, so that others come to their turn in between."""
        while self._arrived:
            now_ms = self._clock.now_ms()
            alerts = [self._arrived.popleft() for _ in range(min(_ROUTED_AT_ONCE, len(self._arrived)))]
            for fingerprint, alert in alerts:
                self._generation.pipeline.inhibitor.update(fingerprint, alert, now_ms)
            self._dispatcher.insert(alerts, now_ms)
            await asyncio.sleep(0)

    def _flush(self, now_ms: int) -> int | None:
        """Begin what is due; when something is due next: a flush, or the end of an alert."""
        for flush in self._dispatcher.due(now_ms):
            task = asyncio.create_task(self._tell(flush, self._generation.pipeline))
            flushes = self._generation.flushes
            flushes.add(task)
            task.add_done_callback(flushes.discard)
        next_times = (self.inbox.next_end_ms, self._dispatcher.next_ms())
        return min((time_ms for time_ms in next_times if time_ms is not None), default=None)

    async def _tell(self, flush: Flush, pipeline: Pipeline) -> None:
        told = False
        try:
            told = await pipeline.run(flush)
        except Exception:  # harms this flush alone; the next one tries again
            _log.exception("a group was not told of", extra={"group": flush.group.key})
        finally:
            gone = self._dispatcher.done(flush, self._clock.now_ms(), told=told)
            if gone is not None:
                self._said.forget_group(gone)
            due_ms, until_ms = self._dispatcher.next_ms(), self._waits_until_ms
            if due_ms is not None and (until_ms is None or due_ms < until_ms):
                self._woken.set()

    async def _keep_house(self) -> None:
        while True:
            await self._sleep(HOUSEKEEPING_MS / 1000)
            try:
                await self._forget()
            except Exception as error:
                _log.exception("old alerts and silences were not dropped", extra={"reason": str(error)})

    async def _forget(self) -> None:
        now_ms = self._clock.now_ms()
        await self._notified.sweep(now_ms)
        await asyncio.to_thread(self.silences.sweep)
        if self._arrived:
            return  # an alert that is on its way to its groups looks as if nobody held it
        done = [
            (fingerprint, alert)
            for fingerprint, alert in self.inbox.all()
            if alert.resolved_at(now_ms) and not self._dispatcher.groups_of(fingerprint)
        ]
        if done:
            self._said.forget(await asyncio.to_thread(self.inbox.forget, done))

    async def _retire(self, generation: _Generation) -> None:
        try:
            if generation.flushes:
                await asyncio.wait(set(generation.flushes))
        except asyncio.CancelledError:
            for task in generation.flushes:
                task.cancel()
            await asyncio.gather(*generation.flushes, return_exceptions=True)
            raise
        finally:
            await generation.client.close()

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


async def _send(
    notifier: Notifier, config: Any, templates: Templates, client: Client, notification: Notification
) -> None:
    await notifier.send(config, notification, templates.bind(notification), client)
