"""The runner of the test language: what it reads, what it lets pass and what it does not."""

import math
from pathlib import Path

import numpy as np
import pytest

from otero.cli.test import test_promql as run_test_promql
from otero.clock import SystemClock
from otero.model.budget import Budget
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import ABSENT_BITS, NO_TIME, STALE_BITS, bits
from otero.query.promql.spec import FileReport, run_file
from otero.query.promql.spec_compare import almost_equal
from otero.query.promql.spec_language import Eval, Expectation, Load, read_commands
from otero.query.promql.spec_series import SpecError, read_series
from otero.query.promql.spec_source import MemorySource


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
