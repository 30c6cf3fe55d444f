"""`/api/v1/series`, `labels`, `label/NAME/values` and `metadata`."""

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from otero.api.context import ApiContext
from otero.api.prometheus import render
from otero.api.prometheus.params import MAX_TIME_MS, MIN_TIME_MS, Params
from otero.errors import BadInput, BadQuery
from otero.model.matchers import Matcher
from otero.query.promql.parser import parse_selector

_TRUNCATED = ("results truncated due to limit",)
_ESCAPED = re.compile(r"_(?:_|([0-9A-Fa-f]{1,6})_)")


def matcher_sets(params: Params) -> list[Sequence[Matcher]]:
    """The selectors given as `match[]`, each of which must have a matcher that does not match everything."""
    sets: list[Sequence[Matcher]] = []
    for text in params.texts("match[]"):
        try:
            sets.append(parse_selector(text))
        except BadQuery as error:
            raise BadInput(f'invalid parameter "match[]": {error}') from None
    for text, matchers in zip(params.texts("match[]"), sets, strict=True):
        if all(matcher.matches("") for matcher in matchers):
            raise BadInput(
                f'invalid parameter "match[]": match[] must contain at least one non-empty matcher, got {text}'
            )
    return sets


def unescape_name(name: str) -> str:
    """A label name as in a path: `U__` begins the escaping of UTF-8 names (`_2e_` is a dot, `__` an underscore)."""
    if not name.startswith("U__"):
        return name
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "_", name[3:])


class MetadataRoutes:
    """Tells which series, labels and metrics there are."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def series(self, request: Request) -> Response:
        params = await Params.of(request)
        context = self._context
        if not params.texts("match[]"):
            raise BadInput("no match[] parameter provided")
        sets = matcher_sets(params)
        start_ms, end_ms = _range_ms(params)
        limit = params.count("limit")
        budget = context.queries.budget()

        def work() -> bytes:
            table = context.store.series(sets, start_ms, end_ms, limit + 1 if limit else 0)
            rows = table.rows()
            return render.success_bytes(rows[:limit] if limit else rows, _truncated(len(rows), limit))

        return render.json_response(await context.queries.run("series", request, budget, work))

    async def labels(self, request: Request) -> Response:
        params = await Params.of(request)
        context = self._context
        sets = matcher_sets(params)
        start_ms, end_ms = _range_ms(params)
        limit = params.count("limit")
        budget = context.queries.budget()

        def work() -> bytes:
            names = context.store.label_names(sets, start_ms, end_ms, limit + 1 if limit else 0)
            return render.success_bytes(names[:limit] if limit else names, _truncated(len(names), limit))

        return render.json_response(await context.queries.run("labels", request, budget, work))

    async def label_values(self, request: Request) -> Response:
        params = await Params.of(request)
        context = self._context
        name = unescape_name(request.path_params["name"])
        if not name:
            raise BadInput('invalid label name: ""')
        sets = matcher_sets(params)
        start_ms, end_ms = _range_ms(params)
        limit = params.count("limit")
        budget = context.queries.budget()

        def work() -> bytes:
            values = context.store.label_values(name, sets, start_ms, end_ms, limit + 1 if limit else 0)
            return render.success_bytes(values[:limit] if limit else values, _truncated(len(values), limit))

        return render.json_response(await context.queries.run("label_values", request, budget, work))

    async def metadata(self, request: Request) -> Response:
        params = await Params.of(request)
        limit = params.count("limit")
        per_metric = params.count("limit_per_metric")
        found = self._context.store.metadata(params.text("metric") or None)
        names = sorted(found)[:limit] if limit else sorted(found)
        return render.success(
            {
                name: [
                    {"type": entry.type, "unit": entry.unit, "help": entry.help}
                    for entry in (found[name][:per_metric] if per_metric else found[name])
                ]
                for name in names
            }
        )


def _range_ms(params: Params) -> tuple[int, int]:
    start_ms = params.time_ms("start", MIN_TIME_MS)
    end_ms = params.time_ms("end", MAX_TIME_MS)
    if end_ms < start_ms:
        raise BadInput('invalid parameter "end": end timestamp must not be before start time')
    return start_ms, end_ms


def _truncated(count: int, limit: int) -> Sequence[str]:
    return _TRUNCATED if limit and count > limit else ()
