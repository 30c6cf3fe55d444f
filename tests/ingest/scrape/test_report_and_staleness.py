"""What a scrape says of itself, and when series get a staleness marker."""

import itertools

import numpy as np
import pytest

from otero.ingest.scrape.series import REPORT
from otero.model.samples import STALE_BITS, bits
from tests.fakes import Sample
from tests.ingest.scrape.loopback import Scraping, eventually, job, page, scraping


def stale_names(made: Scraping) -> set[str]:
    return {sample.labels["__name__"] for sample in made.store.samples() if sample.stale}


def by_time(samples: list[Sample]) -> dict[int, Sample]:
    return {sample.time_ms: sample for sample in samples}


async def test_report_series_of_good_scrapes() -> None:
    async with page('a 1\nb 2\nc{x="1"} 3\n') as target:
        config = job(
            target.address,
            labels={"env": "test"},
            metric_relabel_configs=(),
        )
        async with scraping(config) as made:
            await made.scrapes(3)
            samples = made.store.samples(made.store.batches[0])
        assert [sample.labels["__name__"] for sample in samples] == ["a", "b", "c", *REPORT]
        for sample in samples:
            assert sample.labels["job"] == "j"
            assert sample.labels["instance"] == target.address
            assert sample.labels["env"] == "test"
        assert len({sample.time_ms for sample in samples}) == 1
        assert made.store.values(name="up")[:3] == [1.0] * 3
        assert made.store.values(name="scrape_samples_scraped")[:3] == [3.0] * 3
        assert made.store.values(name="scrape_samples_post_metric_relabeling")[:3] == [3.0] * 3
        assert made.store.values(name="scrape_series_added")[:3] == [3.0, 0.0, 0.0]
        assert all(0 < value < 20 for value in made.store.values(name="scrape_duration_seconds"))


async def test_extra_report_series() -> None:
    async with page("a 1\n") as target:
        config = job(target.address, extra_scrape_metrics=True, sample_limit=7)
        async with scraping(config) as made:
            await made.scrapes()
            target.status = 500
            await made.until(lambda: 0.0 in made.store.values(name="up"))
        assert made.store.values(name="scrape_timeout_seconds")[0] == pytest.approx(0.1)
        assert made.store.values(name="scrape_sample_limit")[0] == 7
        assert made.store.values(name="scrape_body_size_bytes")[0] == 4
        assert made.store.values(name="scrape_body_size_bytes")[-1] == 0


async def test_unchanged_targets_hand_over_the_same_array_of_references() -> None:
    async with (
        page(body_of_scrape=lambda n: f"a {n}\nb {n}\n") as target,
        scraping(job(target.address)) as made,
    ):
        await made.scrapes(4)
        assert all(batch.refs is made.store.batches[0].refs for batch in made.store.batches)
        assert made.store.values(name="a")[:4] == [0.0, 1.0, 2.0, 3.0]


