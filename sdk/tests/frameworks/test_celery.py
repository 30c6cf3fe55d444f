from collections.abc import Callable

import pytest

from sdk.tests.running import Receiver, attributes, free_port

pytestmark = pytest.mark.e2e

APP = """
    import json, os, sys, urllib.request, warnings
    warnings.simplefilter("ignore")
    from celery import Celery
    from otero_sdk import correlation, instrument
    app = Celery("jobs", broker="memory://", backend="cache+memory://")
    app.conf.worker_hijack_root_logger = False
    instrument(app, service="jobs", metrics_port=int(os.environ["PORT"]))
    seen = []
    @app.task
    def pack(order):
        seen.append(correlation.get())
        if order == 13: raise ValueError("unlucky")
        return order
"""


def test_tasks_are_counted_and_carry_the_senders_id(run: Callable, receiver: Receiver) -> None:
    ran = run(
        APP
        + """
    from celery.contrib.testing.worker import start_worker
    with start_worker(app, perform_ping_check=False, pool="solo"):
        with correlation.use("order-7"):
            pack.delay(7).get(timeout=30)
        try: pack.delay(13).get(timeout=30)
        except ValueError: pass
    url = f"http://127.0.0.1:{os.environ['PORT']}/metrics"
    text = urllib.request.urlopen(url).read().decode()
    import psutil
    listening = [c.laddr.ip for c in psutil.Process().net_connections() if c.laddr.port == int(os.environ["PORT"]) and c.status == "LISTEN"]
    print(json.dumps([seen, [line for line in text.splitlines() if line.startswith("celery_") and "created" not in line], listening]))
    """,
        PORT=str(free_port()),
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    seen, lines, listening = ran.answer
    assert listening == ["127.0.0.1"], "this machine only, unless metrics_host says otherwise"
    assert seen[0] == "order-7"
    assert len(seen[1]) == 36
    assert 'celery_tasks_total{state="SUCCESS",task="jobs.pack"} 1.0' in lines
    assert 'celery_tasks_total{state="FAILURE",task="jobs.pack"} 1.0' in lines
    assert 'celery_task_duration_seconds_count{task="jobs.pack"} 2.0' in lines
    assert "celery_tasks_in_flight 0.0" in lines
    sent, received = (
        next(
            span
            for span in receiver.spans
            if span["kind"] == kind and attributes(span).get("correlation_id") == "order-7"
        )
        for kind in ("SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER")
    )
    assert sent["traceId"] == received["traceId"]
    assert received["parentSpanId"] == sent["spanId"]
