"""Targets that misbehave fail their own scrapes, in bounded memory, while a healthy one beside them goes on."""

import asyncio
import contextlib
import gzip
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadInput, LimitExceeded
from otero.fields import Duration
from otero.ingest.intake import Intake
from otero.ingest.scrape.fetch import BodyMemory
from otero.ingest.scrape.series import TargetSeries
from otero.wire.exposition import BodyParser
from otero.wire.exposition_protocol import Protocol
from tests.fakes import RecordingStore
from tests.ingest.scrape.loopback import TEXT, Scraping, eventually, job, page, raw_server, scraping

Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\n"
CHUNK = b"noise 1\n" * 8192


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD.encode() + b"\r\n")
    while True:
        writer.write(CHUNK)
        await writer.drain()


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD.encode() + b"\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 4000 + b"\r\n")
        await writer.drain()


async def not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(os.urandom(4096))
    await writer.drain()


async def cut_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(f"{HEAD}Content-Length: 1000\r\n\r\na 1\n".encode())
    await writer.drain()


def answering(body: bytes, headers: str = "") -> Connection:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"{HEAD}{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()

    return answer


def bomb() -> bytes:
    """200 MB of samples in about 200 kB."""
    return gzip.compress(b"noise 1\n" * (25 << 20), 6)


HOSTILE: dict[str, tuple[Callable[[], Connection], str]] = {
    "endless body": (lambda: endless, "exceed"),
    "dribbling body": (lambda: dribbling, "context deadline exceeded"),
    "silence": (lambda: silent, "context deadline exceeded"),
    "endless headers": (lambda: endless_headers, ""),
    "no HTTP at all": (lambda: not_http, ""),
    "body cut short": (lambda: cut_short, ""),
    "gzip bomb": (lambda: answering(bomb(), "Content-Encoding: gzip\r\n"), "body size limit exceeded"),
    "gzip cut short": (
        lambda: answering(gzip.compress(b"a 1\n" * 1000)[:-20], "Content-Encoding: gzip\r\n"),
        "ends too early",
    ),
    "not gzip": (lambda: answering(b"a 1\n", "Content-Encoding: gzip\r\n"), ""),
    "unknown encoding": (lambda: answering(b"a 1\n", "Content-Encoding: br\r\n"), "unknown Content-Encoding"),
    "garbage": (lambda: answering(os.urandom(20_000)), ""),
    "one endless line": (lambda: answering(b"a" * 3_000_000), ""),
    "nested quotes": (lambda: answering(b'a{b="' * 50_000), ""),
}


@contextlib.asynccontextmanager
async def beside_a_healthy_target(
    address: str, store: RecordingStore | None = None, **fields: Any
) -> AsyncGenerator[Scraping]:
    """Scrape a healthy target as job "good" and the other one as job "bad", each second half second."""
    times: dict[str, Any] = {"scrape_interval": Duration(500), "scrape_timeout": Duration(500)}
    async with page("healthy 1\n") as good:
        configs = [job(good.address, name="good", **times), job(address, name="bad", **{**times, **fields})]
        async with scraping(*configs, store=store, max_body_bytes=16 << 20) as made:
            yield made


def assert_healthy_scrapes(made: Scraping, at_least: int) -> None:
    """All scrapes of the healthy target were good, and few are missing in its row of turns (the machine is shared)."""
    ups = made.store.samples(name="up", job="good")
    assert len(ups) >= at_least
    assert {sample.value for sample in ups} == {1.0}
    turns = round((ups[-1].time_ms - ups[0].time_ms) / 500) + 1
    assert len(ups) >= turns * 3 / 4, f"{len(ups)} of {turns} turns"


