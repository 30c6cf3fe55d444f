"""Expositions of metrics: what a scraped target answers, in every format that Prometheus reads.

`BodyParser` is the entrance. It remembers the last body of its target: when the next one has the same series in the
same order, only the numbers are read (several million a second); everything else takes the full parser.
"""

from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from otero.model.metrics import Metadata
from otero.wire.classic_histograms import Classic, ClassicPlan
from otero.wire.exposition_columns import CLASSIC_ONLY, Exposition, WantedHistograms
from otero.wire.exposition_protobuf import parse_protobuf
from otero.wire.exposition_protocol import DEFAULT_PROTOCOLS, Protocol, accept_header, parse_content_type
from otero.wire.exposition_series import parse_series
from otero.wire.exposition_text import TextBody, parse_text, start_times
from otero.wire.go_floats import parse_spaced_floats

__all__ = [
    "DEFAULT_PROTOCOLS",
    "BodyParser",
    "Exposition",
    "Protocol",
    "WantedHistograms",
    "accept_header",
    "parse",
    "parse_content_type",
    "parse_series",
]


def parse(body: bytes, protocol: Protocol, wanted: WantedHistograms = CLASSIC_ONLY) -> Exposition:
    """One body on its own. Raises BadInput, with the line for text formats."""
    if protocol is Protocol.PROTOBUF:
        exposition, classics = parse_protobuf(body, wanted)
    else:
        parsed = parse_text(body, openmetrics=protocol.is_openmetrics, classics=wanted.nhcb)
        exposition, classics = parsed.exposition, parsed.classics
    return (
        ClassicPlan(exposition.keys, classics, keep=wanted.classic).apply(exposition)
        if classics
        else exposition
    )


class BodyParser:
    """Parses the bodies of one target, one after the other."""

    def __init__(self, wanted: WantedHistograms = CLASSIC_ONLY) -> None:
        self._wanted = wanted
        self._keys: list[bytes] | None = None
        self._read_keys: list[bytes] = []  # before classic histograms are converted
        self._shape: _Shape | None = None
        self._plan: ClassicPlan | None = None

    def parse(self, body: bytes, protocol: Protocol) -> tuple[Exposition, bool]:
        """The exposition, and whether its series are those of the last good body, in the same order.

        Then `keys` is the very same list object as before, so that what belongs to it can be used again. Raises
        BadInput as `parse` does; a bad body changes nothing.
        """
        exposition = None
        if self._shape is not None and self._shape.protocol is protocol:
            exposition = self._shape.read(body, self._read_keys)
        if exposition is None:
            exposition = self._parse_anew(body, protocol)
        converted = exposition if self._plan is None else self._plan.apply(exposition)
        same = converted.keys is self._keys
        if not same and self._keys is not None and converted.keys == self._keys:
            same = True
            if self._plan is None:
                self._read_keys = self._keys
            elif converted.keys is self._plan.keys:
                self._plan.keys = self._keys
            converted = replace(converted, keys=self._keys)
        self._keys = converted.keys
        return converted, same

    def _parse_anew(self, body: bytes, protocol: Protocol) -> Exposition:
        classics: list[Classic]
        if protocol is Protocol.PROTOBUF:
            exposition, classics = parse_protobuf(body, self._wanted)
            shape = None
        else:
            parsed = parse_text(body, openmetrics=protocol.is_openmetrics, classics=self._wanted.nhcb)
            exposition, shape, classics = parsed.exposition, _Shape.of(parsed, protocol), parsed.classics
        self._plan = ClassicPlan(exposition.keys, classics, keep=self._wanted.classic) if classics else None
        self._read_keys, self._shape = exposition.keys, shape
        return exposition


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """All of a body but its numbers.

    raw_keys stand at the start of the lines that `is_sample` picks, one blank and the number follow; the other lines
    are `comments`. `fixed_size` bytes of the body are not numbers or the blanks before them.
    """

    protocol: Protocol
    is_sample: list[bool]
    is_comment: list[bool]
    comments: list[bytes]
    raw_keys: list[bytes]
    fixed_size: int
    created: NDArray[np.intp] | None
    metadata: tuple[Metadata, ...]

    @staticmethod
    def of(parsed: TextBody, protocol: Protocol) -> "_Shape | None":
        """None when lines carry more than numbers, or when nothing can be gained."""
        exposition = parsed.exposition
        raw_keys = parsed.raw_keys
        if not raw_keys or exposition.times_ms is not None or exposition.exemplars:
            return None
        if b"\n" in b"".join(raw_keys):
            return None
        fixed = sum(map(len, raw_keys)) + sum(map(len, parsed.comments)) + len(parsed.is_sample) - 1
        return _Shape(
            protocol,
            parsed.is_sample,
            [not sample for sample in parsed.is_sample],
            parsed.comments,
            raw_keys,
            fixed,
            parsed.created,
            exposition.metadata,
        )

    def read(self, body: bytes, keys: list[bytes]) -> Exposition | None:
        """The exposition of a body of this shape; None when it has another one or is faulty.

        A series text that differs stays in its line, so that the sizes disagree; nothing else can make up for it.
        """
        lines = body.split(b"\n")
        if len(lines) != len(self.is_sample) or list(compress(lines, self.is_comment)) != self.comments:
            return None
        texts = list(map(bytes.removeprefix, compress(lines, self.is_sample), self.raw_keys))
        values = parse_spaced_floats(texts, len(body) - self.fixed_size)
        if values is None:
            return None
        return Exposition(keys, values, None, start_times(values, self.created), (), self.metadata)
