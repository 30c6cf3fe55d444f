import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from otero_sdk.health import Health, HealthChecks, HealthCollector


def fail() -> None:
    raise ConnectionError("postgresql://shop:s3cret@db:5432/shop refused, password=s3cret")


def test_all_checks_healthy() -> None:
    health = HealthChecks(
        {"a": lambda: None, "b": lambda: True, "c": lambda: Health("healthy", {"version": 7})}
    )
    report = health.report()
    assert report.status == "healthy"
    assert report.critical_ok
    body = report.as_json()
    assert body.keys() == {"status", "timestamp", "checks"}
    assert body["timestamp"].endswith("Z")
    assert body["checks"]["c"].items() >= {"status": "healthy", "version": 7}.items()
    assert 0 <= body["checks"]["a"]["response_time"] < 5


@pytest.mark.parametrize(
    ("critical", "optional", "status", "critical_ok"),
    [
        ("healthy", "healthy", "healthy", True),
        ("healthy", "degraded", "degraded", True),
        ("healthy", "unhealthy", "degraded", True),
        ("degraded", "healthy", "degraded", True),
        ("unhealthy", "healthy", "unhealthy", False),
        ("unhealthy", "unhealthy", "unhealthy", False),
    ],
)
def test_what_checks_make_together(critical: Any, optional: Any, status: str, critical_ok: bool) -> None:
    health = HealthChecks()
    health.add("critical", lambda: Health(critical))
    health.add("optional", lambda: Health(optional), critical=False)
    report = health.report()
    assert (report.status, report.critical_ok) == (status, critical_ok)


def test_errors_are_told_without_credentials() -> None:
    health = HealthChecks({"database": fail, "wrong": lambda: "yes", "false": lambda: False})
    checks = health.report().checks
    assert (
        checks["database"]["error"] == "ConnectionError: postgresql://***@db:5432/shop refused, password=***"
    )
    assert checks["wrong"]["error"] == "TypeError: a check returns Health, True, False or None, not str"
    assert checks["false"]["status"] == "unhealthy"


def test_checks_run_side_by_side_and_hang_alone() -> None:
    together = threading.Barrier(3)
    release = threading.Event()
    calls = []

    def hang() -> None:
        calls.append(1)
        release.wait()

    health = HealthChecks(cache_s=0)
    for name in ("a", "b", "c"):
        health.add(name, lambda: together.wait(10) >= 0)
    health.add("hangs", hang, timeout_s=0.05)
    start = time.monotonic()
    report = health.report()
    assert time.monotonic() - start < 5
    assert report.checks["a"]["status"] == "healthy"
    assert report.checks["hangs"]["error"] == "timed out after 0.05 s"
    again = health.report()
    assert again.checks["hangs"]["error"].startswith("still running after")
    assert len(calls) == 1, "a check that hangs is not started again"
    release.set()


def test_results_are_cached_and_shared_by_those_who_wait() -> None:
    calls = []
    inside, release = threading.Event(), threading.Event()

    def slow() -> None:
        calls.append(1)
        inside.set()
        release.wait(10)

    health = HealthChecks({"slow": slow}, cache_s=60)
    reports: list[Any] = []
    threads = [threading.Thread(target=lambda: reports.append(health.report())) for _ in range(5)]
    threads[0].start()
    assert inside.wait(10)
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(report is reports[0] for report in reports)
    assert health.report() is reports[0]


def test_a_decorator_and_coroutines() -> None:
    health = HealthChecks()

    @health.check("loop", critical=False)
    async def answer() -> Health:
        await asyncio.sleep(0)
        return Health("degraded", {"queue": 7})

    assert health.report().checks["loop"].items() >= {"status": "degraded", "queue": 7}.items()


async def test_coroutines_run_on_the_applications_loop() -> None:
    health = HealthChecks()
    health.loop = asyncio.get_running_loop()

    @health.check("loop")
    async def answer() -> bool:
        return asyncio.get_running_loop() is health.loop

    report = await asyncio.to_thread(health.report)
    assert report.status == "healthy"


def test_mistakes_are_told() -> None:
    health = HealthChecks({"a": lambda: None})
    with pytest.raises(ValueError, match="already a health check 'a'"):
        health.add("a", lambda: None)
    with pytest.raises(TypeError, match="a function is expected, not str"):
        health.add("b", "SELECT 1")  # type: ignore[arg-type]


def test_results_as_metrics() -> None:
    collector = HealthCollector()
    assert list(collector.collect()) == []
    health = HealthChecks({"db": lambda: None, "cache": fail})
    collector.all.append(health)
    collector.all.append(HealthChecks({"db": fail, "disk": lambda: Health("degraded")}))
    found = {
        (sample.name, sample.labels.get("check")): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }
    assert found["health_check_status", "db"] == 1
    assert found["health_check_status", "cache"] == 0
    assert found["health_check_status", "disk"] == 0.5
    assert found["health_status", None] == 0
    assert ("health_check_duration_seconds", "db") in found


def test_a_scrape_does_not_wait_for_a_check_that_hangs() -> None:
    release = threading.Event()
    health = HealthChecks({"hangs": lambda: release.wait(30) and None}, timeout_s=20, cache_s=0)
    collector = HealthCollector()
    collector.all.append(health)
    start = time.monotonic()
    assert list(collector.collect()) == []
    assert time.monotonic() - start < 5
    release.set()


def test_a_check_in_a_child_that_was_forked_meanwhile(run: Callable) -> None:
    ran = run("""
        import json, os, threading, warnings
        warnings.simplefilter("ignore")
        from otero_sdk.health import HealthChecks
        inside, release = threading.Event(), threading.Event()
        first = [True]
        def check():
            if first[0]:
                inside.set(); release.wait()
        health = HealthChecks({"slow": check}, timeout_s=2)
        waiting = threading.Thread(target=health.report); waiting.start(); inside.wait()
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            first[0] = False
            os.write(writer, health.report().status.encode()); os._exit(0)
        os.waitpid(pid, 0)
        release.set(); waiting.join()
        print(json.dumps(os.read(reader, 100).decode()))
    """)
    assert ran.answer in ("healthy", "unhealthy")
