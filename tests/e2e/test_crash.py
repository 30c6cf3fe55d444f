"""`kill -9` under scraping loses nothing that is older than a second and doubles nothing."""

import itertools
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Exporter
from tests.e2e.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SERIES = 50
KILLS = 10


class Counting:
    """Every scrape sees the next number, and the numbers that were served are remembered with their time."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.served: list[tuple[float, int]] = []

    def body(self) -> bytes:
        with self._lock:
            number = next(self._numbers)
            self.served.append((time.time(), number))
        return b"".join(b'scrapes_total{series="%d"} %d\n' % (i, number) for i in range(SERIES))


def test_ten_kills_lose_nothing_and_double_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    counting = Counting()
    exporter = Exporter(counting.body)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n"
        "  - job_name: counting\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{exporter.port}']}}]\n"
    )
    otero = tmp_path / "otero.yml"
    otero.write_text("storage: {flush_interval: 2s}\n")  # so that kills come after flushes to the engine too
    server = ServerProcess(["--config", otero, "--prometheus", config], data=tmp_path / "data")
    request.addfinalizer(server.kill)
    begin_s = time.time()
    killed: list[tuple[float, float]] = []
    for kill in range(KILLS):
        server.start()
        back_s = time.time()
        if killed:
            killed[-1] = (killed[-1][0], back_s)
        server.wait_for('scrapes_total{series="0"}', timeout_s=30)
        time.sleep(1.0 + 0.5 * (kill % 5))
        server.kill()
        killed.append((time.time(), 0.0))
    server.start()
    exporter.close()

    seconds = int(time.time() - begin_s) + 5
    rows = server.query(f"scrapes_total[{seconds}s]")
    assert len(rows) == SERIES
    # On a busy machine an answer may come after scrape_timeout; `up` tells of it, from when the scrape began.
    [up] = server.query(f'up{{job="counting"}}[{seconds}s]')
    too_late = [at for at, value in up["values"] if value == "0"]
    must_be_there = {
        number
        for at, number in counting.served
        if not any(kill_s - 1 <= at <= kill_s for kill_s, _ in killed)
        and not any(begin_s - 0.05 <= at <= begin_s + 0.4 for begin_s in too_late)
        and at < time.time() - 1
    }
    assert len(must_be_there) > len(counting.served) / 4
    for row in rows:
        times = [at for at, _ in row["values"]]
        assert len(times) == len(set(times)), "a sample is doubled"
        values = [int(value) for _, value in row["values"]]
        assert len(values) == len(set(values)), f"a scrape is stored under two times: {row['values']}"
        assert values == sorted(values)
        assert must_be_there <= set(values), "a sample is missing"
    assert server.stop() == 0
