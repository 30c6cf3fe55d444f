"""The runner of the test language: what it reads, what it lets pass and what it does not."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otero.cli.test import test_promql as run_test_promql
from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import ABSENT_BITS, NO_TIME, STALE_BITS, bits
from otero.query.promql import spec
from otero.query.promql.engine import Engine
from otero.query.promql.spec import FileReport, run_file
from otero.query.promql.spec_compare import almost_equal
from otero.query.promql.spec_language import Eval, Expectation, Load, read_commands
from otero.query.promql.spec_series import SpecError, read_series
from otero.query.promql.spec_source import MemorySource
from otero.query.result import Matrix, Result
from otero.query.series import Steps


def test_sequences() -> None:
    assert read_series("m 0x2").items == [0.0, 0.0, 0.0]
    line = read_series('m{a="b, c", "d.e"="}"} 1 0+10x2 5-1x1 3x2 _ _x2 stale NaN -Inf 1e3 .5')
    assert line.labels == {"__name__": "m", "a": "b, c", "d.e": "}"}
    values = [item if isinstance(item, float) and not math.isnan(item) else str(item) for item in line.items]
    assert values == [
        1.0, 0.0, 10.0, 20.0, 5.0, 4.0, 3.0, 3.0, 3.0, "None", "None", "None", "nan", "nan", -math.inf, 1000.0, 0.5,
    ]  # fmt: skip
    assert [index for index, stale in enumerate(line.stale) if stale] == [12]


def test_labels_only_and_quoted_metric_names() -> None:
    assert read_series("{} 1").labels == {}
    assert read_series('{"my.metric", a="b"} 1').labels == {"__name__": "my.metric", "a": "b"}


def test_start_timestamps() -> None:
    (load,) = read_commands("load 1m\n m@st _ -30s-1sx2 * _\n m _ 1x2 5 6")
    assert isinstance(load, Load)
    assert load.series[0].start_offsets_ms == [None, -30_000, -31_000, -32_000, -32_000, None]


def test_evaluations_and_their_expectations() -> None:
    commands = read_commands(
        "eval instant at 1h30m sum(x) > 1\n  expect ordered\n  expect warn msg: a b\n  expect info regex: c+\n"
        '  {a="b"} 1\n\n'
        "# comment\n"
        "eval_fail range from -1m to 2m step 10s x\n expected_fail_message boom\n"
        "eval instant at 0 1\n 1e3"
    )
    first, second = commands[:2]
    assert isinstance(first, Eval)
    assert isinstance(second, Eval)
    assert (first.line, first.expr, first.start_ms, first.instant) == (1, "sum(x) > 1", 5_400_000, True)
    assert first.ordered
    assert first.warn == [Expectation("a b")]
    assert first.info[0].fits("accc")
    assert (second.start_ms, second.end_ms, second.step_ms) == (-60_000, 120_000, 10_000)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (3, "lode 1m"),
        (3, "load x\n m 1"),
        (3, "eval instantly 1"),
        (3, "eval instant at 1q x"),
        (3, "eval range from 5m to 1m step 1m x"),
        (3, "eval range from 0 to 1m step 0 x"),
        (4, "load 1m\n m 1xx"),
        (4, "load 1m\n m 1+2"),
        (4, "load 1m\n m {1}"),
        (4, "load 1m\n m {{sum:1}}{{sum:2}}"),
        (4, "load 1m\n m stalex3"),
        (4, "load 1m\n m{a=b} 1"),
        (5, "load 1m\n m 1\n m{a='b' 1"),
        (3, "load 1m\n m@st 0"),
        (5, "load 1m\n m@st 0\n n 1"),
        (5, "load 1m\n m@st 0 0\n m 1"),
        (4, "load 1m\n m@st 0+1s\n m 1"),
        (4, "eval instant at 1m x\n expect nothing"),
        (4, "eval instant at 1m x\n expect warn regex: ("),
        (4, "eval_fail instant at 1m x\n expected_fail_regexp ("),
        (5, "eval instant at 1m x\n expect no_warn\n expect warn"),
        (5, "eval instant at 1m x\n expect info msg: a\n expect no_info"),
        (5, "eval instant at 1m x\n expect fail\n expect fail"),
        (4, "eval instant at 0 'a'\n expect string a"),
        (4, "eval instant at 0 x\n x 1 2"),
        (4, "eval instant at 0 x\n x"),
        (5, "eval instant at 0 x\n x 1\n x{} 1"),
    ],
)
def test_unreadable_files_name_their_line(line: int, text: str) -> None:
    with pytest.raises(SpecError, match=f"^line {line}: "):
        read_commands(f"\n\n{text}\n")


def test_tolerance() -> None:
    assert almost_equal(1.0, 1.0000019)
    assert not almost_equal(1.0, 1.0000021)
    assert almost_equal(math.nan, math.nan)
    assert almost_equal(math.inf, math.inf)
    assert not almost_equal(math.inf, -math.inf)
    assert not almost_equal(0.0, 1e-300)
    assert not almost_equal(math.nan, 1.0)


def test_the_source_hands_out_blocks() -> None:
    source = MemorySource()
    for command in read_commands(
        "load 1m\n a{x='1'} 1 2 stale\n a{x='2'} 3 _ 4\n b{{}} 1".replace("b{{}}", "b{}")
    ):
        assert isinstance(command, Load)
        source.load(command)
    budget = Budget(SystemClock(), timeout_s=10, max_samples=100)
    name = Matcher("__name__", MatchOp.EQUAL, "a")
    (block,) = source.select([name], 0, 1000, budget)
    assert block.labels.rows() == [{"__name__": "a", "x": "1"}, {"__name__": "a", "x": "2"}]
    assert block.times_ms[:, block.group[0]].tolist() == [0, 60_000, 120_000]
    assert block.times_ms[:, block.group[1]].tolist() == [0, 120_000, NO_TIME]
    assert bits(block.values)[2].tolist() == [int(STALE_BITS), int(ABSENT_BITS)]
    assert np.array_equal(block.values[:2], [[1, 3], [2, 4]])
    assert source.select([name], 130_000, 140_000, budget) == []


PASSING = """
load 1m
  m{a="1"} 0+1x10
  m{a="2"} 0+2x10

