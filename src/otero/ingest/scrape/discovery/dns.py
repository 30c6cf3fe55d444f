"""dns_sd: targets from SRV, A, AAAA, MX and NS records."""

import asyncio
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from otero.ingest.scrape.discovery import LabelSets, Report, Trouble, pause
from otero.ingest.scrape.discovery_config import DnsSdConfig

_TIMEOUT_S = 10.0


class DnsDiscovery:
    """Asks every `refresh_interval`; names that cannot be looked up keep what was found before."""

    def __init__(self, config: DnsSdConfig, resolver: dns.asyncresolver.Resolver | None = None) -> None:
        self._config = config
        self._resolver = resolver
        self._found: dict[str, LabelSets] = {}
        self._troubles = {name: Trouble(f"dns {config.type} {name}") for name in config.names}

    async def run(self, report: Report) -> None:
        first = True
        while True:
            before = dict(self._found)
            await asyncio.gather(*(self._look(name) for name in self._config.names))
            if first or self._found != before:
                report(dict(self._found))
            first = False
            await pause(int(self._config.refresh_interval))

    async def _look(self, name: str) -> None:
        trouble = self._troubles[name]
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
            answer = await self._resolver.resolve(
                name, self._config.type, search=True, lifetime=_TIMEOUT_S, raise_on_no_answer=False
            )
            records = list(answer.rrset or ())
        except dns.resolver.NXDOMAIN:
            records = []
        except (dns.exception.DNSException, OSError) as error:
            trouble.say(str(error))
            return
        trouble.over()
        self._found[name] = [self._labels(name, record) for record in records]

    def _labels(self, name: str, record: Any) -> dict[str, str]:
        labels = {"__meta_dns_name": name}
        port = self._config.port
        match record.rdtype:
            case dns.rdatatype.SRV:
                host, port = record.target.to_text(), record.port
                labels["__meta_dns_srv_record_target"] = host
                labels["__meta_dns_srv_record_port"] = str(port)
            case dns.rdatatype.MX:
                host = record.exchange.to_text()
                labels["__meta_dns_mx_record_target"] = host
            case dns.rdatatype.NS:
                host = record.target.to_text()
                labels["__meta_dns_ns_record_target"] = host
            case _:
                host = record.address
        host = host.rstrip(".")
        return {**labels, "__address__": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
