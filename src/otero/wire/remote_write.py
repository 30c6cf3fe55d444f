"""What the two versions of remote write have in common: the columns that a request becomes, and the rules of labels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.model.histograms import Histograms, box
from otero.model.labels import METRIC_NAME, LabelBytes
from otero.model.metrics import Exemplar, Metadata
from otero.model.samples import NAN_BITS, STALE_BITS, bits

Resolve = Callable[[Sequence[LabelBytes]], NDArray[np.int64]]
"""The references of label sets, -1 for those that a limit refuses."""

METADATA_TYPES = (
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
)  # fmt: skip
"""Prometheus' words for the numbers of the wire."""

_NAME = METRIC_NAME.encode()


@dataclass(slots=True)
class Refusals:
    """What of a request cannot be stored, by reason: how many samples, and the text of the first fault."""

    counts: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, count: int, text: str) -> None:
        """`reason` is a short word from a fixed set; `text` says what was wrong with the first one."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            self.texts.setdefault(reason, text)


@dataclass(frozen=True, slots=True, eq=False)
class WriteColumns:
    """A write request as columns, as `model.metrics.MetricBatch` has them.

    refs -1 stands for a series that a limit refused. Values have no NaN but STALE, the ordinary NaN, and boxes that
    point into `histograms`. `refusals` is what is not in the columns.
    """

    refs: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    start_ms: NDArray[np.int64] | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    refusals: Refusals = field(default_factory=Refusals)

    def __len__(self) -> int:
        return len(self.refs)


def label_bytes(pairs: Iterable[tuple[bytes, bytes]]) -> LabelBytes:
    """Label bytes of names and values in any order; labels with an empty value are left out.

    Raises BadInput for what Prometheus refuses: no metric name, an empty or repeated label name, text that is not UTF-8.
    """
    ordered = sorted(pair for pair in pairs if pair[1] or not pair[0])
    data = b"".join([b"%b\xff%b\xff" % pair for pair in ordered])
    try:
        b"\n".join([b"\n".join(pair) for pair in ordered]).decode()
    except UnicodeDecodeError:
        raise BadInput(f"invalid metric name or labels, got {_shown(ordered)}: not UTF-8") from None
    previous = None
    named = False
    for name, _ in ordered:
        if not name:
            raise BadInput(f"invalid metric name or labels, got {_shown(ordered)}: a label has no name")
        if name == previous:
            raise BadInput(
                f"invalid labels for series, labels {_shown(ordered)}, duplicated label {name.decode()}"
            )
        previous = name
        named = named or name == _NAME
    if not named:
        raise BadInput(f"invalid metric name or labels, got {_shown(ordered)}: no {METRIC_NAME}")
    return LabelBytes(data)


def exemplar_label_bytes(pairs: Iterable[tuple[bytes, bytes]]) -> LabelBytes:
    """As `label_bytes`, of the labels of an exemplar, which have no metric name. Raises BadInput."""
    named = label_bytes([*((name, value) for name, value in pairs if name != _NAME), (_NAME, b"x")])
    return LabelBytes(named.replace(b"__name__\xffx\xff", b"", 1))


def _shown(pairs: Sequence[tuple[bytes, bytes]]) -> str:
    text = ", ".join(
        f'{name.decode("utf-8", "replace")}="{value.decode("utf-8", "replace")}"' for name, value in pairs
    )
    return "{" + (text if len(text) <= 500 else text[:500] + "…") + "}"


def quiet(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, every NaN but STALE made the ordinary one: foreign payloads must not look like our own marks."""
    odd = np.isnan(values)
    if odd.any():
        raw = bits(values).copy()
        raw[odd & (raw != STALE_BITS)] = NAN_BITS
        return raw.view(np.float64)
    return values


def boxes(count: int) -> NDArray[np.float64]:
    """Values that stand for the rows 0 to count - 1 of a `Histograms`."""
    return box(np.arange(count, dtype=np.int64))
