"""Otero's Pushgateway beside Debian's: the same pushes, the same statuses, the same groups and exposition."""

import base64
import gzip
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from otero.wire.metric_families import families_of_text
from tests.e2e.server import ServerProcess, free_port

pytestmark = pytest.mark.e2e

Url = str
_TIMES = ("push_time_seconds", "push_failure_time_seconds")


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Ports of (Debian's Pushgateway, Otero's)."""
    program = shutil.which("prometheus-pushgateway")
    if program is None:
        pytest.skip("prometheus-pushgateway is not installed: apt-get install prometheus-pushgateway")
    folder = tmp_path_factory.mktemp("pushgateway")
    theirs, ours = free_port(), free_port()
    process = subprocess.Popen(
        [program, f"--web.listen-address=127.0.0.1:{theirs}", "--persistence.file="],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    config = folder / "otero.yml"
    config.write_text(
        f"receivers: {{pushgateway: {{endpoint: '127.0.0.1:{ours}'}}}}\nhost: {{enabled: false}}\n"
    )
    server = ServerProcess(["--config", config], data=folder / "data")
    try:
        server.start()
        deadline_s = time.monotonic() + 30
        while True:
            try:
                urlopen(f"http://127.0.0.1:{theirs}/-/ready", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline_s, "the Pushgateway does not answer"
                time.sleep(0.05)
        yield theirs, ours
    finally:
        server.kill()
        process.terminate()
        process.wait(10)


@pytest.fixture
def empty(gateways: tuple[int, int]) -> tuple[int, int]:
    """Both without groups."""
    for port in gateways:
        for group in groups(port):
            labels = {"job": group["labels"].pop("job"), **group["labels"]}
            path = "/metrics" + "".join(
                f"/{name}@base64/{base64url(value)}" for name, value in labels.items()
            )
            assert ask(port, "DELETE", path)[0] == 202
        _until_gone(port)
    return gateways


def base64url(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode() or "="


def _until_gone(port: int) -> None:
    """A deletion is answered before it is done, by Debian's."""
    deadline_s = time.monotonic() + 10
    while groups(port):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def groups(port: int) -> list[dict[str, Any]]:
    return json.loads(ask(port, "GET", "/api/v1/metrics")[1])["data"]


def state(port: int) -> list[dict[str, Any]]:
    """The groups of `/api/v1/metrics`, without what depends on the time and the product."""
    found = groups(port)
    for group in found:
        for name, family in group.items():
            if name in ("labels", "last_push_successful"):
                continue
            assert family.pop("time_stamp").endswith("Z")
            if name in _TIMES:
                del family["help"]
                family["metrics"][0]["value"] = family["metrics"][0]["value"] != "0"
    return sorted(found, key=lambda group: sorted(group["labels"].items()))


def exposition(port: int) -> dict[str, list[tuple[Any, ...]]]:
    """What a scraper sees, but for the gateway's own metrics."""
    status, body = ask(port, "GET", "/metrics")
    assert status == 200
    own = ("go_", "process_", "pushgateway_", "promhttp_")
    found: dict[str, list[tuple[Any, ...]]] = {}
    for family in text_string_to_metric_families(body.decode()):
        if not family.name.startswith(own):
            timed = family.name in _TIMES
            rows = [(s.name, sorted(s.labels.items()), timed or str(s.value)) for s in family.samples]
            found[family.name] = [(family.type,), *sorted(rows)]
    return found