@pytest.mark.parametrize("kind", list(HOSTILE))
async def test_a_hostile_target_fails_alone(kind: str) -> None:
    connection, error = HOSTILE[kind]
    async with raw_server(connection()) as address, beside_a_healthy_target(address) as made:
        await made.scrapes(3, job="good")
        await made.scrapes(1, job="bad")
        await eventually(lambda: made.target(0).last.error)
        assert made.target(0).pool == "bad"
        assert error in made.target(0).last.error
        assert len(made.target(0).last.error) < 1000
        assert set(made.store.values(name="up", job="bad")) == {0.0}
        assert_healthy_scrapes(made, 3)


async def test_a_hundred_thousand_new_series_each_scrape_meet_the_budget() -> None:
    def body(scrape: int) -> str:
        return "".join(f'churn{{n="{scrape}-{row}"}} 1\n' for row in range(100_000))

    store = RecordingStore(max_series=5_000)
    async with page(body_of_scrape=body) as churning:
        slow = {"scrape_interval": Duration(2_000), "scrape_timeout": Duration(2_000)}
        async with beside_a_healthy_target(churning.address, store, **slow) as made:
            await made.scrapes(1, job="good")
            await made.until(lambda: len(churning.requests) >= 3, 60)
            await made.scrapes(2, job="good")
            assert len(store.registry) <= 5_000
            assert len(store.values(name="healthy")) == len(store.values(name="up", job="good"))
            assert_healthy_scrapes(made, 3)


async def test_a_sample_limit_keeps_new_series_out_of_the_registry() -> None:
    def body(scrape: int) -> str:
        return "".join(f'churn{{n="{scrape}-{row}"}} 1\n' for row in range(20_000))

    async with (
        page(body_of_scrape=body) as churning,
        beside_a_healthy_target(churning.address, sample_limit=1000) as made,
    ):
        await made.scrapes(3, job="good")
        await made.scrapes(1, job="bad")
        assert len(made.store.registry) == 11
        assert_healthy_scrapes(made, 3)


def test_large_bodies_share_a_bound_and_small_ones_pass() -> None:
    memory = BodyMemory(1000, free=100)
    small, large, larger = memory.account(), memory.account(), memory.account()
    large.hold(1000)
    small.hold(100)
    with pytest.raises(LimitExceeded):
        larger.hold(300)
    larger.release()
    small.hold(90)
    large.release()
    larger.hold(1100)
    larger.release()
    small.release()
    assert memory.held == 0


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"a 1", b"b 2 1000", b'c{x="1"} 3', b'c{x="1"} 4', b"# TYPE a counter", b'{"d",y="2"} NaN', b"a 5", b"e Inf 7"]
        ),
    ),
    max_size=12,
)  # fmt: skip


@given(st.lists(LINES, min_size=1, max_size=5))
def test_any_row_of_bodies_ends_in_batches_or_bad_input(bodies: list[list[bytes]]) -> None:
    store = RecordingStore()
    series = TargetSeries(job("h:1"), {"job": "j", "instance": "h:1"}, Intake(store))
    parser = BodyParser()
    alive: set[int] = set()
    for turn, lines in enumerate(bodies):
        time_ms = (turn + 1) * 1000
        try:
            exposition, _ = parser.parse(b"\n".join(lines) + b"\n", Protocol.TEXT_0_0_4)
            counts, pending = series.accept(exposition, time_ms)
        except BadInput:
            parser = BodyParser()
            pending = series.fail(time_ms)
            alive_now: set[int] = set()
        else:
            assert counts.scraped == len(exposition)
            assert counts.added <= counts.kept <= counts.scraped
            alive_now = set(series.tracked.tolist())
        batch = pending.with_report([1.0] * 5)
        store.append(batch)
        ended = {
            int(ref)
            for ref, sample in zip(batch.refs, store.samples(batch), strict=True)
            if sample.stale and sample.time_ms == time_ms
        }
        stored = {
            int(ref) for ref, sample in zip(batch.refs, store.samples(batch), strict=True) if not sample.stale
        }
        assert ended == alive - alive_now - stored
        alive = alive_now