async def test_timestamps_keep_the_distance_of_the_interval() -> None:
    async with page("a 1\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(8)
        times = [sample.time_ms for sample in made.store.samples(name="up")]
        distances = {(after - before) % 100 for before, after in itertools.pairwise(times)}
        assert 0 in distances


async def test_a_series_that_goes_gets_a_marker_and_the_others_go_on() -> None:
    async with page("a 1\nb 2\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(2)
        target.body = "a 1\n"
        await made.until(lambda: stale_names(made))
        await made.scrapes(2)
        assert stale_names(made) == {"b"}
        (marker,) = [sample for sample in made.store.samples(name="b") if sample.stale]
        assert by_time(made.store.samples(name="up"))[marker.time_ms].value == 1.0
        assert max(s.time_ms for s in made.store.samples(name="b")) == marker.time_ms
        target.body = "a 1\nb 3\n"
        await made.until(lambda: 3.0 in made.store.values(name="b"))
        assert made.store.values(name="scrape_series_added")[-1] in (0.0, 1.0)
        assert 1.0 in made.store.values(name="scrape_series_added")


async def test_a_failed_scrape_ends_all_series_but_those_about_the_target() -> None:
    async with page("a 1\nb 2\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(2)
        target.status = 503
        await made.until(lambda: 0.0 in made.store.values(name="up"))
        await made.until(lambda: made.target().last.error)
        assert made.target().last.error == "server returned HTTP status 503 Service Unavailable"
        await made.scrapes(2)
        assert stale_names(made) == {"a", "b"}
        assert len([sample for sample in made.store.samples(name="a") if sample.stale]) == 1, (
            "one, not one each time"
        )
        assert made.store.values(name="scrape_samples_scraped")[-1] == 0.0
        target.status = 200
        await made.until(lambda: made.store.values(name="up")[-1] == 1.0)
        await made.until(lambda: made.target().health == "up")
        assert not made.store.samples(made.store.batches[-1], name="a")[-1].stale


async def test_a_body_that_is_faulty_in_its_middle_is_not_stored_in_part() -> None:
    async with page("a 1\nb 2\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(1)
        target.body = "a 777\nb two\n"
        await made.until(lambda: 0.0 in made.store.values(name="up"))
        await made.scrapes(1)
        assert 777.0 not in made.store.values(name="a")
        assert stale_names(made) == {"a", "b"}


async def test_a_removed_target_ends_with_the_series_about_it() -> None:
    async with (
        page("a 1\n") as target,
        page("a 5\n") as other,
        scraping(job(target.address, other.address)) as made,
    ):
        await made.scrapes(2, instance=target.address)
        await made.manager.apply([job(other.address)])
        await made.until(lambda: stale_names(made))
        gone = [sample for sample in made.store.samples() if sample.stale]
        assert {sample.labels["__name__"] for sample in gone} == {"a", *REPORT}
        assert {sample.labels["instance"] for sample in gone} == {target.address}
        last = made.store.samples(name="a", instance=target.address)[-2]
        assert gone[0].time_ms > last.time_ms


async def test_a_removed_job_ends_its_series() -> None:
    async with page("a 1\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(2)
        await made.manager.apply([])
        assert made.manager.targets().active == ()
        await made.until(lambda: stale_names(made) == {"a", *REPORT})


async def test_nothing_is_marked_when_the_manager_stops() -> None:
    async with page("a 1\n") as target:
        async with scraping(job(target.address)) as made:
            await made.scrapes(2)
        assert stale_names(made) == set()
        assert made.manager.targets().active == ()


async def test_a_reload_keeps_the_loop_of_an_unchanged_target() -> None:
    async with page("a 1\n") as target, page("b 1\n") as other, scraping(job(target.address)) as made:
        await made.scrapes(2)
        refs = made.store.batches[0].refs
        await made.manager.apply([job(target.address, other.address), job(other.address, name="second")])
        assert made.target(0).last.time_ms or made.target(1).last.time_ms, "what was known of it stays"
        await made.scrapes(2, instance=target.address, job="j")
        await made.scrapes(1, instance=other.address, job="second")
        mine = [batch for batch in made.store.batches if made.store.samples(batch, name="a")]
        assert all(batch.refs is refs for batch in mine)
        assert made.store.values(name="scrape_series_added", instance=target.address).count(1.0) == 1
        assert stale_names(made) == set()


async def test_a_reload_with_other_settings_goes_on_without_markers() -> None:
    async with page("a 1\nb 1\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(2)
        await made.manager.apply([job(target.address, sample_limit=10)])
        await made.scrapes(3)
        assert stale_names(made) == set()
        assert made.store.values(name="scrape_series_added").count(2.0) == 1, "a reload makes no series new"


@pytest.mark.parametrize("track", [False, True])
async def test_explicit_timestamps_are_honoured_and_tracked_when_asked(track: bool) -> None:
    async with page() as target:
        target.body = "a 1\n"
        async with scraping(job(target.address, track_timestamps_staleness=track)) as made:
            await made.scrapes(1)
            own_ms = made.store.samples(name="a")[0].time_ms - 12_345
            target.body = f"a 2\nb 7 {own_ms}\n"
            await made.until(lambda: made.store.values(name="b"))
            assert made.store.samples(name="b")[0].time_ms == own_ms
            target.body = "a 3\n"
            await made.until(lambda: 3.0 in made.store.values(name="a"))
            await made.scrapes(1)
            assert stale_names(made) == ({"b"} if track else set())


async def test_explicit_timestamps_are_ignored_when_not_honoured() -> None:
    async with page("b 7 12345\n") as target, scraping(job(target.address, honor_timestamps=False)) as made:
        await made.scrapes(1)
        (b, up) = made.store.samples(made.store.batches[0], name="b") + made.store.samples(
            made.store.batches[0], name="up"
        )
        assert b.time_ms == up.time_ms


async def test_explicit_timestamps_far_in_the_future_are_dropped() -> None:
    async with page("a 1\nb 7 99999999999999\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(1)
        assert made.store.values(name="a")
        assert not made.store.samples(name="b")
        assert made.store.values(name="up") == [1.0]


async def test_a_store_that_refuses_is_counted_and_the_loop_goes_on() -> None:
    text = "# HELP a What it is.\n# TYPE a gauge\na 1\n"
    async with page(text + "b 2\n") as target, scraping(job(target.address)) as made:
        made.store.unavailable = True
        before = len(target.requests)
        await eventually(lambda: len(target.requests) >= before + 3)
        await eventually(lambda: "samples dropped" in made.target().last.error)
        assert made.target().health == "down"
        target.body = text
        made.store.unavailable = False
        await made.scrapes(2)
        await eventually(lambda: made.target().health == "up")
        described = [entry.metric for batch in made.store.batches for entry in batch.metadata]
        assert described == ["a"], "what could not be stored is said again"


async def test_markers_that_could_not_be_stored_come_with_the_next_batch() -> None:
    async with page("a 1\nb 2\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(2)
        made.store.unavailable = True
        target.body = "a 1\n"
        before = len(target.requests)
        await eventually(lambda: len(target.requests) >= before + 3)
        assert stale_names(made) == set()
        made.store.unavailable = False
        await made.until(lambda: stale_names(made))
        assert stale_names(made) == {"b"}
        marked = [batch for batch in made.store.batches if (bits(batch.values) == STALE_BITS).any()]
        assert len(marked) == 1


async def test_a_full_series_budget_leaves_series_out_and_takes_them_when_there_is_room() -> None:
    async with page("a 1\nb 2\n") as target, scraping(job(target.address), max_series=3) as made:
        await made.scrapes(2)
        assert made.target().health == "up"
        first = made.store.samples(made.store.batches[0])
        assert [sample.labels["__name__"] for sample in first] == list(REPORT[:3])
        assert made.store.values(name="scrape_samples_scraped")[:2] == [2.0, 2.0]
        made.store.registry.forget(np.array([made.store.batches[0].refs[2]]))
        made.store.batches.clear()  # what was written under the forgotten reference cannot be read any more
        await made.scrapes(3)
        names = {sample.labels["__name__"] for sample in made.store.samples(made.store.batches[-1])}
        assert names == set(REPORT[:3]), "the same ones take the room again"
        target.body = "b 5\n"
        await made.scrapes(2)
        assert made.target().last.error == ""
