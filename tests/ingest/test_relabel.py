"""Relabelling: Prometheus' documented actions as a table, and random rules against a slow, obvious reference."""

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadField
from otero.ingest.relabel import compile_relabel, hash_mod, lower, upper
from otero.ingest.relabel_config import RelabelConfig

BASE = {"a": "foo", "b": "bar", "c": "baz"}

CASES: list[tuple[str, dict[str, str], list[dict[str, Any]], dict[str, str] | None]] = [
    ("no rules leave the labels alone", BASE, [], BASE),
    ("empty values are no labels", {"a": "x", "b": ""}, [], {"a": "x"}),
    (
        "replace takes numbered groups",
        BASE,
        [{"source_labels": ("a",), "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch$1"}],
        {**BASE, "d": "choo-choo"},
    ),
    (
        "replace takes named groups",
        BASE,
        [{"source_labels": ("a",), "regex": "f(?P<rest>.*)", "target_label": "d", "replacement": "<${rest}>"}],
        {**BASE, "d": "<oo>"},
    ),
    (
        "a reference takes all the letters after it",
        BASE,
        [{"source_labels": ("a",), "regex": "f(.*)", "target_label": "d", "replacement": "[$1x]"}],
        {**BASE, "d": "[]"},
    ),
    (
        "two dollars are one",
        BASE,
        [{"source_labels": ("a",), "target_label": "d", "replacement": "$$1 $"}],
        {**BASE, "d": "$1 $"},
    ),
    (
        "the regex is anchored at both ends",
        BASE,
        [{"source_labels": ("a",), "regex": "o+", "target_label": "d", "replacement": "never"}],
        BASE,
    ),
    (
        "alternatives are anchored as one",
        BASE,
        [{"source_labels": ("a",), "regex": "fo|o", "target_label": "d", "replacement": "never"}],
        BASE,
    ),
    (
        "several sources are joined by semicolons",
        BASE,
        [{"source_labels": ("a", "b"), "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"}],
        {**BASE, "a": "boobam"},
    ),
    (
        "the separator can be chosen",
        BASE,
        [{"source_labels": ("a", "b", "none"), "separator": "-", "target_label": "d"}],
        {**BASE, "d": "foo-bar-"},
    ),
    (
        "later rules see what earlier ones did",
        BASE,
        [
            {"source_labels": ("a",), "target_label": "x", "replacement": "one"},
            {"source_labels": ("x",), "regex": "one", "target_label": "y", "replacement": "two"},
        ],
        {**BASE, "x": "one", "y": "two"},
    ),
    ("an empty result deletes the label", BASE, [{"target_label": "a", "replacement": ""}], {"b": "bar", "c": "baz"}),
    (
        "a rule that does not match leaves the target label",
        BASE,
        [{"source_labels": ("a",), "regex": "nothing", "target_label": "b", "replacement": ""}],
        BASE,
    ),
    (
        "the target label may be made of groups",
        {"a": "some-name-value"},
        [{"source_labels": ("a",), "regex": "some-([^-]+)-([^,]+)", "target_label": "${1}", "replacement": "${2}"}],
        {"a": "some-name-value", "name": "value"},
    ),
    (
        "a target label that comes out empty is passed over",
        {"a": "some-name-0"},
        [{"source_labels": ("a",), "regex": "some-([^-]+)-([^,]+)", "target_label": "${3}", "replacement": "${1}"}],
        {"a": "some-name-0"},
    ),
    ("no sources match the empty text", {"a": "x"}, [{"target_label": "d", "replacement": "v"}], {"a": "x", "d": "v"}),
    ("keep keeps what matches", BASE, [{"source_labels": ("a",), "regex": "foo", "action": "keep"}], BASE),
    ("keep drops the rest", BASE, [{"source_labels": ("a",), "regex": "fo", "action": "keep"}], None),
    ("drop drops what matches", BASE, [{"source_labels": ("a",), "regex": ".*o.*", "action": "drop"}], None),
    ("drop keeps the rest", BASE, [{"source_labels": ("a",), "regex": "o", "action": "drop"}], BASE),
    (
        "a missing label is the empty text",
        BASE,
        [{"source_labels": ("none",), "regex": "", "action": "drop"}],
        None,
    ),
    (
        "keepequal keeps equal values",
        {"__tmp_port": "1234", "__port": "1234"},
        [{"source_labels": ("__tmp_port",), "target_label": "__port", "action": "keepequal"}],
        {"__tmp_port": "1234", "__port": "1234"},
    ),
    ("keepequal drops others", BASE, [{"source_labels": ("a",), "target_label": "b", "action": "keepequal"}], None),
    (
        "dropequal drops equal values",
        {"p": "1", "q": "1"},
        [{"source_labels": ("p",), "target_label": "q", "action": "dropequal"}],
        None,
    ),
    ("dropequal keeps others", BASE, [{"source_labels": ("a",), "target_label": "b", "action": "dropequal"}], BASE),
    (
        "hashmod takes the tail of the MD5 sum",
        BASE,
        [{"source_labels": ("c",), "target_label": "d", "action": "hashmod", "modulus": 1000}],
        {**BASE, "d": "976"},
    ),
    (
        "labelmap copies under the new name",
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [{"regex": "b(.*)", "replacement": "bar_${1}", "action": "labelmap"}],
        {"a": "foo", "b1": "bar", "b2": "baz", "bar_1": "bar", "bar_2": "baz"},
    ),
    (
        "labelmap replaces what has that name",
        {"a": "foo", "__meta_my_bar": "aaa", "__meta_my_baz": "bbb", "bar": "old"},
        [{"regex": "__meta_(my.*)", "replacement": "${1}", "action": "labelmap"}],
        {
            "a": "foo", "__meta_my_bar": "aaa", "__meta_my_baz": "bbb", "bar": "old", "my_bar": "aaa", "my_baz": "bbb",
        },
    ),
    (
        "labeldrop drops names",
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [{"regex": "b.*", "action": "labeldrop"}],
        {"a": "foo"},
    ),
    (
        "labelkeep keeps names",
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [{"regex": "b.*", "action": "labelkeep"}],
        {"b1": "bar", "b2": "baz"},
    ),
    (
        "lowercase and uppercase",
        {"foo": "bAr123Foo"},
        [
            {"source_labels": ("foo",), "target_label": "up", "action": "uppercase"},
            {"source_labels": ("foo",), "target_label": "low", "action": "lowercase"},
        ],
        {"foo": "bAr123Foo", "up": "BAR123FOO", "low": "bar123foo"},
    ),
    (
        "a rule after a drop is not reached",
        BASE,
        [
            {"source_labels": ("a",), "regex": "foo", "action": "drop"},
            {"target_label": "d", "replacement": "x"},
        ],
        None,
    ),
    (
        "the dot takes line ends",
        {"a": "one\ntwo"},
        [{"source_labels": ("a",), "regex": "one(.)two", "target_label": "d", "replacement": "[$1]"}],
        {"a": "one\ntwo", "d": "[\n]"},
    ),
]  # fmt: skip


