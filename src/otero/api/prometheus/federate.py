"""`/federate`: the newest samples of chosen series as a text exposition, for other Prometheus servers to scrape.

Lines are ordered by metric name, then by labels. Samples are sent with their own times; staleness markers and series
without a sample within the lookback are left out. External labels that a series does not have come last.
"""

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from otero.api.context import ApiContext
from otero.api.prometheus.metadata import matcher_sets
from otero.api.prometheus.numbers import exposition_text
from otero.api.prometheus.params import Params
from otero.errors import BadInput
from otero.fields import valid_legacy_label_name
from otero.model.budget import Budget
from otero.model.histograms import is_boxed
from otero.model.labels import METRIC_NAME
from otero.model.matchers import Matcher
from otero.query.promql.windows import lookback, lookback_times

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class FederateRoutes:
    """Serves `/federate`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def federate(self, request: Request) -> Response:
        params = await Params.of(request)
        if not params.texts("match[]"):
            raise BadInput("no match[] parameter provided")
        sets = matcher_sets(params)
        budget = self._context.queries.budget()
        body = await self._context.queries.run(
            "federate",
            request,
            budget,
            lambda: self._exposition([list(matchers) for matchers in sets], budget),
        )
        return Response(body, media_type=_CONTENT_TYPE)

    def _exposition(self, sets: list[list[Matcher]], budget: Budget) -> bytes:
        context = self._context
        now_ms = context.clock.now_ms()
        lookback_ms = context.engine.lookback_ms
        ends_ms = np.array([now_ms], np.int64)
        external = context.lifecycle.settings.external_labels
        lines: dict[tuple[str, str], bytes] = {}
        for matchers in sets:
            for block in context.store.select(matchers, now_ms - lookback_ms + 1, now_ms, budget):
                values, present = lookback(block, ends_ms, lookback_ms)
                times_ms = lookback_times(block, ends_ms, lookback_ms)[0]
                rows = np.flatnonzero(present[0]) if present is not None else np.arange(values.shape[1])
                if block.histograms is not None:  # the text format has none, as in Prometheus
                    rows = rows[~is_boxed(values[0][rows])]
                texts = map(exposition_text, values[0][rows].tolist())
                table = block.labels.take(rows).rows()
                for labels, text, time_ms in zip(table, texts, times_ms[rows].tolist(), strict=True):
                    name = labels.pop(METRIC_NAME, "")
                    if not name:
                        continue
                    added = {label: value for label, value in external.items() if label not in labels}
                    series = series_text(name, {**labels, **added})
                    lines[name, series] = f"{series} {text} {time_ms}\n".encode()
        parts: list[bytes] = []
        previous = None
        for (name, _), line in sorted(lines.items()):
            if name != previous:
                shown = name if valid_legacy_label_name(name.replace(":", "_")) else _quoted(name)
                parts.append(f"# TYPE {shown} untyped\n".encode())
                previous = name
            parts.append(line)
        return b"".join(parts)


def series_text(name: str, labels: dict[str, str]) -> str:
    """A series as an exposition writes it, labels in the order given; unusual names are quoted, inside the braces."""
    classic = valid_legacy_label_name(name.replace(":", "_"))
    inside = [] if classic else [_quoted(name)]
    for label, value in labels.items():
        if value:
            shown = label if valid_legacy_label_name(label) else _quoted(label)
            inside.append(f"{shown}={_quoted(value)}")
    braces = "{" + ",".join(inside) + "}" if inside else ""
    return f"{name if classic else ''}{braces}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'"{escaped}"'