eval instant at 5m m
  m{a="2"} 10
  m{a="1"} 5

eval range from 0 to 2m step 1m sum(m)
  {} 0 3 6

eval instant at 5m 1 + 1
  2

eval instant at 5m "text"
  expect string "text"

eval instant at 5m m + on () m
  expect fail

eval instant at 2m m{a="1"}[1m1s]
  expect range vector from 1m to 2m step 1m
  m{a="1"} 1 2

clear

eval instant at 5m m
"""

FAILING = """
load 1m
  m{a="1"} 0+1x10
  m{a="2"} 0+2x10

eval instant at 5m m
  m{a="1"} 5

eval instant at 5m m
  m{a="1"} 5
  m{a="2"} 11

eval instant at 5m m
  m{a="1"} 5
  m{a="2"} 10
  m{a="3"} 10

eval instant at 5m m
  expect ordered
  m{a="2"} 10
  m{a="1"} 5

eval instant at 5m m
  expect fail

eval instant at 5m m
  expect warn
  m{a="1"} 5
  m{a="2"} 10

eval instant at 5m m + on () m
  m{} 1

eval instant at 5m m + on () m
  expect fail msg: something else

eval range from 0 to 2m step 1m sum(m)
  {} 0 3

eval range from 0 to 2m step 1m sum(m)
  {} 0 3 7

eval instant at 5m 1
  {} 1

eval instant at 5m "a"
  expect string "b"

