import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.clock import ManualClock
from otero.errors import BadInput
from otero.model.labels import encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.storage.registry import SeriesRegistry

NAMES = ["__name__", "job", "code", "zone"]
VALUES = ["", "a", "b", "ab", "200", "500", "é"]
PATTERNS = ["", "a|b", "a||b", "5..", "a.*", ".*", ".+", "[ab]+", "(?i)A", "200|500|é", "nothing"]

label_sets = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES)),
    max_size=30,
)
matchers = st.lists(
    st.one_of(
        st.builds(
            Matcher,
            st.sampled_from([*NAMES, "unknown"]),
            st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]),
            st.sampled_from(VALUES),
        ),
        st.builds(
            Matcher,
            st.sampled_from([*NAMES, "unknown"]),
            st.sampled_from([MatchOp.REGEX, MatchOp.NOT_REGEX]),
            st.sampled_from(PATTERNS),
        ),
    ),
    max_size=3,
)


@given(label_sets, label_sets, matchers, st.sets(st.integers(0, 40)))
def test_selection_equals_matching_every_label_set(
    first: list[dict[str, str]], second: list[dict[str, str]], conditions: list[Matcher], gone: set[int]
) -> None:
    registry = SeriesRegistry(ManualClock())
    known: dict[int, dict[str, str]] = {}

    def enter(sets: list[dict[str, str]]) -> None:
        refs = registry.resolve([encode_labels(each) for each in sets])
        for ref, each in zip(refs.tolist(), sets, strict=True):
            known[ref] = {name: value for name, value in each.items() if value}

    def check() -> None:
        wanted = [
            ref
            for ref, each in sorted(known.items())
            if all(matcher.matches(each.get(matcher.name, "")) for matcher in conditions)
        ]
        refs, table = registry.select_table(conditions)
        assert refs.tolist() == wanted
        assert table.rows() == [dict(sorted(known[ref].items())) for ref in wanted]
        assert all(column.values[0] == "" for column in table.columns.values())
        assert all(len(set(column.values)) == len(column.values) for column in table.columns.values())

    enter(first)
    check()
    dead = [ref for ref in gone if ref in known]
    registry.forget(np.array(dead, np.int64))
    for ref in dead:
        del known[ref]
    check()
    enter(second)
    check()
    registry._index._compact()  # pyright: ignore[reportPrivateUsage]
    check()
    assert registry.label_names() == sorted({name for each in known.values() for name in each})


def test_a_bad_pattern_is_bad_input() -> None:
    registry = SeriesRegistry(ManualClock())
    registry.resolve([encode_labels({"__name__": "a", "job": "x"})])
    with pytest.raises(BadInput):
        registry.select([Matcher("job", MatchOp.REGEX, "(")])


def test_codes_outgrow_a_byte_and_small_tables_get_small_dictionaries() -> None:
    registry = SeriesRegistry(ManualClock())
    refs = registry.resolve([encode_labels({"__name__": "m", "path": f"/{i}"}) for i in range(70_000)])
    table = registry.table(refs[[300, 69_999, 300]])
    assert [row["path"] for row in table.rows()] == ["/300", "/69999", "/300"]
    assert len(table.columns["path"].values) == 3
    assert registry.select([Matcher("path", MatchOp.REGEX, "/6999[0-4]")]).tolist() == list(
        range(69_990, 69_995)
    )
