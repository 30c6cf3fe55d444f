"""Range queries and instant queries must agree: at every step of a grid, the same series with the same values.

Prometheus' own runner looks at one step of a range query around each instant query. Here every step of two grids is
looked at, and every step of each range query that a file asks for.
"""

from collections.abc import Callable

from otero.errors import BadQuery, OteroError
from otero.model.budget import Budget
from otero.query.promql.engine import Engine
from otero.query.promql.spec_compare import Answer, Key, Mismatch, Value, key_of, rows_of, same, show, told
from otero.query.promql.spec_language import Eval
from otero.query.promql.spec_variants import asks_for_range
from otero.query.result import Matrix, Scalar, Vector

_GRIDS = ((60_000, 2), (17_000, 1))
"""Step in milliseconds, and how many steps before and after the time of an instant query."""

_CLOSE = 1e-12
_MOST_STEPS = 400


def no_grid(command: Eval) -> str | None:
    """Why an evaluation is not asked both ways; None when it is. Prometheus leaves the same ones out."""
    if command.string is not None:
        return "a string is no answer to a range query"
    if command.range_vector is not None:
        return "a range vector is no answer to a range query"
    if asks_for_range(command.expr):
        return "start(), end(), step() and range() are those of the query"
    return None


def check_grid(command: Eval, engine: Engine, budget: Callable[[], Budget]) -> None:
    """Raises Mismatch where a range query does not give what instant queries give at its steps."""
    if command.instant:
        for step_ms, around in _GRIDS:
            start_ms = command.start_ms - around * step_ms
            _agree(command.expr, engine, budget, start_ms, step_ms, 2 * around + 1)
    else:
        count = (command.end_ms - command.start_ms) // command.step_ms + 1
        _agree(command.expr, engine, budget, command.start_ms, command.step_ms, min(count, _MOST_STEPS))


def _agree(
    expr: str, engine: Engine, budget: Callable[[], Budget], start_ms: int, step_ms: int, count: int
) -> None:
    times = range(start_ms, start_ms + count * step_ms, step_ms)
    instants: dict[int, dict[Key, Value]] = {}
    errors: list[str] = []
    for time_ms in times:
        try:
            instants[time_ms] = _by_labels(engine.instant(expr, time_ms, budget()).value)
        except OteroError as error:
            errors.append(f"at {time_ms} ms: {error}")
    try:
        answer = engine.range(expr, start_ms, times[-1], step_ms, budget()).value
    except BadQuery:
        raise
    except OteroError as error:
        if not errors:
            raise Mismatch(f"grid: the range query fails, instant queries do not: {error}") from None
        return
    if errors:
        raise Mismatch(f"grid: an instant query fails, the range query does not: {errors[0]}")
    steps: dict[int, dict[Key, Value]] = {time_ms: {} for time_ms in times}
    for labels, points in rows_of(answer) if isinstance(answer, Matrix) else []:
        for time_ms, value in points:
            steps[time_ms][key_of(labels)] = value
    for time_ms in times:
        _compare(time_ms, instants[time_ms], steps[time_ms])


def _by_labels(answer: Answer) -> dict[Key, Value]:
    if isinstance(answer, Scalar):
        return {(): float(answer.values[0])}
    if not isinstance(answer, Vector):
        raise Mismatch(f"grid: an instant query gives a {type(answer).__name__}")
    return {key_of(labels): points[0][1] for labels, points in rows_of(answer)}


def _compare(time_ms: int, instant: dict[Key, Value], step: dict[Key, Value]) -> None:
    for key in instant.keys() | step.keys():
        if key not in step or key not in instant:
            where = "an instant query" if key in instant else "a range query"
            raise Mismatch(f"grid: {show(dict(key))} at {time_ms} ms is in the answer to {where} only")
        if not same(instant[key], step[key], _close):
            wanted, got = told(instant[key], step[key])
            raise Mismatch(
                f"grid: {show(dict(key))} at {time_ms} ms differs\n  instant query {wanted}\n  range query   {got}"
            )


def _close(a: float, b: float) -> bool:
    return a == b or (a != a and b != b) or abs(a - b) <= _CLOSE * max(abs(a), abs(b))
