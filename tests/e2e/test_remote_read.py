"""A real Prometheus reads from Otero by remote read."""

import json
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import program
from tests.e2e.server import ServerProcess, free_port
from tests.e2e.test_remote_write_sender import SERIES, START_MS, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_a_real_prometheus_reads(tmp_path: Path) -> None:
    path = program("prometheus")
    (tmp_path / "otero.yml").write_text("global: {external_labels: {cluster: a}}\nscrape_configs: []\n")
    server = ServerProcess(["--prometheus", tmp_path / "otero.yml"], data=tmp_path / "data")
    server.start(180)
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        f"scrape_configs: []\nremote_read: [{{url: '{server.url}/api/v1/read', read_recent: true}}]\n"
    )
    process = subprocess.Popen(
        [
            path, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        write(server, 0, 100)
        query = urlencode({"query": 'sent{cluster="a"}[20m]', "time": (START_MS + 590_000) / 1000})
        deadline_s = time.monotonic() + 90
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=60) as response:
                    answer = json.load(response)
                break
            except URLError:
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
        assert answer["status"] == "success", answer
        assert "warnings" not in answer, answer
        assert len(answer["data"]["result"]) == SERIES
        for found in answer["data"]["result"]:
            assert found["values"] == [[START_MS / 1000 + n, str(n)] for n in range(100)]
    finally:
        process.terminate()
        process.wait(30)
        server.kill()
