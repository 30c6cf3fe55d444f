"""`/api/v1/status/…`: configuration, flags, run time, build and storage."""

import os
import platform
import socket
import threading
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from otero import __version__
from otero.api.context import ApiContext
from otero.api.prometheus import render
from otero.api.prometheus.params import Params
from otero.fields import Duration
from otero.model.times import rfc3339

COMPATIBLE_VERSION = "3.14.0"
"""The Prometheus whose API this is. Grafana and other clients choose features by it; `revision` names Otero."""

_TOP = 10


class StatusRoutes:
    """Tells about the server itself."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def config(self, _request: Request) -> Response:
        return render.success({"yaml": self._context.lifecycle.settings.yaml})

    async def flags(self, _request: Request) -> Response:
        return render.success(dict(self._context.flags))

    async def runtimeinfo(self, _request: Request) -> Response:
        context = self._context
        lifecycle = context.lifecycle
        return render.success(
            {
                "startTime": rfc3339(lifecycle.started_ms),
                "CWD": str(Path.cwd()),
                "hostname": socket.gethostname(),
                "serverTime": rfc3339(context.clock.now_ms()),
                "reloadConfigSuccess": lifecycle.reload_ok,
                "lastConfigTime": rfc3339(lifecycle.reloaded_ms),
                "corruptionCount": context.store.status().corruptions,
                "goroutineCount": threading.active_count(),
                "GOMAXPROCS": os.cpu_count() or 1,
                "GOMEMLIMIT": 0,
                "GOGC": "",
                "GODEBUG": "",
                "storageRetention": str(Duration(lifecycle.settings.retention_ms)),
            }
        )

    async def buildinfo(self, _request: Request) -> Response:
        return render.success(
            {
                "version": COMPATIBLE_VERSION,
                "revision": f"otero-{__version__}",
                "branch": "main",
                "buildUser": "otero",
                "buildDate": "",
                "goVersion": f"{platform.python_implementation()} {platform.python_version()}",
            }
        )

    async def tsdb(self, request: Request) -> Response:
        params = await Params.of(request)
        limit = params.count("limit") or _TOP
        status = self._context.store.status(limit)

        def listed(pairs: list[tuple[str, int]]) -> list[dict[str, object]]:
            return [{"name": name, "value": value} for name, value in pairs]

        return render.success(
            {
                "headStats": {
                    "numSeries": status.series,
                    "numLabelPairs": status.label_pairs,
                    "chunkCount": status.chunks,
                    "minTime": status.min_time_ms,
                    "maxTime": status.max_time_ms,
                },
                "seriesCountByMetricName": listed(status.series_by_metric),
                "labelValueCountByLabelName": listed(status.values_by_label),
                "memoryInBytesByLabelName": listed(status.bytes_by_label),
                "seriesCountByLabelValuePair": listed(status.series_by_label_pair),
            }
        )