HISTOGRAM = '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 3\nh_count 3\nh_sum 4.5\n'
SUMMARY = '# TYPE s summary\ns{quantile="0.5"} 1\ns_count 3\ns_sum 4.5\n'
SEQUENCES: dict[str, list[tuple[str, str, str]]] = {
    "replace and merge": [
        ("PUT", "/metrics/job/a", "m 1\nn 2\n"),
        ("POST", "/metrics/job/a", "m 3\n"),
        ("PUT", "/metrics/job/a", "k 4\n"),
        ("PUT", "/metrics/job/b", "k 4\n"),
        ("DELETE", "/metrics/job/b", ""),
        ("DELETE", "/metrics/job/never", ""),
    ],
    "empty bodies": [
        ("PUT", "/metrics/job/a", "m 1\n"),
        ("PUT", "/metrics/job/a", ""),
        ("POST", "/metrics/job/b", "\n\n# nothing\n"),
        ("POST", "/metrics/job/c", "# TYPE only gauge\n# HELP only Only.\n"),
    ],
    "paths": [
        ("POST", "/metrics/job/a/", "m 1\n"),
        ("POST", "/metrics/job/a/x/y", "m 1\n"),
        ("POST", "/metrics/job/a/x/y%20z%C3%A4", "m 1\n"),
        ("POST", "/metrics/job/a/x/y%2Fz/w", "m 1\n"),
        ("POST", "/metrics/job/a/x/y%2Fz", "m 1\n"),
        ("POST", "/metrics/job/a/instance", "m 1\n"),
        ("POST", "/metrics/job/a/k/1/k/2", "m 1\n"),
        ("POST", "/metrics/job/a/job/other", "m2 1\n"),
        ("POST", "/metrics/job/a/in-stance/x", "m 1\n"),
        ("POST", "/metrics/job/a/__x/x", "m 1\n"),
        ("GET", "/metrics/job/a", ""),
        ("PATCH", "/metrics/job/a", ""),
        ("PUT", "/metrics", "m 1\n"),
    ],
    "base64": [
        ("POST", "/metrics/job@base64/=", "m 1\n"),
        ("PUT", "/metrics/job@base64/Y", "m 1\n"),  # after this, Debian's answers no PUT to job@base64 any more
        ("POST", "/metrics/job@base64/YS9i", "m 1\n"),
        ("POST", "/metrics/job@base64/YS9", "m 1\n"),
        ("POST", "/metrics/job@base64/YS8=", "m 1\n"),
        ("POST", "/metrics/job/q@base64/YQ", "m 1\n"),
        ("POST", "/metrics/job/q/z@base64/=", "m 1\n"),
        ("POST", "/metrics/job/q/z@base64/=/", "m 1\n"),
        ("POST", "/metrics/job/q/z@base64/L3Zhci90bXA=", "m 1\n"),
        ("DELETE", "/metrics/job@base64/YS9i", ""),
    ],
    "labels of the group win": [
        ("PUT", "/metrics/job/a/x/y", 'm{job="b",x="z",instance="i",l=""} 1\nm{w="v"} 2\n'),
        ("PUT", "/metrics/job/a/instance/i", 'm{instance="other"} 1\n'),
    ],
    "inconsistent": [
        ("PUT", "/metrics/job/a", "m 1\n"),
        ("PUT", "/metrics/job/b", "# TYPE m gauge\nm 1\n"),
        ("POST", "/metrics/job/a", "# TYPE m gauge\nm 1\n"),
        ("POST", "/metrics/job/c", "m 1\nm 2\n"),
        ("POST", "/metrics/job/c", 'm{instance="i"} 1\nm 2\n'),
        ("POST", "/metrics/job/c/instance/i", "m 1\n"),
        ("POST", "/metrics/job/c", "# HELP m Another text.\nm 1\n"),
        ("POST", "/metrics/job/c", "m 1 1700000000000\n"),
        ("POST", "/metrics/job/c", 'm{__x="1"} 1\n'),
    ],
    "parts of histograms and summaries": [
        ("POST", "/metrics/job/a", HISTOGRAM),
        ("POST", "/metrics/job/a", "h_count 1\n"),
        ("POST", "/metrics/job/b", "h_sum 1\n"),
        ("POST", "/metrics/job/b", SUMMARY),
        ("POST", "/metrics/job/c", "s_bucket 1\n"),
        ("POST", "/metrics/job/c", "s_count 1\n"),
        ("POST", "/metrics/job/c", "z_count 1\n"),
        ("POST", "/metrics/job/c", HISTOGRAM.replace("h", "z").replace("zistogram", "histogram")),
        ("POST", "/metrics/job/d", HISTOGRAM.replace('le="1"', 'le="many"')),
        ("POST", "/metrics/job/d", SUMMARY.replace("0.5", "half")),
        ("POST", "/metrics/job/e", '# TYPE h histogram\nh_bucket{le="0.25",x="1"} 3\nh_sum{x="2"} 1\n'),
        ("POST", "/metrics/job/d/quantile/3", SUMMARY),
    ],
    "values": [
        ("PUT", "/metrics/job/a", "a NaN\nb +Inf\nc -Inf\nd 1e-9\ne 12345678901\nf -0.5\ng 1e300\nh 100000\ni 0x1p3\n"),
        ("PUT", "/metrics/job/b", "a one\n"),
        ("PUT", "/metrics/job/c", 'u{l="\\"a\\\\b\\nc"} 1\n# HELP v \\\\ and \\n "x"\nv 2\n'),
    ],
    "malformed": [
        ("PUT", "/metrics/job/a", "m 1"),
        ("PUT", "/metrics/job/a", "m\n"),
        ("PUT", "/metrics/job/a", "# TYPE g gauge\n# TYPE g gauge\ng 1\n"),
        ("PUT", "/metrics/job/a", "g 1\n# TYPE g gauge\n"),
        ("PUT", "/metrics/job/a", "# HELP g x\n# HELP g x\ng 1\n"),
        ("PUT", "/metrics/job/a", "# TYPE g foo\ng 1\n"),
        ("PUT", "/metrics/job/a", 'g{__name__="x"} 1\n'),
        ("PUT", "/metrics/job/a", 'g{a="1",a="2"} 1\n'),
        ("PUT", "/metrics/job/a", 'g{a="1",} 1\n'),
        ("PUT", "/metrics/job/a", "g{a=1} 1\n"),
        ("PUT", "/metrics/job/a", "<html>\n"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_same_answers_and_groups(name: str, empty: tuple[int, int]) -> None:
    theirs, ours = empty
    for method, path, body in SEQUENCES[name]:
        expected = ask(theirs, method, path, body.encode())
        found = ask(ours, method, path, body.encode())
        assert found[0] == expected[0], (method, path, body, expected, found)
        if expected[0] == 202:
            time.sleep(0.05)  # Debian's deletes after its answer
        assert state(ours) == state(theirs), (method, path, body)
    assert exposition(ours) == exposition(theirs)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("stock", "Items in stock.", ["item"], registry=registry).labels("lamp").set(3.5)
    Counter("orders", "Orders.", registry=registry).inc(7)
    Histogram("took_seconds", "Time.", registry=registry, buckets=(0.1, 1)).observe(0.5)
    Summary("size_bytes", "Size.", registry=registry).observe(9)
    return registry


def test_protobuf_gzip_and_unknown_content_types(empty: tuple[int, int]) -> None:
    text = generate_latest(_registry())
    messages = [family.SerializeToString() for family in families_of_text(text).values()]
    protobuf = b"".join(
        bytes((len(message) & 127 | 128, len(message) >> 7)) + message for message in messages
    )
    media = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    for port in empty:
        assert ask(port, "PUT", "/metrics/job/proto", protobuf, {"Content-Type": media})[0] == 200
        assert (
            ask(
                port, "PUT", "/metrics/job/form", text, {"Content-Type": "application/x-www-form-urlencoded"}
            )[0]
            == 200
        )
        assert ask(port, "PUT", "/metrics/job/cut", protobuf[:-3], {"Content-Type": media})[0] == 400
    assert state(empty[1]) == state(empty[0])
    assert exposition(empty[1]) == exposition(empty[0])
    # Debian's version does not take compressed bodies yet; later ones do.
    packed = gzip.compress(text)
    assert ask(empty[1], "PUT", "/metrics/job/form", packed, {"Content-Encoding": "gzip"})[0] == 200
    assert state(empty[1]) == state(empty[0])


def test_health_of_the_port(gateways: tuple[int, int]) -> None:
    for path in ("/-/ready", "/-/healthy"):
        assert ask(gateways[0], "GET", path) == ask(gateways[1], "GET", path) == (200, b"OK")


def test_what_otero_refuses_and_the_other_takes(empty: tuple[int, int], tmp_path: Path) -> None:
    """Pushes that would lose or mangle data there are refused here with the reason."""
    for body, why in (
        ("# TYPE h histogram\nh_bucket 1\n", b"label le"),
        ("# TYPE h histogram\nh 1\n", b"label le"),
        ('# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="1.0"} 2\n', b"twice"),
        ("# TYPE s summary\ns 1\n", b"label quantile"),
    ):
        assert ask(empty[0], "POST", "/metrics/job/odd", body.encode())[0] == 200
        status, text = ask(empty[1], "POST", "/metrics/job/odd", body.encode())
        assert status == 400
        assert why in text