def rules(*given: dict[str, Any]) -> list[RelabelConfig]:
    return [RelabelConfig(**each) for each in given]


@pytest.mark.parametrize(
    ("labels", "given_rules", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_documented_semantics_of_relabelling(
    labels: dict[str, str], given_rules: list[dict[str, Any]], wanted: dict[str, str] | None
) -> None:
    before = dict(labels)
    assert compile_relabel(rules(*given_rules))(labels) == wanted
    assert labels == before, "the input is left alone"


def test_hashmod_is_the_big_endian_tail_of_the_md5_sum() -> None:
    for text in ("", "foo", "foo;bar", "jöb"):
        tail = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[16:]
        assert hash_mod(text, 1 << 64) == int(tail, 16)
        assert 0 <= hash_mod(text, 7) < 7


def test_letters_change_case_one_by_one() -> None:
    assert upper("straße ﬁ é") == "STRAßE ﬁ É"
    assert lower("ΟΔΟΣ İ") == "οδοσ i"


def test_explain_tells_each_step_up_to_the_drop() -> None:
    relabel = compile_relabel(
        rules(
            {"source_labels": ("a",), "target_label": "d"},
            {"source_labels": ("none",), "regex": "x", "target_label": "e"},
            {"source_labels": ("d",), "regex": "foo", "action": "drop"},
            {"target_label": "f", "replacement": "never"},
        )
    )
    steps = relabel.explain(BASE)
    assert [step.changed for step in steps] == [True, False, True]
    assert [step.rule for step in steps] == list(relabel.configs[:3])
    assert steps[0].before == BASE
    assert steps[0].after == steps[1].before == {**BASE, "d": "foo"}
    assert steps[-1].after is None


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "replace"},
        {"action": "hashmod", "target_label": "x"},
        {"regex": "(", "target_label": "x"},
        {"action": "labeldrop", "source_labels": ("a",)},
        {"action": "keepequal", "source_labels": ("a",), "target_label": "b", "regex": "x"},
        {"action": "lowercase", "target_label": "b", "replacement": "x"},
    ],
)
def test_rules_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadField):
        RelabelConfig(**fields)


# -- random rules against a reference -------------------------------------------------------------------------------


