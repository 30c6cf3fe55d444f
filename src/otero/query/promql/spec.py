"""Runs files of PromQL's test language against the engine, with Prometheus' strictness."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from otero.clock import SystemClock
from otero.errors import OteroError
from otero.model.budget import Budget
from otero.model.labels import METRIC_NAME, LabelTable
from otero.model.matchers import Matcher
from otero.model.samples import ABSENT_BITS, NO_TIME, STALE_BITS, SampleBlock
from otero.query.notes import Note, NoteKind
from otero.query.promql.engine import DELAYED_NAME_REMOVAL, Engine
from otero.query.promql.parser import FEATURES
from otero.query.promql.spec_language import Clear, Eval, Histogram, Load, SeriesLine, read_commands
from otero.query.promql.spec_variants import asks_for_range, pinned
from otero.query.result import Matrix, RawMatrix, Result, Scalar, String, Vector
from otero.query.series import Steps
from otero.query.syntax import place

EPSILON = 1e-6
"""Two values agree when they differ by less than this share of the sum of their magnitudes."""

SPEC_FEATURES = FEATURES | {DELAYED_NAME_REMOVAL, "use-start-timestamps"}
"""The feature flags that Prometheus' own run of these files turns on."""

_MINUTE_MS = 60_000
_MAX_SAMPLES = 50_000_000
_TIMEOUT_S = 60.0
_Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Series:
    labels: dict[str, str]
    samples: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Time -> bits of the value, start timestamp."""


class MemorySource:
    """The samples of `load` commands: a SampleSource that also knows which series it cannot hold.

    `touched_histograms` becomes True when a selection would have found native histograms.
    """

    def __init__(self) -> None:
        self._series: dict[_Key, _Series] = {}
        self._histograms: dict[_Key, dict[str, str]] = {}
        self.touched_histograms = False

    def load(self, command: Load) -> None:
        for line in command.series:
            key = tuple(sorted(line.labels.items()))
            series = self._series.setdefault(key, _Series(line.labels))
            starts = line.start_offsets_ms or [None] * len(line.items)
            for index, (item, stale, start) in enumerate(zip(line.items, line.stale, starts, strict=True)):
                time_ms = index * command.step_ms
                if isinstance(item, Histogram):
                    self._histograms[key] = line.labels
                elif item is not None:
                    value = int(STALE_BITS) if stale else int(np.float64(item).view(np.uint64))
                    series.samples[time_ms] = (value, time_ms + start if start is not None else 0)
            if command.with_nhcb:
                self._nhcb(line)

    def _nhcb(self, line: SeriesLine) -> None:
        name = line.labels.get(METRIC_NAME, "")
        for suffix in ("_bucket", "_count", "_sum"):
            if name.endswith(suffix):
                labels = {k: v for k, v in line.labels.items() if k not in ("le", METRIC_NAME)}
                labels[METRIC_NAME] = name.removesuffix(suffix)
                self._histograms[tuple(sorted(labels.items()))] = labels

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        """Every sample of the series that match, in one block."""
        budget.check()
        for labels in self._histograms.values():
            if _fits(labels, matchers):
                self.touched_histograms = True
        chosen = [
            series
            for series in self._series.values()
            if _fits(series.labels, matchers)
            and any(start_ms <= time_ms <= end_ms for time_ms in series.samples)
        ]
        return [_block(chosen)] if chosen else []


def _fits(labels: dict[str, str], matchers: Sequence[Matcher]) -> bool:
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def _block(chosen: list[_Series]) -> SampleBlock:
    columns: dict[tuple[int, ...], int] = {}
    group = [columns.setdefault(tuple(sorted(series.samples)), len(columns)) for series in chosen]
    height = max(len(times) for times in columns)
    times_ms = np.full((height, len(columns)), NO_TIME, np.int64)
    for times, column in columns.items():
        times_ms[: len(times), column] = times
    values = np.full((height, len(chosen)), ABSENT_BITS, np.uint64)
    starts = np.zeros((height, len(chosen)), np.int64)
    for index, series in enumerate(chosen):
        samples = [series.samples[time_ms] for time_ms in sorted(series.samples)]
        values[: len(samples), index] = [value for value, _ in samples]
        starts[: len(samples), index] = [start for _, start in samples]
    labels = LabelTable.of([series.labels for series in chosen])
    return SampleBlock(
        labels,
        times_ms,
        np.array(group, np.intp),
        values.view(np.float64),
        start_ms=starts if starts.any() else None,
    )


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
    unsupported: list[Failure] = field(default_factory=list)


def run_file(path: Path, *, variants: bool = True) -> FileReport:
    """Run one file. With `variants`, an instant query must give the same with `@` at other times, and in a range query.

    Raises SpecError for a file that cannot be read.
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
                _evaluate(command, source, report, variants)
    return report


