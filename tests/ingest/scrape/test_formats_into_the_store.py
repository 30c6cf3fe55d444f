"""Bodies of every format arrive in the real store, with exemplars, metadata and start timestamps."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.labels import decode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import Metadata
from otero.model.samples import ABSENT_BITS, STALE_BITS, bits
from otero.storage.metrics import MetricStore, StorageSettings
from otero.wire.pb.exposition_pb2 import MetricFamily
from tests.fakes import RecordingStore
from tests.ingest.scrape.loopback import OPENMETRICS, eventually, job, page, scraping

FAR_MS = 1 << 42
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    opened = MetricStore(StorageSettings(path=tmp_path, fsync="never", retention_ms=0), SystemClock())
    opened.start()
    yield opened
    opened.stop()


def read(store: MetricStore, metric: str) -> list[tuple[dict[str, str], list[float], bool]]:
    """Labels, values in order of time, and whether the last one is a staleness marker."""
    budget = Budget(SystemClock(), timeout_s=20, max_samples=10**6)
    out: list[tuple[dict[str, str], list[float], bool]] = []
    for block in store.select([Matcher("__name__", MatchOp.EQUAL, metric)], 0, FAR_MS, budget):
        raw = bits(np.ascontiguousarray(block.values))
        for column, labels in enumerate(block.labels.rows()):
            there = raw[:, column] != ABSENT_BITS
            values = block.values[there, column]
            stale = raw[there, column] == STALE_BITS
            if len(values):
                out.append((dict(labels), values[~stale].tolist(), bool(stale[-1])))
    return out


def delimited(*families: MetricFamily) -> bytes:
    out = b""
    for family in families:
        data = family.SerializeToString()
        size = len(data)
        while size > 127:
            out += bytes([size & 127 | 128])
            size >>= 7
        out += bytes([size]) + data
    return out


async def stored(store: MetricStore, metric: str, condition: Callable[[list[float]], object]) -> None:
    await eventually(lambda: any(condition(values) for _, values, _ in read(store, metric)))


async def test_openmetrics_brings_exemplars_metadata_and_start_timestamps(store: MetricStore) -> None:
    body = (
        "# HELP hits How often.\n# TYPE hits counter\n"
        'hits_total{code="200"} 5 # {trace_id="abc"} 1.5 1700000000.25\nhits_created{code="200"} 1699999999.5\n'
        "# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\nwait_seconds 2\n# EOF\n"
    )
    async with page(body, content_type=OPENMETRICS) as target:
        async with scraping(job(target.address), store=store):
            await stored(store, "hits_total", lambda values: values[:2] == [5.0, 5.0])
        matchers = [[Matcher("__name__", MatchOp.EQUAL, "hits_total")]]
        ((key, exemplars),) = store.exemplars(matchers, 0, FAR_MS)
        assert decode_labels(key)["instance"] == target.address
        assert [(decode_labels(e.labels), e.value, e.time_ms) for e in exemplars] == [
            ({"trace_id": "abc"}, 1.5, 1_700_000_000_250)
        ]
        assert store.metadata("hits") == {"hits": [Metadata("hits", "counter", "How often.")]}
        assert store.metadata("wait_seconds") == {
            "wait_seconds": [Metadata("wait_seconds", "gauge", "", "seconds")]
        }


async def test_protobuf_bodies(store: MetricStore) -> None:
    family = MetricFamily(name="hits", help="How often.", type=0)
    metric = family.metric.add()
    metric.label.add(name="code", value="200")
    metric.counter.value = 7
    data = delimited(family)
    async with page(data, content_type=PROTOBUF) as target:
        config = job(target.address, scrape_protocols=("PrometheusProto", "PrometheusText0.0.4"))
        async with scraping(config, store=store):
            await stored(store, "hits", lambda values: values[:2] == [7.0, 7.0])
        assert target.requests[0].headers["Accept"].startswith("application/vnd.google.protobuf")
        assert store.metadata("hits") == {"hits": [Metadata("hits", "counter", "How often.")]}


async def test_gzip_is_asked_for_and_undone(store: MetricStore) -> None:
    async with page(gzip.compress(b"a 1\n"), headers={"Content-Encoding": "gzip"}) as target:
        async with scraping(job(target.address), store=store):
            await stored(store, "a", lambda values: len(values) >= 2)
        assert target.requests[0].headers["Accept-Encoding"] == "gzip"
        assert float(target.requests[0].headers["X-Prometheus-Scrape-Timeout-Seconds"]) == 0.1


async def test_utf8_names(store: MetricStore) -> None:
    body = '{"größe.der-datei","ein label"="ü"} 3\n'
    async with page(body) as target:
        async with scraping(job(target.address), store=store):
            await stored(store, "größe.der-datei", lambda values: values)
        ((labels, _, _),) = read(store, "größe.der-datei")
        assert labels["ein label"] == "ü"


async def test_the_store_shows_a_marker_where_a_series_ended(store: MetricStore) -> None:
    async with page("a 1\nb 1\n") as target:
        async with scraping(job(target.address), store=store):
            await stored(store, "b", lambda values: len(values) >= 2)
            target.body = "a 1\n"
            await eventually(lambda: read(store, "b")[0][2])
        assert not read(store, "a")[0][2], "nothing ends because the manager stops"
        assert not read(store, "up")[0][2]


async def test_a_target_that_moves_to_another_job_with_the_same_labels_gets_no_marker(
    store: MetricStore,
) -> None:
    async with page("a 1\n") as target:
        labels = {"job": "shared"}
        async with scraping(job(target.address, name="one", labels=labels), store=store) as made:
            await stored(store, "a", lambda values: len(values) >= 2)
            await made.manager.apply([job(target.address, name="two", labels=labels)])
            (before,) = read(store, "up")
            await stored(store, "up", lambda values: len(values) >= len(before[1]) + 6)
            leaving = made.manager._leaving  # pyright: ignore[reportPrivateUsage]
            await eventually(lambda: not leaving)
            (after,) = read(store, "up")
            assert not after[2]
            budget = Budget(SystemClock(), timeout_s=20, max_samples=10**6)
            for block in store.select([Matcher("job", MatchOp.EQUAL, "shared")], 0, FAR_MS, budget):
                raw = bits(np.ascontiguousarray(block.values))
                assert not (raw == STALE_BITS).any()


async def test_series_that_the_registry_forgot_are_found_again() -> None:
    store = RecordingStore()
    async with page("a 1\nb 2\n") as target, scraping(job(target.address), store=store) as made:
        await made.scrapes(2)
        forgotten = np.unique(store.batches[0].refs)
        store.registry.forget(forgotten)
        store.batches.clear()  # what was written under the old references cannot be read any more
        await made.scrapes(3)
        last = store.batches[-1]
        assert store.registry.alive(last.refs)
        assert [s.labels["__name__"] for s in store.samples(last)][:2] == ["a", "b"]
