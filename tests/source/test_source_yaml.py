"""YAML and JSON with places, and that nothing but BadConfig ever comes out of them."""

import json
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadConfig
from otero.source import List, Map, Node, Reader, Scalar, locate, parse, parse_json, parse_yaml, plain
from otero.source.nodes import MAX_BYTES, MAX_DEPTH


def refusal(text: str | bytes, file: str = "f.yml") -> str:
    with pytest.raises(BadConfig) as caught:
        parse(text, file)
    return str(caught.value)


def test_every_key_and_value_knows_its_place() -> None:
    node = parse_yaml("scrape_configs:\n- job_name: a\n- job_name: b\n  relabel_configs:\n  - action: keep\n")
    assert locate(node, "scrape_configs[1].relabel_configs[0].action") == (5, 5)
    assert locate(node, "scrape_configs[1]") == (3, 3)
    assert locate(node, "scrape_configs[7].job_name") == (1, 1)
    assert locate(node, "nothing") == (1, 1)
    assert locate(parse_yaml("labels:\n  a.b[0]: 1\n"), "labels.a.b[0]") == (2, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("0x10", 16),
        ("010", 8),
        ("1_000", 1000),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("2020-01-01", "2020-01-01"),
        ("1.2.3.4:80", "1.2.3.4:80"),
        ("- a\n- b", ["a", "b"]),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: {<<: [{b: 1}, {b: 2, c: 3}]}", {"a": {"b": 1, "c": 3}}),
        ("k: !!binary aGVsbG8=", {"k": "hello"}),
    ],
)
def test_yaml_values_are_those_of_the_original_tools(text: str, value: object) -> None:
    node = parse_yaml(text)
    got = plain(node)
    assert {"d": got["d"], "a": got["a"]} == value if isinstance(got, dict) and "d" in got else got == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 'f.yml:3: key "a" is given twice; first on line 1'),
        ("a: {b: 1, b: 2}", 'key "b" is given twice; first on line 1'),
        ("a:\n\tb: 1", "f.yml:2: not valid YAML"),
        ("a: [1, 2", "not valid YAML"),
        ("a: *x", 'unknown anchor "x"'),
        ("a: &x [*x]", 'unknown anchor "x"'),
        ("---\na\n---\nb", "f.yml:3: more than one document"),
        ("? [a]\n: b", "a key must be a text"),
        ("a: !weird b", 'unknown tag "!weird"'),
        ("a: !!binary '???'", "invalid base64"),
        ("[" * (MAX_DEPTH + 1), "nested deeper"),
        ("\x00", "not valid YAML"),
        (b"a: \xff", "f.yml:1: not UTF-8 text"),
        ("a: 1\nb: \ud800", "f.yml:2: not UTF-8 text"),
        ("a: {<<: 1}", "map merge requires"),
        ("x" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    assert message in refusal(text)


def test_all_duplicates_of_a_file_are_named() -> None:
    assert refusal("a: 1\na: 2\nb: 1\nb: 2\n").count("given twice") == 2


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "values (aliases count each time)" in refusal("\n".join(lines))
    deep = "a0: &a0 x\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200))
    assert "nested deeper" in refusal(deep)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "a": 2}', 'f.json:2: key "a" is given twice; first on line 1'),
        ('{"a": }', "expected a value"),
        ("[1, 2", 'expected "," or "]"'),
        ("[1,]", "expected a value"),
        ('{"a" 1}', 'expected ":"'),
        ("{1: 2}", 'expected a text in ""'),
        ('"\\ud800"', "surrogate"),
        ("1 2", "unexpected text"),
        ("", "ends too early"),
        ("[" * (MAX_DEPTH + 2), "nested deeper"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_bad_json_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    assert message in refusal(text, "f.json")


TEXTS = st.text(max_size=20).filter(lambda text: text not in ("y", "Y", "n", "N"))
"""Go's yaml.v2 takes a plain y or n for a boolean; PyYAML does not, and writes it without quotes."""
SCALARS = st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


@given(VALUES)
def test_json_reads_as_the_standard_library_does(value: Any) -> None:
    for indent in (None, 2):
        text = json.dumps(value, indent=indent)
        assert plain(parse_json(text)) == value


@given(VALUES)
def test_yaml_written_by_pyyaml_reads_back(value: Any) -> None:
    assert plain(parse_yaml(yaml.safe_dump(value))) == value


YAMLISH = st.text(
    alphabet=string.ascii_lowercase[:4] + "0159.:-#&*!|>'\"[]{},?%@`<~\n\t \\\x00\x85é\ufeff", max_size=60
)


@given(YAMLISH | st.binary(max_size=60) | st.text(max_size=60))
def test_arbitrary_text_gives_nodes_or_bad_config(text: str | bytes) -> None:
    for file in ("x.yml", "x.json"):
        try:
            node = parse(text, file)
        except BadConfig:
            continue
        assert isinstance(node, Scalar | List | Map)
        json.dumps(plain(node))


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: str = "d"
    number: int = 1
    share: float = 0.5
    switch: bool = False


class Outer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    names: dict[str, str] = {}
    maybe: bool | None = None


def problems(text: str) -> list[str]:
    reader = Reader("f.yml")
    reader.read(parse_yaml(text), Outer)
    return [str(problem) for problem in reader.problems]


def test_texts_stay_as_written_and_switches_take_every_spelling() -> None:
    node = parse_yaml("inner: {text: 1.10, switch: 'true'}")
    reader = Reader()
    reader.read(node, Outer)
    assert [problem.message for problem in reader.problems] == ['expected true or false, found a text "true"']
    outer = Reader().read(parse_yaml("inner: {text: 1.10, switch: on}\nnames: {a: yes, b: 010}"), Outer)
    assert outer == Outer(inner=Inner(text="1.10", switch=True), names={"a": "yes", "b": "010"})


def test_keys_without_value_mean_the_default() -> None:
    outer = Reader().read(parse_yaml("inner:\ninners:\nnames:\nmaybe:"), Outer)
    assert outer == Outer()
    assert Reader().read(parse_yaml(""), Outer) == Outer()


def test_all_problems_of_a_file_are_collected() -> None:
    assert problems("inner: {txt: a, number: x}\ninners: [{switch: 3}, 4]\nnames: {a: [1]}\nmayb: 1\n") == [
        'f.yml:1: inner.txt: unknown field "txt", did you mean "text"?',
        'f.yml:1: inner.number: expected a whole number, found a text "x"',
        "f.yml:2: inners[0].switch: expected true or false, found a number",
        "f.yml:2: inners[1]: expected a mapping, found a number",
        "f.yml:3: names.a: expected a text, found a list",
        'f.yml:4: mayb: unknown field "mayb", did you mean "maybe"?',
    ]


@given(VALUES)
def test_any_structure_reads_into_a_struct_or_problems(value: Any) -> None:
    node: Node = parse_json(
        json.dumps({"inner": value, "inners": [value], "names": value}).replace("\\ud", "u")
    )
    reader = Reader("f.json", Path("/tmp"))
    outer = reader.read(node, Outer)
    assert isinstance(outer, Outer) or reader.problems


def test_a_flood_of_problems_is_cut_short() -> None:
    node = parse_yaml("\n".join(f"wrong_key_{number}: 1" for number in range(50_000)))
    reader = Reader("f.yml")
    reader.read(node, Outer)
    assert len(reader.problems) == 101
    assert "more problems follow" in reader.problems[-1].message
    assert refusal("\n".join("a: 1" for _ in range(1000))).count("\n") == 99
