"""Health checks: what a service needs in order to work, asked in parallel, each with a timeout, cached.

    health = HealthChecks()
    health.add("database", checks.postgres("postgresql://…"))
    health.add("recommendations", checks.http("http://recommendations/health"), critical=False)

    @health.check("stock")
    def stock() -> bool: ...

`/health` is healthy when all checks are, unhealthy when a critical one is unhealthy, degraded otherwise.
"""

import asyncio
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from otero_sdk.health.errors import safe_error

__all__ = ["Health", "HealthChecks", "Report", "Status"]

Status = Literal["healthy", "degraded", "unhealthy"]
_VALUES: Final[Mapping[str, float]] = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}
_SCRAPE_WAITS_S: Final = 0.2
"""A scrape waits this long for checks that are due, then shows the results before."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found. `details` become fields of its JSON."""

    status: Status
    details: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[], "Health | bool | Awaitable[Health | bool | None] | None"]
"""Healthy: returns None, True or `Health("healthy")`. Unhealthy: returns False, or raises. May be a coroutine function."""
_C = TypeVar("_C", bound=Check)


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all checks at one moment."""

    status: Status
    checks: Mapping[str, Mapping[str, Any]]
    at_s: float
    critical_ok: bool
    """Whether no critical check is unhealthy: the service can do its work."""

    def as_json(self) -> dict[str, Any]:
        """The body of `/health`."""
        timestamp = datetime.fromtimestamp(self.at_s, UTC).isoformat().replace("+00:00", "Z")
        return {"status": self.status, "timestamp": timestamp, "checks": self.checks}


@dataclass(slots=True)
class _Registered:
    check: Check
    timeout_s: float
    critical: bool
    running_since_s: float | None = None


class _Round:
    """One asking of all checks, for which several callers may wait."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.done = threading.Event()
        self.report: Report | None = None


