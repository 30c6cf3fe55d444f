"""Targets come and go as files, URLs and names say; faults keep what was known."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import msgspec
import pytest
from aiohttp import web

from otero.errors import BadInput
from otero.fields import Duration, FilePath, Secret, Url, dec_hook
from otero.http_client import BasicAuth
from otero.ingest.scrape.discovery.files import json_groups, read_groups
from otero.ingest.scrape.discovery_config import DnsSdConfig, FileSdConfig, HttpSdConfig, TargetGroup
from tests.ingest.scrape.loopback import Scraping, eventually, job, page, scraping, serving

SOON = Duration(50)


def instances(made: Scraping) -> list[str]:
    return sorted(target.labels["instance"] for target in made.manager.targets().active)


def replace(path: Path, text: str) -> None:
    """As careful writers do: nobody reads half a file."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


async def test_file_sd_reads_json_and_yaml_and_follows_changes(tmp_path: Path) -> None:
    async with page("a 1\n") as target:
        first, second = tmp_path / "one.json", tmp_path / "two.yml"
        first.write_text(json.dumps([{"targets": [target.address], "labels": {"from": "json"}}]))
        second.write_text("- targets: ['h:1', \"h:2\"]\n  labels: {number: 1, flag: yes}\n")
        config = job(
            file_sd_configs=(
                FileSdConfig(
                    files=(FilePath(str(tmp_path / "*.json")), FilePath(str(second))), refresh_interval=SOON
                ),
            )
        )
        async with scraping(config) as made:
            await eventually(lambda: instances(made) == sorted([target.address, "h:1", "h:2"]))
            by_instance = {found.labels["instance"]: found for found in made.manager.targets().active}
            assert by_instance[target.address].labels["from"] == "json"
            assert by_instance[target.address].discovered["__meta_filepath"] == str(first)
            assert by_instance["h:1"].labels["number"] == "1"
            assert by_instance["h:1"].labels["flag"] == "yes"
            await made.scrapes(1, instance=target.address)

            replace(second, "- targets: ['h:3']\n")
            await eventually(lambda: instances(made) == sorted([target.address, "h:3"]))
            replace(second, "- targets: [")
            replace(first, "[]")
            await eventually(lambda: instances(made) == ["h:3"])
            replace(second, "")
            await eventually(lambda: instances(made) == [])
            (tmp_path / "new.json").write_text('[{"targets": ["h:4"]}]')
            await eventually(lambda: instances(made) == ["h:4"])
            (tmp_path / "new.json").unlink()
            await eventually(lambda: instances(made) == [])


async def test_a_broken_file_keeps_its_targets_and_their_loops(tmp_path: Path) -> None:
    async with page("a 1\n") as target:
        path = tmp_path / "targets.json"
        path.write_text(json.dumps([{"targets": [target.address]}]))
        config = job(file_sd_configs=(FileSdConfig(files=(FilePath(str(path)),), refresh_interval=SOON),))
        async with scraping(config) as made:
            await made.scrapes(1)
            replace(path, "{ broken")
            await made.scrapes(3)
            assert instances(made) == [target.address]
            assert not any(sample.stale for sample in made.store.samples())
            await made.manager.apply(
                [job(file_sd_configs=config.file_sd_configs, labels={}, keep_dropped_targets=1)]
            )
            assert instances(made) == [target.address], "a reload asks nothing anew of an unchanged source"


@pytest.mark.parametrize(
    "text",
    ['{"targets": []}', "[1]", '[{"targets": "h:1"}]', '[{"targets": [1]}]', "[", "[" * 100_000, '[{"labels": {"a": 1}}]'],
)  # fmt: skip
def test_target_groups_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        json_groups(text.encode())


