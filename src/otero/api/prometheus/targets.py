"""`/api/v1/targets`, `targets/metadata` and `scrape_pools`."""

import socket
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from otero.api.context import ApiContext
from otero.api.prometheus import render
from otero.api.prometheus.params import Params
from otero.errors import BadInput, BadQuery, NotFound
from otero.ingest.scrape.manager import ActiveTarget
from otero.model.times import rfc3339
from otero.query.promql.parser import parse_selector


class TargetRoutes:
    """Tells what is scraped and how that went."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def targets(self, request: Request) -> Response:
        params = await Params.of(request)
        state = params.text("state", "any") or "any"
        if state not in ("any", "active", "dropped"):
            raise BadInput(f'invalid parameter "state": {state!r} is none of active, dropped, any')
        pool = params.text("scrapePool")
        found = self._context.scrapes.targets()
        data: dict[str, Any] = {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}
        if state in ("any", "active"):
            data["activeTargets"] = [_active(t) for t in found.active if not pool or t.pool == pool]
        if state in ("any", "dropped"):
            data["droppedTargets"] = [
                {"discoveredLabels": t.discovered, "scrapePool": t.pool}
                for t in found.dropped
                if not pool or t.pool == pool
            ]
            data["droppedTargetCounts"] = dict(found.dropped_counts)
        return render.success(data)

    async def scrape_pools(self, _request: Request) -> Response:
        return render.success({"scrapePools": sorted(self._context.lifecycle.settings.jobs)})

    async def targets_metadata(self, request: Request) -> Response:
        params = await Params.of(request)
        limit = params.count("limit")
        metric = params.text("metric")
        matchers = ()
        if params.text("match_target"):
            try:
                matchers = parse_selector(params.text("match_target"))
            except BadQuery as error:
                raise BadInput(f'invalid parameter "match_target": {error}') from None
        rows: list[dict[str, Any]] = []
        for target in self._context.scrapes.targets().active:
            if not all(matcher.matches(target.labels.get(matcher.name, "")) for matcher in matchers):
                continue
            for entry in target.metadata:
                if metric and entry.metric != metric:
                    continue
                row = {"target": target.labels, "type": entry.type, "help": entry.help, "unit": entry.unit}
                rows.append(row if metric else {**row, "metric": entry.metric})
                if limit and len(rows) >= limit:
                    return render.success(rows)
        if not rows:
            raise NotFound("specified metadata not found")
        return render.success(rows)


def _active(target: ActiveTarget) -> dict[str, Any]:
    last = target.last
    return {
        "discoveredLabels": target.discovered,
        "labels": target.labels,
        "scrapePool": target.pool,
        "scrapeUrl": target.url,
        "globalUrl": global_url(target.url),
        "lastError": last.error,
        "lastScrape": rfc3339(last.time_ms),
        "lastScrapeDuration": last.duration_s,
        "health": last.health,
        "scrapeInterval": target.interval,
        "scrapeTimeout": target.timeout,
    }


def global_url(url: str) -> str:
    """The URL with this host's name in place of a loopback address, so that it works from elsewhere."""
    parts = urlsplit(url)
    if parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{socket.gethostname()}{port}").geturl()