class HealthChecks:
    """The checks of one application.

    A check that hangs is unhealthy after its timeout and is not started again until it returns, so that at most one
    thread waits in it. `cache_s` is how long results are given out without asking again.
    """

    def __init__(
        self,
        checks: Mapping[str, Check] | None = None,
        *,
        timeout_s: float = 5.0,
        cache_s: float = 1.0,
        degraded_is_ok: bool = False,
    ) -> None:
        self.degraded_is_ok = degraded_is_ok
        """Whether `/health` answers 200 when degraded; by default only when all is healthy."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where coroutine checks run, when the application has an event loop."""
        self._timeout_s = timeout_s
        self._cache_s = cache_s
        self._checks: dict[str, _Registered] = {}
        self._lock = threading.Lock()
        self._round: _Round | None = None
        self._latest: tuple[float, Report] | None = None
        for name, check in (checks or {}).items():
            self.add(name, check)

    def add(self, name: str, check: Check, *, timeout_s: float | None = None, critical: bool = True) -> None:
        """Register a check. When a critical one is unhealthy the service is not ready; another makes it degraded.

        Raises ValueError when the name is taken and TypeError when the check cannot be called.
        """
        if not callable(check):
            raise TypeError(f"health check {name!r}: a function is expected, not {type(check).__name__}")
        if name in self._checks:
            raise ValueError(f"there is already a health check {name!r}")
        self._checks[name] = _Registered(check, timeout_s or self._timeout_s, critical)

    def check(
        self, name: str, *, timeout_s: float | None = None, critical: bool = True
    ) -> Callable[[_C], _C]:
        """`add` as a decorator."""

        def register(function: _C) -> _C:
            self.add(name, function, timeout_s=timeout_s, critical=critical)
            return function

        return register

    def report(self) -> Report:
        """The results, not older than `cache_s`. Whoever comes while checks run waits for the same results."""
        with self._lock:
            if self._latest is not None and time.monotonic() - self._latest[0] < self._cache_s:
                return self._latest[1]
            asking = self._round
            joined = asking is not None and asking.pid == os.getpid()
            if asking is None or not joined:
                asking = self._round = _Round()
        # No lock is held while waiting: one that was made before gevent's patching would stop all greenlets.
        if joined:
            asking.done.wait()
        else:
            try:
                asking.report = self._ask()
            finally:
                with self._lock:
                    if asking.report is not None:
                        self._latest = (time.monotonic(), asking.report)
                    self._round = None
                asking.done.set()
        if asking.report is None:
            raise RuntimeError("the health checks could not be run")
        return asking.report

    def _ask(self) -> Report:
        found: dict[str, dict[str, Any]] = {}
        waiting: dict[str, tuple[_Registered, threading.Event, float]] = {}
        for name, registered in list(self._checks.items()):
            done = threading.Event()
            waiting[name] = (registered, done, time.perf_counter())
            with self._lock:
                since_s = registered.running_since_s
                if since_s is not None:
                    found[name] = {
                        "status": "unhealthy",
                        "response_time": round(time.monotonic() - since_s, 6),
                        "error": f"still running after {time.monotonic() - since_s:.1f} s",
                    }
                    continue
                registered.running_since_s = time.monotonic()
            thread = threading.Thread(
                target=self._run, args=(registered, found, name, done), name=f"health-{name}", daemon=True
            )
            thread.start()
        results: dict[str, Mapping[str, Any]] = {}
        for name, (registered, done, start) in waiting.items():
            if name not in found:
                done.wait(max(0.0, registered.timeout_s - (time.perf_counter() - start)))
            with self._lock:
                late = {
                    "status": "unhealthy",
                    "response_time": round(time.perf_counter() - start, 6),
                    "error": f"timed out after {registered.timeout_s:g} s",
                }
                results[name] = found.get(name, late)
        unhealthy = [name for name, result in results.items() if result["status"] == "unhealthy"]
        critical_ok = not any(self._checks[name].critical for name in unhealthy)
        status: Status = "healthy"
        if not critical_ok:
            status = "unhealthy"
        elif any(result["status"] != "healthy" for result in results.values()):
            status = "degraded"
        return Report(status, results, time.time(), critical_ok)

    def _run(
        self, registered: _Registered, found: dict[str, dict[str, Any]], name: str, done: threading.Event
    ) -> None:
        start = time.perf_counter()
        error: str | None = None
        health = Health("healthy")
        try:
            health = _as_health(self._call(registered))
        except Exception as raised:
            health, error = Health("unhealthy"), safe_error(raised)
        result: dict[str, Any] = {
            "status": health.status,
            "response_time": round(time.perf_counter() - start, 6),
        }
        result.update(health.details)
        if error is not None:
            result["error"] = error
        with self._lock:
            registered.running_since_s = None
            found[name] = result
        done.set()

    def _call(self, registered: _Registered) -> object:
        if not inspect.iscoroutinefunction(registered.check):
            return registered.check()
        call: Any = registered.check()
        if self.loop is not None and self.loop.is_running():
            return asyncio.run_coroutine_threadsafe(call, self.loop).result()
        return asyncio.run(call)

    def refresh(self) -> None:
        """See that results are not older than `cache_s`, without waiting long: what a scrape does."""
        if self._checks:
            asking = threading.Thread(target=self.report, name="health", daemon=True)
            asking.start()
            asking.join(_SCRAPE_WAITS_S)

    @property
    def latest(self) -> Report | None:
        """The last results, however old."""
        return self._latest[1] if self._latest is not None else None


class HealthCollector:
    """Results of checks as metrics: `health_check_status` (1 healthy, 0.5 degraded, 0 unhealthy) and how long they took."""

    def __init__(self) -> None:
        self.all: list[HealthChecks] = []

    def describe(self) -> Iterable[Metric]:
        return [
            GaugeMetricFamily("health_check_status", ""),
            GaugeMetricFamily("health_check_duration_seconds", ""),
            GaugeMetricFamily("health_status", ""),
        ]

    def collect(self) -> Iterable[Metric]:
        status = GaugeMetricFamily(
            "health_check_status", "1: healthy, 0.5: degraded, 0: unhealthy.", labels=["check"]
        )
        duration = GaugeMetricFamily(
            "health_check_duration_seconds", "How long a check took.", labels=["check"]
        )
        overall = GaugeMetricFamily("health_status", "The service. 1: healthy, 0.5: degraded, 0: unhealthy.")
        shown: set[str] = set()
        lowest: float | None = None
        for checks in self.all:
            checks.refresh()
            if (report := checks.latest) is None:
                continue
            lowest = min(_VALUES[report.status], 1.0 if lowest is None else lowest)
            for name in report.checks.keys() - shown:
                status.add_metric([name], _VALUES[report.checks[name]["status"]])
                duration.add_metric([name], report.checks[name]["response_time"])
            shown.update(report.checks)
        if lowest is not None:
            overall.add_metric([], lowest)
            yield from (status, duration, overall)


def _as_health(result: object) -> Health:
    if isinstance(result, Health):
        return result
    if result is None or result is True:
        return Health("healthy")
    if result is False:
        return Health("unhealthy")
    raise TypeError(f"a check returns Health, True, False or None, not {type(result).__name__}")
