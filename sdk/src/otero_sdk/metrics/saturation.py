"""How full the service is: processor, memory, workers, thread pools and the event loop.

Processor and memory are those of all worker processes together, in percent of what the service may use: the cores of
its affinity and its control group's quota, and its control group's memory limit or else the machine's memory. They are
read from /proc and /sys at a scrape; on systems without them they are absent.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from prometheus_client import Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_SHORTEST_S: Final = 1.0
"""Processor time is averaged over at least this long, so that two scrapers do not shrink each other's window."""
LAG_EVERY_S: Final = 0.25
LAG_KEPT: Final = 20
"""The lag that is shown is the longest of the last 20 measurements: five seconds."""


class Saturation:
    """A collector of the state of this service's processes.

    `pids` gives the processes that serve; `busy` the number of them that are answering a request, if that is known.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], busy: Callable[[], int] | None = None) -> None:
        self._pids = pids
        self._busy = busy
        self._lock = threading.Lock()
        self._earlier: list[tuple[float, Mapping[int, float]]] = [(time.monotonic(), {})]
        self._earlier[0] = (time.monotonic(), _processor_seconds(self._pids()))

    def describe(self) -> Iterable[Metric]:
        return [
            GaugeMetricFamily("cpu_usage_percent", ""),
            GaugeMetricFamily("memory_usage_percent", ""),
            GaugeMetricFamily("memory_usage_bytes", ""),
        ]

    def collect(self) -> Iterable[Metric]:
        pids = sorted(self._pids())
        cpu = self._cpu_percent(pids)
        if cpu is not None:
            yield GaugeMetricFamily(
                "cpu_usage_percent", "Processor time of the service, percent of its cores.", value=cpu
            )
        used = [size for pid in pids if (size := _memory_bytes(pid)) is not None]
        if used:
            yield GaugeMetricFamily(
                "memory_usage_bytes", "Memory of the service's processes.", value=float(sum(used))
            )
            percent = 100.0 * sum(used) / memory_limit_bytes()
            yield GaugeMetricFamily(
                "memory_usage_percent", "Memory of the service, percent of what it may use.", value=percent
            )
        yield GaugeMetricFamily("worker_processes", "Processes that serve.", value=float(len(pids)))
        if self._busy is not None:
            yield GaugeMetricFamily(
                "worker_processes_busy", "Processes that are answering a request.", value=float(self._busy())
            )
        yield GaugeMetricFamily(
            "threads_active",
            "Threads of the process that answered the scrape.",
            value=float(threading.active_count()),
        )
        yield from _pools()

    def _cpu_percent(self, pids: Iterable[int]) -> float | None:
        now_s, now = time.monotonic(), _processor_seconds(pids)
        if not now:
            return None
        with self._lock:
            old_enough = [sample for sample in self._earlier if now_s - sample[0] >= _SHORTEST_S]
            since_s, since = old_enough[-1] if old_enough else self._earlier[0]
            self._earlier = [
                *old_enough[-1:],
                *(s for s in self._earlier if now_s - s[0] < _SHORTEST_S),
                (now_s, now),
            ]
        if now_s <= since_s:
            return 0.0
        spent = sum(max(0.0, seconds - since.get(pid, 0.0)) for pid, seconds in now.items())
        return 100.0 * spent / (now_s - since_s) / cores()


_watched: WeakKeyDictionary[ThreadPoolExecutor, str] = WeakKeyDictionary()


def watch_pool(name: str, pool: ThreadPoolExecutor) -> ThreadPoolExecutor:
    """Show a thread pool in `thread_pool_size`, `thread_pool_threads` and `thread_pool_queue`, under this name."""
    _watched[pool] = name
    return pool


def _pools() -> Iterable[Metric]:
    size = GaugeMetricFamily("thread_pool_size", "Threads that a pool may have.", labels=["pool"])
    threads = GaugeMetricFamily("thread_pool_threads", "Threads that a pool has.", labels=["pool"])
    queue = GaugeMetricFamily(
        "thread_pool_queue", "Calls that wait for a thread of the pool.", labels=["pool"]
    )
    for pool, name in list(_watched.items()):
        size.add_metric([name], pool._max_workers)
        threads.add_metric([name], len(pool._threads))
        queue.add_metric([name], pool._work_queue.qsize())
    return (size, threads, queue) if size.samples else ()


class LoopLag:
    """Measures how late an event loop calls what is due, which is what every request on it waits as well."""

    def __init__(self) -> None:
        self._gauge = Gauge(
            "event_loop_lag_seconds",
            "The longest delay of a due call in the last five seconds.",
            multiprocess_mode="livemax",
        )
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, list[float]] = WeakKeyDictionary()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the loop that runs; a second call for it does nothing."""
        if loop not in self._loops:
            self._loops[loop] = []
            self._later(loop)

    def _later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(LAG_EVERY_S, self._measure, loop, loop.time() + LAG_EVERY_S)

    def _measure(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        lags = self._loops.get(loop)
        if lags is None:
            return
        lags.append(max(0.0, loop.time() - due_s))
        del lags[:-LAG_KEPT]
        self._gauge.set(max(lags))
        self._later(loop)


def cores() -> float:
    """The cores that this process may use: its affinity, and the quota of its control group."""
    count = (
        float(len(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else float(os.cpu_count() or 1)
    )
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, int(quota) / int(period))
    except (OSError, ValueError):
        pass
    return max(count, 0.01)


def memory_limit_bytes() -> float:
    """The memory that this process may use: its control group's limit, else the machine's."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if text != "max":
            total = min(total, float(text))
    except (OSError, ValueError):
        pass
    return total


def _processor_seconds(pids: Iterable[int]) -> dict[int, float]:
    seconds: dict[int, float] = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        seconds[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return seconds


def _memory_bytes(pid: int) -> int | None:
    """The proportional share of memory, in which pages that forked workers have in common count once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
