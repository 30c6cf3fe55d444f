"""Native histograms from a target to the answers of the API, beside a real Prometheus that scrapes the same target."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from otero.wire.pb import exposition_pb2 as pb
from tests.e2e.conftest import Exporter, running_prometheus
from tests.e2e.server import ServerProcess, running
from tests.wire.test_exposition_protobuf import NATIVE, delimited, family

pytestmark = pytest.mark.e2e

PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
WIDE = pb.Histogram(
    sample_count=100,
    sample_sum=1e22,
    schema=-2,
    positive_span=[pb.BucketSpan(offset=-200, length=3), pb.BucketSpan(offset=400, length=2)],
    positive_delta=[20, 0, 0, 0, 0],
)
FLOATS = pb.Histogram(
    sample_count_float=3.25,
    sample_sum=-1,
    schema=5,
    zero_threshold=1e-6,
    zero_count_float=0.25,
    negative_span=[pb.BucketSpan(offset=0, length=3)],
    negative_count=[1, 1.5, 0.5],
)
FINE = pb.Histogram(  # all bounds of the finest schema between 0.5 and 1
    sample_count=256,
    sample_sum=1,
    schema=8,
    positive_span=[pb.BucketSpan(offset=-255, length=256)],
    positive_delta=[1] + [0] * 255,
)
EMPTY = pb.Histogram(schema=3, positive_span=[pb.BucketSpan()], zero_threshold=0.5)
BODY = delimited(
    *(
        family(
            4, pb.Metric(label=[pb.LabelPair(name="of", value=name)], histogram=histogram), name=f"h_{name}"
        )
        for name, histogram in (
            ("all", NATIVE),
            ("wide", WIDE),
            ("floats", FLOATS),
            ("fine", FINE),
            ("empty", EMPTY),
        )
    ),
    family(5, pb.Metric(histogram=FLOATS), name="h_gauge"),
    family(1, pb.Metric(gauge=pb.Plain(value=4)), name="plain"),
)
TEXT = (
    "# TYPE c histogram\n"
    'c_bucket{le="0.1"} 1\nc_bucket{le="0.5"} 3\nc_bucket{le="+Inf"} 4\nc_sum 2.5\nc_count 4\n'
)
NAMES = ("h_all", "h_wide", "h_floats", "h_fine", "h_empty", "h_gauge", "plain")


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    made = Exporter(lambda: BODY, PROTOBUF)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, exporter: Exporter) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("native")
    classic = Exporter(lambda: TEXT.encode())
    (folder / "prometheus.yml").write_text(
        f"""\
global: {{scrape_interval: 1s, scrape_timeout: 1s, scrape_native_histograms: true}}
scrape_configs:
  - job_name: real
    static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]
  - job_name: text
    convert_classic_histograms_to_nhcb: true
    static_configs: [{{targets: ["127.0.0.1:{classic.port}"]}}]
"""
    )
    with running(["--prometheus", folder / "prometheus.yml"], folder / "data") as made:
        yield made
    classic.close()


def values(result: list[dict[str, Any]]) -> list[Any]:
    """Each series' histogram or value, without its time."""
    return [(row.get("histogram") or row["value"])[1] for row in result]


def test_histograms_read_as_prometheus_shows_them(
    server: ServerProcess, exporter: Exporter, tmp_path: Path
) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: real, static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]}}]
"""
    )

    def ask(url: str, expr: str) -> list[dict[str, Any]]:
        deadline_s = time.monotonic() + 60
        while True:
            with urlopen(f"{url}/api/v1/query?query={quote(expr)}", timeout=10) as answer:
                result = json.load(answer)["data"]["result"]
            if result:
                return result
            assert time.monotonic() < deadline_s, f"Prometheus does not answer {expr}"
            time.sleep(0.1)

    with running_prometheus(config, "--enable-feature=native-histograms") as url:
        for name in NAMES:
            for expr in (name, f"histogram_count({name})", f"histogram_sum({name})", f"{name} + {name}"):
                if name == "plain" and "(" in expr:
                    continue
                server.wait_for(expr)
                assert values(server.query(expr)) == values(ask(url, expr)), expr
        (ours,), (theirs,) = server.query("h_all[5s]"), ask(url, "h_all[5s]")
        assert set(ours) == set(theirs) == {"metric", "histograms"}
        assert ours["histograms"][0][1] == theirs["histograms"][0][1]
        assert ours["metric"] == theirs["metric"]


def test_converted_histograms_ranges_federation_and_a_crash(server: ServerProcess) -> None:
    wanted = {
        "count": "4",
        "sum": "2.5",
        "buckets": [[3, "-Inf", "0.1", "1"], [0, "0.1", "0.5", "2"], [0, "0.5", "+Inf", "1"]],
    }
    assert values(server.wait_for("c")) == [wanted]
    assert server.query("c_bucket") == []
    server.wait_for("histogram_count(count_over_time(c[1m]) > 2 and c) or count_over_time(c[1m]) > 2")
    now_s = time.time()
    answer = server.get("/api/v1/query_range", query="c", start=str(now_s - 2), end=str(now_s), step="1")
    (row,) = answer["data"]["result"]
    assert {json.dumps(point[1]) for point in row["histograms"]} == {json.dumps(wanted)}
    assert server.query("histogram_quantile(0.5, c)")
    federated = server.text("/federate?match[]=%7Bjob%3D~%22.%2B%22%7D")
    assert "\nplain{" in federated
    assert "h_all" not in federated
    before = server.query("h_all @ end()")
    server.kill()
    server.start()
    assert values(server.query("h_all")) == values(before)
    at = str(now_s)
    assert values(server.query("c", time=at)) == [wanted]
