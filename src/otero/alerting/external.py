"""Alerts of rules to Alertmanagers elsewhere, as Prometheus sends them.

Each Alertmanager has a bounded queue and a task: one that is slow or away holds up nobody, and loses its oldest alerts
first. A batch that could not be sent is not sent again; rules tell an alert again as long as it fires
(prometheus/notifier).
"""

import asyncio
import json
import logging
import posixpath
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

import dns.asyncresolver
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from otero.alerting.external_config import AlertingConfig, AlertmanagersConfig
from otero.clock import Clock
from otero.errors import BadInput, OteroError
from otero.http_client import Hosts, HttpClient
from otero.ingest.relabel import Relabel
from otero.ingest.scrape.discovery import Discovery, Found, label_sets
from otero.ingest.scrape.discovery.dns import DnsDiscovery
from otero.ingest.scrape.discovery.files import FileDiscovery
from otero.ingest.scrape.discovery.http import HttpDiscovery
from otero.ingest.scrape.target import ADDRESS, SCHEME
from otero.model.alerts import Alert
from otero.model.times import rfc3339_ms

_log = logging.getLogger(__name__)

QUEUE = 10_000
"""Alerts that wait for one Alertmanager."""
BATCH = 64
"""Alerts of one request."""
ALERTS_PATH = "__alerts_path__"

_MAX_ANSWER = 64 << 10


@dataclass(slots=True)
class Counts:
    """What one Alertmanager was sent. `errors` are alerts of requests that failed."""

    sent: int = 0
    errors: int = 0
    dropped: int = 0
    requests: int = 0
    seconds: float = 0.0


class Sender:
    """One Alertmanager: its queue, and the task that empties it."""

    def __init__(self, url: str, client: HttpClient, timeout_s: float, clock: Clock) -> None:
        self.url = url
        self.counts = Counts()
        self._client = client
        self._timeout_s = timeout_s
        self._clock = clock
        self._queue: deque[Alert] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._trouble = ""
        self._task = asyncio.create_task(self._run(), name=f"alerts to {url}")

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def put(self, alerts: Sequence[Alert]) -> None:
        """Queue alerts; where they do not fit the oldest go."""
        self._queue.extend(alerts)
        over = len(self._queue) - QUEUE
        if over > 0:
            self.counts.dropped += over
            _log.warning(
                "alerts are dropped, their queue is full", extra={"alertmanager": self.url, "alerts": over}
            )
            for _ in range(over):
                self._queue.popleft()
        if self._queue:
            self._idle.clear()
            self._more.set()

    def take_over(self, before: "Sender") -> None:
        """Go on with the queue of a sender that was stopped, and with its counts."""
        self.counts = before.counts
        self.put(before._queue)

    async def stop(self, *, drain: bool) -> None:
        """End. `drain`: what waits is sent first, in no more than the time that one request may take."""
        if drain:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._idle.wait()
            except TimeoutError:
                self.counts.dropped += len(self._queue)
                _log.warning(
                    "alerts are dropped, they could not be sent before the end",
                    extra={"alertmanager": self.url, "alerts": len(self._queue)},
                )
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            while self._queue:
                await self._send([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])
            self._more.clear()
            self._idle.set()

    async def _send(self, alerts: Sequence[Alert]) -> None:
        began_s = self._clock.monotonic_s()
        trouble = ""
        try:
            response = await self._client.request(
                "POST",
                self.url,
                headers={"Content-Type": "application/json"},
                body=encode(alerts),
                timeout_s=self._timeout_s,
                max_bytes=_MAX_ANSWER,
                cut=True,
            )
            if not 200 <= response.status < 300:
                said = response.body[:200].decode("utf-8", "replace")
                trouble = f"bad response status {response.status} {response.reason}: {said}"
        except OteroError as error:
            trouble = str(error)
        except asyncio.CancelledError:  # for whoever takes over; to be told twice is to be told once
            self._queue.extendleft(reversed(alerts))
            raise
        counts = self.counts
        counts.sent += len(alerts)
        counts.requests += 1
        counts.seconds += self._clock.monotonic_s() - began_s
        if trouble:
            counts.errors += len(alerts)
            counts.dropped += len(alerts)
            if trouble != self._trouble:  # once, not with each batch
                _log.error(
                    "alerts could not be sent",
                    extra={"alertmanager": self.url, "alerts": len(alerts), "reason": trouble},
                )
        self._trouble = trouble


