"""Remote write to other servers, fed from the journal.

Each destination follows the journal at its own pace. It takes a stretch, makes requests of it, sends those of each shard one
after the other, and moves its place on when all of them are answered for good: stored, or refused in a way that sending
again would not change. Before it sends it writes down how far the stretch goes and how it is cut, so that after a crash the
very same requests go out. Nobody waits for a destination: beyond its bound it loses its own oldest, counted.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from otero.clock import Clock
from otero.errors import OteroError
from otero.http_client import Hosts, HttpClient, HttpResponse
from otero.model.metrics import Metadata, MetricBatch
from otero.remote import metrics
from otero.remote.config import RemoteWriteConfig
from otero.remote.requests import V2, RequestMaker, Requests, WriteBody
from otero.storage.follow import Follower, Followers

_log = logging.getLogger(__name__)

_MAX_CHUNK = 200_000
_POLL_S = 0.2
_MAX_ANSWER = 64 << 10
_LONGEST_WAIT_S = 3600.0
"""Whatever the other side asks for."""
_USER_AGENT = "Otero/remote-write"


class Source(Protocol):
    """What the sender uses of `storage.metrics.MetricStore`."""

    @property
    def followers(self) -> Followers: ...

    def metadata(self, metric: str | None = None) -> dict[str, list[Metadata]]: ...


@dataclass(frozen=True, slots=True)
class _Identity:
    config: RemoteWriteConfig
    external_labels: Mapping[str, str]


class RemoteWriter:
    """All destinations. `max_bytes` is how much of the journal waits for each."""

    def __init__(self, source: Source, clock: Clock, *, max_bytes: int, hosts: Hosts | None = None) -> None:
        self._source = source
        self._clock = clock
        self._max_bytes = max_bytes
        self._hosts = hosts
        self._running: dict[str, tuple[_Identity, Destination]] = {}

    async def apply(self, configs: Sequence[RemoteWriteConfig], external_labels: Mapping[str, str]) -> None:
        """Send to these destinations and to no others. One that stays goes on; one that changed goes on from its place."""
        wanted = {
            name: _Identity(config, dict(external_labels))
            for name, config in zip(names_of(configs), configs, strict=True)
        }
        for name, (identity, destination) in list(self._running.items()):
            if wanted.get(name) != identity:
                await destination.stop()
                del self._running[name]
        for name in self._source.followers.names():
            if name not in wanted:
                self._source.followers.drop(name)
        for name, identity in wanted.items():
            if name not in self._running:
                destination = Destination(
                    name,
                    identity.config,
                    external_labels,
                    self._source,
                    self._clock,
                    self._max_bytes,
                    self._hosts,
                )
                self._running[name] = (identity, destination)
                destination.start()

    async def stop(self) -> None:
        """Send nothing more; places are kept."""
        for _, destination in self._running.values():
            await destination.stop()
        self._running.clear()


def names_of(configs: Sequence[RemoteWriteConfig]) -> list[str]:
    """A name for each destination, fit for a file: its own, or one made of its URL. Another password changes no name."""
    out: list[str] = []
    for config in configs:
        text = f"name {config.name}" if config.name else f"url {config.url.redacted()}"
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        while name in out:
            name = f"{name}x"
        out.append(name)
    return out


class Destination:
    """One destination and its task."""

    def __init__(
        self,
        name: str,
        config: RemoteWriteConfig,
        external_labels: Mapping[str, str],
        source: Source,
        clock: Clock,
        max_bytes: int,
        hosts: Hosts | None,
    ) -> None:
        self._config = config
        self._source = source
        self._clock = clock
        self._client = HttpClient(config.http_client(), hosts)
        self._follower: Follower = source.followers.open(name, max_bytes=max_bytes)
        self._maker = RequestMaker(config, external_labels, self._metadata_of)
        self._labels = (config.name or name[:6], config.url.redacted())
        self._task: asyncio.Task[None] | None = None
        self._told: dict[str, float] = {}
        self._metadata_due_s = 0.0
        version = "2.0.0" if config.protobuf_message == V2 else "0.1.0"
        kind = "application/x-protobuf" + (f";proto={V2}" if config.protobuf_message == V2 else "")
        self._headers = {
            "User-Agent": _USER_AGENT,
            **config.headers,
            "Content-Encoding": "snappy",
            "Content-Type": kind,
            "X-Prometheus-Remote-Write-Version": version,
        }

    def start(self) -> None:
        metrics.LAG_BYTES.labels(*self._labels).set_function(lambda: self._follower.lag_bytes)
        self._task = asyncio.create_task(self._run(), name=f"remote write {self._labels[0]}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._client.close()
        for gauge in metrics.GAUGES:
            with contextlib.suppress(KeyError):
                gauge.remove(*self._labels)

    async def _run(self) -> None:
        while True:
            try:
                await self._send_next()
            except Exception:
                _log.exception("remote write: an internal error", extra={"destination": self._labels[0]})
                self._follower.rewind()
                await asyncio.sleep(self._config.queue_config.max_backoff / 1000)

    async def _send_next(self) -> None:
        """One stretch of the journal, from waiting for it to its acknowledgement."""
        await self._send_metadata()
        await self._shed()
        follower, queue = self._follower, self._config.queue_config
        plan = follower.place.plan
        if plan:
            batches, end = await self._collect_until(plan["end"])
            shards, batch_samples = plan["shards"], plan["batch"]
        else:
            batches, end = await self._collect()
            count = sum(map(len, batches))
            shards = min(max(-(-count // queue.max_samples_per_send), queue.min_shards), queue.max_shards)
            batch_samples = queue.max_samples_per_send
        if any(len(batch) or batch.exemplars for batch in batches):
            follower.plan({"end": end, "shards": shards, "batch": batch_samples})
            age_limit_ms = queue.sample_age_limit
            requests = await asyncio.to_thread(
                self._maker.of,
                batches,
                follower.labels,
                follower.epoch,
                shards=shards,
                batch_samples=batch_samples,
                oldest_ms=self._clock.now_ms() - age_limit_ms if age_limit_ms else None,
            )
            await self._send_all(requests)
        if end != follower.place.position or plan:
            follower.commit(end)

    async def _collect(self) -> tuple[list[MetricBatch], int]:
        """What the journal has next: a good many samples, or what came within the deadline."""
        follower, queue = self._follower, self._config.queue_config
        enough = min(
            queue.capacity * queue.min_shards, queue.max_samples_per_send * queue.max_shards, _MAX_CHUNK
        )
        batches: list[MetricBatch] = []
        waiting_since_s: float | None = None
        count = 0
        while True:
            more, end = await asyncio.to_thread(follower.read)
            batches += (batch for batch in more if len(batch) or batch.exemplars)
            count += sum(map(len, more))
            now_s = self._clock.monotonic_s()
            if count and waiting_since_s is None:
                waiting_since_s = now_s
            due_s = now_s if waiting_since_s is None else waiting_since_s + queue.batch_send_deadline / 1000
            if count >= enough or (batches and now_s >= due_s):
                return batches, end
            if not batches and end != follower.place.position:
                return batches, end  # nothing to send in it; the journal need not keep it
            if not more:
                await asyncio.sleep(_POLL_S)
                await self._send_metadata()

    async def _collect_until(self, end: int) -> tuple[list[MetricBatch], int]:
        batches: list[MetricBatch] = []
        while True:
            more, at = await asyncio.to_thread(self._follower.read, end)
            batches += (batch for batch in more if len(batch) or batch.exemplars)
            if at >= end or not more:
                return batches, at

    async def _send_all(self, requests: Requests) -> None:
        for reason, count in requests.dropped.items():
            metrics.DROPPED.labels(*self._labels, reason).inc(count)
        shards = [shard for shard in requests.shards if shard]
        metrics.SHARDS.labels(*self._labels).set(len(shards))
        pending = metrics.PENDING.labels(*self._labels)
        pending.set(sum(body.samples for shard in shards for body in shard))
        newest_ms = max((body.newest_ms for shard in shards for body in shard), default=0)
        metrics.HIGHEST_IN.labels(*self._labels).set(newest_ms / 1000)
        async with asyncio.TaskGroup() as group:
            for shard in shards:
                group.create_task(self._send_shard(shard))
        pending.set(0)
        if newest_ms:
            metrics.HIGHEST_SENT.labels(*self._labels).set(newest_ms / 1000)

    async def _send_shard(self, bodies: Sequence[WriteBody]) -> None:
        for body in bodies:
            await self._send(body)
            metrics.PENDING.labels(*self._labels).dec(body.samples)

    async def _send(self, body: WriteBody) -> None:
        """One request until it is answered for good."""
        queue = self._config.queue_config
        backoff_s = queue.min_backoff / 1000
        while True:
            wait_s = await self._attempt(body)
            if wait_s is None:
                return
            metrics.RETRIED.labels(*self._labels).inc(body.samples)
            await asyncio.sleep(max(wait_s, backoff_s))
            backoff_s = min(backoff_s * 2, queue.max_backoff / 1000)
            if self._follower.lag_bytes > self._follower.max_bytes:
                self._tell("bound", "it is away for so long that its oldest samples are given up")
                metrics.DROPPED.labels(*self._labels, "outage").inc(body.samples)
                return

    async def _attempt(self, body: WriteBody) -> float | None:
        """None when it is answered for good, else how long to wait at least."""
        started_s = time.monotonic()
        try:
            response = await self._client.request(
                "POST",
                self._config.url,
                headers=self._headers,
                body=body.body,
                timeout_s=self._config.remote_timeout / 1000,
                max_bytes=_MAX_ANSWER,
            )
        except OteroError as error:
            self._tell("away", str(error))
            return 0.0
        finally:
            metrics.SEND_SECONDS.labels(*self._labels).observe(time.monotonic() - started_s)
        status = response.status
        if status // 100 == 2:
            metrics.SAMPLES.labels(*self._labels).inc(body.samples)
            metrics.HISTOGRAMS.labels(*self._labels).inc(body.histograms)
            metrics.EXEMPLARS.labels(*self._labels).inc(body.exemplars)
            metrics.METADATA.labels(*self._labels).inc(body.metadata)
            metrics.BYTES.labels(*self._labels).inc(len(body.body))
            self._told.pop("away", None)
            return None
        text = f"HTTP status {status}: {response.body[:300].decode('utf-8', 'replace').strip()}"
        if status // 100 == 5 or (status == 429 and self._config.queue_config.retry_on_http_429):
            self._tell("away", text)
            return min(response.retry_after_s(self._clock.now_ms()) or 0.0, _LONGEST_WAIT_S)
        stored = min(_written(response), body.samples)
        metrics.SAMPLES.labels(*self._labels).inc(stored)
        metrics.FAILED.labels(*self._labels).inc(body.samples - stored)
        self._tell(f"refused {status}", text)
        return None

    def _tell(self, cause: str, text: str) -> None:
        """One line for each cause, and again when it still is so after a minute."""
        now_s = self._clock.monotonic_s()
        if now_s - self._told.get(cause, -1e9) >= 60:
            self._told[cause] = now_s
            _log.warning(
                "remote write: samples are %s",
                "refused"
                if cause.startswith("refused")
                else "kept and sent again"
                if cause == "away"
                else "lost",
                extra={"destination": self._labels[0], "url": self._labels[1], "reason": text},
            )

    async def _shed(self) -> None:
        lost = await asyncio.to_thread(self._follower.shed)
        if lost:
            metrics.DROPPED.labels(*self._labels, "outage").inc(lost)
            self._tell("bound", f"{lost} samples")

    def _metadata_of(self, metric: str) -> Sequence[Metadata]:
        return self._source.metadata(metric).get(metric, ())

    async def _send_metadata(self) -> None:
        """Version 1 tells all metadata every so often; what fails is told next time."""
        config = self._config.metadata_config
        now_s = self._clock.monotonic_s()
        if not config.send or self._config.protobuf_message == V2 or now_s < self._metadata_due_s:
            return
        self._metadata_due_s = now_s + config.send_interval / 1000
        entries = [entries[-1] for entries in self._source.metadata().values() if entries]
        for body in self._maker.metadata(entries, config.max_samples_per_send):
            if await self._attempt(body) is not None:
                return


def _written(response: HttpResponse) -> int:
    text = response.headers.get("X-Prometheus-Remote-Write-Samples-Written", "")
    return int(text) if text.isascii() and text.isdigit() else 0
