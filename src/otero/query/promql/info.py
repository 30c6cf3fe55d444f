"""`info(vector, {selector})`: labels of info metrics, such as target_info, for series with the same job and instance.

Rules: https://prometheus.io/docs/prometheus/latest/querying/functions/#info. The newest of several info series of one
metric counts; labels that the series has itself stay; the selector's label matchers also name the labels to take.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from otero.errors import ExecutionError
from otero.model.histograms import is_boxed
from otero.model.labels import METRIC_NAME, LabelTable
from otero.model.matchers import Matcher, MatchOp
from otero.query.matching import Signatures, layers, signatures
from otero.query.promql import ast
from otero.query.promql.binary import concat
from otero.query.promql.naming import merge_equal, without_absent
from otero.query.promql.selectors import joined
from otero.query.promql.windows import lookback, lookback_times
from otero.query.series import StepMatrix, Steps, Value

if TYPE_CHECKING:
    from otero.query.promql.evaluate import Evaluator

IDENTIFYING = ("instance", "job")

_POSITIVE = (MatchOp.EQUAL, MatchOp.REGEX)
_DEFAULT = Matcher(METRIC_NAME, MatchOp.EQUAL, "target_info")
_ANY_INFO = Matcher(METRIC_NAME, MatchOp.REGEX, ".+_info")


def info(evaluator: "Evaluator", node: ast.Call, steps: Steps) -> Value:
    """Evaluate a call of info."""
    base = evaluator.matrix(node.args[0], steps)
    given: tuple[Matcher, ...] = ()
    for selector in node.args[1:]:
        if isinstance(selector, ast.VectorSelector):
            given = selector.matchers
    names = tuple(matcher for matcher in given if matcher.name == METRIC_NAME)
    data = tuple(matcher for matcher in given if matcher.name != METRIC_NAME)
    if not names:
        names = (_DEFAULT,)
    elif not any(matcher.op in _POSITIVE for matcher in names):
        names = (*names, _ANY_INFO)
    texts = base.labels.column(METRIC_NAME).texts()
    itself = np.array([all(matcher.matches(text) for matcher in names) for text in texts], np.bool_)
    plain = base.take(np.flatnonzero(itself))
    enriched = _enrich(
        evaluator, base.take(np.flatnonzero(~itself)), names, data, _looks(node.args[0], steps)
    )
    parts = [part for part in (enriched, plain) if part.series_count]
    return merge_equal(concat(parts)) if parts else plain


def _looks(expr: ast.Expr, steps: Steps) -> NDArray[np.int64]:
    """The times at which the first selector of an expression looks: the info series are wanted as of then."""
    times = steps.times_ms()
    while True:
        if isinstance(expr, (ast.VectorSelector, ast.Subquery)):
            at = times if expr.at is None else np.full(steps.count, expr.at, np.int64)
            times = at - expr.offset_ms
        below = [child for child in ast.children(expr) if _reads(child)]
        if not below:
            return times
        expr = below[0]


def _reads(expr: ast.Expr) -> bool:
    return any(isinstance(node, ast.VectorSelector) for node in ast.walk(expr))


def _enrich(
    evaluator: "Evaluator",
    base: StepMatrix,
    names: tuple[Matcher, ...],
    data: tuple[Matcher, ...],
    looks: NDArray[np.int64],
) -> StepMatrix:
    if base.series_count == 0:
        return base
    required = not all(matcher.matches("") for matcher in data)
    infos, times = _read(evaluator, names + data, looks)
    found = signatures(base.labels, infos.labels, True, IDENTIFYING)
    choice = _newest(infos, times, found)
    added = [_data_labels(row, data) for row in infos.labels.rows()]
    mask = base.present_mask()
    rows: list[dict[str, str]] = []
    origin: list[int] = []
    masks: list[NDArray[np.bool_]] = []
    base_rows = base.labels.rows()
    for signature in range(found.count):
        members = np.flatnonzero(found.left == signature)
        if len(members) == 0:
            continue
        for chosen, at_steps in _combinations(choice[:, :, signature]):
            if not chosen and required:
                continue
            extra = _united([added[index] for index in chosen])
            for member in members.tolist():
                here = mask[:, member] & at_steps
                if here.any():
                    rows.append({**extra, **base_rows[member]})
                    origin.append(member)
                    masks.append(here)
    taken = base.take(np.array(origin, np.intp))
    present = np.stack(masks, axis=1) if masks else np.empty((len(looks), 0), np.bool_)
    return without_absent(replace(taken, labels=LabelTable.of(rows), present=present))


def _read(
    evaluator: "Evaluator", matchers: tuple[Matcher, ...], looks: NDArray[np.int64]
) -> tuple[StepMatrix, NDArray[np.int64]]:
    """The info series at the given times, and the times of their samples."""
    samples = evaluator.samples
    reach = samples.lookback_ms
    steps = Steps(0, 1, len(looks))
    parts: list[StepMatrix] = []
    times: list[StepMatrix] = []
    order = np.argsort(looks, kind="stable")  # windows want ascending ends
    back = np.argsort(order, kind="stable")
    for block in samples.blocks(matchers, int(looks.min()) - reach + 1, int(looks.max())):
        values, present = lookback(block, looks[order], reach)
        when = lookback_times(block, looks[order], reach)
        if block.histograms is not None and (is_boxed(values) & (True if present is None else present)).any():
            raise ExecutionError("info sample should be float")
        there = None if present is None else present[back]
        parts.append(StepMatrix(block.labels, values[back], there))
        times.append(StepMatrix(block.labels, when[back].astype(np.float64), there))
    return joined(parts, steps), joined(times, steps).values.astype(np.int64)


def _newest(infos: StepMatrix, times: NDArray[np.int64], found: Signatures) -> NDArray[np.intp]:
    """intp [steps, metrics, signatures]: the info series that counts, -1 for none."""
    texts = infos.labels.column(METRIC_NAME).codes
    metrics = np.unique(texts, return_inverse=True)[1]
    width = int(metrics.max(initial=-1)) + 1
    key = metrics * found.count + found.right
    mask = infos.present_mask()
    chosen = np.full((mask.shape[0], width * found.count), -1, np.intp)
    newest = np.full(chosen.shape, np.iinfo(np.int64).min)
    for layer in layers(key, width * found.count):
        into = key[layer]
        here = mask[:, layer]
        clash = here & (chosen[:, into] >= 0) & (newest[:, into] == times[:, layer])
        if clash.any():
            at = int(np.nonzero(clash)[1][0])
            raise ExecutionError(
                f"found duplicate series for info metric: {infos.labels.row(int(layer[at]))}"
            )
        better = here & (times[:, layer] > newest[:, into])
        chosen[:, into] = np.where(better, layer, chosen[:, into])
        newest[:, into] = np.where(better, times[:, layer], newest[:, into])
    return chosen.reshape(mask.shape[0], width, found.count)


def _combinations(choice: NDArray[np.intp]) -> Iterator[tuple[list[int], NDArray[np.bool_]]]:
    """Which info series count together (of [steps, metrics]), and at which steps."""
    kinds, which = np.unique(choice, axis=0, return_inverse=True)
    for at, kind in enumerate(kinds):
        yield [int(index) for index in kind if index >= 0], which.ravel() == at


def _data_labels(row: dict[str, str], data: tuple[Matcher, ...]) -> dict[str, str]:
    """What an info series has to give."""
    wanted = {matcher.name for matcher in data}
    return {
        name: value
        for name, value in row.items()
        if name != METRIC_NAME and name not in IDENTIFYING and (not wanted or name in wanted)
    }


def _united(parts: list[dict[str, str]]) -> dict[str, str]:
    out: dict[str, str] = {}
    for part in parts:
        for name, value in part.items():
            if out.setdefault(name, value) != value:
                raise ExecutionError(f"conflicting label: {name}")
    return out
