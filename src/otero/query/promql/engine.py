"""The PromQL engine: text in, columns out.

    text ─ parser ─▶ expression ─ plan ─▶ Plan ─ Evaluator ─▶ StepMatrix ─▶ Result

Parsed expressions are kept, and so are plans that do not depend on the query's times, so that a dashboard's or a rule's
query costs its kernels only. An engine has no other state; many threads may use it.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np

from otero.errors import BadQuery
from otero.model.budget import Budget
from otero.model.histograms import Histograms
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT_BITS, STALE_BITS, bits
from otero.query.notes import Note, NoteKind, Notes
from otero.query.promql import ast
from otero.query.promql.boxes import united
from otero.query.promql.evaluate import Evaluator
from otero.query.promql.naming import finish_names, label_order, without_absent
from otero.query.promql.parser import FEATURES as LANGUAGE_FEATURES
from otero.query.promql.parser import parse
from otero.query.promql.plan import Edges, Plan, depends_on_edges, hints, make_plan, without_parens
from otero.query.promql.selectors import Samples, SampleSource
from otero.query.promql.windows import Window
from otero.query.result import Matrix, QueryStats, RawMatrix, Result, Scalar, String, Vector
from otero.query.series import StepMatrix, Steps, Value

MAX_POINTS_PER_SERIES = 11_000
"""The most steps that a range query of the API may have."""

DELAYED_NAME_REMOVAL = "promql-delayed-name-removal"
TYPE_AND_UNIT_LABELS = "type-and-unit-labels"
USE_START_TIMESTAMPS = "use-start-timestamps"

FEATURES = LANGUAGE_FEATURES | {DELAYED_NAME_REMOVAL, TYPE_AND_UNIT_LABELS, USE_START_TIMESTAMPS}
"""Every feature flag of queries, named as Prometheus' `--enable-feature` names them."""

_KEPT_PLANS = 4096


