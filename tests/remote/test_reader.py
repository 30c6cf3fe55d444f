"""Remote read from servers on loopback: what they are asked, what becomes of their answers and of their failures."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cramjam
import numpy as np
import pytest
from aiohttp import web

from otero.clock import SystemClock
from otero.errors import Cancelled, LimitExceeded, TimedOut
from otero.fields import Duration, Url
from otero.model.budget import Budget
from otero.model.histograms import Histograms, box, boxed_rows
from otero.model.labels import LabelTable
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import NO_TIME, STALE, STALE_BITS, SampleBlock, bits
from otero.query.promql.engine import Engine
from otero.remote.config import RemoteReadConfig
from otero.remote.reader import RemoteReader
from otero.storage.blocks import build_blocks
from otero.wire.remote_read import ReadQuery, decode_request, encode_response, encode_result
from tests.histogram_samples import one
from tests.ingest.scrape.loopback import serving

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
NAME = Matcher("__name__", MatchOp.EQUAL, "m")


def blocks(
    *series: tuple[dict[str, str], dict[int, float]], histograms: Histograms | None = None
) -> list[SampleBlock]:
    """Series of the metric `m`, samples by time after NOW_MS."""
    rows = [(at, time, value) for at, (_, samples) in enumerate(series) for time, value in samples.items()]
    return build_blocks(
        LabelTable.of([{"__name__": "m", **labels} for labels, _ in series]),
        np.array([at for at, _, _ in rows], np.intp),
        np.array([NOW_MS + time for _, time, _ in rows], np.int64),
        np.array([value for _, _, value in rows], np.float64),
        histograms=histograms,
    )


@dataclass
class Local:
    blocks: list[SampleBlock] = field(default_factory=list)
    oldest: int | None = None

    def oldest_ms(self) -> int | None:
        return self.oldest

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        return self.blocks


@dataclass
class Server:
    """Answers every query with the same blocks, or as it is told to."""

    blocks: list[SampleBlock] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    status: int = 200
    body: bytes | None = None
    content_type: str = "application/x-protobuf"
    queries: list[ReadQuery] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        [query] = decode_request(bytes(cramjam.snappy.decompress_raw(await request.read())))
        self.queries.append(query)
        self.headers.append(request.headers)
        self.asked.set()
        if self.free is not None:
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.left.set()
                raise
        if self.status != 200:
            return web.Response(status=self.status, text="no such luck")
        result = encode_result(self.blocks, query.start_ms, query.end_ms, self.external)
        body = bytes(cramjam.snappy.compress_raw(encode_response([result])))
        return web.Response(
            body=body if self.body is None else self.body,
            headers={"Content-Type": self.content_type, "Content-Encoding": "snappy"},
        )


def config(address: str, **changes: Any) -> RemoteReadConfig:
    fixed = {"url": Url(f"http://{address}/api/v1/read"), "read_recent": True}
    return RemoteReadConfig(**{**fixed, **changes})


@contextlib.asynccontextmanager
async def reading(
    local: Local, *configs: RemoteReadConfig, external: dict[str, str] | None = None
) -> AsyncGenerator[RemoteReader]:
    reader = RemoteReader(local)
    await reader.apply(configs, external or {})
    try:
        yield reader
    finally:
        await reader.stop()


def budget(timeout_s: float = 60, max_samples: int = 1000) -> Budget:
    return Budget(SystemClock(), timeout_s=timeout_s, max_samples=max_samples)


async def select(
    reader: RemoteReader,
    matchers: Sequence[Matcher] = (NAME,),
    within: tuple[int, int] = (0, 100),
    allowed: Budget | None = None,
) -> tuple[dict[tuple[tuple[str, str], ...], dict[int, float]], tuple[str, ...]]:
    """Samples by labels (but the name) and time, and the warnings."""
    allowed = allowed or budget()
    found = await asyncio.to_thread(reader.select, matchers, NOW_MS + within[0], NOW_MS + within[1], allowed)
    out: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for block in found:
        for at, labels in enumerate(block.labels.rows()):
            assert labels.pop("__name__") == "m"
            samples = out[tuple(labels.items())] = {}
            for row, time in enumerate(block.times_ms[:, block.group[at]].tolist()):
                if time != NO_TIME:
                    samples[time - NOW_MS] = float(block.values[row, at])
    return out, allowed.warnings


A, B = (("a", "1"),), (("b", "1"),)


async def test_series_of_all_servers_are_one_answer() -> None:
    local = Local(blocks(({"a": "1"}, {10: 1.0})))
    first = Server(blocks(({"a": "1"}, {5: 7.0, 10: 8.0}), ({"b": "1"}, {5: 3.0})))
    second = Server(blocks(({"b": "1"}, {5: 4.0, 6: 5.0})))
    async with (
        serving(first.answer) as one_address,
        serving(second.answer) as other,
        reading(local, config(one_address, headers={"X-Scope": "t"}), config(other)) as reader,
    ):
        found, warnings = await select(reader)
    assert found == {A: {5: 7.0, 10: 1.0}, B: {5: 3.0, 6: 5.0}}
    assert warnings == ()
    assert first.queries == [ReadQuery((NAME,), NOW_MS, NOW_MS + 100)]
    headers = first.headers[0]
    assert headers["X-Scope"] == "t"
    assert headers["X-Prometheus-Remote-Read-Version"] == "0.1.0"
    assert headers["Content-Encoding"] == headers["Accept-Encoding"] == "snappy"


async def test_staleness_markers_and_native_histograms_stay() -> None:
    held = Histograms.concat([one(buckets={1: 2.0, 3: 1.0})])
    series = {1: 0.5, 2: float(box(np.array([0]))[0]), 3: STALE}
    server = Server(blocks(({"a": "1"}, series), histograms=held))
    async with serving(server.answer) as address, reading(Local(), config(address)) as reader:
        [block] = await asyncio.to_thread(reader.select, [NAME], NOW_MS, NOW_MS + 9, budget())
    assert block.histograms is not None
    assert boxed_rows(block.values)[:, 0].tolist() == [-1, 0, -1]
    assert block.histograms.count.tolist() == [3.0]
    assert bits(block.values)[2, 0] == STALE_BITS


@pytest.mark.parametrize(
    ("matchers", "asked"),
    [
        ([NAME], False),
        ([NAME, Matcher("env", MatchOp.EQUAL, "old")], False),
        ([NAME, Matcher("env", MatchOp.REGEX, "old"), Matcher("team", MatchOp.EQUAL, "x")], False),
        ([NAME, Matcher("team", MatchOp.EQUAL, "x"), Matcher("env", MatchOp.EQUAL, "old")], True),
    ],
)
async def test_required_matchers(matchers: list[Matcher], asked: bool) -> None:
    server = Server()
    async with (
        serving(server.answer) as address,
        reading(Local(), config(address, required_matchers={"env": "old", "team": "x"})) as reader,
    ):
        await select(reader, matchers)
    assert len(server.queries) == asked


@pytest.mark.parametrize(
    ("oldest", "within", "until"),
    [
        (None, (0, 100), 100),
        (-5 * HOUR_MS, (0, 100), None),
        (-4 * HOUR_MS + 50, (0, 100), 50),
        (0, (0, 100), 100),
    ],
)
async def test_what_is_stored_here_is_not_asked_for(
    oldest: int | None, within: tuple[int, int], until: int | None
) -> None:
    server = Server()
    local = Local(oldest=None if oldest is None else NOW_MS + oldest)
    async with (
        serving(server.answer) as address,
        reading(local, config(address, read_recent=False)) as reader,
    ):
        await select(reader, within=within)
    assert [query.end_ms - NOW_MS for query in server.queries] == ([] if until is None else [until])


@pytest.mark.parametrize("filtered", [True, False])
async def test_external_labels(filtered: bool) -> None:
    external = {"cluster": "x", "zone": "z"}
    server = Server(blocks(({"a": "1"}, {5: 7.0})), external=external)
    zone = Matcher("zone", MatchOp.REGEX, "z|y")
    async with (
        serving(server.answer) as address,
        reading(Local(), config(address, filter_external_labels=filtered), external=external) as reader,
    ):
        found, _ = await select(reader, [NAME, zone])
    added = (Matcher("cluster", MatchOp.EQUAL, "x"),)
    assert server.queries[0].matchers == (NAME, zone, *(added if filtered else ()))
    labels = (("a", "1"), *(() if filtered else (("cluster", "x"),)), ("zone", "z"))
    assert found == {labels: {5: 7.0}}


def compressed(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (Server(status=500), "remote server returned HTTP status 500: no such luck"),
        (Server(body=b"\xff\xff\xff\xff"), "not in snappy's block format"),
        (Server(body=compressed(b"\xff\xff")), "not a prometheus.ReadResponse"),
        (Server(body=compressed(encode_response([]))), "has 0 results for 1 query"),
        (Server(body=compressed(encode_response([b"\xff"]))), "cannot be parsed as protobuf"),
        (Server(body=b"\xff\xff\xff\xff\x0f\x00"), "at most 536870912 are read"),
        (
            Server(content_type="application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"),
            "streamed chunks, which were not asked for",
        ),
    ],
)
async def test_a_server_that_fails_is_a_warning_of_the_answer(server: Server, text: str) -> None:
    local, good = Local(blocks(({"a": "1"}, {10: 1.0}))), Server(blocks(({"b": "1"}, {5: 4.0})))
    async with (
        serving(server.answer) as address,
        serving(good.answer) as other,
        reading(local, config(f"me:secret@{address}"), config(other, name="archive")) as reader,
    ):
        found, [warning] = await select(reader)
        result = await asyncio.to_thread(Engine(reader).instant, "m", NOW_MS + 100, allowed := budget())
    assert found == {A: {10: 1.0}, B: {5: 4.0}}
    assert warning.startswith(f"remote_read: http://me:xxxxx@{address}/api/v1/read: ")
    assert text in warning
    assert "secret" not in warning
    assert [note.text for note in result.notes] == list(allowed.warnings) == [warning]


async def test_a_server_that_nobody_runs_is_a_warning_too() -> None:
    async with serving(Server().answer) as address:
        pass
    async with reading(Local(), config(f"me:secret@{address}", name="archive")) as reader:
        found, [warning] = await select(reader)
    assert found == {}
    assert warning.startswith("remote_read: archive: ")
    assert "connection refused" in warning
    assert "secret" not in warning


async def test_a_slow_server_has_its_own_time() -> None:
    server = Server(free=asyncio.Event())
    async with (
        serving(server.answer) as address,
        reading(Local(), config(address, remote_timeout=Duration(50))) as reader,
    ):
        _, [warning] = await select(reader)
    assert "no complete answer in 0.05 s" in warning


async def test_the_query_has_its_time_and_its_samples() -> None:
    server = Server(free=asyncio.Event())
    many = Server(blocks(({"a": "1"}, dict.fromkeys(range(50), 1.0))))
    async with (
        serving(server.answer) as address,
        serving(many.answer) as other,
        reading(Local(), config(address)) as slow,
        reading(Local(), config(other)) as full,
    ):
        with pytest.raises(TimedOut):
            await select(slow, allowed=budget(timeout_s=0.2))
        with pytest.raises(LimitExceeded, match=r"query\.max_samples"):
            await select(full, allowed=budget(max_samples=49))


async def test_servers_are_asked_side_by_side_and_left_when_the_query_is_cancelled() -> None:
    servers = [Server(free=asyncio.Event()), Server(free=asyncio.Event())]
    async with (
        serving(servers[0].answer, cancelled=True) as one_address,
        serving(servers[1].answer, cancelled=True) as other,
        reading(Local(), config(one_address), config(other)) as reader,
    ):
        allowed = budget()
        waiting = asyncio.create_task(select(reader, allowed=allowed))
        for server in servers:
            await asyncio.wait_for(server.asked.wait(), 30)
        allowed.cancel()
        with pytest.raises(Cancelled):
            await waiting
        for server in servers:
            await asyncio.wait_for(server.left.wait(), 30)


async def test_a_reload_leaves_what_stays_and_closes_what_goes() -> None:
    stays, goes = Server(free=asyncio.Event()), Server(free=asyncio.Event())
    stays.blocks = blocks(({"a": "1"}, {5: 7.0}))
    async with (
        serving(stays.answer) as one_address,
        serving(goes.answer) as other,
        reading(Local(), config(one_address), config(other)) as reader,
    ):
        waiting = asyncio.create_task(select(reader))
        for server in (stays, goes):
            await asyncio.wait_for(server.asked.wait(), 30)
        await reader.apply([config(one_address)], {})
        assert stays.free is not None
        stays.free.set()
        found, [warning] = await asyncio.wait_for(waiting, 30)
        assert found == {A: {5: 7.0}}
        assert other in warning
        again, warnings = await select(reader)
        assert (again, warnings) == ({A: {5: 7.0}}, ())
        assert len(goes.queries) == 1
