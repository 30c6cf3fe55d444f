"""`/api/v1/query`, `query_range`, `query_exemplars`, `format_query` and `parse_query`."""

from collections.abc import Iterable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from otero.api.context import ApiContext
from otero.api.prometheus import render
from otero.api.prometheus.params import Params
from otero.errors import BadInput, BadQuery
from otero.model.labels import decode_labels
from otero.query.promql import ast
from otero.query.promql.as_json import as_json
from otero.query.promql.parser import parse
from otero.query.promql.printer import format_expr

MAX_POINTS = 11_000


def parsed(params: Params, features: frozenset[str], name: str = "query") -> ast.Expr:
    """The expression of a parameter; a fault in it is told with the parameter's name."""
    try:
        return parse(params.text(name), features=features)
    except BadQuery as error:
        raise BadInput(f'invalid parameter "{name}": {error}') from None


class QueryRoutes:
    """Evaluates queries."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def query(self, request: Request) -> Response:
        params = await Params.of(request)
        context = self._context
        limit = params.count("limit")
        time_ms = params.time_ms("time", context.clock.now_ms())
        lookback_ms = _lookback_ms(params)
        budget = context.queries.budget(_timeout_s(params))
        text = params.text("query")
        parsed(params, context.engine.features)

        def work() -> bytes:
            result = context.engine.instant(text, time_ms, budget, lookback_ms)
            return render.result(result, text, limit=limit, stats=bool(params.text("stats")), budget=budget)

        return render.json_response(await context.queries.run("instant", request, budget, work, text))

    async def query_range(self, request: Request) -> Response:
        params = await Params.of(request)
        context = self._context
        limit = params.count("limit")
        start_ms = params.time_ms("start")
        end_ms = params.time_ms("end")
        if end_ms < start_ms:
            raise BadInput('invalid parameter "end": end timestamp must not be before start time')
        step_ms = params.duration_ms("step")
        if step_ms <= 0:
            raise BadInput(
                'invalid parameter "step": zero or negative query resolution step widths are not accepted.'
                " Try a positive integer"
            )
        if (end_ms - start_ms) // step_ms > MAX_POINTS:
            raise BadInput(
                "exceeded maximum resolution of 11,000 points per timeseries."
                " Try decreasing the query resolution (?step=XX)"
            )
        lookback_ms = _lookback_ms(params)
        budget = context.queries.budget(_timeout_s(params))
        text = params.text("query")
        parsed(params, context.engine.features)

        def work() -> bytes:
            result = context.engine.range(text, start_ms, end_ms, step_ms, budget, lookback_ms)
            return render.result(result, text, limit=limit, stats=bool(params.text("stats")), budget=budget)

        return render.json_response(await context.queries.run("range", request, budget, work, text))

    async def query_exemplars(self, request: Request) -> Response:
        params = await Params.of(request)
        context = self._context
        start_ms = params.time_ms("start", context.clock.now_ms() - 3_600_000)
        end_ms = params.time_ms("end", context.clock.now_ms())
        if end_ms < start_ms:
            raise BadInput("end timestamp must not be before start timestamp")
        selectors = list(_selectors(parsed(params, context.engine.features)))
        if not selectors:
            return render.success([])
        budget = context.queries.budget()
        found = await context.queries.run(
            "exemplars",
            request,
            budget,
            lambda: context.store.exemplars([selector.matchers for selector in selectors], start_ms, end_ms),
        )
        return render.success(
            [
                {
                    "seriesLabels": decode_labels(series),
                    "exemplars": [
                        {
                            "labels": decode_labels(exemplar.labels),
                            "value": render.value_text(exemplar.value),
                            "timestamp": orjson.Fragment(render.time_text(exemplar.time_ms)),
                        }
                        for exemplar in exemplars
                    ],
                }
                for series, exemplars in found
            ]
        )

    async def format_query(self, request: Request) -> Response:
        params = await Params.of(request)
        return render.success(format_expr(parsed(params, self._context.engine.features)))

    async def parse_query(self, request: Request) -> Response:
        params = await Params.of(request)
        return render.success(as_json(parsed(params, self._context.engine.features)))


def _timeout_s(params: Params) -> float | None:
    return params.duration_ms("timeout") / 1000 if params.text("timeout") else None


def _lookback_ms(params: Params) -> int | None:
    if not params.text("lookback_delta"):
        return None
    lookback_ms = params.duration_ms("lookback_delta")
    if lookback_ms <= 0:
        raise BadInput('invalid parameter "lookback_delta": it must be positive')
    return lookback_ms


def _selectors(expr: ast.Expr) -> Iterable[ast.VectorSelector]:
    return (node for node in ast.walk(expr) if isinstance(node, ast.VectorSelector))
