"""When the demo's first data can be seen: asked of Otero as a user would ask."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import psutil

from otero.demo.faults import SERVICES

PATIENCE_S: Final = 60.0
_EVERY_S: Final = 0.2
_METRICS: Final = 'count by (job) (http_requests_total{job=~"gateway|users|orders"} > 0)'


@dataclass(frozen=True, slots=True)
class FirstData:
    """Seconds from the start of the command to metrics of all services, and to a trace through all of them."""

    metrics_s: float | None
    trace_s: float | None
    trace_id: str | None


def since_start() -> float:
    """Seconds since this process was started."""
    return time.time() - psutil.Process().create_time()


async def wait_for_data(url: str) -> FirstData:
    """Ask again and again, for a minute at most."""
    metrics_s: float | None = None
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if metrics_s is None:
                answer = await _get(session, "/api/v1/query", query=_METRICS)
                if answer is not None and len(answer["data"]["result"]) == len(SERVICES):
                    metrics_s = since_start()
            if metrics_s is not None and (trace_id := await _whole_trace(session)) is not None:
                return FirstData(metrics_s, since_start(), trace_id)
            await asyncio.sleep(_EVERY_S)
    return FirstData(metrics_s, None, None)


async def _whole_trace(session: aiohttp.ClientSession) -> str | None:
    """The id of a trace with spans of all services."""
    listed = await _get(session, "/api/otero/v1/traces", limit="50")
    for trace in (listed or {"traces": ()})["traces"]:
        if len(trace.get("services", ())) == len(SERVICES):
            return trace["traceId"]
    return None


async def _get(session: aiohttp.ClientSession, path: str, **params: str) -> Any:
    try:
        async with session.get(path, params=params) as response:
            return await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None
