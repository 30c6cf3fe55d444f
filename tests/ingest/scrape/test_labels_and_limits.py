"""Which labels series get, and which bodies are refused for what they hold."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadInput
from otero.fields import Size
from otero.ingest.relabel_config import RelabelConfig
from otero.ingest.scrape.sample_labels import SampleLabels
from otero.model.labels import decode_labels
from otero.telemetry import REGISTRY
from tests.ingest.scrape.loopback import eventually, job, page, scraping


def labels_of(exposed: dict[str, str], public: dict[str, str], **fields: Any) -> Mapping[str, str]:
    data = SampleLabels(job("h:1", **fields), public).of_series(exposed)
    assert data is not None
    return decode_labels(data)


@pytest.mark.parametrize(
    ("exposed", "public", "honoured", "renamed"),
    [
        ({"x": "1"}, {"job": "j"}, {"x": "1", "job": "j"}, {"x": "1", "job": "j"}),
        ({"job": "own"}, {"job": "j"}, {"job": "own"}, {"job": "j", "exported_job": "own"}),
        ({"job": ""}, {"job": "j"}, {}, {"job": "j"}),
        (
            {"job": "own", "exported_job": "x"},
            {"job": "j"},
            {"job": "own", "exported_job": "x"},
            {"job": "j", "exported_job": "x", "exported_exported_job": "own"},
        ),
        (
            {"job": "own"},
            {"job": "j", "exported_job": "t"},
            {"job": "own", "exported_job": "t"},
            {"job": "j", "exported_job": "t", "exported_exported_job": "own"},
        ),
    ],
)
def test_honor_labels_decides_whose_label_stays(
    exposed: dict[str, str], public: dict[str, str], honoured: dict[str, str], renamed: dict[str, str]
) -> None:
    exposed = {"__name__": "m", **exposed}
    assert labels_of(exposed, public, honor_labels=True) == {"__name__": "m", **honoured}
    assert labels_of(exposed, public) == {"__name__": "m", **renamed}


NAMES = st.sampled_from(["a", "b", "exported_a", "exported_exported_a", "exported_b"])


@given(
    st.dictionaries(NAMES, st.sampled_from(["", "1", "2"])),
    st.dictionaries(NAMES, st.sampled_from(["t", "u"])),
)
def test_no_label_is_lost_when_names_clash(exposed: dict[str, str], public: dict[str, str]) -> None:
    found = labels_of({"__name__": "m", **exposed}, public)
    assert {name: found[name] for name in public} == public
    values = sorted([*public.values(), *(value for value in exposed.values() if value), "m"])
    assert sorted(found.values()) == values


LIMITS: list[tuple[dict[str, int], str, str]] = [
    ({"sample_limit": 2}, "a 1\nb 2\nc 3\n", "sample limit exceeded"),
    ({"label_limit": 3}, 'a{x="1"} 1\n', "label_limit exceeded (metric: a, number of labels: 4, limit: 3)"),
    ({"label_name_length_limit": 8}, 'a{long_name="1"} 1\n', "label_name_length_limit exceeded"),
    ({"label_value_length_limit": 20}, 'a{x="123456789012345678901"} 1\n', "label_value_length_limit exceeded"),
    ({"body_size_limit": 9}, "a 1\nb 2\nc 3\n", "body size limit exceeded (9 bytes)"),
]  # fmt: skip


@pytest.mark.parametrize(("limit", "body", "error"), LIMITS, ids=[next(iter(case[0])) for case in LIMITS])
async def test_a_body_beyond_a_limit_fails_the_scrape_as_a_whole(
    limit: dict[str, int], body: str, error: str
) -> None:
    fields: dict[str, Any] = dict(limit)
    if "body_size_limit" in fields:
        fields["body_size_limit"] = Size(limit["body_size_limit"])
    async with page("a 1\n") as target, scraping(job(target.address, **fields)) as made:
        await made.scrapes(1)
        assert made.target().health == "up"
        target.body = body
        assert error in await made.failure()
        assert made.store.values(name="a") == [1.0] * made.store.values(name="up").count(1.0)
        target.body = "a 1\n"
        await eventually(lambda: made.target().health == "up")


async def test_sample_limit_counts_what_metric_relabelling_leaves() -> None:
    drop = RelabelConfig(source_labels=("__name__",), regex="c|d", action="drop")
    config_fields = {"sample_limit": 2, "metric_relabel_configs": (drop,)}
    async with page("a 1\nb 2\nc 3\nd 4\n") as target, scraping(job(target.address, **config_fields)) as made:
        await made.scrapes(2)
        assert made.target().health == "up"
        assert made.store.values(name="scrape_samples_scraped")[0] == 4
        assert made.store.values(name="scrape_samples_post_metric_relabeling")[0] == 2
        assert not made.store.samples(name="c")


async def test_series_beyond_a_sample_limit_do_not_enter_the_registry() -> None:
    def body(scrape: int) -> str:
        return "".join(f'm{{n="{scrape * 50 + row}"}} 1\n' for row in range(50))

    async with page(body_of_scrape=body) as target, scraping(job(target.address, sample_limit=10)) as made:
        await made.scrapes(3)
        assert len(made.store.registry) == 5, "those about the target"


async def test_metric_relabelling_renames_drops_and_leaves_the_report_alone() -> None:
    rules = (
        RelabelConfig(source_labels=("__name__",), regex="drop_.*|up", action="drop"),
        RelabelConfig(source_labels=("__name__",), regex="old_(.*)", target_label="__name__", replacement="new_$1"),
        RelabelConfig(regex="secret", action="labeldrop"),
    )  # fmt: skip
    body = 'old_a{secret="x",k="v"} 1\ndrop_b 2\nc 3\n'
    async with page(body) as target, scraping(job(target.address, metric_relabel_configs=rules)) as made:
        await made.scrapes(2)
        (sample,) = made.store.samples(made.store.batches[0], name="new_a")
        assert sample.labels == {"__name__": "new_a", "k": "v", "job": "j", "instance": target.address}
        assert not made.store.samples(name="drop_b")
        assert made.store.values(name="up")[0] == 1.0
        assert made.store.batches[1].refs is made.store.batches[0].refs


async def test_the_first_of_several_samples_of_a_series_wins_and_the_others_are_counted() -> None:
    def counted() -> float:
        return (
            REGISTRY.get_sample_value(
                "otero_rejected_total", {"door": "scrape", "reason": "duplicate_sample"}
            )
            or 0.0
        )

    before = counted()
    async with page('a{x="1",y="2"} 1\na{y="2",x="1"} 2\nb 3\n') as target:
        async with scraping(job(target.address)) as made:
            await made.scrapes(1)
        assert made.store.values(made.store.batches[0], name="a") == [1.0]
        assert counted() > before
        assert made.store.values(name="up")[0] == 1.0


async def test_target_relabelling_makes_addresses_and_drops_targets() -> None:
    async with page("a 1\n") as target:
        rules = (
            RelabelConfig(source_labels=("__address__",), target_label="instance"),
            RelabelConfig(source_labels=("__address__",), regex="gone:.*", action="drop"),
            RelabelConfig(target_label="__address__", replacement=target.address),
            RelabelConfig(source_labels=("__param_module",), target_label="module"),
            RelabelConfig(target_label="__metrics_path__", replacement="/probe"),
        )
        config = job(
            "nice name:1", "gone:2", params={"module": ["http_2xx"]}, relabel_configs=rules, scheme="http"
        )
        async with scraping(config) as made:
            await made.scrapes(1)
            targets = made.manager.targets()
            assert made.target().labels == {"job": "j", "instance": "nice name:1", "module": "http_2xx"}
            assert [dropped.discovered["__address__"] for dropped in targets.dropped] == ["gone:2"]
            assert targets.dropped_counts == {"j": 1}
            steps = made.manager.explain("j", targets.dropped[0].discovered)
            assert steps[-1].after is None
            assert steps[-1].rule is rules[1]
            request = target.requests[0]
            assert request.path_qs == "/probe?module=http_2xx"


async def test_a_job_beyond_its_target_limit_fails_all_its_scrapes() -> None:
    async with page("a 1\n") as one, page("a 1\n") as two:
        async with scraping(job(one.address, two.address, target_limit=1)) as made:
            assert "target_limit exceeded" in await made.failure()
        assert not one.requests
        assert not two.requests


async def test_label_sets_that_make_no_target_are_shown_with_the_reason() -> None:
    rules = (RelabelConfig(target_label="__scrape_interval__", replacement="soon"),)
    async with scraping(job("h:1", relabel_configs=rules)) as made:
        (rejected,) = made.manager.targets().rejected
        assert "error parsing scrape interval" in rejected.error


def test_legacy_validation_refuses_names_outside_the_classic_alphabet() -> None:
    with pytest.raises(BadInput, match="invalid metric name"):
        labels_of({"__name__": "my.metric"}, {}, metric_name_validation_scheme="legacy")
    assert labels_of({"__name__": "my.metric"}, {})["__name__"] == "my.metric"