eval instant at 5m vector(
  {} 1
"""


def run(tmp_path: Path, text: str) -> FileReport:
    path = tmp_path / "case.test"
    path.write_text(text, encoding="utf-8")
    return run_file(path)


def test_right_answers_pass(tmp_path: Path) -> None:
    report = run(tmp_path, PASSING)
    assert report.failures == []
    assert report.passed == PASSING.count("\neval ")


def test_every_wrong_answer_fails_at_its_line(tmp_path: Path) -> None:
    report = run(tmp_path, FAILING)
    lines = [number for number, line in enumerate(FAILING.split("\n"), 1) if line.startswith("eval")]
    assert [failure.line for failure in report.failures] == lines
    assert report.passed == 0
    assert not [failure for failure in report.failures if failure.reason.startswith("crash")]


def test_the_command_prints_counts_and_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.test", tmp_path / "bad.test"
    good.write_text("eval instant at 0 1\n  1\n", encoding="utf-8")
    bad.write_text("eval instant at 0 1\n  2\n", encoding="utf-8")
    assert run_test_promql([good], grid=False) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"
    assert run_test_promql([good, bad], grid=False) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "1 passed, 1 failed"
    assert any(line.startswith(f"{bad}:1: 1") for line in out)
    assert run_test_promql([tmp_path / "absent.test"], grid=False) == 2


HISTOGRAM_LOAD = """
load 1m
  h {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{sum:2 count:1 buckets:[1] offset:1}}x5
  g {{sum:1 count:1 buckets:[1] counter_reset_hint:gauge}}x5
  z {{schema:0 count:3 z_bucket:1 z_bucket_w:0.5 n_buckets:[2]}}x5
  c {{schema:-53 count:3 sum:9 custom_values:[2 4] buckets:[1 1 1]}}x5
"""

RIGHT_HISTOGRAMS = """
eval instant at 1m h
  h {{sum:7 count:5 buckets:[1 3 1]}}

eval instant at 1m g
  g {{sum:1 count:1 buckets:[1] counter_reset_hint:gauge}}

eval range from 0 to 2m step 1m z
  z {{count:3 z_bucket:1 z_bucket_w:0.5 n_buckets:[2]}}x2

eval instant at 1m c
  c {{schema:-53 count:3 sum:9 custom_values:[2 4] buckets:[1 1 1]}}

eval instant at 2m c[1m1s]
  expect range vector from 1m to 2m step 1m
  c {{schema:-53 count:3 sum:9 custom_values:[2 4] buckets:[1 1 1]}}x1
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("buckets:[1 3 1]", "buckets:[1 2 1]", "expected {{sum:7 count:5 buckets:[1 2 1]}}"),
        ("buckets:[1 3 1]", "buckets:[1 3 1] offset:1", "got      {{sum:7 count:5 buckets:[1 3 1]}}"),
        ("h {{sum:7 count:5", "h {{sum:7.1 count:5", "wrong value of h{}"),
        ("h {{sum:7 count:5", "h {{sum:7 count:6", "wrong value of h{}"),
        ("h {{sum:7 count:5 buckets:[1 3 1]}}", "h 5", "expected 5.0\n"),
        ("h {{sum:7 count:5", "h {{schema:1 sum:7 count:5", "expected {{schema:1 "),
        ("counter_reset_hint:gauge", "counter_reset_hint:not_reset", "counter_reset_hint:gauge"),
        ("z_bucket:1", "z_bucket:2", "wrong value of z{} at 0s"),
        ("z_bucket_w:0.5", "z_bucket_w:0.25", "z_bucket_w:0.5"),
        ("n_buckets:[2]", "buckets:[2]", "n_buckets:[2]"),
        ("n_buckets:[2]}}x2", "n_buckets:[2]}}x1", "wrong points of z{}"),
        ("custom_values:[2 4] buckets:[1 1 1]}}\n", "custom_values:[2 5] buckets:[1 1 1]}}\n", "custom_values:[2 4]"),
        ("buckets:[1 1 1]}}x1", "buckets:[1 1 1]}} {{}}", "at 120s"),
    ],
)  # fmt: skip
def test_a_wrong_histogram_fails(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    good = run(tmp_path, HISTOGRAM_LOAD + RIGHT_HISTOGRAMS)
    assert good.failures == []
    assert good.passed == 5
    assert right in RIGHT_HISTOGRAMS
    bad = run(tmp_path, HISTOGRAM_LOAD + RIGHT_HISTOGRAMS.replace(right, wrong, 1))
    assert (bad.passed, len(bad.failures)) == (4, 1)
    assert told in bad.failures[0].reason


@pytest.mark.parametrize(
    ("expectation", "told"),
    [
        ("expect no_warn", "unexpected warning annotations"),
        ("expect no_info", None),
        ("expect warn", None),
        ("expect info", "info annotation not found"),
        ("expect warn regex: not a (counter|gauge)", None),
        ("expect warn regex: something", "warning annotation not found"),
        ('expect warn msg: PromQL warning: this native histogram metric is not a counter: "g" (1:6)', None),
        (
            'expect warn msg: PromQL warning: this native histogram metric is not a counter: "g" (1:7)',
            "(1:6)",
        ),
        ("expect warn msg: this native histogram metric is not a counter", "warning annotation not found"),
        ("expect fail", "expected error"),
    ],
)
def test_annotations_are_compared_to_the_letter(tmp_path: Path, expectation: str, told: str | None) -> None:
    value = "" if expectation == "expect fail" else "\n  {} {{}}"
    report = run(tmp_path, f"{HISTOGRAM_LOAD}\neval instant at 5m rate(g[5m])\n  {expectation}{value}\n")
    assert [told in failure.reason for failure in report.failures if told] == ([True] if told else [])
    assert report.passed == (0 if told else 1)


class BrokenRanges(Engine):
    """Range queries forget the last step."""

    def range(self, text: str, start_ms: int, end_ms: int, step_ms: int, *args: Any) -> Result:
        return super().range(text, start_ms, max(end_ms - step_ms, start_ms), step_ms, *args)


class WrongRanges(Engine):
    """Range queries look one second too early."""

    def range(self, text: str, start_ms: int, end_ms: int, step_ms: int, *args: Any) -> Result:
        result = super().range(text, start_ms - 1000, end_ms - 1000, step_ms, *args)
        assert isinstance(result.value, Matrix)
        return replace(result, value=replace(result.value, steps=Steps.between(start_ms, end_ms, step_ms)))


@pytest.mark.parametrize(
    ("engine", "told"),
    [(BrokenRanges, "in the answer to an instant query only"), (WrongRanges, "differs\n  instant query")],
)
def test_a_grid_finds_what_the_middle_step_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: type[Engine], told: str
) -> None:
    text = f"{HISTOGRAM_LOAD}  m 0+1x10\n\neval instant at 3m h + h\n  {{}} {{{{sum:22 count:14 buckets:[2 10 2]}}}}\n"
    path = tmp_path / "case.test"
    path.write_text(text, encoding="utf-8")
    assert run_file(path, grid=True, variants=False).failures == []
    monkeypatch.setattr(spec, "Engine", engine)
    assert run_file(path, variants=False).failures == []
    (failure,) = run_file(path, grid=True, variants=False).failures
    assert told in failure.reason


def test_what_cannot_be_asked_both_ways_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "case.test"
    path.write_text(
        'eval instant at 1m "a"\n  expect string "a"\n\neval instant at 1m vector(start())\n  {} 60\n'
    )
    report = run_file(path, grid=True)
    assert (report.passed, [left_out.line for left_out in report.not_on_grid]) == (2, [1, 4])
