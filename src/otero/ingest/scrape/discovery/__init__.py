"""Service discovery: each kind watches one source and says which label sets are there now."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from otero.ingest.scrape.discovery_config import TargetGroup

_log = logging.getLogger(__name__)

LabelSets = list[dict[str, str]]
Found = Mapping[str, LabelSets]
"""Label sets by source (a file, a URL, a name), `__address__` included."""

Report = Callable[[Found], None]
"""Told everything that a discovery knows, each time that it changes."""


class Discovery(Protocol):
    """One entry of a `…_sd_configs` list."""

    async def run(self, report: Report) -> None:
        """Report what is found until cancelled. Trouble is logged, and what was found before stays."""
        ...


def label_sets(groups: Iterable[TargetGroup], extra: Mapping[str, str] | None = None) -> LabelSets:
    """The label sets of target groups, each with the labels of its group and `extra`."""
    return [
        {**group.labels, **(extra or {}), "__address__": address}
        for group in groups
        for address in group.targets
    ]


class Trouble:
    """Logs a fault of a discovery once, not at every turn."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = ""

    def say(self, message: str) -> None:
        if message != self._last:
            _log.warning("service discovery failed", extra={"discovery": self._what, "error": message})
        self._last = message

    def over(self) -> None:
        self._last = ""


async def pause(milliseconds: int) -> None:
    """Wait between two looks at a source."""
    await asyncio.sleep(milliseconds / 1000)