class _Mismatch(Exception):
    """The reason why an evaluation failed."""


def _evaluate(command: Eval, source: MemorySource, report: FileReport, variants: bool) -> None:
    source.touched_histograms = False
    reason = ""
    try:
        _judge(command, source, variants)
    except _Mismatch as mismatch:
        reason = str(mismatch)
    except (OteroError, RecursionError) as error:
        reason = f"unexpected error: {error}"
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
        reason = f"crash: {type(error).__name__}: {error}{place}"
    if source.touched_histograms or any(
        isinstance(i, Histogram) for line in command.series for i in line.items
    ):
        report.unsupported.append(Failure(command.line, command.expr, "native histograms"))
    elif reason:
        report.failures.append(Failure(command.line, command.expr, reason))
    else:
        report.passed += 1


def _budget() -> Budget:
    return Budget(SystemClock(), timeout_s=_TIMEOUT_S, max_samples=_MAX_SAMPLES)


def _judge(command: Eval, source: MemorySource, variants: bool) -> None:
    engine = Engine(source, features=SPEC_FEATURES)
    try:
        if command.instant:
            result = engine.instant(command.expr, command.start_ms, _budget())
        else:
            result = engine.range(command.expr, command.start_ms, command.end_ms, command.step_ms, _budget())
    except OteroError as error:
        if command.fail is None:
            raise _Mismatch(f"error evaluating query: {error}") from None
        if not command.fail.fits(str(error)):
            raise _Mismatch(f"expected error {command.fail.text!r} but got: {error}") from None
        return
    if command.fail is not None:
        raise _Mismatch("expected error evaluating query but got none")
    _check_notes(command, result)
    _check_value(command, result.value)
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
            _check_value(command, result.value)
        except _Mismatch as mismatch:
            raise _Mismatch(f"asked at {time_ms} as {text}: {mismatch}") from None


def _check_range_mode(command: Eval, engine: Engine, instant: Result) -> None:
    if command.ordered or asks_for_range(command.expr):
        return
    time_ms = command.start_ms
    result = engine.range(command.expr, time_ms - _MINUTE_MS, time_ms + _MINUTE_MS, _MINUTE_MS, _budget())
    if not isinstance(result.value, Matrix):
        raise _Mismatch(f"range mode: expected a matrix but got {type(result.value).__name__}")
    _check_sorted(result.value)
    series = result.value.series
    present = series.present_mask()[1]
    rows = np.flatnonzero(present)
    if isinstance(instant.value, Scalar):
        value: Vector | Scalar = Scalar(Steps.at(time_ms), series.values[1:2, 0])
    else:
        value = Vector(series.labels.take(rows), time_ms, series.values[1, rows])
    try:
        _check_value(command, value)
    except _Mismatch as mismatch:
        raise _Mismatch(f"range mode: {mismatch}") from None


def _render(note: Note, expr: str) -> str:
    """A note as Prometheus writes it: `PromQL warning: text (line:column)`."""
    text = note.text if note.text.startswith("PromQL ") else f"PromQL {note.kind}: {note.text}"
    if note.start < 0:
        return text
    line, column = place(expr, note.start)
    return f"{text} ({line}:{column})"


def _check_notes(command: Eval, result: Result) -> None:
    for kind, wanted, none in (
        (NoteKind.WARNING, command.warn, command.no_warn),
        (NoteKind.INFO, command.info, command.no_info),
    ):
        notes = [_render(note, command.expr) for note in result.notes if note.kind is kind]
        if none and notes:
            raise _Mismatch(f"unexpected {kind} annotations: {notes}")
        if not wanted:
            continue
        for expectation in wanted:
            if not any(map(expectation.fits, notes)):
                raise _Mismatch(f"expected {kind} annotation {expectation.text!r}, found: {notes}")
        for note in notes:
            if not any(expectation.fits(note) for expectation in wanted):
                raise _Mismatch(f"unexpected {kind} annotation {note!r}")


