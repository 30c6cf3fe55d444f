"""Cutting texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.alerting.notification import common
from otero.alerting.notify.limits import split_list, truncate, truncate_bytes
from otero.alerting.notify.payload import filled_in
from otero.alerting.template import Templates
from tests.alerting.notify.sink import notification


@given(st.text(max_size=60), st.integers(0, 50))
def test_no_more_characters_than_the_limit(text: str, limit: int) -> None:
    cut = truncate(text, limit)
    assert len(cut) <= limit
    assert cut == text or text.startswith(cut.removesuffix("…"))
    assert cut.endswith("…") or len(text) <= limit or limit <= 3


@given(st.text(max_size=60), st.integers(0, 50))
def test_no_more_bytes_than_the_limit(text: str, limit: int) -> None:
    cut = truncate_bytes(text, limit)
    assert len(cut.encode()) <= limit
    if len(text.encode()) <= limit:
        assert cut == text
    elif limit >= 3:
        kept = cut.removesuffix("…")
        assert text.startswith(kept)
        assert limit - len(cut.encode()) < 4  # as much as fits


@pytest.mark.parametrize(
    ("text", "parts"), [("", []), (",", []), ("a", ["a"]), (" a,b ,,c ", ["a", "b ", "c"])]
)
def test_lists_with_commas(text: str, parts: list[str]) -> None:
    assert split_list(text) == parts


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")), max_size=4))
def test_what_alerts_have_in_common(sets: list[dict[str, str]]) -> None:
    pairs = [set(labels.items()) for labels in sets]
    assert set(common(sets).items()) == (set.intersection(*pairs) if pairs else set())


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{{ .Alerts | len }}", 1),
        ("{{ .Status }}", "firing"),
        ("{{ .Status }}: now", "firing: now"),
        ("[a, {b: '{{ .Status }}'}]", ["a", {"b": "firing"}]),
        ("", None),
        ("yes", True),
        ("'{{ .Status }}'", "'firing'"),
        ("{{ .Status }}: [", "firing: ["),
        ({"{{ .Status }}": [1, None, "{{ .Status }}"]}, {"firing": [1, None, "firing"]}),
    ],
)
def test_values_of_a_configuration(value: object, filled: object) -> None:
    """As template.DeepCopyWithTemplate."""
    if value == "{{ .Status }}: now":
        filled = {"firing": "now"}  # YAML of a mapping, whether it was meant or not
    text = Templates.builtin().bind(notification())
    assert filled_in(value, text) == filled