def test_yaml_that_is_no_list_of_groups_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    for text in ("a: 1", "- targets: {a: b}", "\x00", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(BadInput):
            read_groups(path)
    path.write_text("- !!python/object/apply:os.getcwd {}")
    assert read_groups(path) == [TargetGroup()], "tags make no objects"


async def test_http_sd_follows_the_answer_and_keeps_the_last_good_one() -> None:
    async with page("a 1\n") as target:

        def groups(*addresses: str) -> str:
            return json.dumps([{"targets": list(addresses), "labels": {"__meta_zone": "x", "zone": "y"}}])

        async with page(groups(target.address), content_type="application/json") as answers:
            url = f"http://{answers.address}/targets"
            source = HttpSdConfig(
                url=Url(url),
                refresh_interval=Duration(200),
                basic_auth=BasicAuth(username="u", password=Secret("p")),
            )
            async with scraping(job(http_sd_configs=(source,))) as made:
                await made.scrapes(1)
                request = answers.requests[0]
                assert request.headers["X-Prometheus-Refresh-Interval-Seconds"].startswith("0.2")
                assert request.headers["Authorization"].startswith("Basic ")
                assert made.target().discovered["__meta_url"] == url
                assert made.target().labels["zone"] == "y"
                for status, body, kind in (
                    (500, "", "application/json"), (200, "[", "application/json"), (200, groups("h:9"), "text/html"),
                ):  # fmt: skip
                    answers.status, answers.body, answers.content_type = status, body, kind
                    asked = len(answers.requests)
                    await eventually(lambda asked=asked: len(answers.requests) >= asked + 2)
                    assert instances(made) == [target.address]
                answers.status, answers.body, answers.content_type = 200, groups("h:1"), "application/json"
                await eventually(lambda: instances(made) == ["h:1"])


class Zone(asyncio.DatagramProtocol):
    """A name server for tests: answers from a dict, in UDP."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.broken = False
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        found = self.records.get((question.name.to_text(omit_final_dot=True), kind))
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, *found))
        self.transport.sendto(answer.to_wire(), addr)


@contextlib.asynccontextmanager
async def name_server() -> AsyncGenerator[tuple[Zone, dns.asyncresolver.Resolver]]:
    transport, zone = await asyncio.get_running_loop().create_datagram_endpoint(
        Zone, local_addr=("127.0.0.1", 0)
    )
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    resolver.retry_servfail = False
    try:
        yield zone, resolver
    finally:
        transport.close()


async def test_dns_sd_finds_targets_by_every_type_of_record() -> None:
    async with page("a 1\n") as target, name_server() as (zone, resolver):
        port = target.address.partition(":")[2]
        zone.records = {
            ("a.test", "A"): ["127.0.0.1"],
            ("a.test", "AAAA"): ["::1"],
            ("_m._tcp.test", "SRV"): ["0 5 9100 node.test.", "0 5 9101 node.test."],
            ("test", "MX"): ["10 mail.test."],
            ("test", "NS"): ["ns.test."],
        }
        sources = tuple(
            msgspec.convert({"names": [name], "type": kind, "port": number, "refresh_interval": "200ms"}, DnsSdConfig, dec_hook=dec_hook)
            for name, kind, number in (
                ("a.test", "A", int(port)), ("a.test", "AAAA", 1), ("_m._tcp.test", "SRV", 0), ("test", "MX", 25),
                ("test", "NS", 53),
            )
        )  # fmt: skip
        async with scraping(job(dns_sd_configs=sources), resolver=resolver) as made:
            expected = [
                target.address, "[::1]:1", "node.test:9100", "node.test:9101", "mail.test:25", "ns.test:53",
            ]  # fmt: skip
            await eventually(lambda: instances(made) == sorted(expected))
            found = {each.labels["instance"]: each.discovered for each in made.manager.targets().active}
            assert found[target.address]["__meta_dns_name"] == "a.test"
            assert found["node.test:9100"]["__meta_dns_srv_record_target"] == "node.test."
            assert found["node.test:9100"]["__meta_dns_srv_record_port"] == "9100"
            assert found["mail.test:25"]["__meta_dns_mx_record_target"] == "mail.test."
            assert found["ns.test:53"]["__meta_dns_ns_record_target"] == "ns.test."
            await made.scrapes(1, instance=target.address)
            assert made.store.values(name="a")


async def test_dns_sd_keeps_targets_while_the_server_is_broken_and_drops_those_of_a_gone_name() -> None:
    async with name_server() as (zone, resolver):
        zone.records = {("a.test", "A"): ["127.0.0.1"]}
        source = DnsSdConfig(names=("a.test",), type="A", port=1, refresh_interval=SOON)
        async with scraping(job(dns_sd_configs=(source,)), resolver=resolver) as made:
            await eventually(lambda: instances(made) == ["127.0.0.1:1"])
            zone.broken = True
            asked = zone.asked
            await eventually(lambda: zone.asked >= asked + 3)
            assert instances(made) == ["127.0.0.1:1"]
            zone.broken, zone.records = False, {}
            await eventually(lambda: instances(made) == [])


async def test_a_discovery_that_hangs_holds_up_neither_other_targets_nor_the_stop() -> None:
    release = asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with serving(hang) as address, page("a 1\n") as target:
        source = HttpSdConfig(url=Url(f"http://{address}/"))
        async with scraping(job(target.address, http_sd_configs=(source,))) as made:
            await made.scrapes(2)
        release.set()
