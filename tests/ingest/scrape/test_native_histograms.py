"""Native histograms from real targets into the real store, under every setting about them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otero.clock import SystemClock
from otero.errors import BadInput
from otero.fields import Duration
from otero.ingest.scrape.native_limits import NativeLimits, finest_schema
from otero.model.budget import Budget
from otero.model.histograms import CUSTOM, Histograms, boxed_rows
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import STALE_BITS, bits
from otero.storage.metrics import MetricStore, StorageSettings
from otero.wire.pb import exposition_pb2 as pb
from tests.histogram_samples import Described, described, one
from tests.ingest.scrape.loopback import eventually, job, page, scraping
from tests.wire.test_classic_histograms import BODY, X
from tests.wire.test_exposition_protobuf import CLASSIC_KEYS, NATIVE, delimited, family

FAR_MS = 1 << 42
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
PROTO_BODY = delimited(
    family(4, pb.Metric(histogram=NATIVE)), family(1, pb.Metric(gauge=pb.Plain(value=1)), name="g")
)
COMPACT = Histograms.concat([one(3, {-2: 2.0, -1: 1.0, 3: 4.0}, below={1: 2.0}, zero_count=1.0, zero_threshold=0.001, total=2.5)])  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    opened = MetricStore(StorageSettings(path=tmp_path, fsync="never", retention_ms=0), SystemClock())
    opened.start()
    yield opened
    opened.stop()


def half_second_job(*addresses: str, **fields: Any) -> Any:
    times = {"scrape_interval": Duration(500), "scrape_timeout": Duration(500)}
    return job(*addresses, **times, **fields)


def samples(store: MetricStore, metric: str) -> list[float | str | Described]:
    """The samples of a metric, all series together, in order of time."""
    budget = Budget(SystemClock(), timeout_s=20, max_samples=10**6)
    out: list[tuple[int, float | str | Described]] = []
    for block in store.select([Matcher("__name__", MatchOp.EQUAL, metric)], 0, FAR_MS, budget):
        rows = boxed_rows(block.values)
        for at, column in np.argwhere(block.times_ms[:, block.group] < FAR_MS).tolist():
            time_ms = int(block.times_ms[at, block.group[column]])
            value: float | str | Described = float(block.values[at, column])
            if rows[at, column] >= 0 and block.histograms is not None:
                value = described(block.histograms, int(rows[at, column]))
            elif bits(block.values)[at, column] == STALE_BITS:
                value = "stale"
            out.append((time_ms, value))
    return [value for _, value in sorted(out, key=lambda pair: pair[0])]


async def test_native_histograms_are_scraped_counted_and_end(store: MetricStore) -> None:
    async with page(PROTO_BODY, content_type=PROTOBUF) as target:
        config = half_second_job(target.address, scrape_native_histograms=True)
        async with scraping(config, store=store) as made:
            await eventually(lambda: len(samples(store, "m")) >= 2)
            assert target.requests[0].headers["Accept"].startswith("application/vnd.google.protobuf")
            target.body = delimited(family(1, pb.Metric(gauge=pb.Plain(value=1)), name="g"))
            await eventually(lambda: samples(store, "m")[-1] == "stale")
            assert made.target().last.error == ""
    assert samples(store, "m")[:2] == [described(COMPACT, 0)] * 2
    assert samples(store, "m_count") == []
    assert samples(store, "scrape_samples_scraped")[0] == 2.0
    assert samples(store, "scrape_samples_post_metric_relabeling")[0] == 2.0
    assert samples(store, "scrape_series_added")[0] == 2.0
    assert samples(store, "up")[0] == 1.0


async def test_without_the_setting_the_classic_form_is_stored(store: MetricStore) -> None:
    async with page(PROTO_BODY, content_type=PROTOBUF) as target:
        config = half_second_job(target.address)
        async with scraping(config, store=store):
            await eventually(lambda: samples(store, "m_count"))
    assert samples(store, "m") == []
    assert samples(store, "m_count")[0] == 10.0


async def test_both_forms_and_a_dropped_one(store: MetricStore) -> None:
    async with page(PROTO_BODY, content_type=PROTOBUF) as target:
        config = half_second_job(
            target.address, scrape_native_histograms=True, always_scrape_classic_histograms=True
        )
        async with scraping(config, store=store):
            await eventually(lambda: samples(store, "m"))
    assert samples(store, "m")[0] == described(COMPACT, 0)
    assert samples(store, "m_count")[0] == 10.0
    assert samples(store, "scrape_samples_scraped")[0] == 2.0 + len(CLASSIC_KEYS)


async def test_classic_histograms_of_text_become_native_ones(store: MetricStore) -> None:
    async with page(BODY) as target:
        config = half_second_job(target.address, convert_classic_histograms_to_nhcb=True)
        async with scraping(config, store=store):
            await eventually(lambda: len(samples(store, "h")) >= 4)
    assert samples(store, "h").count(described(X, 0)) >= 1
    assert samples(store, "h_bucket") == samples(store, "h_count") == []
    assert samples(store, "scrape_samples_scraped")[0] == 4.0


async def test_too_many_buckets_at_any_resolution_fail_the_scrape(store: MetricStore) -> None:
    wide = one(CUSTOM, {0: 1.0, 1: 1.0}, bounds=(1.0,), total=1.0)
    assert len(wide.bucket) == 2
    async with page(BODY) as target:
        config = half_second_job(
            target.address, convert_classic_histograms_to_nhcb=True, native_histogram_bucket_limit=1
        )
        async with scraping(config, store=store) as made:
            await eventually(lambda: samples(store, "up"))
            await eventually(lambda: made.target().last.error)
            assert made.target().last.error.startswith("histogram bucket limit exceeded")
    assert samples(store, "up")[0] == 0.0
    assert samples(store, "h") == samples(store, "g") == []


def limits(**fields: Any) -> NativeLimits:
    return NativeLimits(job("a:1", **fields))


def test_histograms_are_made_coarser_until_they_fit() -> None:
    fine = one(3, dict.fromkeys(range(1, 33), 1.0), below={8: 2.0, 9: 1.0}, total=1.0)
    out = limits(native_histogram_bucket_limit=8)(fine)
    assert int(out.schema[0]) == 0
    assert described(out, 0) == described(one(0, {1: 8.0, 2: 8.0, 3: 8.0, 4: 8.0}, below={1: 2.0, 2: 1.0}, total=1.0), 0)  # fmt: skip
    mixed = Histograms.concat([fine, one(3, {1: 1.0}, total=1.0), one(3, {}, total=1.0)])
    assert limits(native_histogram_bucket_limit=8)(mixed).schema.tolist() == [0, 3, 3]
    assert limits()(fine) is fine
    assert limits(native_histogram_min_bucket_factor=1.4)(fine).schema.tolist() == [1]
    far = one(-4, dict.fromkeys(range(5), 1.0), total=1.0)
    with pytest.raises(BadInput, match="histogram bucket limit exceeded"):
        limits(native_histogram_bucket_limit=4)(far)


@pytest.mark.parametrize(
    ("factor", "schema"),
    [(0, 8), (1, 8), (1.002, 8), (1.005, 7), (1.01, 6), (1.02, 5), (1.04, 4), (1.09, 3), (1.1, 2), (2, 0), (3, -1), (65536, -4), (1e30, -4)],
)  # fmt: skip
def test_the_smallest_growth_of_buckets_sets_the_finest_schema(factor: float, schema: int) -> None:
    assert finest_schema(factor) == schema