def encode(alerts: Sequence[Alert]) -> bytes:
    """The body of `POST /api/v2/alerts`."""
    return json.dumps(
        [
            {
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "startsAt": rfc3339_ms(alert.starts_ms),
                "endsAt": rfc3339_ms(alert.ends_ms),
                "generatorURL": alert.generator_url,
            }
            for alert in alerts
        ],
        ensure_ascii=False,
    ).encode()


class _Set:
    """The Alertmanagers of one entry of `alertmanagers`: discovers them, keeps a sender for each."""

    def __init__(
        self,
        config: AlertmanagersConfig,
        clock: Clock,
        hosts: Hosts,
        resolver: dns.asyncresolver.Resolver | None,
        before: Sequence[Sender],
    ) -> None:
        self.config = config
        self.senders: dict[str, Sender] = {}
        self.dropped: list[str] = []
        self._clock = clock
        self._before = {sender.url: sender for sender in before}
        self._relabel = Relabel(config.relabel_configs)
        self._alert_relabel = Relabel(config.alert_relabel_configs)
        self._client = HttpClient(config.http_client(), hosts)
        self._leaving: set[asyncio.Task[None]] = set()
        self._found: dict[int, Found] = {0: {"static": label_sets(config.static_configs)}}
        discoveries: list[Discovery] = [
            *map(FileDiscovery, config.file_sd_configs),
            *(HttpDiscovery(source, HttpClient(source.http_client(), hosts)) for source in config.http_sd_configs),
            *(DnsDiscovery(source, resolver) for source in config.dns_sd_configs),
        ]  # fmt: skip
        self._tasks = [
            asyncio.create_task(_guarded(discovery, self._reporter(at)), name="discovery of Alertmanagers")
            for at, discovery in enumerate(discoveries, 1)
        ]
        self._sync()

    def put(self, alerts: Sequence[Alert]) -> None:
        alerts = relabelled(alerts, self._alert_relabel)
        if alerts:
            for sender in self.senders.values():
                sender.put(alerts)

    async def stop(self, *, drain: bool) -> None:
        for task in (*self._tasks, *self._leaving):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._leaving, return_exceptions=True)
        await asyncio.gather(*(sender.stop(drain=drain) for sender in self.senders.values()))
        await self._client.close()

    def _reporter(self, at: int) -> Callable[[Found], None]:
        def report(found: Found) -> None:
            self._found[at] = found
            self._sync()

        return report

    def _sync(self) -> None:
        """Make the senders those of the Alertmanagers that are there now."""
        wanted: dict[str, None] = {}
        self.dropped = []
        for found in self._found.values():
            for discovered in (labels for sets in found.values() for labels in sets):
                labels = with_defaults(discovered, self.config)
                kept = self._relabel(labels)
                if kept is None:
                    self.dropped.append(url_of(labels))
                    continue
                try:
                    check_address(kept)
                except BadInput as error:
                    _log.error("bad Alertmanager address", extra={"reason": str(error)})
                    continue
                wanted[url_of(kept)] = None
        for url in self.senders.keys() - wanted.keys():
            task = asyncio.create_task(self.senders.pop(url).stop(drain=False))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for url in wanted:
            if url not in self.senders:
                sender = Sender(url, self._client, self.config.timeout / 1000, self._clock)
                self.senders[url] = sender
                if url in self._before:
                    sender.take_over(self._before.pop(url))


def with_defaults(discovered: Mapping[str, str], config: AlertmanagersConfig) -> dict[str, str]:
    """The labels that relabelling starts from."""
    path = posixpath.normpath(f"/{config.path_prefix.strip('/')}/api/{config.api_version}/alerts")
    return {
        SCHEME: config.scheme,
        ALERTS_PATH: f"/{path.lstrip('/')}",
        **{name: value for name, value in discovered.items() if value},
    }


def check_address(labels: Mapping[str, str]) -> None:
    """Raises BadInput for labels that make no URL."""
    address, scheme = labels.get(ADDRESS, ""), labels.get(SCHEME, "")
    if not address:
        raise BadInput("no address")
    if "/" in address:
        raise BadInput(f'"{address}" is not a valid hostname')
    if scheme not in ("http", "https"):
        raise BadInput(f'invalid scheme: "{scheme}"')


def url_of(labels: Mapping[str, str]) -> str:
    """Where alerts are sent."""
    path = quote(labels.get(ALERTS_PATH, ""), safe="/$&+,:;=@~!'()*")
    return f"{labels.get(SCHEME, '')}://{labels.get(ADDRESS, '')}{path}"