def expanded(template: str, found: re.Match[str]) -> str:
    """`$1` and `${1}` with digits only, character by character."""
    out, at = "", 0
    while at < len(template):
        if template[at] == "$" and template[at + 1 : at + 2] == "{":
            end = template.index("}", at)
            name, at = template[at + 2 : end], end + 1
        elif template[at] == "$":
            end = at + 1
            while end < len(template) and (template[end].isalnum() or template[end] == "_"):
                end += 1
            name, at = template[at + 1 : end], end
        else:
            out, at = out + template[at], at + 1
            continue
        if name.isdigit() and int(name) <= (found.re.groups):
            out += found[int(name)] or ""
    return out


def reference(configs: list[RelabelConfig], labels: dict[str, str]) -> dict[str, str] | None:
    """One `if` per action, Python's own `re`, nothing prepared."""
    labels = {name: value for name, value in labels.items() if value}
    for config in configs:
        source = config.separator.join(labels.get(name, "") for name in config.source_labels)
        found = re.fullmatch(config.regex, source, re.DOTALL)
        target = config.target_label
        value: str | None = None
        match config.action:
            case "replace":
                if found is not None:
                    target, value = expanded(target, found), expanded(config.replacement, found)
            case "keep" | "drop":
                if (found is not None) != (config.action == "keep"):
                    return None
            case "keepequal" | "dropequal":
                if (source == labels.get(target, "")) != (config.action == "keepequal"):
                    return None
            case "hashmod":
                digest = hashlib.md5(source.encode(), usedforsecurity=False).digest()
                value = str(int.from_bytes(digest[8:], "big") % config.modulus)
            case "lowercase":
                value = source.lower()
            case "uppercase":
                value = source.upper()
            case "labelmap":
                for name in sorted(labels):
                    if name_found := re.fullmatch(config.regex, name, re.DOTALL):
                        labels[expanded(config.replacement, name_found)] = labels[name]
                        labels.pop("", None)
            case "labeldrop" | "labelkeep":
                labels = {
                    name: kept
                    for name, kept in labels.items()
                    if (re.fullmatch(config.regex, name) is not None) == (config.action == "labelkeep")
                }
        if value is not None and target:
            labels = {**labels, target: value}
            labels = {name: kept for name, kept in labels.items() if kept}
    return labels


NAMES = st.sampled_from(["a", "b", "ab", "ba", "__meta_a"])
VALUES = st.text("abAB01-", max_size=4)
REGEXES = st.sampled_from(
    ["(.*)", "(a)(.*)", "(.)?(b*)", "a|b", "", "(a|(b))+.*", "__meta_(.+)", "[^a]*", "(.+);(.*)"]
)
TEMPLATES = st.lists(st.sampled_from(["$1", "${1}", "${2}", "x", "-", "$3", "a"]), max_size=3).map("".join)


@st.composite
def one_rule(draw: st.DrawFn) -> RelabelConfig:
    action = draw(
        st.sampled_from(
            [
                "replace", "replace", "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap",
                "labeldrop", "labelkeep", "lowercase", "uppercase",
            ]
        )
    )  # fmt: skip
    fields: dict[str, Any] = {"action": action}
    if action not in ("labelmap", "labeldrop", "labelkeep"):
        fields["source_labels"] = tuple(draw(st.lists(NAMES, max_size=2)))
    if action in ("replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep"):
        fields["regex"] = draw(REGEXES)
    if action in ("replace", "keep", "drop", "hashmod", "lowercase", "uppercase"):
        fields["separator"] = draw(st.sampled_from([";", "-", ""]))
    if action == "replace":
        fields["target_label"] = draw(st.one_of(NAMES, st.sampled_from(["${1}", "${2}", "x$1"])))
        fields["replacement"] = draw(TEMPLATES)
    elif action in ("keepequal", "dropequal", "hashmod", "lowercase", "uppercase"):
        fields["target_label"] = draw(NAMES)
    elif action == "labelmap":
        fields["replacement"] = draw(st.sampled_from(["$1", "new_$1", "fixed", "${2}$1"]))
    if action == "hashmod":
        fields["modulus"] = draw(st.integers(1, 2**64 - 1))
    return RelabelConfig(**fields)


@given(st.lists(one_rule(), max_size=5), st.dictionaries(NAMES, VALUES))
def test_random_rules_do_what_the_reference_does(
    configs: list[RelabelConfig], labels: dict[str, str]
) -> None:
    relabel = compile_relabel(configs)
    wanted = reference(configs, labels)
    assert relabel(labels) == wanted
    steps = relabel.explain(labels)
    if steps:
        assert steps[-1].after == wanted
