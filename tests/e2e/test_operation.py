"""Reload, access, bad input and the commands, on a running server."""

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.conftest import Exporter
from tests.e2e.server import ServerProcess, free_port, running

pytestmark = pytest.mark.e2e

CONFIG = """\
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: one
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def otero(*arguments: str | Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """A finished command."""
    command = [sys.executable, "-m", "otero", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


def request(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    exporter = Exporter(lambda: b"# TYPE a gauge\n" + b"".join(b'a{n="%d"} %d\n' % (n, n) for n in range(20)))
    yield exporter
    exporter.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, exporter: Exporter) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("operation")
    (folder / "prometheus.yml").write_text(CONFIG.format(port=exporter.port))
    with running(["--prometheus", folder / "prometheus.yml"], folder / "data") as server:
        server.wait_for("count(a) == 20")
        yield server


def test_a_bad_reload_changes_nothing_and_a_good_one_keeps_the_targets(
    tmp_path: Path, exporter: Exporter
) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(port=exporter.port))
    with running(["--prometheus", config], tmp_path / "data") as server:
        server.wait_for("up == 1")

        config.write_text(CONFIG.format(port=exporter.port) + "    metrics_pth: /x\n")
        status, body = request(server.port, "POST", "/-/reload")
        assert status == 400
        assert b"prometheus.yml:5" in body
        assert b'did you mean "metrics_path"' in body
        assert request(server.port, "GET", "/health")[0] == 503
        assert server.query("up")[0]["value"][1] == "1"

        second = CONFIG.format(port=exporter.port) + (
            f'  - job_name: two\n    static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]\n'
        )
        before = server.query("scrape_series_added")
        config.write_text(second)
        server.hang_up()
        server.wait_for('up{job="two"} == 1')
        assert request(server.port, "GET", "/health")[0] == 200
        assert before
        added = server.query('sum_over_time(scrape_series_added{job="one"}[5m])')
        assert added[0]["value"][1] == "20", "the unchanged target has kept its state"

        config.write_text(CONFIG.format(port=exporter.port))
        assert request(server.port, "POST", "/-/reload")[0] == 200
        deadline_s = time.monotonic() + 30
        while server.query('up{job="two"}'):
            assert time.monotonic() < deadline_s, "the series of a target that went must end"
            time.sleep(0.1)


def test_without_any_file_it_scrapes_itself_and_this_host(tmp_path: Path) -> None:
    with running([], tmp_path / "data") as server:
        server.wait_for('up{job="otero"} == 1')
        server.wait_for("node_memory_MemTotal_bytes")
        server.wait_for("otero_http_request_duration_seconds_count")
        assert float(server.query("node_memory_MemTotal_bytes")[0]["value"][1]) > 1e8


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:9090"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:9090"}, 200),
    ],
)
def test_a_foreign_host_name_is_refused(server: ServerProcess, headers: dict[str, str], status: int) -> None:
    assert request(server.port, "GET", "/api/v1/query?query=1", headers=headers)[0] == status


def test_a_page_of_another_site_may_not_post(server: ServerProcess) -> None:
    host = f"127.0.0.1:{server.port}"
    foreign = {"Host": host, "Origin": "http://evil.example"}
    own = {"Host": host, "Origin": f"http://{host}"}
    assert request(server.port, "POST", "/-/reload", headers=foreign)[0] == 403
    assert request(server.port, "POST", "/-/reload", headers=own)[0] == 200


def test_users_and_tokens(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: '{hashed}'}}\n")
    (tmp_path / "otero.yml").write_text("auth: {tokens: [{name: ci, token: t0ken}]}\nhost: {enabled: true}\n")
    arguments = ["--config", tmp_path / "otero.yml", "--web-config", tmp_path / "web.yml"]
    with running(arguments, tmp_path / "data") as server:
        good = base64.b64encode(b"alice:secret").decode()
        bad = base64.b64encode(b"alice:wrong").decode()
        path = "/api/v1/query?query=1"
        assert request(server.port, "GET", path)[0] == 401
        for authorization, status in [
            (f"Basic {good}", 200), (f"Basic {bad}", 401), ("Basic ?", 401), ("Bearer t0ken", 200), ("Bearer no", 401),
        ]:  # fmt: skip
            assert request(server.port, "GET", path, headers={"Authorization": authorization})[0] == status
        done = otero("query", "1", "--url", server.url)
        assert done.returncode == 1
        assert "--token" in done.stderr
        assert otero("query", "1", "--url", server.url, "--token", "t0ken").returncode == 0
        assert "secret" not in "".join(server.lines)
        assert "t0ken" not in "".join(server.lines)


def test_listening_wider_needs_authentication(tmp_path: Path) -> None:
    done = otero("serve", "--listen", f"0.0.0.0:{free_port()}", "--data", tmp_path / "data")
    assert done.returncode == 1
    assert "--insecure" in done.stderr


def test_a_taken_port_and_a_taken_directory_are_told(server: ServerProcess, tmp_path: Path) -> None:
    taken = otero("serve", "--listen", f"127.0.0.1:{server.port}", "--data", tmp_path / "data")
    assert taken.returncode == 1
    assert "--listen" in taken.stderr
    locked = otero("serve", "--listen", f"127.0.0.1:{free_port()}", "--data", server.data)
    assert locked.returncode == 1
    assert str(server.data) in locked.stderr
    assert len(locked.stderr.splitlines()) == 1


def test_the_commands(server: ServerProcess, tmp_path: Path) -> None:
    url = ("--url", server.url)
    table = otero("query", "sum(a)", *url)
    assert table.returncode == 0, table.stderr
    assert "190" in table.stdout
    data = json.loads(otero("query", "sum(a)", *url, "--format", "json").stdout)
    assert data["result"][0]["value"][1] == "190"
    rows = otero("query", "a{n='3'}", *url, "--format", "csv").stdout.splitlines()
    assert rows[0] == "__name__,instance,job,n,time,value"
    assert rows[1].endswith(",3")
    assert "┤" in otero("query", "a{n='3'}", "--start", "-1m", *url).stdout
    wrong = otero("query", "sum(", *url)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
    assert "1:5" in wrong.stderr
    status = otero("status", *url)
    assert status.returncode == 0, status.stderr
    assert "1 up, 0 down" in status.stdout
    assert otero("--version").stdout.startswith("otero ")
    nobody = otero("query", "up", "--url", f"http://127.0.0.1:{free_port()}")
    assert nobody.returncode == 1
    assert "otero serve" in nobody.stderr


def test_backup_while_running_and_restore(server: ServerProcess, tmp_path: Path) -> None:
    at = server.query("timestamp(a{n='3'})")[0]["value"][1]
    backup, data = tmp_path / "backup", tmp_path / "restored"
    done = otero("backup", backup, "--url", server.url, timeout_s=120)
    assert done.returncode == 0, done.stderr
    restored = otero("restore", backup, "--data", data, timeout_s=120)
    assert restored.returncode == 0, restored.stderr
    assert otero("restore", backup, "--data", data).returncode == 1, (
        "a directory with data is not overwritten"
    )
    with running(["--config", _quiet(tmp_path)], data) as second:
        assert len(second.query("a", time=at)) == 20
        expected = server.query("a{n='3'}[1m]", time=at)[0]["values"]
        assert second.query("a{n='3'}[1m]", time=at)[0]["values"] == expected


def _quiet(folder: Path) -> Path:
    """An otero.yml that scrapes nothing."""
    path = folder / "quiet.yml"
    path.write_text("prometheus: {scrape_configs: []}\n")
    return path


def test_openapi_describes_what_is_answered(server: ServerProcess) -> None:
    document = server.get("/api/otero/v1/openapi.json")
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    status = server.get("/api/otero/v1/status")
    assert set(status) == set(schemas["Status"]["properties"])
    assert set(status["storage"]) == set(schemas["StorageStatus"]["properties"])
    assert server.get("/api/otero/v1/queries") == []
    assert request(server.port, "DELETE", "/api/otero/v1/queries/77")[0] == 404
    problem = json.loads(
        request(server.port, "POST", "/api/otero/v1/backup", b"{}", {"Content-Type": "application/json"})[1]
    )
    assert set(problem) == set(schemas["Problem"]["properties"])


def test_a_client_that_hangs_up_cancels_its_query(server: ServerProcess) -> None:
    slow = "sum(" + "+".join(["count_over_time(a[5m:100ms])"] * 40) + ")"
    query = "?" + "&".join(
        ["query=" + slow.replace("+", "%2B"), "start=1700000000", "end=1700010000", "step=1"]
    )
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/api/v1/query_range" + query)
    deadline_s = time.monotonic() + 20
    while not server.get("/api/otero/v1/queries"):
        assert time.monotonic() < deadline_s, "the query was not seen running"
    connection.close()
    while server.get("/api/otero/v1/queries"):
        assert time.monotonic() < deadline_s, "the query goes on though its client is gone"
        time.sleep(0.05)


NAMES = st.sampled_from(
    [
        "query",
        "time",
        "start",
        "end",
        "step",
        "timeout",
        "match[]",
        "limit",
        "metric",
        "stats",
        "lookback_delta",
        "state",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["up", "a", "{", "{__name__=~'.*'}", "rate(a[5m])", "1e999", "-1", "NaN", "9" * 400, "0x", "1h", "(" * 5000, "a[1y:1ms]",
         "1970-01-01T00:00:00Z", "a @ 1e300", "a offset 1000y", "label_replace(a,'x','$1','n','(.*)(.*)')", "\x00", "a=~'(('"]
    ),
)  # fmt: skip
PATHS = st.sampled_from(
    ["query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels", "label/n/values",
     "label/%00/values", "label/U__a_2e_/values", "metadata", "targets", "targets/metadata", "status/tsdb", "nothing", "../../x"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(PATHS, st.sampled_from(["GET", "POST", "DELETE"]), st.lists(st.tuples(NAMES, TEXTS), max_size=6))
def test_any_parameters_get_an_answer_in_json(
    server: ServerProcess, path: str, method: str, params: list[tuple[str, str]]
) -> None:
    from urllib.parse import urlencode

    encoded = urlencode([(name, text.encode("utf-8", "surrogatepass")) for name, text in params])
    if method == "GET":
        status, body = request(server.port, "GET", f"/api/v1/{path}?{encoded}"[:60_000])
    else:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = request(server.port, method, f"/api/v1/{path}", encoded.encode(), form)
    assert status in (200, 400, 404, 405, 422, 503), body
    if status not in (404, 405):
        answer: dict[str, Any] = json.loads(body)
        assert answer["status"] == ("success" if status == 200 else "error")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_on_the_port_leave_it_working(server: ServerProcess, data: bytes) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(data)
    assert request(server.port, "GET", "/-/healthy")[0] == 200


def test_many_clients_at_once_all_get_their_answer(server: ServerProcess) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.extend(request(server.port, "GET", "/api/v1/query?query=sum(a)")[0] for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [200] * 160
