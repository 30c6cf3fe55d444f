"""Runs files of PromQL's test language against the engine, with Prometheus' strictness."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from otero.clock import SystemClock
from otero.errors import OteroError
from otero.model.budget import Budget
from otero.query.promql.engine import DELAYED_NAME_REMOVAL, USE_START_TIMESTAMPS, Engine
from otero.query.promql.parser import FEATURES
from otero.query.promql.spec_compare import Mismatch, check_notes, check_sorted, check_value
from otero.query.promql.spec_grid import check_grid, no_grid
from otero.query.promql.spec_language import Clear, Eval, Load, read_commands
from otero.query.promql.spec_source import MemorySource
from otero.query.promql.spec_variants import asks_for_range, pinned
from otero.query.result import Matrix, Result, Scalar, Vector
from otero.query.series import Steps

SPEC_FEATURES = FEATURES | {DELAYED_NAME_REMOVAL, USE_START_TIMESTAMPS}
"""The feature flags that Prometheus' own run of these files turns on."""

_MINUTE_MS = 60_000
_MAX_SAMPLES = 50_000_000
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """An evaluation that did not give what it must."""

    line: int
    expr: str
    reason: str


@dataclass(slots=True)
class FileReport:
    """The outcome of one file; each `eval` line is counted once."""

    path: Path
    passed: int = 0
    failures: list[Failure] = field(default_factory=list)
    not_on_grid: list[Failure] = field(default_factory=list)
    """What `grid` left out, and why."""


def run_file(path: Path, *, variants: bool = True, grid: bool = False) -> FileReport:
    """Run one file.

    With `variants`, an instant query must give the same with `@` at other times, and in a range query. With `grid`,
    range queries must agree with instant queries at every step, see `spec_grid`. Raises SpecError for a file that cannot
    be read.
    """
    report = FileReport(path)
    source = MemorySource()
    for command in read_commands(path.read_text(encoding="utf-8")):
        match command:
            case Clear():
                source = MemorySource()
            case Load():
                source.load(command)
            case Eval():
                _evaluate(command, source, report, variants, grid)
    return report


def _evaluate(command: Eval, source: MemorySource, report: FileReport, variants: bool, grid: bool) -> None:
    reason = ""
    engine = Engine(source, features=SPEC_FEATURES)
    left_out = no_grid(command) if grid else None
    if left_out:
        report.not_on_grid.append(Failure(command.line, command.expr, left_out))
    try:
        _judge(command, engine, variants)
        if grid and not left_out and command.fail is None:
            check_grid(command, engine, _budget)
    except Mismatch as mismatch:
        reason = str(mismatch)
    except (OteroError, RecursionError) as error:
        reason = f"unexpected error: {error}"
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
        reason = f"crash: {type(error).__name__}: {error}{place}"
    if reason:
        report.failures.append(Failure(command.line, command.expr, reason))
    else:
        report.passed += 1


def _budget() -> Budget:
    return Budget(SystemClock(), timeout_s=_TIMEOUT_S, max_samples=_MAX_SAMPLES)


def _judge(command: Eval, engine: Engine, variants: bool) -> None:
    try:
        if command.instant:
            result = engine.instant(command.expr, command.start_ms, _budget())
        else:
            result = engine.range(command.expr, command.start_ms, command.end_ms, command.step_ms, _budget())
    except OteroError as error:
        if command.fail is None:
            raise Mismatch(f"error evaluating query: {error}") from None
        if not command.fail.fits(str(error)):
            raise Mismatch(f"expected error {command.fail.text!r} but got: {error}") from None
        return
    if command.fail is not None:
        raise Mismatch("expected error evaluating query but got none")
    check_notes(command, result)
    check_value(command, result.value)
    if variants and command.instant:
        _check_pinned(command, engine)
        if command.string is None and command.range_vector is None:
            _check_range_mode(command, engine, result)


def _check_pinned(command: Eval, engine: Engine) -> None:
    asked = pinned(command.expr, command.start_ms)
    if asked is None:
        return
    text, times_ms = asked
    for time_ms in times_ms:
        result = engine.instant(text, time_ms, _budget())
        try:
            check_value(command, result.value)
        except Mismatch as mismatch:
            raise Mismatch(f"asked at {time_ms} as {text}: {mismatch}") from None


def _check_range_mode(command: Eval, engine: Engine, instant: Result) -> None:
    if command.ordered or asks_for_range(command.expr):
        return
    time_ms = command.start_ms
    result = engine.range(command.expr, time_ms - _MINUTE_MS, time_ms + _MINUTE_MS, _MINUTE_MS, _budget())
    if not isinstance(result.value, Matrix):
        raise Mismatch(f"range mode: expected a matrix but got {type(result.value).__name__}")
    check_sorted(result.value)
    series = result.value.series
    present = series.present_mask()[1]
    rows = np.flatnonzero(present)
    if isinstance(instant.value, Scalar):
        value: Vector | Scalar = Scalar(Steps.at(time_ms), series.values[1:2, 0])
    else:
        value = Vector(series.labels.take(rows), time_ms, series.values[1, rows], series.histograms)
    try:
        check_value(command, value)
    except Mismatch as mismatch:
        raise Mismatch(f"range mode: {mismatch}") from None
