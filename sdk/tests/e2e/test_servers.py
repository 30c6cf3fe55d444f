"""Applications under real servers with several worker processes, and real load."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk.tests.running import APPS, Receiver, attributes, fetch, free_port

pytestmark = pytest.mark.e2e
REQUESTS = 10_000


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], str]]]:
    """Starts a server and waits until it answers; ends it afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *command: object, path: str = "/health/live", **environ: str
    ) -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        env = {**os.environ, "OTEL_TRACES_EXPORTER": "none", "TMPDIR": str(tmp_path), **environ}
        with (tmp_path / "server.log").open("ab") as log:
            server = subprocess.Popen(
                [str(part).replace("PORT", str(port)) for part in command],
                env=env,
                cwd=APPS,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(server)
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert server.poll() is None, (tmp_path / "server.log").read_text()[-3000:]
            with contextlib.suppress(OSError):
                if fetch(f"{url}{path}")[0] == 200:
                    return server, url
            time.sleep(0.05)
        raise AssertionError((tmp_path / "server.log").read_text()[-3000:])

    yield start
    for server in started:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def gunicorn(*options: object) -> list[object]:
    return [sys.executable, "-m", "gunicorn", "shop:app", "-b", "127.0.0.1:PORT", "-w", "4", *options]


def metrics(url: str) -> dict[str, float]:
    """The samples of a scrape, by their text."""
    status, text = fetch(f"{url}/metrics")
    assert status == 200
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


GET = 'http_requests_total{endpoint="/orders/<int:order_id>",method="GET",status="200"}'
WORKERS = {
    "preload": ["--preload"],
    "gevent, preload": ["--preload", "-k", "gevent"],
    "threads": ["-k", "gthread", "--threads", "4"],
}


@pytest.mark.parametrize("options", WORKERS.values(), ids=WORKERS)
def test_counters_of_gunicorns_workers_are_exact(options: list[str], serve: Callable, tmp_path: Path) -> None:
    hey = shutil.which("hey")
    if hey is None:
        pytest.skip("hey, which makes the load, is not installed: apt-get install hey")
    _, url = serve(*gunicorn(*options))
    done = subprocess.run(
        [hey, "-n", str(REQUESTS), "-c", "8", "-disable-keepalive", f"{url}/orders/1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    answered = re.search(r"\[200\]\s+(\d+) responses", done.stdout)
    assert answered is not None, done.stdout
    assert int(answered[1]) == REQUESTS
    for _ in range(5):  # whichever worker answers
        found = metrics(url)
        assert found[GET] == REQUESTS
        assert found['orders_total{outcome="paid"}'] == REQUESTS
        assert found['orders_total{outcome="refused"}'] == 0
        assert (
            found['http_request_duration_seconds_count{endpoint="/orders/<int:order_id>",method="GET"}']
            == REQUESTS
        )
        assert found['http_requests_in_flight{method="GET"}'] == 0
    pids = {int(fetch(f"{url}/pid")[1]) for _ in range(40)}
    folder = next((tmp_path / f"otero-sdk-{os.getuid()}").iterdir())
    assert pids <= {int(file.stem.rpartition("_")[2]) for file in folder.glob("histogram_*.db")}


def test_workers_that_are_replaced_lose_nothing_and_leave_nothing(serve: Callable, tmp_path: Path) -> None:
    _, url = serve(*gunicorn("--preload", "--max-requests", "20"))
    for number in range(200):
        assert fetch(f"{url}/orders/{number}")[0] == 200
    found = metrics(url)
    assert found[GET] == 200
    assert found['orders_total{outcome="paid"}'] == 100
    os.kill(int(fetch(f"{url}/pid")[1]), signal.SIGKILL)
    until = time.monotonic() + 20
    while metrics(url)["worker_processes"] < 4 and time.monotonic() < until:
        time.sleep(0.05)
    assert metrics(url)[GET] == 200
    folder = next((tmp_path / f"otero-sdk-{os.getuid()}").iterdir())
    pids = {file.stem.rpartition("_")[2] for file in folder.glob("counter_*.db")}
    assert len(pids) <= 4 + 1 + 4, (
        "four workers, the preloading process, an archive, and some that end just now"
    )


def test_the_directory_goes_with_the_server(serve: Callable, tmp_path: Path) -> None:
    server, url = serve(*gunicorn("--preload"))
    fetch(f"{url}/orders/1")
    assert list((tmp_path / f"otero-sdk-{os.getuid()}").iterdir())
    server.terminate()
    server.wait(20)
    assert list((tmp_path / f"otero-sdk-{os.getuid()}").iterdir()) == []


@pytest.mark.parametrize("options", [["--preload"], ["--preload", "-k", "gevent"], ["-k", "gthread"]])
def test_traces_and_draining_of_gunicorns_workers(
    options: list[str], serve: Callable, receiver: Receiver
) -> None:
    server, url = serve(
        *gunicorn(*options),
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        DRAIN_S="1.5",
    )
    for number in range(20):
        assert fetch(f"{url}/orders/{number}")[0] == 200
    assert fetch(f"{url}/health/ready")[0] == 200
    worker = int(fetch(f"{url}/pid")[1])
    for pid in [worker, *_siblings(server.pid, worker)]:
        os.kill(pid, signal.SIGTERM)
    statuses = set()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        statuses.add((fetch(f"{url}/health/ready")[0], fetch(f"{url}/health/live")[0]))
    assert (503, 200) in statuses, "not ready, but alive and answering"
    server.terminate()
    server.wait(30)
    paths = sorted(attributes(span)["url.path"] for span in receiver.spans)
    assert paths == sorted([*(f"/orders/{number}" for number in range(20)), "/pid"])
    assert len({span["traceId"] for span in receiver.spans}) == 21


def _siblings(master: int, worker: int) -> list[int]:
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in children if int(pid) != worker]


def test_uwsgi(serve: Callable) -> None:
    if shutil.which("uwsgi", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    _, url = serve(
        *(Path(sys.executable).parent / "uwsgi", "--http", "127.0.0.1:PORT", "--master", "--processes", "3"),
        *("--module", "shop:app", "--enable-threads", "--die-on-term", "--need-app", "--home", sys.prefix),
    )
    for number in range(60):
        assert fetch(f"{url}/orders/{number}")[0] == 200
    for _ in range(4):
        assert metrics(url)[GET] == 60
    assert metrics(url)["worker_processes"] >= 1


def test_uvicorns_workers(serve: Callable) -> None:
    _, url = serve(sys.executable, "-m", "uvicorn", "api:app", "--port", "PORT", "--workers", "2")
    pids = [int(fetch(f"{url}/pid")[1]) for _ in range(60)]
    for _ in range(4):
        found = metrics(url)
        assert found['http_requests_total{endpoint="/pid",method="GET",status="200"}'] == len(pids)
        assert found["event_loop_lag_seconds"] >= 0
    assert found["worker_processes"] == len(set(pids)) or len(set(pids)) == 1


def test_celerys_workers(serve: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    environ = {"BROKER_FOLDER": str(folder)}
    port = free_port()
    worker = _celery(port, environ, tmp_path)
    try:
        send = "import jobs\nfor n in range(1, 21): jobs.pack.delay(n)"
        env: dict[str, Any] = {**os.environ, "OTEL_TRACES_EXPORTER": "none", **environ}
        subprocess.run([sys.executable, "-c", send], cwd=APPS, env=env, check=True, timeout=60)
        until = time.monotonic() + 60
        found: dict[str, float] = {}
        while (
            time.monotonic() < until
            and found.get('celery_task_duration_seconds_count{task="jobs.pack"}') != 20
        ):
            assert worker.poll() is None, (tmp_path / "celery.log").read_text()[-3000:]
            with contextlib.suppress(OSError):
                found = metrics(f"http://127.0.0.1:{port}")
            time.sleep(0.1)
        assert found['celery_tasks_total{state="SUCCESS",task="jobs.pack"}'] == 16
        assert found['celery_tasks_total{state="FAILURE",task="jobs.pack"}'] == 4
    finally:
        worker.terminate()
        worker.wait(30)


def _celery(port: int, environ: dict[str, str], tmp_path: Path) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "OTEL_TRACES_EXPORTER": "none",
        "TMPDIR": str(tmp_path),
        "METRICS_PORT": str(port),
        **environ,
    }
    with (tmp_path / "celery.log").open("ab") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "jobs",
                "worker",
                "-c",
                "2",
                "--without-mingle",
                "--without-gossip",
            ],
            cwd=APPS,
            env=env,
            stdout=log,
            stderr=log,
        )