def _check_value(command: Eval, value: Vector | Matrix | RawMatrix | Scalar | String) -> None:
    match value:
        case String():
            if command.string != value.text:
                raise _Mismatch(f"expected string {command.string!r} but got {value.text!r}")
        case Scalar():
            number = float(value.values[0])
            if command.scalar is None:
                raise _Mismatch(f"expected vector or matrix result, but got scalar {number!r}")
            if not almost_equal(command.scalar, number):
                raise _Mismatch(f"expected scalar {command.scalar!r} but got {number!r}")
        case Vector():
            _check_vector(command, value)
        case Matrix(series=series, steps=steps):
            _check_sorted(value)
            times = steps.times_ms()
            present = series.present_mask()
            _check_series(
                command,
                series.labels.rows(),
                lambda row: (
                    times[present[:, row]].tolist(),
                    series.values[present[:, row], row].tolist(),
                ),
                (command.start_ms, command.end_ms, command.step_ms),
            )
        case RawMatrix(offsets=offsets):
            _check_series(
                command,
                value.labels.rows(),
                lambda row: (
                    value.times_ms[offsets[row] : offsets[row + 1]].tolist(),
                    value.values[offsets[row] : offsets[row + 1]].tolist(),
                ),
                command.range_vector or (command.start_ms, command.end_ms, command.step_ms),
            )


def _key(labels: dict[str, str]) -> _Key:
    return tuple(sorted((name, text) for name, text in labels.items() if text))


def _check_vector(command: Eval, value: Vector) -> None:
    if command.scalar is not None:
        raise _Mismatch("expected scalar result, but got a vector")
    wanted = {_key(line.labels): (index, line.items) for index, line in enumerate(command.series)}
    seen: set[_Key] = set()
    for position, (labels, number) in enumerate(zip(value.labels.rows(), value.values.tolist(), strict=True)):
        key = _key(labels)
        if key not in wanted:
            raise _Mismatch(f"unexpected metric {show(labels)} in result, has value {number!r}")
        if key in seen:
            raise _Mismatch(f"metric {show(labels)} is twice in the result")
        seen.add(key)
        index, items = wanted[key]
        if command.ordered and index != position:
            raise _Mismatch(
                f"expected metric {show(labels)} at position {index + 1} but was at {position + 1}"
            )
        if not items or not isinstance(items[0], float) or not almost_equal(items[0], number):
            raise _Mismatch(f"expected {items[:1]} for {show(labels)} but got {number!r}")
    for key, (_, items) in wanted.items():
        if key not in seen:
            raise _Mismatch(f"expected metric {show(dict(key))} with {items[:1]} not found")


def _check_sorted(value: Matrix) -> None:
    keys = [_key(labels) for labels in value.series.labels.rows()]
    if any(later < earlier for earlier, later in pairwise(keys)):
        raise _Mismatch("matrix results should always be sorted by labels")


def _check_series(
    command: Eval,
    rows: list[dict[str, str]],
    points: Callable[[int], tuple[list[int], list[float]]],
    grid: tuple[int, int, int],
) -> None:
    if command.ordered:
        raise _Mismatch("expected ordered result, but query returned a matrix")
    if command.scalar is not None:
        raise _Mismatch("expected scalar result, but got a matrix")
    start_ms, end_ms, step_ms = grid
    wanted = {_key(line.labels): line.items for line in command.series}
    seen: set[_Key] = set()
    for row, labels in enumerate(rows):
        key = _key(labels)
        times, values = points(row)
        if key not in wanted:
            raise _Mismatch(f"unexpected metric {show(labels)} in result, has {values}")
        seen.add(key)
        expected = [
            (start_ms + index * step_ms, item)
            for index, item in enumerate(wanted[key])
            if isinstance(item, float)
        ]
        if start_ms + (len(wanted[key]) - 1) * step_ms > end_ms:
            raise _Mismatch(f"expected {len(wanted[key])} points for {show(labels)}, more than the range has")
        if [time_ms for time_ms, _ in expected] != times:
            raise _Mismatch(
                f"expected points at {[t for t, _ in expected]} for {show(labels)} but got {times} with {values}"
            )
        for (time_ms, item), number in zip(expected, values, strict=True):
            if not almost_equal(item, number):
                raise _Mismatch(
                    f"expected {item!r} at {time_ms} for {show(labels)} but got {number!r} of {values}"
                )
    for key in wanted.keys() - seen:
        raise _Mismatch(f"expected metric {show(dict(key))} not found")


def almost_equal(a: float, b: float) -> bool:
    """Prometheus' tolerance: NaN equals NaN; zero and the tiniest numbers must be nearly exact."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    total = abs(a) + abs(b)
    difference = abs(a - b)
    if a == 0 or b == 0 or total < sys.float_info.min:
        return difference < EPSILON * sys.float_info.min
    return difference / min(total, sys.float_info.max) < EPSILON


def show(labels: dict[str, str]) -> str:
    """A label set as it is written in these files."""
    inner = ", ".join(f'{name}="{text}"' for name, text in sorted(labels.items()) if name != METRIC_NAME)
    return f"{labels.get(METRIC_NAME, '')}{{{inner}}}"