def relabelled(alerts: Sequence[Alert], relabel: Relabel) -> Sequence[Alert]:
    """The alerts that the rules keep, with the labels that they make."""
    if not relabel:
        return alerts
    out: list[Alert] = []
    for alert in alerts:
        labels = relabel(alert.labels)
        if labels is not None:
            out.append(replace(alert, labels=dict(sorted(labels.items()))))
    return out


async def _guarded(discovery: Discovery, report: Callable[[Found], None]) -> None:
    try:
        await discovery.run(report)
    except Exception:
        _log.exception("service discovery ended")


class ExternalAlertmanagers:
    """All Alertmanagers elsewhere. Lives in one event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        hosts: Hosts | None = None,
        resolver: dns.asyncresolver.Resolver | None = None,
    ) -> None:
        self._clock = clock
        self._hosts = hosts or Hosts()
        self._resolver = resolver
        self._relabel = Relabel(())
        self._sets: list[_Set] = []

    async def apply(self, config: AlertingConfig) -> None:
        """Tell these from now on. Sets that stay go on undisturbed; what waits for an Alertmanager that stays is kept."""
        self._relabel = Relabel(config.alert_relabel_configs)
        old = list(self._sets)
        kept: dict[int, _Set] = {}
        for at, wanted in enumerate(config.alertmanagers):
            same = next((one for one in old if one.config == wanted), None)
            if same is not None:
                old.remove(same)
                kept[at] = same
        for one in old:
            await one.stop(drain=False)
        before = [sender for one in old for sender in one.senders.values()]
        self._sets = [
            kept[at] if at in kept else _Set(wanted, self._clock, self._hosts, self._resolver, before)
            for at, wanted in enumerate(config.alertmanagers)
        ]

    def put(self, alerts: Sequence[Alert]) -> None:
        """Queue alerts for everyone; does not wait."""
        if not self._sets:
            return
        alerts = relabelled(alerts, self._relabel)
        for one in self._sets:
            one.put(alerts)

    async def stop(self) -> None:
        """Send what waits, in bounded time, then nothing more."""
        await asyncio.gather(*(one.stop(drain=True) for one in self._sets))
        self._sets = []

    @property
    def active(self) -> list[str]:
        """URLs of those that are told."""
        return [url for one in self._sets for url in one.senders]

    @property
    def dropped(self) -> list[str]:
        """URLs of those that relabelling left out."""
        return [url for one in self._sets for url in one.dropped]

    def collect(self) -> Iterator[Metric]:
        """Metrics under the names of Prometheus' own."""
        by = ["alertmanager"]
        senders: dict[str, list[Sender]] = {}
        for one in self._sets:
            for url, sender in one.senders.items():  # two sets may name the same
                senders.setdefault(url, []).append(sender)
        for name, help_, count in _COUNTERS:
            counter = CounterMetricFamily(f"prometheus_notifications_{name}", help_, labels=by)
            for url, same in senders.items():
                counter.add_metric([url], sum(count(sender.counts) for sender in same))
            yield counter
        latency = SummaryMetricFamily(
            "prometheus_notifications_latency_seconds", "Durations of requests with alerts.", labels=by
        )
        length = GaugeMetricFamily("prometheus_notifications_queue_length", "Alerts that wait.", labels=by)
        capacity = GaugeMetricFamily(
            "prometheus_notifications_queue_capacity", "Alerts that may wait.", labels=by
        )
        for url, same in senders.items():
            counts = [sender.counts for sender in same]
            latency.add_metric([url], sum(one.requests for one in counts), sum(one.seconds for one in counts))
            length.add_metric([url], sum(sender.waiting for sender in same))
            capacity.add_metric([url], QUEUE)
        yield latency
        yield length
        yield capacity
        yield GaugeMetricFamily(
            "prometheus_notifications_alertmanagers_discovered",
            "Alertmanagers that are told of alerts.",
            value=len(self.active),
        )


_COUNTERS: Sequence[tuple[str, str, Callable[[Counts], float]]] = (
    ("sent", "Alerts that were sent, those of failed requests included.", lambda counts: counts.sent),
    ("errors", "Alerts of requests that failed.", lambda counts: counts.errors),
    (
        "dropped",
        "Alerts that were not delivered: their request failed, or their queue was full.",
        lambda counts: counts.dropped,
    ),
)
