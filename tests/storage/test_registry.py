import numpy as np
import pytest

from otero.clock import ManualClock
from otero.model.labels import LabelBytes, encode_labels, series_id
from otero.model.matchers import Matcher, MatchOp
from otero.storage import registry as registry_module
from otero.storage.registry import SeriesRegistry


def keys(*labels: dict[str, str]) -> list[LabelBytes]:
    return [encode_labels(each) for each in labels]


def test_a_label_set_keeps_its_reference_and_gives_its_labels_back() -> None:
    registry = SeriesRegistry(ManualClock())
    first = keys({"__name__": "up", "job": "a"}, {"__name__": "up", "job": "b"})
    refs = registry.resolve(first)
    assert refs.tolist() == [0, 1]
    assert registry.resolve(list(reversed(first))).tolist() == [1, 0]
    assert registry.labels(1) == first[1]
    assert registry.ids.tolist() == [series_id(key) for key in first]
    assert registry.find(keys({"__name__": "down"})).tolist() == [-1]
    assert registry.table(refs[::-1]).rows() == [
        {"__name__": "up", "job": "b"},
        {"__name__": "up", "job": "a"},
    ]


def test_the_same_new_label_set_twice_in_a_batch_is_one_series() -> None:
    registry = SeriesRegistry(ManualClock())
    assert registry.resolve(keys({"__name__": "a"}, {"__name__": "a"})).tolist() == [0, 0]
    assert len(registry) == 1


def test_budgets_refuse_new_series_only_and_count_them() -> None:
    registry = SeriesRegistry(ManualClock(), max_series=3, max_series_per_job=2)
    batch = keys(*({"__name__": "m", "job": "a", "i": str(i)} for i in range(4)))
    assert registry.resolve(batch).tolist() == [0, 1, -1, -1]
    assert registry.refused["job_series_limit"] == 2
    more = keys(*({"__name__": "m", "job": "b", "i": str(i)} for i in range(2)))
    assert registry.resolve(more).tolist() == [2, -1]
    assert registry.refused["series_limit"] == 1
    assert registry.resolve(batch[:2]).tolist() == [0, 1]
    registry.forget(np.array([0]))
    assert registry.resolve(batch[2:3]).tolist() == [3]


def test_forgotten_references_are_never_given_again_and_the_epoch_rises() -> None:
    registry = SeriesRegistry(ManualClock())
    batch = keys(*({"__name__": "m", "i": str(i)} for i in range(5000)))
    refs = registry.resolve(batch)
    assert registry.alive(refs)
    assert registry.forget(refs[:4000]) == 4000
    assert registry.forget(refs[:4000]) == 0
    assert registry.epoch == 1
    assert not registry.alive(refs)
    assert registry.alive(refs[4000:])
    with pytest.raises(KeyError):
        registry.labels(0)
    assert registry.select([]).tolist() == list(range(4000, 5000))
    assert [row["i"] for row in registry.table(refs[4000:4003]).rows()] == ["4000", "4001", "4002"]
    again = registry.resolve(batch[:1])
    assert again.tolist() == [5000]
    assert registry.select([Matcher("i", MatchOp.EQUAL, "0")]).tolist() == [5000]


def test_two_label_sets_with_one_series_id_are_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "series_id", lambda key: len(key))
    registry = SeriesRegistry(ManualClock())
    refs = registry.resolve(keys({"__name__": "a"}, {"__name__": "b"}, {"__name__": "long"}))
    assert refs.tolist() == [0, -1, 1]
    assert registry.refused["id_collision"] == 1


def test_label_names_and_values_of_all_and_of_some_series() -> None:
    registry = SeriesRegistry(ManualClock())
    refs = registry.resolve(
        keys({"__name__": "up", "job": "b"}, {"__name__": "up", "job": "a"}, {"__name__": "x", "zone": "é"})
    )
    assert registry.label_names() == ["__name__", "job", "zone"]
    assert registry.label_names(refs[:2]) == ["__name__", "job"]
    assert registry.label_values("job") == ["a", "b"]
    assert registry.label_values("job", refs[:1]) == ["b"]
    assert registry.label_values("none") == []
    assert registry.label_values("zone", refs[:1]) == []
    assert registry.series_by_metric() == {"up": 2, "x": 1}
    assert registry.values_by_label() == {"__name__": 2, "job": 2, "zone": 1}
