"""This host's metrics beside node_exporter's, and what the collector stores."""

import asyncio
import re
import shutil
import socket
import urllib.request
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest

from otero.clock import SystemClock
from otero.ingest.host import HostCollector, samples_of_host
from otero.ingest.intake import Intake
from otero.wire.exposition import Protocol, parse, parse_series
from tests.fakes import RecordingStore
from tests.ingest.scrape.loopback import eventually

NODE_EXPORTER = "/usr/bin/prometheus-node-exporter"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "scraping.md"

Labels = frozenset[tuple[str, str]]


@dataclass
class Theirs:
    """What node_exporter exposes: samples by metric, and type and help by metric."""

    samples: dict[str, dict[Labels, float]]
    described: dict[str, tuple[str, str]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def theirs() -> AsyncGenerator[Theirs]:
    if shutil.which(NODE_EXPORTER) is None:
        pytest.skip(f"{NODE_EXPORTER} is not installed: apt-get install prometheus-node-exporter")
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        NODE_EXPORTER,
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    body = b""

    def answers() -> bool:
        nonlocal body
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                body = response.read()
        except OSError:
            return False
        return True

    try:
        await eventually(answers)
        exposition = parse(body, Protocol.TEXT_0_0_4)
        samples: dict[str, dict[Labels, float]] = {}
        for key, value in zip(exposition.keys, exposition.values.tolist(), strict=True):
            labels = parse_series(key)
            name = labels.pop("__name__")
            samples.setdefault(name, {})[frozenset((n, v) for n, v in labels.items() if v)] = value
        yield Theirs(samples, {entry.metric: (entry.type, entry.help) for entry in exposition.metadata})
    finally:
        process.terminate()
        await process.wait()


def ours() -> dict[str, dict[Labels, float]]:
    return {
        family.name: {frozenset(labels.items()): value for labels, value in family.samples}
        for family in samples_of_host()
    }


async def test_names_types_help_and_label_names_are_those_of_node_exporter(theirs: Theirs) -> None:
    for family in samples_of_host():
        if not family.samples:
            continue
        assert family.name in theirs.samples, family.name
        assert theirs.described[family.name] == (family.type, family.help)
        names = {name for labels in theirs.samples[family.name] for name, _ in labels}
        for labels, _ in family.samples:
            assert {name for name, value in labels.items() if value} <= names | {"device_error"}, family.name
            assert names - set(labels) <= {"device_error"}, family.name


async def test_what_node_exporter_counts_is_counted_here_too(theirs: Theirs) -> None:
    mine = ours()
    for name, samples in mine.items():
        if samples:
            assert theirs.samples[name].keys() <= samples.keys(), name


async def test_slow_values_are_near_those_of_node_exporter(theirs: Theirs) -> None:
    mine = ours()
    for name, tolerance in (
        ("node_memory_MemTotal_bytes", 0.0),
        ("node_memory_SwapTotal_bytes", 0.0),
        ("node_memory_Cached_bytes", 0.2),
        ("node_boot_time_seconds", 1e-8),
        ("node_filesystem_size_bytes", 0.0),
        ("node_filesystem_files", 0.0),
        ("node_filesystem_readonly", 0.0),
        ("node_network_up", 0.0),
        ("node_uname_info", 0.0),
        ("node_cpu_seconds_total", 0.1),
        ("node_context_switches_total", 0.1),
        ("node_load15", 0.5),
    ):
        for labels, value in theirs.samples[name].items():
            assert mine[name][labels] == pytest.approx(value, rel=tolerance, abs=5 if tolerance else 0), name


def test_values_are_numbers_and_label_sets_occur_once() -> None:
    for family in samples_of_host():
        assert family.type in ("counter", "gauge")
        assert family.help
        seen = [frozenset(labels.items()) for labels, _ in family.samples]
        assert len(seen) == len(set(seen)), family.name
        assert all(value == value and value >= 0 for _, value in family.samples), family.name
        assert family.type == ("counter" if family.name.endswith("_total") else "gauge")


def test_each_collection_is_one_batch_with_the_same_references() -> None:
    store = RecordingStore()
    collector = HostCollector(Intake(store), SystemClock())
    assert collector.collect() == collector.collect()
    first, second = store.batches
    assert second.refs is first.refs
    assert len(set(first.times_ms.tolist())) == 1
    (up,) = store.samples(first, name="up")
    assert up.labels == {"__name__": "up", "job": "node", "instance": socket.gethostname()}
    assert up.value == 1.0
    assert {entry.metric for entry in first.metadata} == {family.name for family in samples_of_host()}
    assert second.metadata == ()


async def test_the_collector_goes_on_through_refusals_and_stops_without_markers() -> None:
    store = RecordingStore()
    store.unavailable = True
    collector = HostCollector(Intake(store), SystemClock(), interval_ms=100)
    collector.start()
    await eventually(lambda: len(store.registry))
    store.unavailable = False
    await store.until(lambda: len(store.values(name="up")) >= 3)
    await collector.stop()
    assert not any(sample.stale for sample in store.samples())
    assert store.batches[0].metadata, "what could not be stored is said again"


def test_every_metric_of_this_host_is_in_the_documentation() -> None:
    documented = set(re.findall(r"`(node_\w+)`", DOCS.read_text()))
    assert {family.name for family in samples_of_host()} <= documented
