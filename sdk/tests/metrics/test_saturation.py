import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from prometheus_client import REGISTRY

from otero_sdk.metrics import watch_pool
from otero_sdk.metrics.saturation import LoopLag, Saturation, cores, memory_limit_bytes


def values(collector: Saturation) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def test_a_busy_process_uses_its_core() -> None:
    saturation = Saturation(lambda: [os.getpid()], lambda: 3)
    start, until = time.monotonic(), time.process_time() + 0.5
    while time.process_time() < until:
        pass
    elapsed = time.monotonic() - start
    found = values(saturation)
    expected = 100 * 0.5 / elapsed / cores()
    assert expected * 0.7 < found["cpu_usage_percent",] < expected * 1.5
    assert found["memory_usage_bytes",] > 10e6
    assert (
        0 < found["memory_usage_percent",] == 100 * found["memory_usage_bytes",] / memory_limit_bytes() < 100
    )
    assert found["worker_processes",] == 1
    assert found["worker_processes_busy",] == 3


def test_processes_that_are_gone_are_left_out() -> None:
    found = values(Saturation(lambda: [os.getpid(), 999_999_999]))
    assert found["cpu_usage_percent",] >= 0
    assert (
        values(Saturation(lambda: [999_999_999]))
        .keys()
        .isdisjoint({("cpu_usage_percent",), ("memory_usage_bytes",)})
    )


def test_thread_pools() -> None:
    release = Event()
    with ThreadPoolExecutor(2) as pool:
        watch_pool("mail", pool)
        for _ in range(5):
            pool.submit(release.wait)
        while pool._work_queue.qsize() > 3:
            time.sleep(0.001)
        found = values(Saturation(lambda: [os.getpid()]))
        assert found["thread_pool_size", "mail"] == 2
        assert found["thread_pool_threads", "mail"] == 2
        assert found["thread_pool_queue", "mail"] == 3
        release.set()


async def test_event_loop_lag() -> None:
    lag = LoopLag()
    loop = asyncio.get_running_loop()
    lag.watch(loop)
    lag.watch(loop)
    await asyncio.sleep(0.2)
    time.sleep(0.3)  # noqa: ASYNC251 — what is measured
    await asyncio.sleep(0.1)
    measured = REGISTRY.get_sample_value("event_loop_lag_seconds")
    REGISTRY.unregister(lag._gauge)
    assert measured is not None
    assert 0.2 < measured < 1
