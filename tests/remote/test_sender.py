"""Remote write to a server on loopback: order, outages, refusals, restarts, the bound of a destination."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cramjam
import numpy as np
from aiohttp import web

from otero.clock import SystemClock
from otero.fields import Duration, Url
from otero.ingest.relabel_config import RelabelConfig
from otero.model.labels import LabelBytes, decode_labels, encode_labels
from otero.model.metrics import Exemplar, Metadata, MetricBatch
from otero.remote.config import MetadataConfig, QueueConfig, RemoteWriteConfig
from otero.remote.sender import RemoteWriter
from otero.storage.follow import Followers
from otero.storage.journal import Journal
from otero.storage.journal_metrics import MetricWriter
from otero.storage.registry import SeriesRegistry
from otero.telemetry import REGISTRY
from otero.wire.remote_write_v1 import decode_slowly
from tests.ingest.scrape.loopback import serving

NOW_MS = 1_700_000_000_000


class Source:
    """A journal that batches are written to, as the store does, without an engine behind it."""

    def __init__(self, folder: Path, segment_bytes: int = 1 << 20) -> None:
        self.journal = Journal(
            folder / "journal", max_bytes=1 << 30, fsync="never", segment_bytes=segment_bytes
        )
        self.registry = SeriesRegistry(SystemClock())
        self.writer = MetricWriter(self.journal, self.registry)
        self.followers = Followers(self.journal, folder / "remote_write")

    def metadata(self, metric: str | None = None) -> dict[str, list[Metadata]]:
        return {"m": [Metadata("m", "gauge", "says")]} if metric in (None, "m") else {}

    def write(self, number: int, series: int = 40, exemplars: tuple[Exemplar, ...] = ()) -> None:
        keys = [encode_labels({"__name__": "m", "n": str(n)}) for n in range(series)]
        keys.append(encode_labels({"__name__": "secret"}))
        refs = self.registry.resolve(keys)
        values = np.full(len(refs), float(number))
        self.writer.append(
            MetricBatch(refs, np.full(len(refs), NOW_MS + number), values, exemplars=exemplars)
        )


@dataclass
class Receiver:
    """Answers as it is told to, and keeps what it accepted, in order."""

    status: int = 204
    refusals: dict[int, int] = field(default_factory=dict)
    """Statuses by the number of the samples in a request."""
    samples: dict[LabelBytes, list[tuple[int, float]]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    exemplars: int = 0
    refused: list[bytes] = field(default_factory=list)
    refused_numbers: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.changed.set()
        if self.status != 204:
            self.refused.append(body)
            return web.Response(status=self.status, text="no")
        keys: list[LabelBytes] = []

        def resolve(found: Sequence[LabelBytes]) -> np.ndarray:
            start = len(keys)
            keys.extend(found)
            return np.arange(start, len(keys))

        columns = decode_slowly(bytes(cramjam.snappy.decompress_raw(body)), resolve)
        number = int(columns.times_ms.min()) - NOW_MS if len(columns) else -1
        status = self.refusals.get(number)
        if status is not None:
            self.refused.append(body)
            self.refused_numbers.add(number)
            return web.Response(status=status, text="no")
        self.bodies.append(body)
        for ref, time_ms, value in zip(
            columns.refs, columns.times_ms.tolist(), columns.values.tolist(), strict=True
        ):
            self.samples.setdefault(keys[ref], []).append((time_ms - NOW_MS, value))
        self.metadata += columns.metadata
        self.exemplars += len(columns.exemplars)
        return web.Response(status=204)

    async def until(self, condition: Callable[[], object], timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.changed.wait()
                self.changed.clear()


def config(address: str, **changes: object) -> RemoteWriteConfig:
    fixed = {
        "url": Url(f"http://{address}/api/v1/write"),
        "queue_config": QueueConfig(
            batch_send_deadline=Duration(20), max_samples_per_send=15, max_shards=3, max_backoff=Duration(100)
        ),
        "metadata_config": MetadataConfig(send=False),
        "write_relabel_configs": (RelabelConfig(source_labels=("__name__",), regex="secret", action="drop"),),
    }
    return RemoteWriteConfig(**{**fixed, **changes})  # pyright: ignore[reportArgumentType]


@contextlib.asynccontextmanager
async def sending(
    source: Source, *configs: RemoteWriteConfig, max_bytes: int = 1 << 30
) -> AsyncGenerator[RemoteWriter]:
    writer = RemoteWriter(source, SystemClock(), max_bytes=max_bytes)
    await writer.apply(configs, {"cluster": "a"})
    try:
        yield writer
    finally:
        await writer.stop()


def has_all(receiver: Receiver, count: int, first: int = 0) -> bool:
    return len(receiver.samples) == 40 and all(
        values and values[-1][0] == count - 1 and values[0][0] == first
        for values in receiver.samples.values()
    )


def counted(name: str, **labels: str) -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name and all(sample.labels.get(k) == v for k, v in labels.items())
    )


async def test_samples_arrive_in_order_once(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver()
    async with serving(receiver.answer) as address, sending(source, config(address)):
        for number in range(30):
            source.write(number)
        await receiver.until(lambda: has_all(receiver, 30))
    for key, values in receiver.samples.items():
        assert decode_labels(key)["cluster"] == "a"
        assert values == [(number, number) for number in range(30)]


async def test_an_outage_is_waited_for(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver(status=503)
    async with serving(receiver.answer) as address, sending(source, config(address)):
        for number in range(10):
            source.write(number)
        await receiver.until(lambda: len(receiver.refused) > 5)
        assert counted("otero_remote_write_lag_bytes") > 1000
        source.journal.release(source.journal.end)
        receiver.status = 204
        await receiver.until(lambda: has_all(receiver, 10))
    assert all(values == [(n, n) for n in range(10)] for values in receiver.samples.values())


async def test_what_is_refused_is_not_sent_again(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver(refusals={0: 400, 1: 429})
    failed = counted("prometheus_remote_storage_samples_failed_total")
    async with serving(receiver.answer) as address, sending(source, config(address)):
        for number in range(3):
            source.write(number)
            await receiver.until(
                lambda number=number: number in receiver.refused_numbers or has_all(receiver, 3, 2)
            )
    assert counted("prometheus_remote_storage_samples_failed_total") - failed == 80
    assert len(set(receiver.refused)) == len(receiver.refused)


async def test_the_same_requests_go_out_again_after_a_restart(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver(status=503)
    async with serving(receiver.answer) as address:
        async with sending(source, config(address)):
            for number in range(10):
                source.write(number)
            await receiver.until(lambda: len(receiver.refused) > 5)
        before = set(receiver.refused)
        source.journal.close()
        again = Source(tmp_path)  # as after a crash: other references, the place from the file
        again.registry.resolve([encode_labels({"__name__": "other"})])
        again.write(10)
        receiver.status = 204
        async with sending(again, config(address)):
            await receiver.until(lambda: has_all(receiver, 11))
    assert before <= set(receiver.bodies)
    assert all(values == [(n, n) for n in range(11)] for values in receiver.samples.values())


async def test_beyond_its_bound_a_destination_loses_its_own_oldest(tmp_path: Path) -> None:
    source = Source(tmp_path, segment_bytes=20_000)
    away, there = Receiver(status=503), Receiver()
    lost = counted("prometheus_remote_storage_samples_dropped_total", reason="outage")
    async with (
        serving(away.answer) as first,
        serving(there.answer) as second,
        sending(source, config(first), config(second), max_bytes=10_000),
    ):
        for number in range(300):
            source.write(number)
            source.journal.release(source.journal.end)
            await asyncio.sleep(0)
        await away.until(
            lambda: counted("prometheus_remote_storage_samples_dropped_total", reason="outage") > lost
        )
        away.status = 204
        source.write(300)
        await away.until(lambda: away.samples and all(v[-1][0] == 300 for v in away.samples.values()))
        await there.until(lambda: there.samples and all(v[-1][0] == 300 for v in there.samples.values()))
    for values in [*away.samples.values(), *there.samples.values()]:
        assert [time_ms for time_ms, _ in values] == sorted({time_ms for time_ms, _ in values})


async def test_metadata_exemplars_and_reload(tmp_path: Path) -> None:
    source, one, two = Source(tmp_path), Receiver(), Receiver()
    async with serving(one.answer) as first, serving(two.answer) as second:
        extra = config(first, send_exemplars=True, metadata_config=MetadataConfig(send=True))
        async with sending(source, extra) as writer:
            ref = int(source.registry.resolve([encode_labels({"__name__": "m", "n": "0"})])[0])
            exemplar = Exemplar(ref, encode_labels({"trace_id": "t"}), 1, NOW_MS)
            source.write(0, exemplars=(exemplar,))
            await one.until(lambda: has_all(one, 1) and one.exemplars and one.metadata)
            assert one.metadata == [Metadata("m", "gauge", "says")]
            await writer.apply([config(second)], {})
            source.write(1)
            await two.until(lambda: has_all(two, 2, first=1))
            assert len(source.followers.names()) == 1
    assert all(len(values) == 1 for values in one.samples.values())


async def test_samples_older_than_the_limit_are_left_out(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver()
    queue = QueueConfig(batch_send_deadline=Duration(20), sample_age_limit=Duration(1000))
    before = counted("prometheus_remote_storage_samples_dropped_total", reason="too_old")
    async with serving(receiver.answer) as address, sending(source, config(address, queue_config=queue)):
        source.write(0)
        refs = source.registry.resolve([encode_labels({"__name__": "m", "n": "0"})])
        now_ms = SystemClock().now_ms()
        source.writer.append(MetricBatch(refs, np.array([now_ms]), np.ones(1)))
        await receiver.until(lambda: receiver.samples)
    assert counted("prometheus_remote_storage_samples_dropped_total", reason="too_old") - before == 40
    assert list(receiver.samples.values()) == [[(now_ms - NOW_MS, 1)]]


async def test_a_destination_that_comes_later_begins_where_the_journal_is(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver()
    source.write(0)
    async with serving(receiver.answer) as address, sending(source, config(address)):
        source.write(1)
        await receiver.until(lambda: has_all(receiver, 2, first=1))


async def test_a_failure_within_loses_nothing(tmp_path: Path) -> None:
    source = Source(tmp_path)
    receiver = Receiver()
    async with serving(receiver.answer) as address, sending(source, config(address)):
        place = next((tmp_path / "remote_write").glob("*.json"))
        draft = place.with_suffix(".new")
        draft.mkdir()  # as a full disk would, this keeps it from writing its place
        for number in range(5):
            source.write(number)
        await asyncio.sleep(0.5)
        draft.rmdir()
        source.write(5)
        await receiver.until(lambda: has_all(receiver, 6))
    assert all([n for n, _ in values] == list(range(6)) for values in receiver.samples.values())


async def test_a_destination_that_is_gone_lags_no_more(tmp_path: Path) -> None:
    source, receiver = Source(tmp_path), Receiver()
    async with serving(receiver.answer) as address, sending(source, config(address, name="gone")) as writer:
        source.write(0)
        await receiver.until(lambda: has_all(receiver, 1))
        await writer.apply([], {})
    gauges = {
        sample.name
        for metric in REGISTRY.collect()
        if metric.type == "gauge"
        for sample in metric.samples
        if sample.labels.get("remote_name") == "gone" and not sample.name.endswith("_created")
    }
    assert not gauges
