"""Remote write over HTTP: requests of both versions, and a real Prometheus that sends."""

import contextlib
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import cramjam
import pytest

from otero.wire.pb import remote_write_v1_pb2 as v1
from otero.wire.pb import remote_write_v2_pb2 as v2
from tests.e2e.conftest import Exporter, running_prometheus
from tests.e2e.server import ServerProcess, running

pytestmark = pytest.mark.e2e

V2_TYPE = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("remote_write")
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    with running(["--prometheus", folder / "prometheus.yml"], folder / "data") as server:
        yield server


def post(
    server: ServerProcess, body: bytes, content_type: str = "application/x-protobuf", **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/api/v1/write", body, {"Content-Type": content_type, **sent})
        response = connection.getresponse()
        return response.status, response.read().decode(), {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


def written(headers: dict[str, str]) -> list[str | None]:
    return [
        headers.get(f"x-prometheus-remote-write-{what}-written")
        for what in ("samples", "histograms", "exemplars")
    ]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def one_series(name: str, *samples: tuple[int, float]) -> v1.TimeSeries:
    return v1.TimeSeries(
        labels=[v1.Label(name=b"__name__", value=name.encode())],
        samples=[v1.Sample(value=value, timestamp=time_ms) for time_ms, value in samples],
    )


def packed(request: v1.WriteRequest | v2.Request) -> bytes:
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def test_answers_of_version_one(server: ServerProcess) -> None:
    good = packed(v1.WriteRequest(timeseries=[one_series("one", (now_ms(), 4))]))
    assert post(server, good)[:2] == (204, "")
    assert post(server, good, "application/x-protobuf; proto=prometheus.WriteRequest")[0] == 204
    assert server.query("one")[0]["value"][1] == "4"
    assert post(server, good, "application/json")[0] == 415
    assert post(server, good, "application/x-protobuf;proto=other.Request")[0] == 415
    assert post(server, good, Content_Encoding="gzip")[0] == 415
    status, text, headers = post(server, b"junk")
    assert (status, "snappy" in text) == (400, True)
    assert written(headers) == [None] * 3
    large = bytes(cramjam.snappy.compress_raw(bytes((64 << 20) + 1)))
    status, text, _ = post(server, large)
    assert (status, "limits.remote_write_bytes" in text) == (413, True)
    partial = packed(v1.WriteRequest(timeseries=[one_series("one", (1, 1), (now_ms(), 5)), one_series("")]))
    status, text, _ = post(server, partial)
    assert status == 400
    assert "older than the retention" in text
    assert server.query("one")[0]["value"][1] == "5"


def test_answers_of_version_two(server: ServerProcess) -> None:
    time_ms = now_ms()
    request = v2.Request(
        symbols=[b"", b"__name__", b"two", b"trace_id", b"t1"],
        timeseries=[
            v2.TimeSeries(
                labels_refs=[1, 2],
                samples=[v2.Sample(value=1, timestamp=time_ms), v2.Sample(value=2, timestamp=time_ms + 1)],
                exemplars=[v2.Exemplar(labels_refs=[3, 4], value=1, timestamp=time_ms)],
                metadata=v2.Metadata(type=2),
            )
        ],
    )
    status, _, headers = post(server, packed(request), V2_TYPE)
    assert (status, written(headers)) == (204, ["2", "0", "1"])
    assert server.query("two")[0]["value"][1] == "2"
    assert server.get("/api/v1/metadata", metric="two")["data"]["two"][0]["type"] == "gauge"
    [found] = server.get(
        "/api/v1/query_exemplars", query="two", start=str(time_ms / 1000 - 1), end=str(time_ms / 1000 + 1)
    )["data"]
    assert found["exemplars"][0]["labels"] == {"trace_id": "t1"}
    request.timeseries[0].samples[0].timestamp = 5
    status, _, headers = post(server, packed(request), V2_TYPE)
    assert (status, written(headers)) == (400, ["1", "0", "1"])
    for body, content_type, encoding, wanted in (
        (b"junk", V2_TYPE, "snappy", 400),
        (packed(request), V2_TYPE, "zstd", 415),
    ):
        status, _, headers = post(server, body, content_type, Content_Encoding=encoding)
        assert (status, written(headers)) == (wanted, ["0", "0", "0"])


def test_a_real_prometheus_sends(server: ServerProcess, tmp_path: Path) -> None:
    count = iter(range(10**9))
    exporter = Exporter(
        lambda: (
            "# HELP sent_total Counts.\n# TYPE sent_total counter\n"
            + f"sent_total {next(count)}\n"
            + "".join(f'sent{{n="{n}",text="a\\"b{n}"}} {n}\n' for n in range(300))
        ).encode()
    )
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""\
global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{cluster: real}}}}
scrape_configs: [{{job_name: real, static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]}}]
remote_write:
  - url: {server.url}/api/v1/write
    queue_config: {{batch_send_deadline: 500ms}}
    metadata_config: {{send_interval: 1s}}
"""
    )
    with contextlib.closing(exporter), running_prometheus(config):
        server.wait_for('sent{cluster="real",job="real"}', 300)
        server.wait_for("count_over_time(sent_total[1m]) > 4")
        assert [r["metric"]["text"] for r in server.query('sent{n="7"}')] == ['a"b7']
        assert [r["value"][1] for r in server.query('up{job="real"}')] == ["1"]
        deadline_s = time.monotonic() + 30
        while not server.get("/api/v1/metadata", metric="sent_total")["data"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    answer = server.text("/metrics")
    assert 'otero_ingested_samples_total{door="remote_write"}' in answer
    faults = [
        line for line in answer.splitlines() if line.startswith('otero_rejected_total{door="remote_write"')
    ]
    assert not [line for line in faults if "unreadable" in line and not line.endswith(" 2.0")], faults
