"""`/metrics`: everything this service knows, of all of its processes, in the format that the scraper asks for."""

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from otero_sdk.metrics import files
from otero_sdk.metrics.requests import ACTIVE, RequestMetrics


class Exposition:
    """Renders the registry, or with several workers the files of all of them.

    Raises ValueError when the application has metrics of the same names itself. `local` are collectors of what the answering process can tell about the whole service: its saturation, its health.
    """

    def __init__(
        self,
        requests: RequestMetrics,
        local: list[Collector],
        *,
        folder: Path | None = None,
        own_folder: bool = True,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._requests = requests
        self._local = local
        self._folder = folder
        self._own_folder = own_folder
        self._registry = registry
        registered: list[Collector] = []
        try:
            for collector in local:
                registry.register(collector)
                registered.append(collector)
        except ValueError as error:
            for collector in registered:
                registry.unregister(collector)
            raise ValueError(
                f"{error}: the application makes metrics of these names itself; delete them there"
            ) from None

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its Content-Type, by the scraper's Accept header: OpenMetrics (with exemplars) or text."""
        encode, content_type = choose_encoder(accept)
        return encode(self if self._folder is not None else self._registry), content_type

    def collect(self) -> Iterable[Metric]:
        """The metrics of all processes."""
        if self._folder is None:
            yield from self._registry.collect()
            return
        yield from self._requests.families(files.collect(self._folder, archive=self._own_folder))
        for collector in self._local:
            yield from collector.collect()


def serving(folder: Path | None) -> set[int]:
    """The processes that serve."""
    return {os.getpid()} if folder is None else files.processes(folder) | {os.getpid()}


def busy(folder: Path) -> int:
    """How many processes are answering a request, but for the one that answers the scrape."""
    in_flight = files.values_by_process(folder, "gauge_livesum", ACTIVE)
    alive = files.processes(folder)
    return sum(1 for pid, count in in_flight.items() if count > 0 and pid in alive)
