"""Parsing expositions: a body like node_exporter's, seen before and not, in every format.

    pytest benchmarks/bench_exposition.py --benchmark-columns=min,median,ops

`samples_per_s` in the extra information is the number of series divided by the best time.
"""

import random

import pytest

from otero.wire.exposition import BodyParser, Protocol, parse
from otero.wire.pb import exposition_pb2 as pb

TEXT, OM, PROTOBUF = Protocol.TEXT_0_0_4, Protocol.OPENMETRICS_1_0_0, Protocol.PROTOBUF


def _text_body(seed: int, end: bytes = b"") -> bytes:
    """1,200 series: gauges and counters with labels, one of a machine with many CPUs, disks and mounts."""
    rng = random.Random(seed)
    lines: list[str] = []
    for family in range(100):
        lines += [
            f"# HELP node_thing_{family} What the machine says of thing {family}.",
            f"# TYPE node_thing_{family} gauge",
        ]
        lines += [
            f'node_thing_{family}{{cpu="{cpu}",device="nvme{cpu}n1",mode="user"}} {rng.random() * 1e6:.2f}'
            for cpu in range(12)
        ]
    return "\n".join(lines).encode() + b"\n" + end


def _protobuf_body(seed: int) -> bytes:
    rng = random.Random(seed)
    out = b""
    for number in range(100):
        family = pb.MetricFamily(name=f"node_thing_{number}", help="What the machine says.", type=1)
        for cpu in range(12):
            family.metric.add(
                label=[pb.LabelPair(name="cpu", value=str(cpu)), pb.LabelPair(name="mode", value="user")],
                gauge=pb.Plain(value=rng.random()),
            )
        data = family.SerializeToString()
        out += bytes([len(data) & 127 | 128, len(data) >> 7]) + data
    return out


def _bodies(protocol: Protocol) -> list[bytes]:
    if protocol is PROTOBUF:
        return [_protobuf_body(seed) for seed in range(2)]
    return [_text_body(seed, b"# EOF\n" if protocol.is_openmetrics else b"") for seed in range(2)]


@pytest.mark.parametrize("protocol", [TEXT, OM])
def test_body_seen_before(benchmark, protocol: Protocol) -> None:
    first, second = _bodies(protocol)
    parser = BodyParser()
    parser.parse(first, protocol)
    exposition, same = benchmark(parser.parse, second, protocol)
    assert same
    benchmark.extra_info["samples_per_s"] = round(len(exposition) / benchmark.stats["min"])


@pytest.mark.parametrize("protocol", [TEXT, OM, PROTOBUF])
def test_new_body(benchmark, protocol: Protocol) -> None:
    body = _bodies(protocol)[0]
    exposition = benchmark(parse, body, protocol)
    assert len(exposition) == 1200
    benchmark.extra_info["samples_per_s"] = round(len(exposition) / benchmark.stats["min"])
