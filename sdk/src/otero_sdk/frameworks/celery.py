"""Celery: tasks as metrics, the sender's correlation id, and a port for the metrics of a worker."""

import sys
import time
from typing import Any, Final

from celery import Celery, signals

from otero_sdk import correlation, metrics

_STATES: Final = ("SUCCESS", "FAILURE", "RETRY")
_START: Final = "otero_sdk_start"
_RESET: Final = "otero_sdk_correlation"


class Tasks:
    """`celery_tasks_total{task,state}`, `celery_task_duration_seconds{task}`, `celery_tasks_in_flight`."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._total = metrics.counter(
            "celery_tasks_total", "Tasks that ended, by name and state.", ["task", "state"]
        )
        self._seconds = metrics.histogram("celery_task_duration_seconds", "Time to run a task.", ["task"])
        self._in_flight = metrics.gauge("celery_tasks_in_flight", "Tasks that are running.")

    def install(self) -> None:
        """Listen to Celery's signals; those of other applications are ignored."""
        signals.task_prerun.connect(self._begin, weak=False, dispatch_uid=f"otero_sdk-{id(self._app)}")
        signals.worker_ready.connect(self._expect, weak=False, dispatch_uid=f"otero_sdk-{id(self._app)}")
        signals.task_postrun.connect(self._end, weak=False, dispatch_uid=f"otero_sdk-{id(self._app)}")

    def _expect(self, **_: Any) -> None:
        # The series of the application's tasks exist from the start.
        for name in self._app.tasks:
            if not name.startswith("celery."):
                self._seconds.labels(name)
                for state in _STATES:
                    self._total.labels(name, state)

    def _begin(self, task: Any = None, **_: Any) -> None:
        if task is None or task.app is not self._app:
            return
        sent = getattr(task.request, correlation.HEADER, None)
        headers = getattr(task.request, "headers", None) or {}
        chosen = correlation.accept(sent or headers.get(correlation.HEADER))
        setattr(task.request, _RESET, correlation.current.set(chosen))
        if (trace := sys.modules.get("opentelemetry.trace")) is not None:
            # The task's span, if there is one, began before this id was known.
            trace.get_current_span().set_attribute("correlation_id", chosen)
        setattr(task.request, _START, time.perf_counter())
        self._in_flight.inc()

    def _end(self, task: Any = None, state: str | None = None, **_: Any) -> None:
        if task is None or (start := getattr(task.request, _START, None)) is None:
            return
        setattr(task.request, _START, None)
        self._in_flight.dec()
        self._seconds.labels(task.name).observe(time.perf_counter() - start)
        self._total.labels(task.name, state or "UNKNOWN").inc()
        try:
            correlation.current.reset(getattr(task.request, _RESET))
        except ValueError:
            correlation.current.set(None)