class Engine:
    """Answers PromQL queries from a source of samples.

    `lookback_ms` is how far an instant selector looks back, `default_step_ms` the step of subqueries that name none,
    `features` the names of Prometheus' feature flags that are on.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        lookback_ms: int = 300_000,
        default_step_ms: int = 60_000,
        features: Iterable[str] = (),
    ) -> None:
        self._source = source
        self._lookback_ms = lookback_ms
        self._default_step_ms = default_step_ms
        self.features = frozenset(features)
        self._timeless = lru_cache(_KEPT_PLANS)(self._make_timeless)

    @property
    def lookback_ms(self) -> int:
        """How far an instant selector looks back when a query does not say."""
        return self._lookback_ms

    def over(self, wrap: Callable[[SampleSource], SampleSource]) -> "Engine":
        """An engine of the same settings over what `wrap` makes of this one's source."""
        return Engine(
            wrap(self._source),
            lookback_ms=self._lookback_ms,
            default_step_ms=self._default_step_ms,
            features=self.features,
        )

    def reach_ms(self, text: str) -> int:
        """How far before its time a query may look; what `@` fixes does not count. Raises BadQuery."""
        plan = self._plan(text, Edges(0, 0, 0))
        reads = hints(plan.expr, Steps.at(0), self._lookback_ms, self._default_step_ms)
        return max((-read.start_ms for read in reads), default=0)

    def instant(self, text: str, time_ms: int, budget: Budget, lookback_ms: int | None = None) -> Result:
        """The value at one time. Raises BadQuery (the text), ExecutionError (the data), LimitExceeded, TimedOut,
        Cancelled and what the source raises."""
        steps = Steps.at(time_ms)
        plan = self._plan(text, Edges(time_ms, time_ms, 0))
        evaluator = self._evaluator(plan, steps, Edges(time_ms, time_ms, 0), budget, lookback_ms)
        expr = without_parens(plan.expr)
        with np.errstate(all="ignore"):
            if isinstance(expr, (ast.MatrixSelector, ast.Subquery)):
                value = _raw(evaluator, expr, steps)
            else:
                value = _instant(_evaluate(evaluator, expr, steps), time_ms)
        return _result(value, evaluator, budget)

    def range(
        self,
        text: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        budget: Budget,
        lookback_ms: int | None = None,
    ) -> Result:
        """The values at every step from `start_ms` to `end_ms`. Raises as `instant`."""
        if step_ms <= 0:
            raise BadQuery(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        if end_ms < start_ms:
            raise BadQuery("end timestamp must not be before start time")
        steps = Steps.between(start_ms, end_ms, step_ms)
        edges = Edges(start_ms, end_ms, step_ms)
        plan = self._plan(text, edges)
        kind = ast.type_of(plan.expr)
        if kind not in (ast.ValueType.VECTOR, ast.ValueType.SCALAR):
            name = {"matrix": "range vector", "string": "string"}[kind]
            raise BadQuery(
                f'invalid expression type "{name}" for range query, must be Scalar or instant Vector'
            )
        evaluator = self._evaluator(plan, steps, edges, budget, lookback_ms)
        with np.errstate(all="ignore"):
            out = _evaluate(evaluator, plan.expr, steps)
            if isinstance(out, np.ndarray):
                matrix = StepMatrix(LabelTable(1, {}), out[:, None])
            elif isinstance(out, StepMatrix):
                matrix = without_absent(finish_names(out))
                order = label_order(matrix.labels)
                if (order[1:] < order[:-1]).any():
                    matrix = matrix.take(order)
            else:
                raise BadQuery("a string is no answer to a range query")
        return _result(Matrix(steps, matrix), evaluator, budget)

    def _plan(self, text: str, edges: Edges) -> Plan:
        found = self._timeless(text)
        return found if isinstance(found, Plan) else make_plan(found, edges)

    def _make_timeless(self, text: str) -> Plan | ast.Expr:
        """The plan of a query, or only its expression when the plan depends on the query's times."""
        expr = parse(text, features=self.features)
        return expr if depends_on_edges(expr) else make_plan(expr, Edges(0, 0, 0))

    def _evaluator(
        self, plan: Plan, steps: Steps, edges: Edges, budget: Budget, lookback_ms: int | None
    ) -> Evaluator:
        lookback_ms = lookback_ms or self._lookback_ms
        reads = hints(plan.expr, steps, lookback_ms, self._default_step_ms)
        samples = Samples(
            self._source, reads, plan, lookback_ms, budget, starts=USE_START_TIMESTAMPS in self.features
        )
        return Evaluator(
            plan,
            samples,
            edges,
            Notes(),
            budget,
            default_step_ms=self._default_step_ms,
            delayed=DELAYED_NAME_REMOVAL in self.features,
            typed=TYPE_AND_UNIT_LABELS in self.features,
        )


def _evaluate(evaluator: Evaluator, expr: ast.Expr, steps: Steps) -> Value:
    try:
        return evaluator.value(expr, steps)
    except RecursionError:
        raise BadQuery("the expression is nested too deeply") from None


def _instant(out: Value, time_ms: int) -> Vector | Scalar | String:
    if isinstance(out, str):
        return String(time_ms, out)
    if isinstance(out, StepMatrix):
        matrix = without_absent(finish_names(out))
        return Vector(matrix.labels, time_ms, matrix.values[0], matrix.histograms)
    return Scalar(Steps.at(time_ms), out)


def _raw(evaluator: Evaluator, expr: ast.MatrixSelector | ast.Subquery, steps: Steps) -> RawMatrix:
    """The samples of a range selector at one time, stale markers left out."""
    tables: list[LabelTable] = []
    times: list[np.ndarray] = []
    values: list[np.ndarray] = []
    owners: list[Histograms | None] = []
    for view, drop in evaluator.windows(expr, steps):
        rows, columns, samples = _window_samples(view)
        block = view.block
        keep = np.flatnonzero([len(row) > 0 for row in rows])
        labels = StepMatrix(block.labels, np.zeros((1, block.series_count)), drop_name=drop).take(keep)
        tables.append(finish_names(labels).labels)
        times += [block.times_ms[rows[at], columns[at]] for at in keep]
        values += [samples[at] for at in keep]
        owners += [block.histograms] * len(keep)
    values, histograms = united(values, owners)
    return RawMatrix(
        LabelTable.concat(tables) if tables else LabelTable(0, {}),
        np.cumsum([0, *map(len, values)], dtype=np.intp),
        np.concatenate([np.empty(0, np.int64), *times]),
        np.concatenate([np.empty(0), *values]),
        histograms,
    )


def _window_samples(view: Window) -> tuple[list[np.ndarray], list[int], list[np.ndarray]]:
    """Per series: the rows of its samples in the window of the only step, its timestamp column, the samples."""
    rows: list[np.ndarray] = []
    samples: list[np.ndarray] = []
    columns: list[int] = view.block.group.tolist()
    for series, column in enumerate(columns):
        low, high = int(view.lo[0, column]), int(view.hi[0, column])
        values = np.ascontiguousarray(view.block.values[low:high, series])
        pattern = bits(values)
        real = np.flatnonzero((pattern != STALE_BITS) & (pattern != ABSENT_BITS))
        rows.append(real + low)
        samples.append(values[real])
    return rows, columns, samples


def _result(
    value: Vector | Matrix | RawMatrix | Scalar | String, evaluator: Evaluator, budget: Budget
) -> Result:
    read = evaluator.samples
    notes = [Note(NoteKind.WARNING, text, of_source=True) for text in budget.warnings]
    return Result(
        value, (*notes, *evaluator.notes.all()), QueryStats(read.series, read.samples, budget.peak_samples)
    )
