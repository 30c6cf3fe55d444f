"""What a process has once, however many applications it instruments: metrics, logs, traces, and the way out."""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY

from otero_sdk import logs, metrics, tracing
from otero_sdk.correlation import carriers
from otero_sdk.health import HealthChecks, HealthCollector
from otero_sdk.health.draining import Draining
from otero_sdk.logs.access import AccessLog
from otero_sdk.logs.json_lines import JsonLines, no_trace
from otero_sdk.metrics import exposition, workers
from otero_sdk.metrics.exposition import Exposition
from otero_sdk.metrics.requests import RequestMetrics
from otero_sdk.metrics.saturation import LoopLag, Saturation
from otero_sdk.recording import Recorder
from otero_sdk.settings import Settings

if TYPE_CHECKING:
    from otero_sdk.tracing.spans import Tracing

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Process:
    """The parts that all instrumented applications of this process share."""

    settings: Settings
    requests: RequestMetrics
    exposition: Exposition
    health: HealthCollector
    draining: Draining
    recorder: Recorder
    tracing: "Tracing | None"
    lag: LoopLag | None = None

    def first_request(self) -> None:
        """A worker begins to serve."""
        self.draining.install()

    def started(self, loop: asyncio.AbstractEventLoop, health: HealthChecks) -> None:
        """An event loop begins to serve."""
        if self.lag is None:
            self.lag = LoopLag()
        self.lag.watch(loop)
        health.loop = loop
        self.draining.install()


_process: Process | None = None


def current(settings: Settings) -> Process:
    """The process as it was set up first; later settings that differ are warned of.

    What an application has for itself (its paths, its checks) is not part of it.
    """
    global _process  # one for each process is the point
    if _process is None:
        _process = _set_up(settings)
        return _process
    own = {"metrics_path": None, "health_path": None, "metrics_port": None, "metrics_host": ""}
    if replace(_process.settings, **own) != replace(settings, **own):
        _logger.warning(
            "this process is already instrumented as service %r; what it shares (metrics, logs, traces) stays as it was",
            _process.settings.service,
        )
    return _process


def _set_up(settings: Settings) -> Process:
    # What may be missing is found out before anything is changed.
    if settings.otlp_logs:
        tracing.need_for("otlp_logs=True")
    traces = tracing.set_up(settings)
    folder = metrics.FOLDER
    requests = RequestMetrics(settings.service, settings.metric_names, settings.buckets, folder=folder)
    saturation = Saturation(
        lambda: exposition.serving(folder), None if folder is None else lambda: exposition.busy(folder)
    )
    health = HealthCollector()
    try:
        rendered = Exposition(
            requests, [saturation, health], folder=folder, own_folder=workers.is_own(folder)
        )
    except ValueError:
        REGISTRY.unregister(requests)
        raise
    carriers.install()
    trace_ids = no_trace
    if traces is not None:
        from otero_sdk.tracing.spans import current_ids as trace_ids  # optional packages
    access_log: AccessLog | None = None
    if settings.logs:
        constant = {
            name: value
            for name, value in (("version", settings.version), ("environment", settings.environment))
            if value
        }
        handler = logs.set_up(
            settings.service,
            level=settings.log_level,
            constant=constant,
            trace_ids=trace_ids,
            redact=settings.redact,
            rate_limit=settings.log_rate_limit,
            access_log=settings.access_log,
        )
        access_log = AccessLog(handler) if settings.access_log else None
        if settings.otlp_logs and isinstance(handler.formatter, JsonLines):
            _send_logs(settings, handler.formatter, handler.filters)
    draining = Draining(settings.drain_s)
    draining.install_in_gunicorn()
    draining.install()
    recorder = Recorder(requests, traces, access_log)
    return Process(settings, requests, rendered, health, draining, recorder, traces)


def _send_logs(settings: Settings, formatter: JsonLines, filters: list[Any]) -> None:
    from otero_sdk.logs import otlp  # optional packages
    from otero_sdk.tracing.spans import resource

    handler = otlp.handler(tracing.endpoint(settings, "logs"), resource(settings), formatter)
    # A record that the limit keeps back is kept back everywhere: the first handler decides, the second follows it.
    for limit in filters:
        handler.addFilter(limit)
    logging.getLogger().addHandler(handler)
